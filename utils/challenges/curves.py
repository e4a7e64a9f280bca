"""Curves and row bits found in a grid of answers, and what they cost in bits.

A curve `b >= height(a)` cuts every row once, so k curves cut a row into at most k + 1 pieces. The
explanation "these curves, and one bit a piece" then has two costs: the bits to name it, and the
bits to name the cells where it is wrong (a two-part code; Rissanen, "Modeling by shortest data
description", 1978). All bits here are of codes written out below, not asymptotic ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor

from utils.data.grid import Curve

POWERS = tuple(Fraction(p) for p in ("1/4", "1/3", "1/2", "2/3", "1", "3/2", "2", "3", "4"))
STEP, STEPS = 5e-5, 2**17  # of the logarithm of a curve's height at the last a
LOWEST = 8.0  # smallest height there
CURVE_BITS = math.log2(len(POWERS) + 1) + 17  # which power or the line, and which constant
COARSE = 200  # every so many constants in the first round: steps of 1 %


def log2_choose(n: int, k: int) -> float:
    """Bits to name which k of n."""
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def exception_bits(n: int, wrong: int) -> float:
    """Bits to say how many of n answers differ, and which."""
    return math.log2(n + 1) + log2_choose(n, wrong)


# --- pieces of rows ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Pieces:
    """A grid cut by curves: every row in pieces, each with the majority of the answers in it.

    edges: [p, k + 2], sorted heights between 0 and p. bits: [p, k + 1] in {0, 1}, and -1 where the
    piece holds no known answer. wrong: answers that differ from their piece's bit.
    """

    edges: Tensor
    bits: Tensor
    wrong: int

    def table(self) -> Tensor:
        """The explanation's answer for every cell, [p, p]; a piece without a bit says 0."""
        b = torch.arange(len(self.edges))
        piece = (b[None, :, None] >= self.edges[:, None, 1:-1]).sum(-1)  # [p, p]
        return self.bits.clamp(0).gather(1, piece)


def cut(answers: Tensor, heights: Tensor, known: Tensor | None = None) -> Pieces:
    """Cut a grid [p, p] of 0 and 1 at heights [k, p]; only `known` cells [p, p] are read."""
    ones, zeros = _sums(answers, known)
    edges, count = _edges(heights[None].long(), len(answers)), []
    for sums in (ones, zeros):
        count.append(sums[None].gather(2, edges).diff(dim=-1)[0])
    one, zero = count
    bits = (one > zero).long().masked_fill(one + zero == 0, -1)
    return Pieces(edges[0], bits, int(torch.minimum(one, zero).sum()))


def _sums(answers: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor]:
    """Running counts of ones and zeros along each row, [p, p + 1] each."""
    known = torch.ones_like(answers, dtype=torch.bool) if known is None else known
    parts = [((answers == value) & known).long() for value in (1, 0)]
    ones, zeros = (torch.nn.functional.pad(part.cumsum(1), (1, 0)) for part in parts)
    return ones, zeros


def _edges(heights: Tensor, size: int) -> Tensor:
    """heights [m, k, p] -> [m, p, k + 2], sorted, with both ends of the row."""
    inner = heights.movedim(1, 2).sort(-1).values
    ends = torch.zeros(*inner.shape[:2], 1, dtype=torch.long)
    return torch.cat([ends, inner, ends + size], -1)


def _cost(sums: tuple[Tensor, Tensor], heights: Tensor) -> Tensor:
    """Bits of row pieces and exceptions for each of m sets of curves [m, k, p]; without names."""
    ones, zeros = sums
    size, known = len(ones), int(ones[:, -1].sum() + zeros[:, -1].sum())
    table = torch.tensor([exception_bits(known, e) for e in range(known + 1)], dtype=torch.double)
    cost = []
    for part in heights.split(500):
        edges = _edges(part, size)
        shape = (len(part), -1, -1)
        one, zero = (x.expand(*shape).gather(2, edges).diff(dim=-1) for x in (ones, zeros))
        wrong = torch.minimum(one, zero).sum((1, 2))
        pieces = (one + zero > 0).sum((1, 2))
        cost.append(table[wrong] + pieces)
    return torch.cat(cost)


# --- the search --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    """Candidate curves: their heights [m, p], and (power, constant's number) for each."""

    heights: Tensor
    names: list[tuple[Fraction | None, int]]


