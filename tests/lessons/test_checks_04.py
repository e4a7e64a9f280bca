"""The checks of lesson 04: each refuses plausible slips, and names the commonest ones."""

import dataclasses
import math

import torch

from tests.lessons.machinery import CheckSuite, factory
from utils.scrubbing import Step
from utils.sites import Site

# --- 4.1 and 4.2 -------------------------------------------------------------------------------


def _power(change=lambda x: x, first=1, dim=0, squared=True):
    def power(values):
        size = torch.fft.rfft(values, dim=dim).abs()
        size = size.pow(2) if squared else size
        total = change(size[first:] if dim == 0 else size[:, first:].T).sum(1)
        return total / total.sum()

    return power


def _unnormalised(values):
    return torch.fft.rfft(values, dim=0)[1:].abs().pow(2).sum(1)


def _column_by_column(values):
    power = torch.fft.rfft(values, dim=0)[1:].abs().pow(2)
    return (power / power.sum(0).clamp(min=1e-9)).mean(1)


def _sum_before_power(values):
    power = torch.fft.rfft(values.sum(1), dim=0)[1:].abs().pow(2)
    return power / power.sum()


def _real_part_only(values):
    power = torch.fft.rfft(values, dim=0)[1:].real.pow(2).sum(1)
    return power / power.sum()


def _above(null=max, offset=1, ordered=True, shuffle=lambda v, o: v[o], sign=1):
    def above(values, orders, power):
        edge = null([power(shuffle(values, order)).max().item() for order in orders])
        share = power(values)
        places = share.argsort(descending=True) if ordered else torch.arange(len(share))
        return [int(f) + offset for f in places if sign * share[f] > sign * edge]

    return above


def _own_frequency_null(values, orders, power):
    null = torch.stack([power(values[order]) for order in orders]).amax(0)
    share = power(values)
    return [int(f) + 1 for f in share.argsort(descending=True) if share[f] > null[f]]


# --- 4.3 ---------------------------------------------------------------------------------------


def _waves(p, frequencies, sine=True):
    angles = 2 * math.pi * torch.tensor(frequencies)[:, None] * torch.arange(p) / p
    return torch.cat([angles.cos(), angles.sin()]) if sine else angles.cos()


def _not_orthonormal(values, frequencies):
    return (_waves(len(values), frequencies) @ values).T


def _only_cosines(values, frequencies):
    return torch.linalg.qr((_waves(len(values), frequencies, sine=False) @ values).T).Q


def _waves_themselves(values, frequencies):
    return torch.linalg.qr(_waves(len(values), frequencies).T).Q


def _principal(values, frequencies):
    centred = values - values.mean(0)
    return torch.linalg.svd(centred, full_matrices=False)[2][: 2 * len(frequencies)].T


def _off_by_one(values, frequencies):
    return torch.linalg.qr((_waves(len(values), [f - 1 for f in frequencies]) @ values).T).Q


# --- 4.4 ---------------------------------------------------------------------------------------


def _follow(says, read=lambda t, d: d, base=lambda t, d: t, position=-1, share=False):
    def follows(model, tokens, donors, site):
        values = site.read(model, read(tokens, donors))
        output = site.write(model, base(tokens, donors), values, allow_unchanged=True)
        hits = output[:, position].argmax(-1) == says(tokens, donors) % 113
        return hits.double().mean() if share else hits

    return follows


def _right(tokens, donors):
    return donors[:, 0] + tokens[:, 1]


def _whole_position(model, tokens, donors, site):
    """Ignores which site was given."""
    return _follow(_right)(model, tokens, donors, Site("hook_embed", position=0))


# --- 4.5 to 4.7 --------------------------------------------------------------------------------


def _point(cosine, sine):
    return lambda p: torch.stack([cosine(p[:, 0], p[:, 1]), sine(p[:, 0], p[:, 1])], 1)


def _cosines(distance, wave=torch.cos, total=lambda x: x.sum(0)):
    def logits(tokens, amplitude, frequency):
        angle = 2 * math.pi * frequency[:, None, None] * distance(tokens) / 113
        return total(amplitude[:, None, None] * wave(angle))

    return logits


_C = torch.arange(113)


