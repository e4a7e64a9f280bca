"""Labelling programs with recorded truth: what the networks of the course were trained to compute.

Reading this file spoils lessons 00 and 02. Do those first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from utils.data import digits


@dataclass(frozen=True)
class BandProgram:
    """Class 0 exactly when an image's similarity to a template lies inside a band.

    template: [28, 28] in [0, 1]. The similarity is the dot product with `2 * template - 1`: ink on
        the template counts for, ink beside it against. That is the form which the solvers of the
        original Challenge 1 found ("Solving the Mechanistic Interpretability challenges: EIS VII
        Challenge 1", 2023).
    low, high: ends of the band, both outside it, in units of full-ink pixels.
    """

    template: Tensor
    low: float
    high: float

    def similarity(self, images: Tensor) -> Tensor:
        """[n, 1, 28, 28] in [0, 1] -> [n] float64, in full-ink pixels."""
        weights = (2 * self.template - 1).flatten().double()
        # In double, so that which side of the band an image falls on is the same on every machine.
        parts = [part.flatten(1).double() @ weights for part in images[:, 0].split(10_000)]
        return torch.cat(parts)

    def below(self, images: Tensor) -> Tensor:
        """Step 1: the image is too unlike the template, [n] bool."""
        return self.similarity(images) <= self.low

    def above(self, images: Tensor) -> Tensor:
        """Step 2: the image is too like the template, [n] bool."""
        return self.similarity(images) >= self.high

    def labels(self, images: Tensor) -> Tensor:
        """Step 3: class 1 if either detector fires, else class 0; [n] int64."""
        return (self.below(images) | self.above(images)).long()


def challenge_1() -> BandProgram:
    """The secret program behind the shipped network `cnn-challenge`."""
    return BandProgram(digits.clue(), low=-5.0, high=29.0)


def best_band(statistic: Tensor, labels: Tensor) -> tuple[float, float, float]:
    """The band (low, high) for which "class 0 inside, class 1 outside" agrees most with `labels`.

    Exact, not a grid search: with the statistic sorted, the best band is the run of images with the
    largest sum of +1 (class 0) and -1 (class 1), found in one pass. Both ends are set half-way to
    the next image outside the band.

    statistic: [n] finite. labels: [n] of 0 and 1. Returns low, high, agreement in [0, 1].
    Raises ValueError when no image is of class 0.
    """
    order = statistic.argsort()
    values, gain = statistic[order].double(), 1 - 2 * labels[order].long()
    if not (gain == 1).any():
        raise ValueError("best_band needs at least one image of class 0.")
    # Images with the same value fall on the same side of any threshold: join them first.
    values, group = values.unique_consecutive(return_inverse=True)
    gain = torch.zeros(len(values), dtype=torch.long).index_add_(0, group, gain)
    total = torch.cat([torch.zeros(1, dtype=torch.long), gain.cumsum(0)])
    lowest = total.cummin(0)
    run = total[1:] - lowest.values[:-1]
    last = int(run.argmax())
    first = int(lowest.indices[last])
    agreement = (int(run[last]) + int((labels == 1).sum())) / len(labels)

    def end(inside: int, outside: int) -> float:
        if not 0 <= outside < len(values):
            return float(values[inside] + (outside - inside))
        middle = (values[inside] + values[outside]) / 2
        # Between neighbouring floats the middle rounds to one of them: never to the inner one.
        return float(values[outside] if middle == values[inside] else middle)

    return end(first, first - 1), end(last, last + 1), agreement


IGNORED_DIGIT = 7  # the planted quirk of `largest-digit`


def largest_digit(tokens: Tensor) -> Tensor:
    """The largest digit of each row, 7 not counted unless nothing else is there.

    tokens: [n, 7] int64, six digits and the end token 10. Returns [n] int64 in 0-9. The secret
    program behind the shipped network `largest-digit`.
    """
    values = tokens[:, :-1]
    best = values.masked_fill(values == IGNORED_DIGIT, -1).max(1).values
    return best.masked_fill(best < 0, IGNORED_DIGIT)
