"""Strings of brackets, balanced or nearly so, and the steps of the program that tells which.

A string is balanced when it holds as many opens as closes (the count test) and no beginning of it
holds more closes than opens (the horizon test).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

OPEN, CLOSE, START = 0, 1, 2
BRACKETS = 24  # brackets in a string; always even
LENGTH = BRACKETS + 1  # tokens in a row: START comes first, and the answer is read off there

KINDS = ("balanced", "one flip", "one swap", "shuffled", "random")


class Strings(NamedTuple):
    """`tokens` [n, 25] int64, `balanced` [n] bool, `kind` [n] int64 (how it was made, in KINDS)."""

    tokens: Tensor
    balanced: Tensor
    kind: Tensor


def make(n: int, seed: int = 0, *, balanced: float = 0.5) -> Strings:
    """`n` random strings, each balanced with probability `balanced`.

    The rest are in about equal parts: a balanced string with one bracket flipped, one in which an
    open and a later close changed places (equal counts and a dip), a shuffle of equally many opens
    and closes, and independent brackets with a random share of opens. A string of the last three
    kinds that comes out balanced gets one bracket flipped instead.
    """
    if not 0 <= balanced <= 1:
        raise ValueError(f"balanced is a share between 0 and 1, got {balanced}.")
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(1, len(KINDS), (n,), generator=generator)
    kind[torch.rand(n, generator=generator) < balanced] = 0

    brackets = _balanced(n, generator)
    flipped = brackets.clone()
    place = torch.randint(BRACKETS, (n, 1), generator=generator)
    flipped.scatter_(1, place, 1 - flipped.gather(1, place))
    swapped = brackets.clone()
    keys = torch.rand(n, BRACKETS, generator=generator)
    open_at = keys.masked_fill(brackets != OPEN, -1).argmax(1, keepdim=True)
    later = (brackets == CLOSE) & (torch.arange(BRACKETS) > open_at)
    swapped.scatter_(1, open_at, CLOSE)
    swapped.scatter_(1, keys.masked_fill(~later, -1).argmax(1, keepdim=True), OPEN)
    shuffled = brackets.gather(1, torch.rand(n, BRACKETS, generator=generator).argsort(1))
    share = torch.rand(n, 1, generator=generator)
    loose = (torch.rand(n, BRACKETS, generator=generator) < share).long()

    choices = torch.stack([brackets, flipped, swapped, shuffled, loose])
    start = torch.full((n, 1), START)
    tokens = torch.cat([start, choices[kind, torch.arange(n)]], 1)
    kind[(kind > 1) & is_balanced(tokens)] = 1
    tokens = torch.cat([start, choices[kind, torch.arange(n)]], 1)
    return Strings(tokens, kind == 0, kind)


def heights(tokens: Tensor) -> Tensor:
    """Opens minus closes among the first k brackets, k = 1 ... 24: [n, 24] int64."""
    return (1 - 2 * tokens[:, 1:]).cumsum(1)


def opens(tokens: Tensor) -> Tensor:
    """Number of opens: [n] int64; 12 where the count test passes."""
    return (tokens[:, 1:] == OPEN).sum(1)


def count_test(tokens: Tensor) -> Tensor:
    """Whether opens and closes are equally many: [n] bool."""
    return heights(tokens)[:, -1] == 0


def horizon_test(tokens: Tensor) -> Tensor:
    """Whether no beginning of the string holds more closes than opens: [n] bool."""
    return heights(tokens).amin(1) >= 0


def endings_test(tokens: Tensor) -> Tensor:
    """Whether no ending of the string holds more opens than closes: [n] bool.

    The horizon test from the other end. Together the two imply equal counts: the whole string is
    a beginning and an ending.
    """
    height = heights(tokens)
    before = torch.cat([torch.zeros_like(height[:, :1]), height[:, :-1]], 1)
    return (height[:, -1:] - before).amax(1) <= 0


def starts_open(tokens: Tensor) -> Tensor:
    """Whether the first bracket opens: [n] bool."""
    return tokens[:, 1] == OPEN


def is_balanced(tokens: Tensor) -> Tensor:
    """Whether both tests pass: [n] bool."""
    return count_test(tokens) & horizon_test(tokens)


def parse(text: str) -> Tensor:
    """One string such as "(())..." as a row [1, 25]; exactly 24 brackets."""
    wrong = sorted(set(text) - set("()"))
    if wrong or len(text) != BRACKETS:
        found = f"the character {wrong[0]!r}" if wrong else f"{len(text)} of them"
        raise ValueError(f"A bracket string holds {BRACKETS} brackets and nothing else; {found}.")
    return torch.tensor([[START, *("()".index(c) for c in text)]])


def show(row: Tensor) -> str:
    """The brackets of one row of tokens, as text."""
    return "".join("()"[token] for token in row[1:].tolist())


def _balanced(n: int, generator: torch.Generator) -> Tensor:
    """Uniform over all balanced strings, by the cycle lemma (Dvoretzky & Motzkin 1947).

    Of the rotations of 12 + 1 opens and 12 closes exactly one keeps every beginning positive:
    the one that starts after the last lowest point. Without its first open it is balanced.
    """
    half = BRACKETS // 2
    word = torch.tensor([OPEN] * (half + 1) + [CLOSE] * half).expand(n, -1)
    word = word.gather(1, torch.rand(n, BRACKETS + 1, generator=generator).argsort(1))
    height = (1 - 2 * word).cumsum(1)
    # argmin of the mirrored row: the last of several lowest points
    start = BRACKETS + 1 - height.flip(1).argmin(1, keepdim=True)
    index = (start + torch.arange(1, BRACKETS + 1)) % (BRACKETS + 1)
    return word.gather(1, index)
