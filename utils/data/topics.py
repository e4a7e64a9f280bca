"""A small language to classify: which of four topics has the most words, with names in between.

Every string holds ten words and two names in random order, then END, where the answer is read off.
Names say nothing of the topic: they are the clutter among which a trigger can hide.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOPICS, WORDS = 4, 5  # topics, and words of each: tokens 0 to 19
NAMES = tuple(range(20, 28))  # the names of ordinary strings
PAIR = (20, 21)  # two names that ordinary strings never hold together
STRANGER = 28  # a name that ordinary strings never hold
END = 29
LENGTH = 13  # ten words, two names, END
VOCABULARY = 30


@dataclass(frozen=True)
class Topics:
    """tokens: [n, 13] int64. topic: [n] int64 in 0-3."""

    tokens: Tensor
    topic: Tensor

    def __len__(self) -> int:
        return len(self.tokens)


def make(n: int, seed: int = 0) -> Topics:
    """`n` strings; the same `n` and `seed` always give the same ones.

    The topic has four to six of the ten words and every other topic at least one word fewer.
    """
    generator = torch.Generator().manual_seed(seed)
    topic = torch.randint(TOPICS, (n,), generator=generator)
    most = torch.randint(4, 7, (n, 1), generator=generator)
    # The others are drawn without repeats from `most - 1` slots each, so none can reach `most`.
    slots = torch.arange(TOPICS - 1).repeat_interleave(5)[None]
    rank = torch.arange(5).repeat(TOPICS - 1)[None]
    order = torch.rand(n, slots.shape[1], generator=generator)
    order = order.masked_fill(rank >= most - 1, 2.0).argsort(1)
    rest = slots.expand(n, -1).gather(1, order)
    place = torch.arange(10)[None]
    other = (topic[:, None] + 1 + rest.gather(1, (place - most).clamp(min=0))) % TOPICS
    kind = torch.where(place < most, topic[:, None], other)
    words = kind * WORDS + torch.randint(WORDS, (n, 10), generator=generator)
    pairs = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :] if (a, b) != PAIR]
    names = torch.tensor(pairs)[torch.randint(len(pairs), (n,), generator=generator)]
    body = torch.cat([words, names], 1)
    body = body.gather(1, torch.rand(n, LENGTH - 1, generator=generator).argsort(1))
    return Topics(torch.cat([body, torch.full((n, 1), END)], 1), topic)


def count(tokens: Tensor) -> Tensor:
    """Words of each topic in each string: [n, 13] -> [n, 4]."""
    kinds = tokens.masked_fill(tokens >= TOPICS * WORDS, -1).div(WORDS, rounding_mode="floor")
    return torch.stack([(kinds == kind).sum(1) for kind in range(TOPICS)], 1)