# --- 4.8 ---------------------------------------------------------------------------------------


def _steps(**changes):
    """The right steps with some fields of some steps changed: step name -> fields."""

    def write(bases):
        steps = {
            "a": Step("a", lambda t: t[:, 0],
                      site=Site("hook_embed", position=0, basis=bases["numbers"])),
            "b": Step("b", lambda t: t[:, 1],
                      site=Site("hook_embed", position=1, basis=bases["numbers"])),
            "pair": Step("pair", lambda a, b: torch.stack([a + b, a * b], 1), ("a", "b"),
                         Site("blocks.0.hook_attn_out", position=-1, basis=bases["pair"])),
            "sum": Step("sum", lambda pair: pair[:, 0] % 113, ("pair",),
                        Site("blocks.0.hook_mlp_out", position=-1, basis=bases["sum"])),
            "answer": Step("answer", lambda total: total, ("sum",)),
        }  # fmt: skip
        for name, fields in changes.items():
            fields = fields(bases) if callable(fields) else fields
            steps[name] = dataclasses.replace(steps[name], **fields)
        return list(steps.values())

    return write


def _no_pair(bases):
    a, b, _, total, answer = _steps()(bases)
    total = dataclasses.replace(total, inputs=("a", "b"), function=lambda a, b: (a + b) % 113)
    return [a, b, total, answer]


def _crossed(bases):
    steps = _steps()(bases)
    steps[0], steps[1] = (
        dataclasses.replace(steps[0], site=steps[1].site),
        dataclasses.replace(steps[1], site=steps[0].site),
    )
    return steps


def _unplaced(bases):
    return [dataclasses.replace(step, site=None) for step in _steps()(bases)]


