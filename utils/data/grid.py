"""A grid of pairs labelled by curves and row bits, the kind of secret behind Challenge 2.

A pair (a, b) of whole numbers below 113 gets a label, 0 or 1: 12,769 cells in all. Each row a has a
start bit, and for each of three curves a bit that says whether the label flips where the row
crosses it. The curves are known and short. The bits of `challenge_2` were thrown with a coin, so
nothing shorter than the table of them can hold them. Reading this file spoils lesson 03.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

SIZE = 113  # numbers in each token; a prime, as in the original
EQUALS = SIZE  # the token after the pair, where the answer is read off
FLIP = 0.3  # how often a row's label flips at a curve


@dataclass(frozen=True)
class Curve:
    """The cells on or above a line through the grid: `b >= constant * a**power`.

    power None is the falling straight line `a + b >= constant`.
    """

    constant: float
    power: Fraction | None = None

    def heights(self, size: int = SIZE) -> Tensor:
        """The smallest b that lies on or above it, for each a: [size] int64, clipped to 0..size."""
        a = torch.arange(size, dtype=torch.double)
        power = self.power
        real = self.constant - a if power is None else self.constant * a ** float(power)
        # a cell exactly on the curve is above it, whatever the last digit of the power was
        return (real - 1e-9).ceil().clamp(0, size).long()

    def __str__(self) -> str:
        if self.power is None:
            return f"a + b >= {self.constant:.4g}"
        return f"b >= {self.constant:.4g} * a^({self.power})"


@dataclass(frozen=True)
class GridProgram:
    """Label = the row's start bit, flipped once for each curve passed whose flip bit is set.

    start: [size] bool. flips: [size, curves] bool.
    """

    curves: tuple[Curve, ...]
    start: Tensor
    flips: Tensor

    def table(self) -> Tensor:
        """The label of every cell, [size, size] int64, row a and column b."""
        b = torch.arange(len(self.start))
        label = self.start[:, None].expand(-1, len(b))
        for curve, flip in zip(self.curves, self.flips.T, strict=True):
            passed = b[None] >= curve.heights(len(self.start))[:, None]
            label = label ^ (flip[:, None] & passed)
        return label.long()

    def labels(self, tokens: Tensor) -> Tensor:
        """tokens: [n, 2 or more], a and b first. Returns [n] int64."""
        return self.table()[tokens[:, 0], tokens[:, 1]]


def curves() -> tuple[Curve, Curve, Curve]:
    """The curves of both programs: b^3 >= 8000 a, 9000 b >= a^3 and a + b >= 120."""
    return Curve(20.0, Fraction(1, 3)), Curve(1 / 9000, Fraction(3)), Curve(120.0)


def challenge_2(seed: int = 4) -> GridProgram:
    """The secret program of the network `grid`: its 452 row bits are coin throws."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(SIZE, generator=generator) < 0.5
    flips = torch.rand(SIZE, 3, generator=generator) < FLIP
    return GridProgram(curves(), start, flips)


def regular_twin() -> GridProgram:
    """The program of `grid-twin`: the same curves, about as many flips, but row bits by a rule.

    start: a mod 8 < 4. Flips: a mod 3 = 0 at the first curve, a mod 7 < 2 at the second, a mod 10
    < 3 at the third.
    """
    a = torch.arange(SIZE)
    flips = torch.stack([a % 3 == 0, a % 7 < 2, a % 10 < 3], 1)
    return GridProgram(curves(), a % 8 < 4, flips)


@lru_cache(maxsize=1)
def _order() -> tuple[tuple[int, int], ...]:
    cells = [(a, b) for a in range(SIZE) for b in range(SIZE)]
    # Python's generator, as the original's author used it: this very order splits the original too
    random.Random(0).shuffle(cells)
    return tuple(cells)


def tokens(cells: Tensor) -> Tensor:
    """[n, 2] -> [n, 3]: the equals token behind each pair, as the networks read it."""
    return torch.cat([cells, torch.full((len(cells), 1), EQUALS)], 1)


def every_cell() -> Tensor:
    """All pairs in the order of reading, [12769, 2] int64."""
    return torch.cartesian_prod(torch.arange(SIZE), torch.arange(SIZE))


def split() -> tuple[Tensor, Tensor]:
    """The 6,384 training pairs and the 6,385 held-out ones, [n, 2] each; always the same."""
    order = torch.tensor(_order())
    half = len(order) // 2
    return order[:half], order[half:]


def training_mask() -> Tensor:
    """Which cells were trained on, [113, 113] bool."""
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    seen = split()[0]
    mask[seen[:, 0], seen[:, 1]] = True
    return mask
