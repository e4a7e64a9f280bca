"""Sums of two numbers modulo a prime: the whole grid of pairs, and which of them are held out.

A network that treats its two numbers alike gives (a, b) and (b, a) one answer. The split is
therefore made over unordered pairs: had (a, b) been trained on, (b, a) would not be held out.
"""

from __future__ import annotations

import torch
from torch import Tensor

PRIME = 113
EQUALS = PRIME  # the token after the two numbers, where the answer is read off
TRAIN_SHARE = 0.5  # of the unordered pairs


def grid() -> Tensor:
    """Every pair as tokens [a, b, EQUALS], a slowest: [113 * 113, 3] int64."""
    numbers = torch.arange(PRIME)
    pairs = torch.cartesian_prod(numbers, numbers)
    return torch.cat([pairs, torch.full((len(pairs), 1), EQUALS)], 1)


def answer(tokens: Tensor) -> Tensor:
    """(a + b) mod 113: [n] int64, from tokens [n, 3]."""
    return (tokens[:, 0] + tokens[:, 1]) % PRIME


def trained_on(tokens: Tensor, seed: int = 0) -> Tensor:
    """Whether the shipped networks were trained on a pair, in either order: [n] bool.

    seed: of the split; the shipped networks' is 0.
    """
    low, high = torch.triu_indices(PRIME, PRIME)
    order = torch.randperm(len(low), generator=torch.Generator().manual_seed(seed))
    chosen = order[: int(TRAIN_SHARE * len(low))]
    table = torch.zeros(PRIME, PRIME, dtype=torch.bool)
    table[low[chosen], high[chosen]] = table[high[chosen], low[chosen]] = True
    return table[tokens[:, 0], tokens[:, 1]]


def split(seed: int = 0) -> tuple[Tensor, Tensor]:
    """The unordered pairs (a <= b) as tokens: trained on [3220, 3], held out [3221, 3]."""
    tokens = grid()
    tokens = tokens[tokens[:, 0] <= tokens[:, 1]]
    seen = trained_on(tokens, seed)
    return tokens[seen], tokens[~seen]