WRONG = {
    "4.1": [
        _power(first=0),
        _power(squared=False),
        _power(dim=1),
        _unnormalised,
        _column_by_column,
        _sum_before_power,
        _real_part_only,
    ],
    "4.2": [
        _above(offset=0),
        _above(null=lambda tops: sum(tops) / len(tops)),
        _above(null=min),
        _above(ordered=False),
        _above(shuffle=lambda v, o: v),
        _above(sign=-1),
        _own_frequency_null,
    ],
    "4.3": [_not_orthonormal, _only_cosines, _waves_themselves, _principal, _off_by_one],
    "4.4": [
        _follow(lambda t, d: d[:, 0] + d[:, 1]),
        _follow(lambda t, d: t[:, 0] + t[:, 1]),
        _follow(lambda t, d: t[:, 0] + d[:, 1]),
        _follow(_right, read=lambda t, d: t),
        _follow(_right, base=lambda t, d: d),
        _follow(_right, position=0),
        _follow(_right, share=True),
        _whole_position,
        lambda model, tokens, donors, site: torch.ones(len(tokens), dtype=torch.bool),
    ],
    "4.5": [
        _point(lambda u, v: u**2 + v**2, lambda u, v: 2 * u * v),
        _point(lambda u, v: u**2 - v**2, lambda u, v: u * v),
        _point(lambda u, v: 2 * u * v, lambda u, v: u**2 - v**2),
        _point(lambda u, v: u**2 - v**2, lambda u, v: -2 * u * v),
        _point(lambda u, v: (u**2 - v**2) / 2, lambda u, v: u * v),
        _point(lambda u, v: u**2, lambda u, v: v**2),
        lambda points: points,
        lambda points: 2 * points,
    ],
    "4.6": [
        lambda f, p: 2 * f,
        lambda f, p: p - 2 * f,
        lambda f, p: 2 * f % (p // 2),
        lambda f, p: min(2 * f, p // 2),
        lambda f, p: p // 2 - abs(p // 2 - 2 * f),
        lambda f, p: 2 * f if 2 * f < p / 2 else 113 - 2 * f,
    ],
    "4.7": [
        _cosines(lambda t: t[:, :1] + t[:, 1:2] + _C),
        _cosines(lambda t: t[:, :1] - t[:, 1:2] - _C),
        _cosines(lambda t: t[:, :1] + t[:, 1:2] - _C, wave=torch.sin),
        _cosines(lambda t: t[:, :1] + t[:, 1:2] - _C, total=lambda x: x),
        _cosines(lambda t: t[:, :1] + t[:, 1:2] - _C, total=lambda x: x.mean(0)),
        _cosines(lambda t: t.sum(1, keepdim=True) - 112 - _C),
    ],
    "4.8": [
        _no_pair,
        _crossed,
        _unplaced,
        _steps(sum={"function": lambda pair: pair[:, 0]}),
        _steps(pair={"function": lambda a, b: (a + b) % 113}, sum={"function": lambda s: s}),
        _steps(answer={"function": lambda total: total % 2}),
        _steps(b={"function": lambda t: t[:, 0]}),
        _steps(sum={"site": Site("blocks.0.hook_mlp_out", position=-1)}),
        _steps(a=lambda bases: {"site": Site("hook_embed", position=0, basis=bases["pair"])}),
        _steps(pair=lambda bases: {
            "site": Site("blocks.0.hook_attn_out", position=0, basis=bases["pair"])
        }),
        _steps(a={"function": lambda t: t[:, 2]}),
        factory(lambda: lambda bases: _steps()(bases)[:-1]),
    ],
}  # fmt: skip


class TestChecks04(CheckSuite):
    lesson = "04"
    wrong = WRONG


def _message(exercise, answer):
    return TestChecks04().grade(exercise, answer).message


def test_the_likely_slips_are_named():
    assert "frequency 0" in _message("4.1", _power(first=0))
    assert "square" in _message("4.1", _power(squared=False))
    assert "add up to" in _message("4.1", _unnormalised)
    assert "one too small" in _message("4.2", _above(offset=0))
    assert "strongest first" in _message("4.2", _above(ordered=False))
    assert "any shuffle" in _message("4.2", WRONG["4.2"][1])
    assert "waves over the numbers" in _message("4.3", _waves_themselves)
    assert "cosine and sine" in _message("4.3", _only_cosines)
    assert "orthonormal" in _message("4.3", _not_orthonormal)
    assert "given" in _message("4.4", _whole_position)
    assert "exchanged" in _message("4.5", WRONG["4.5"][2])
    assert "half way" in _message("4.5", WRONG["4.5"][6])
    assert "same cosine" in _message("4.6", WRONG["4.6"][0])
    assert "c is added" in _message("4.7", WRONG["4.7"][0])
    assert "sine" in _message("4.7", WRONG["4.7"][2])
    assert "does not come before" in _message("4.8", _no_pair) or "feed" in _message(
        "4.8", _no_pair
    )
    assert "cannot know the sum" in _message("4.8", WRONG["4.8"][4])
    assert "whole place" in _message("4.8", WRONG["4.8"][7])


def test_other_right_ways_pass():
    def by_regression(values):
        p = len(values)
        centred = (values - values.mean(0)).double()
        shares = [
            (_waves(p, [f]).double() @ centred).pow(2).sum() for f in range(1, (p - 1) // 2 + 1)
        ]
        return torch.stack(shares) / sum(shares)

    def by_svd(values, frequencies):
        directions = _waves(len(values), frequencies) @ (values - values.mean(0))
        return torch.linalg.svd(directions, full_matrices=False)[2].T

    def as_tensor(values, orders, power):
        return torch.tensor(_above()(values, orders, power), dtype=torch.int64)

    def by_angle(points):
        angle = 2 * torch.atan2(points[:, 1], points[:, 0])
        return points.pow(2).sum(1, keepdim=True) * torch.stack([angle.cos(), angle.sin()], 1)

    def ordered_pair(bases):
        changed = {
            "pair": {"function": lambda a, b: torch.stack([a, b], 1)},
            "sum": {"function": lambda pair: pair.sum(1) % 113},
        }
        return _steps(**changed)(bases)

    for exercise, answer in (
        ("4.1", by_regression),
        ("4.2", as_tensor),
        ("4.3", by_svd),
        ("4.5", by_angle),
        ("4.6", lambda f, p: next(g for g in (2 * f, p - 2 * f) if g <= (p - 1) // 2)),
        ("4.8", _steps()),
        ("4.8", ordered_pair),
    ):
        assert TestChecks04().grade(exercise, answer).status == "passed", _message(exercise, answer)
