"""A grid of answers to explain, and what a row's own training pairs say of a held-out one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from utils.challenges import curves as cv
from utils.challenges import evidence as ev
from utils.challenges import rules
from utils.data import grid
from utils.reports import Estimate


@dataclass(frozen=True)
class Case:
    """A network's answers to a grid of pairs.

    answers: [p, p], what it says of (a, b). labels: [p, p], what it was trained towards.
    seen: [p, p] bool, the pairs it was trained on. model: the network itself, None if only its
    answers are known.
    """

    name: str
    answers: Tensor
    labels: Tensor
    seen: Tensor
    model: nn.Module | None = None

    @property
    def size(self) -> int:
        return len(self.answers)

    @property
    def wrong(self) -> Tensor:
        """Where it errs, [p, p] bool."""
        return self.answers != self.labels

    @cached_property
    def fits(self) -> list[cv.Fit]:
        """Curves found in its answers to the training half, with 0, 1, 2 ... curves."""
        return cv.find_curves(self.answers, self.seen)

    @cached_property
    def fit(self) -> cv.Fit:
        return cv.shortest(self.fits)

    @cached_property
    def bits(self) -> rules.RowBits:
        """The row bits, read from the training half."""
        heights = torch.stack([curve.heights(self.size) for curve in self.fit.curves])
        return rules.row_bits(self.fit.pieces, heights)

    def share(self, hits: Tensor, of: Tensor) -> Estimate:
        """Mean of `hits` over the cells `of`, both [p, p]; the interval resamples whole rows."""
        rows = torch.arange(self.size)[:, None].expand_as(of)
        return ev.share(hits[of].double(), rows[of])


def course_case(name: str = "grid") -> Case:
    """The course's own network, or `grid-twin`, whose row bits follow a rule."""
    from utils.models import pairs, zoo

    program = grid.regular_twin() if name == "grid-twin" else grid.challenge_2()
    model = zoo.load(name)
    return Case(name, pairs.answers(model), program.table(), grid.training_mask(), model)


# --- what a row's own training pairs say ---------------------------------------------------------


@dataclass(frozen=True)
class Neighbours:
    """The nearest training pair to the left and right of each cell, in its own row.

    left, right: [p, p], their labels, -1 where there is none. nearest: [p, p] in {0, .5, 1}, the
    label of the nearer one, .5 where two that differ are equally near.
    """

    left: Tensor
    right: Tensor
    nearest: Tensor

    @property
    def gap(self) -> Tensor:
        """Cells between two training pairs of different labels: the row leaves them open."""
        return (self.left >= 0) & (self.right >= 0) & (self.left != self.right)


def neighbours(labels: Tensor, seen: Tensor) -> Neighbours:
    """labels, seen: [p, p]. A training cell does not count as its own neighbour."""
    place = torch.arange(labels.shape[1])
    far = 10 * len(place)

    def last(flip: bool) -> tuple[Tensor, Tensor]:
        """Label of, and distance to, the last training cell before each."""
        know, said = (x.flip(1) if flip else x for x in (seen, labels))
        index = torch.where(know, place, -1).cummax(1).values
        index = torch.nn.functional.pad(index[:, :-1], (1, 0), value=-1)
        label = said.gather(1, index.clamp(0)).masked_fill(index < 0, -1)
        distance = (place - index).masked_fill(index < 0, far)
        return (label.flip(1), distance.flip(1)) if flip else (label, distance)

    (left, to_left), (right, to_right) = last(False), last(True)
    nearest = torch.where(to_left < to_right, left, right).double()
    nearest[(to_left == to_right) & (left != right)] = 0.5
    return Neighbours(left, right, nearest)


def half_right(said: Tensor, truth: Tensor) -> Tensor:
    """1 where `said` in {0, .5, 1} is the truth, .5 where it is undecided, 0 elsewhere."""
    return 1 - (said.double() - truth.double()).abs()
