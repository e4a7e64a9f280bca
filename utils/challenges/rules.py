"""Is there a rule behind a column of bits? A search with its price, and its null.

A rule that was picked among many for fitting well must pay for the picking: its code is the number
of the rule, and the exceptions to it. The rival is the plainest code there is, which names how many
ones there are and which bits they are. Only what is saved against that counts, and how much chance
alone would save is measured on the same bits in random order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from utils.challenges.curves import Pieces, exception_bits
from utils.reports import Estimate

LONGEST = 24  # period of the periodic rules


@dataclass(frozen=True)
class RowBits:
    """The bits of the rows in columns: where each begins, and whether it flips at each curve.

    values: [p, columns] in {0, 1}, -1 where the row does not show it. names: one a column.
    """

    values: Tensor
    names: tuple[str, ...]

    def column(self, name: str) -> tuple[Tensor, Tensor]:
        """The rows a in which the bit is known, and the bits: [n], [n]."""
        bits = self.values[:, self.names.index(name)]
        rows = (bits >= 0).nonzero()[:, 0]
        return rows, bits[rows]


def row_bits(pieces: Pieces, heights: Tensor) -> RowBits:
    """Start and flips of every row, from its pieces; heights [k, p] as the pieces were cut.

    A bit is unknown (-1) where its curve does not cross the row, or crosses it where another curve
    does or next to a piece without answers: then nobody can say whose flip it was.
    """
    curves, size = heights.shape
    values = torch.full((size, curves + 1), -1)
    for a in range(size):
        own = heights[:, a].tolist()
        ranked = sorted(range(curves), key=own.__getitem__)
        bits = pieces.bits[a].tolist()
        if min(own, default=1) > 0:
            values[a, 0] = bits[0]
        for place, k in enumerate(ranked):
            before, after = bits[place], bits[place + 1]
            if own.count(own[k]) == 1 and 0 < own[k] < size and before >= 0 and after >= 0:
                values[a, k + 1] = int(before != after)
    return RowBits(values, ("start", *(f"flip {k + 1}" for k in range(curves))))


@dataclass(frozen=True)
class Rule:
    """A rule found for a column of bits. saved: bits against naming the ones, may be negative."""

    text: str
    wrong: int
    n: int
    saved: float


@lru_cache(maxsize=4)
def _rules(size: int) -> tuple[Tensor, list[str]]:
    """Every rule of the search, as what it says of each row: [rules, size] bool, and its text."""
    a = torch.arange(size)
    said, text = [], []
    for period in range(2, LONGEST + 1):
        for width in range(1, period):
            for shift in range(period):
                said.append((a - shift) % period < width)
                text.append(f"(a - {shift}) mod {period} < {width}")
    for edge in range(1, size):
        said.append(a >= edge)
        text.append(f"a >= {edge}")
    # waves in powers of a: bars that are evenly spaced on another scale than a's own
    for power in (0.5, 1.0, 1.5, 2.0):
        scale = (a / (size - 1)) ** power
        for waves in torch.arange(1.0, 41.0, 0.5).tolist():
            for phase in range(8):
                said.append(torch.sin(2 * math.pi * (waves * scale + phase / 8)) > 0)
                text.append(f"sin(2 pi ({waves:g} (a/{size - 1})^{power:g} + {phase}/8)) > 0")
    return torch.stack(said), text


def count(size: int) -> int:
    """How many rules the search tries on a grid of that size."""
    return len(_rules(size)[1])


def best_rule(rows: Tensor, bits: Tensor, size: int) -> Rule:
    """The rule, or its opposite, that fits the bits best. rows: [n] values of a. bits: [n]."""
    said, text = _rules(size)
    n, ones = len(bits), int(bits.sum())
    wrong = (said[:, rows] != bits.bool()).sum(1)
    index = int(torch.minimum(wrong, n - wrong).argmin())
    count, opposite = int(wrong[index]), bool(2 * wrong[index] > n)
    count = n - count if opposite else count
    price = math.log2(2 * len(text)) + exception_bits(n, count)
    found = f"not ({text[index]})" if opposite else text[index]
    return Rule(found, count, n, exception_bits(n, ones) - price)


def chance_savings(rows: Tensor, bits: Tensor, size: int, draws: int = 100) -> Tensor:
    """What the best rule saves on the same bits in random order: [draws] float64."""
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(bits), generator=generator) for _ in range(draws)]
    saved = [best_rule(rows, bits[order], size).saved for order in orders]
    return torch.tensor(saved, dtype=torch.double)


def neighbour_agreement(found: RowBits, draws: int = 1000) -> tuple[Estimate, Estimate]:
    """How often neighbouring rows have the same bit, over all columns; and the same by chance.

    The second is over rows in random order, column by column, with the middle 95 % of the draws as
    its interval. Bits in which ones are rare agree often without being alike, hence the null.
    """
    values = found.values

    def agreement(values: Tensor) -> tuple[int, int]:
        both = (values[1:] >= 0) & (values[:-1] >= 0)
        return int(((values[1:] == values[:-1]) & both).sum()), int(both.sum())

    same, n = agreement(values)
    generator, shares = torch.Generator().manual_seed(0), []
    for _ in range(draws):
        shuffled = values.clone()
        for column in range(values.shape[1]):
            known = (values[:, column] >= 0).nonzero()[:, 0]
            order = known[torch.randperm(len(known), generator=generator)]
            shuffled[known, column] = values[order, column]
        hits, pairs = agreement(shuffled)
        shares.append(hits / pairs)
    null = torch.tensor(shares, dtype=torch.double)
    low, high = null.quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    chance = Estimate(null.mean().item(), low, high, draws, f"middle 95 % of {draws} random orders")
    return Estimate.proportion(same, n), chance
