"""The tests an explanation of Challenge 1 must survive, on the cut that the explanation names.

Everything here works on cached activations of one layer (the *cut*) and a function that runs the
rest of the network from there. That is exact, not an approximation: what lies below the cut enters
the output through the cut alone. It makes thousands of swaps as cheap as one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from utils.errors import CourseError
from utils.reports import Estimate, bootstrap


@dataclass(frozen=True)
class Cut:
    """A network seen at one layer.

    activations: [n, d], what the layer holds for each of n inputs.
    readout: [m, d] -> logits [m, classes], the rest of the network.
    groups: [n], which inputs belong together (the scan an image was made from); intervals resample
        whole groups.
    """

    activations: Tensor
    readout: Callable[[Tensor], Tensor]
    groups: Tensor

    def __len__(self) -> int:
        return len(self.activations)

    def classes(self, activations: Tensor | None = None) -> Tensor:
        """The class the network gives, [m] int64; for its own activations if none are given."""
        return self.readout(self.activations if activations is None else activations).argmax(-1)


@dataclass(frozen=True)
class Detectors:
    """Two sets of neurons at a cut: `below` fires for inputs under the band, `above` over it."""

    below: Tensor
    above: Tensor

    @property
    def both(self) -> Tensor:
        return torch.cat([self.below, self.above])


def find_detectors(
    activations: Tensor, below: Tensor, above: Tensor, ratio: float = 1.0, floor: float = 0.0
) -> Detectors:
    """Sort neurons by which side of the band drives them harder on average.

    activations: [n, d]. below, above: [n] bool, the inputs on either side.
    ratio: how many times larger one side's mean must be. 1 is the solvers' split of all live
        neurons; 2 keeps only those that take sides clearly. floor: smallest mean that counts.
    """
    low, high = activations[below].mean(0), activations[above].mean(0)
    take_below = (low > ratio * high) & (low > floor)
    take_above = (high > ratio * low) & (high > floor)
    return Detectors(take_below.nonzero()[:, 0], take_above.nonzero()[:, 0])


def share(hits: Tensor, groups: Tensor, seed: int = 0) -> Estimate:
    """Mean of `hits` [n] in [0, 1] with an interval over whole groups: bootstrap, or Student's t
    where every input is a group of its own."""
    _, inverse = groups.unique(return_inverse=True)
    if len(hits) > 1 and int(inverse.max()) + 1 == len(hits):
        return Estimate.mean(hits)
    return ratio(hits.double(), torch.ones(len(hits), dtype=torch.double), groups, seed)


def ratio(top: Tensor, bottom: Tensor, groups: Tensor, seed: int = 0) -> Estimate:
    """mean(top) / mean(bottom), both [n] float64, with a bootstrap interval over whole groups."""
    _, inverse = groups.unique(return_inverse=True)
    # Sums per group first: the same draws then cost n_groups, not n, each.
    sums = torch.zeros(2, int(inverse.max()) + 1, dtype=torch.double)
    sums[0].index_add_(0, inverse, top)
    sums[1].index_add_(0, inverse, bottom)
    estimate = bootstrap(lambda t, b: float(t.sum() / b.sum()), sums[0], sums[1], seed=seed)
    return replace(estimate, method=f"{estimate.method} of whole groups, which n counts")


def ablate_to_minimum(cut: Cut, neurons: Tensor) -> Tensor:
    """The cut with each of these neurons held at its lowest value over the data: [n, d]."""
    changed = cut.activations.clone()
    changed[:, neurons] = cut.activations.amin(0)[neurons]
    return changed


def same_class_donors(feature: Tensor, generator: torch.Generator) -> Tensor:
    """For every input a random donor with the same value of `feature` [n]; itself allowed."""
    donors = torch.empty(len(feature), dtype=torch.long)
    for value in feature.unique():
        members = (feature == value).nonzero()[:, 0]
        pick = torch.randint(len(members), (len(members),), generator=generator)
        donors[members] = members[pick]
    return donors


def other_class_donors(feature: Tensor, generator: torch.Generator) -> Tensor:
    """For every input a random donor whose boolean `feature` [n] differs.

    Raises CourseError when the feature is the same everywhere.
    """
    if feature.all() or not feature.any():
        raise CourseError("This feature is the same for every input: there is no donor to swap in.")
    donors = torch.empty(len(feature), dtype=torch.long)
    for value in (False, True):
        members, others = (feature == value).nonzero()[:, 0], (feature != value).nonzero()[:, 0]
        donors[members] = others[torch.randint(len(others), (len(members),), generator=generator)]
    return donors


def similar_donors(statistic: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """For every input the one whose statistic lies nearest to its own plus normal noise.

    noise: standard deviation, as a share of the statistic's range; 1 or more draws at random. This
    is the solvers' dose: the wider the noise, the coarser the class within which they resample.
    """
    n = len(statistic)
    if noise >= 1:
        return torch.randperm(n, generator=generator)
    order = statistic.argsort()
    values = statistic[order]
    width = noise * (values[-1] - values[0])
    target = statistic + width * torch.randn(n, generator=generator, dtype=statistic.dtype)
    right = torch.searchsorted(values, target).clamp(1, n - 1)
    nearer_left = (target - values[right - 1]) <= (values[right] - target)
    return order[torch.where(nearer_left, right - 1, right)]


def scrub(
    cut: Cut,
    detectors: Detectors,
    below_donors: Tensor,
    above_donors: Tensor,
    generator: torch.Generator,
) -> Tensor:
    """Resample along the explanation: logits [n, classes].

    Each detector gets its values from its own donors [n]; every neuron that the explanation leaves
    out gets those of one random input, so nothing that it calls unimportant can help.
    """
    rest = torch.randint(len(cut), (len(cut),), generator=generator)
    changed = cut.activations[rest]
    changed[:, detectors.below] = cut.activations[below_donors][:, detectors.below]
    changed[:, detectors.above] = cut.activations[above_donors][:, detectors.above]
    return cut.readout(changed)


def swap(cut: Cut, neurons: Tensor, donors: Tensor) -> Tensor:
    """An interchange intervention: these neurons from `donors` [n], all else kept; classes [n]."""
    changed = cut.activations.clone()
    changed[:, neurons] = cut.activations[donors][:, neurons]
    return cut.classes(changed)
