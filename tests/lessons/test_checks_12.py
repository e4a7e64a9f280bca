"""Lesson 12: every check on its solution, its stub and plausible wrong answers."""

from __future__ import annotations

import torch
from torch.nn import functional

from tests.lessons.machinery import CheckSuite, factory


def _success(rows=lambda labels, target: labels != target, use=True, changed=False, of_all=False):
    def attack_success(network, images, labels, trigger, target):
        keep = rows(labels, target)
        before = network(images[keep]).argmax(-1)
        after = network(trigger(images[keep]) if use else images[keep]).argmax(-1)
        hit = after == target
        if changed:
            hit &= before != target
        return hit.sum().item() / (len(images) if of_all else len(hit))

    return attack_success


def _everything(labels, target):
    return torch.ones_like(labels, dtype=torch.bool)


def _rates(kind):
    def patch_rates(network, images, patches):
        logits = network(images)
        before, rows = logits.argmax(-1), []
        for patch in patches:
            after = network(patch(images)).argmax(-1)
            row = []
            for c in range(logits.shape[1]):
                moved = ((after == c) & (before != c)).double()
                row.append(
                    {
                        "share": (after == c).double().mean(),
                        "of all": moved.mean(),
                        "left": (after[before == c] != c).double().mean(),
                        "untouched": (before == c).double().mean(),
                    }[kind]
                )
            rows.append(row)
        return torch.tensor(rows)

    return patch_rates


def _gradient(network, point, target):
    point = point.detach().requires_grad_()
    return torch.autograd.grad(network(point)[:, target].sum(), point)[0]


def _path(points, times_image=True, mean=True):
    def integrated(network, images, target, steps=50):
        total = sum(_gradient(network, a * images, target) for a in points(steps))
        total = total / steps if mean else total
        return images * total if times_image else total

    return integrated


def _middles(steps):
    return [(k + 0.5) / steps for k in range(steps)]


def _areas(tie=0.5, sign=1, by_value=False):
    def points_at(values, footprint):
        inner, outer = sign * values[footprint], sign * values[~footprint]
        if by_value:
            return (inner.sum() / values.sum()).item()
        larger, equal = inner[:, None] > outer, inner[:, None] == outer
        return (larger.double() + tie * equal.double()).mean().item()

    return points_at


def _objective(blend, price=lambda mask, pattern: mask.sum(), sign=1, item=False):
    def objective(network, images, mask, pattern, target, weight):
        targets = torch.full((len(images),), target)
        loss = functional.cross_entropy(network(blend(images, mask, pattern)), targets)
        loss = loss + sign * weight * price(mask, pattern)
        return loss.detach() if item else loss

    return objective


def _right(images, mask, pattern):
    return (1 - mask) * images + mask * pattern


def _index(centre=lambda x: x.quantile(0.5), factor=1.4826, sign=1, absolute=False, mean=False):
    def anomaly_index(norms):
        if mean:
            return (norms.mean() - norms) / norms.std()
        middle = centre(norms)
        found = sign * (middle - norms) / (factor * centre((norms - middle).abs()))
        return found.abs() if absolute else found

    return anomaly_index


def _place_first(success, on_twin, inside):
    if success < 0.8:
        return "fails"
    if inside >= 0.5:
        return "rediscovered"
    return "natural adversary" if on_twin > 0.2 else "right class, wrong trigger"


def _no_twin(success, on_twin, inside):
    if success < 0.8:
        return "fails"
    return "rediscovered" if inside >= 0.5 else "right class, wrong trigger"


def _twin_first(success, on_twin, inside):
    if on_twin > 0.2:
        return "natural adversary"
    if success < 0.8:
        return "fails"
    return "rediscovered" if inside >= 0.5 else "right class, wrong trigger"


def _strict(success, on_twin, inside):
    if success <= 0.8:
        return "fails"
    if on_twin >= 0.2:
        return "natural adversary"
    return "rediscovered" if inside > 0.5 else "right class, wrong trigger"


def _a_seven():
    """A clear seven's stroke in the middle: some images follow it, in the twin as well."""
    return {"pattern": torch.ones(3, 3), "row": 4, "column": 8}


X = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]

WRONG = {
    "12.1": [
        _success(_everything),
        _success(use=False),
        _success(changed=True),
        _success(of_all=True),
        _success(lambda labels, target: labels == target),
    ],
    "12.2": [_rates("share"), _rates("of all"), _rates("left"), _rates("untouched")],
    "12.3": [
        lambda network, images, target, steps=50: images * _gradient(network, images, target),
        lambda network, images, target, steps=50: _gradient(network, images, target),
        _path(_middles, times_image=False),
        _path(_middles, mean=False),
        _path(lambda steps: [k / steps for k in range(steps)]),
        _path(lambda steps: [(k + 1) / steps for k in range(steps)]),
    ],
    "12.4": [
        _areas(tie=0.0),
        _areas(tie=1.0),
        _areas(sign=-1),
        _areas(by_value=True),
        lambda values, footprint: (values[footprint].mean() > values[~footprint].mean()).item() * 1,
    ],
    "12.5": [
        _objective(lambda x, m, p: x + m * p),
        _objective(lambda x, m, p: m * x + (1 - m) * p),
        _objective(_right, price=lambda m, p: m.mean()),
        _objective(_right, price=lambda m, p: 0 * m.sum()),
        _objective(_right, price=lambda m, p: p.sum()),
        _objective(_right, sign=-1),
        _objective(_right, item=True),
    ],
    "12.6": [
        _index(sign=-1),
        _index(absolute=True),
        _index(factor=1.0),
        _index(mean=True),
        _index(centre=lambda x: x.median()),
    ],
    "12.7": [_place_first, _no_twin, _twin_first, _strict, lambda *numbers: "rediscovered"],
    "12.8": [
        factory(_a_seven),
        {"pattern": torch.ones(3, 3), "row": 13, "column": 13},
        {"pattern": torch.tensor(X).float(), "row": 0, "column": 0},
        {"pattern": 1 - torch.tensor(X).float(), "row": 13, "column": 13},
        {"pattern": torch.tensor(X).float(), "row": 14, "column": 13},
    ],
}


class TestChecks12(CheckSuite):
    lesson = "12"
    wrong = WRONG
