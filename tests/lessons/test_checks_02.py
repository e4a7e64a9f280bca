"""Lesson 02: every check on its solution, its stub and plausible wrong answers."""

from __future__ import annotations

import torch

from tests.lessons.machinery import CheckSuite, factory
from utils.sites import Site


def _gradient(number):
    def saliency(model, images):
        pixels = images.clone().requires_grad_(True)
        return torch.autograd.grad(number(model(pixels)), pixels)[0][:, 0]

    return saliency


def _svd(activations):
    centred = activations - activations.mean(0)
    return centred, *torch.linalg.svd(centred, full_matrices=False)[1:]


def _uncentred(activations):
    _, spread, directions = torch.linalg.svd(activations, full_matrices=False)
    return activations @ directions[:2].T, spread[:2] ** 2 / (spread**2).sum()


def _not_squared(activations):
    centred, spread, directions = _svd(activations)
    return centred @ directions[:2].T, spread[:2] / spread.sum()


def _smallest_first(activations):
    centred, spread, directions = _svd(activations)
    return (centred @ directions[:2].T).flip(1), (spread[:2] ** 2 / (spread**2).sum()).flip(0)


def _unit_coordinates(activations):
    centred, spread, directions = _svd(activations)
    return centred @ directions[:2].T / spread[:2], spread[:2] ** 2 / (spread**2).sum()


def _directions_by_column(activations):
    centred, spread, directions = _svd(activations)
    return centred @ directions[:, :2], spread[:2] ** 2 / (spread**2).sum()


def _extremes(score, predicted):
    inside = score[predicted == 0]
    return inside.min().item(), inside.max().item()


def _quartiles(score, predicted):
    return tuple(torch.quantile(score, torch.tensor([0.25, 0.75])).tolist())


def _mean_and_deviation(score, predicted):
    inside = score[predicted == 0]
    return (inside.mean() - inside.std()).item(), (inside.mean() + inside.std()).item()


def _one_sided(score, predicted):
    return score.min().item() - 1, score[predicted == 0].max().item()


def _by_sum(activations, below, above):
    low, high = activations[below].sum(0), activations[above].sum(0)
    return low > high, high > low


def _by_mean(activations, below, above):
    return activations[below].mean(0), activations[above].mean(0)


def _dead_included(activations, below, above):
    low, high = _by_mean(activations, below, above)
    return low >= high, high > low


def _by_median(activations, below, above):
    low, high = activations[below].median(0).values, activations[above].median(0).values
    return low > high, high > low


def _swapped(activations, below, above):
    low, high = _by_mean(activations, below, above)
    return high > low, low > high


def _held(how, same=True, complement=False):
    """Silencing with another value, another comparison or the other neurons."""

    def kept(model, images, neurons):
        width = Site("hook_fc1").read(model, images[:1]).shape[1]
        chosen = neurons.tolist()
        if complement:
            chosen = [i for i in range(width) if i not in chosen]
        site = Site("hook_fc1", neuron=chosen)
        value = how(site.read(model, images))
        after = site.write(model, images, value, allow_unchanged=True).argmax(-1)
        with torch.no_grad():
            before = model(images).argmax(-1)
        return after == before if same else after != before

    return kept


def _lowest(values):
    return values.amin(0, keepdim=True)


def _permutation(feature, generator):
    chosen = torch.empty(len(feature), dtype=torch.long)
    for value in (False, True):
        members = (feature == value).nonzero()[:, 0]
        chosen[members] = members[torch.randperm(len(members), generator=generator)]
    return chosen


def _one_donor_a_class(feature, generator):
    chosen = torch.empty(len(feature), dtype=torch.long)
    for value in (False, True):
        members = (feature == value).nonzero()[:, 0]
        chosen[members] = members[torch.randint(len(members), (1,), generator=generator)]
    return chosen


def _positions_in_class(feature, generator):
    """Forgets to look the drawn positions up in the class."""
    chosen = torch.empty(len(feature), dtype=torch.long)
    for value in (False, True):
        members = (feature == value).nonzero()[:, 0]
        chosen[members] = torch.randint(len(members), (len(members),), generator=generator)
    return chosen


def _other_class(feature, generator):
    chosen = torch.empty(len(feature), dtype=torch.long)
    for value in (False, True):
        members, others = (feature == value).nonzero()[:, 0], (feature != value).nonzero()[:, 0]
        chosen[members] = others[torch.randint(len(others), (len(members),), generator=generator)]
    return chosen


def _own_randomness(feature, generator):
    """Ignores the generator it was given."""
    return _permutation(feature, torch.Generator().manual_seed(0))


def _correlation(turn):
    def make(lab):
        template = 2 * lab.data.clue - 1
        x = lab.data.test.images[:, 0].flatten(1)
        scores = torch.stack([x @ template.flatten(), x @ turn(template).flatten()])
        return torch.corrcoef(scores)[0, 1].item()

    return factory(make)


def _cosine(lab):
    template = 2 * lab.data.clue - 1
    return ((template * template.rot90(2)).sum() / template.pow(2).sum()).item()


def _correlated_templates(lab):
    template = 2 * lab.data.clue - 1
    pair = torch.stack([template.flatten(), template.rot90(2).flatten()])
    return torch.corrcoef(pair)[0, 1].item()


WRONG = {
    "2.1": [
        _gradient(lambda logits: (logits[:, 0] - logits[:, 1]).sum()),
        _gradient(lambda logits: logits[:, 1].sum()),
        _gradient(lambda logits: (logits[:, 1] - logits[:, 0]).mean()),
        _gradient(lambda logits: logits.softmax(-1)[:, 1].sum()),
        lambda model, images: (
            _gradient(lambda logits: (logits[:, 1] - logits[:, 0]).sum())(model, images).abs()
        ),
    ],
    "2.2": [_uncentred, _not_squared, _smallest_first, _unit_coordinates, _directions_by_column],
    "2.3": [
        lambda images, clue: (images[:, 0] * (clue - 0.5)).sum((1, 2)),
        lambda images, clue: (images[:, 0] * clue).sum((1, 2)),
        lambda images, clue: (images[:, 0] * (1 - 2 * clue)).sum((1, 2)),
        lambda images, clue: (images[:, 0] * (2 * clue - 1)).mean((1, 2)),
        lambda images, clue: torch.nn.functional.cosine_similarity(
            images.flatten(1), (2 * clue - 1).flatten()[None]
        ),
    ],
    "2.4": [_extremes, _quartiles, _mean_and_deviation, _one_sided,
            lambda score, predicted: tuple(reversed(_quartiles(score, predicted)))],
    "2.5": [
        factory(_cosine),
        factory(_correlated_templates),
        _correlation(lambda template: template.rot90(1)),
        _correlation(lambda template: template.flip(1)),
        0.84,
    ],
    "2.6": [_by_sum, _dead_included, _by_median, _swapped],
    "2.7": [
        _held(lambda values: 0.0),
        _held(lambda values: values.mean(0, keepdim=True)),
        _held(_lowest, same=False),
        _held(_lowest, complement=True),
    ],
    "2.8": [
        _permutation,
        _one_donor_a_class,
        _positions_in_class,
        _other_class,
        _own_randomness,
        lambda feature, generator: torch.randint(len(feature), feature.shape, generator=generator),
        lambda feature, generator: torch.arange(len(feature)),
    ],
}  # fmt: skip


class TestChecks02(CheckSuite):
    lesson = "02"
    wrong = WRONG