def curve(power: Fraction | None, number: int, size: int) -> Curve:
    """Curve `number` of a family: the line a + b >= number, or a power with a 17-bit constant."""
    if power is None:
        return Curve(float(number))
    top = LOWEST * math.exp(STEP * number)
    return Curve(top / float(size - 1) ** float(power), power)


@lru_cache(maxsize=2)
def family(size: int) -> Family:
    """All powers with every 200th constant, and every falling line: about 6,000 curves."""
    names: list[tuple[Fraction | None, int]] = [(None, k) for k in range(1, 2 * size - 1)]
    names += [(power, i) for power in POWERS for i in range(0, STEPS, COARSE)]
    return Family(torch.stack([curve(*name, size).heights(size) for name in names]), names)


@dataclass(frozen=True)
class Fit:
    """Curves found in a grid, and the code length of everything they leave."""

    curves: tuple[Curve, ...]
    pieces: Pieces
    cells: int  # known answers that were read

    @property
    def curve_bits(self) -> float:
        """To name the curves."""
        return CURVE_BITS * len(self.curves)

    @property
    def row_bits(self) -> int:
        """One for each piece of a row with a known answer in it."""
        return int((self.pieces.bits >= 0).sum())

    @property
    def exception_bits(self) -> float:
        """To name the answers that the curves and the row bits get wrong."""
        return exception_bits(self.cells, self.pieces.wrong)

    @property
    def bits(self) -> float:
        return self.curve_bits + self.row_bits + self.exception_bits


def find_curves(
    answers: Tensor,
    known: Tensor | None = None,
    most: int = 4,
    rounds: int = 2,
    stop: bool = True,
) -> list[Fit]:
    """The best fit with 0, 1, 2 ... curves: one is added at a time, then each is moved in turn.

    answers: [p, p] in {0, 1}. known: [p, p] bool, the cells that may be read. Stops at `most`, or,
    with `stop`, when another curve no longer makes the code shorter (that last fit is in the list).
    """
    size, sums, all_curves = len(answers), _sums(answers, known), family(len(answers))
    cells = int(sums[0][:, -1].sum() + sums[1][:, -1].sum())
    chosen: list[tuple[Fraction | None, int]] = []

    def heights_of(name: tuple[Fraction | None, int]) -> Tensor:
        return curve(*name, size).heights(size)

    def best(others: Sequence[tuple[Fraction | None, int]], near: Family) -> tuple[float, int]:
        fixed = [heights_of(name).expand(len(near.names), -1) for name in others]
        cost = _cost(sums, torch.stack([near.heights, *fixed], 1))
        index = int(cost.argmin())
        return float(cost[index]), index

    def placed(others: Sequence[tuple[Fraction | None, int]]) -> tuple[Fraction | None, int]:
        """The best curve beside the others: over all, then among its finer neighbours."""
        power, number = all_curves.names[best(others, all_curves)[1]]
        if power is None:
            return power, number
        span = range(max(0, number - COARSE), min(STEPS, number + COARSE + 1))
        names = [(power, i) for i in span]
        fine = Family(torch.stack([heights_of(name) for name in names]), names)
        cost = _cost(
            sums,
            torch.stack([fine.heights, *(heights_of(o).expand(len(names), -1) for o in others)], 1),
        )
        # every constant that does as well makes the same claim; take the one in the middle
        good = (cost <= cost.min() + 1e-9).nonzero()[:, 0]
        return names[int(good[len(good) // 2])]

    def fit() -> Fit:
        curves = tuple(curve(*name, size) for name in chosen)
        heights = torch.stack([c.heights(size) for c in curves]) if curves else None
        empty = torch.empty(0, size, dtype=torch.long)
        return Fit(curves, cut(answers, empty if heights is None else heights, known), cells)

    fits = [fit()]
    while len(chosen) < most:
        chosen.append(placed(chosen))
        for _ in range(rounds if len(chosen) > 1 else 0):
            before = list(chosen)
            for i in range(len(chosen)):
                chosen[i] = placed(chosen[:i] + chosen[i + 1 :])
            if chosen == before:
                break
        fits.append(fit())
        if stop and fits[-1].bits > fits[-2].bits:
            break
    return fits


def shortest(fits: Sequence[Fit]) -> Fit:
    """The fit whose whole code is shortest."""
    return min(fits, key=lambda f: f.bits)
