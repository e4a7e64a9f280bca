"""Token sequences for the small transformers of lessons 00 and 01, drawn from a seed."""

from __future__ import annotations

import torch
from torch import Tensor

DIGIT_COUNT = 6  # digits a row in `digit_rows`
END = 10  # the token after the last digit, where the answer is read off

REPEAT_VOCABULARY = 16  # ordinary tokens in `repeats`; the start token comes after them
START = REPEAT_VOCABULARY
REPEAT_LENGTH = 24


def digit_rows(n: int, seed: int = 0, *, small_too: bool = False) -> Tensor:
    """`n` rows of six digits and END: [n, 7] int64.

    small_too: bound each row's digits by a random number, so that small maxima are as common as
        large ones. Training uses it; tests of a finished network use uniform digits.
    """
    generator = torch.Generator().manual_seed(seed)
    bound = torch.full((n, 1), 10)
    if small_too:
        bound = torch.randint(1, 11, (n, 1), generator=generator)
    rows = (torch.rand(n, DIGIT_COUNT, generator=generator) * bound).long()
    return torch.cat([rows, torch.full((n, 1), END)], 1)


def repeats(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random segments of 6-12 tokens, each repeated until the row is full.

    Returns tokens [n, 24] int64, START first, and predictable [n, 23] bool: whether token t+1 can
    be told from what came before, given tokens up to t. That is so from the second token of the
    second copy on; the varying length rules out a rule by distance alone.
    """
    generator = torch.Generator().manual_seed(seed)
    length = REPEAT_LENGTH - 1
    segment = torch.randint(0, REPEAT_VOCABULARY, (n, length), generator=generator)
    period = torch.randint(6, 13, (n, 1), generator=generator)
    place = torch.arange(length)[None]
    tokens = segment.gather(1, place % period)
    return torch.cat([torch.full((n, 1), START), tokens], 1), place > period
