"""How many bits a program takes, with its exceptions, against the table of its labels.

A two-part code (Rissanen 1978, "Modeling by shortest data description"): first the program, then
the inputs on which it is wrong. A program that has found something says both in fewer bits than
it takes to list the labels; a table of the labels in disguise does not, however it is packed.

The program is measured on the syntax tree of its steps' functions, and of every function of one's
own that they call, once each; comments, formatting, names of one's own, type hints and docstrings
cost nothing:

    6 bits for each node of the tree (64 kinds);
    log2(number of different names) for each name, and 11 once for each name of a library's;
    a whole number k takes 2 log2(|k| + 1) + 2 bits, a decimal number its digits and its exponent as
        two whole numbers, so 29.0 is cheaper than 29.0417; True, False and None 1; text 8 a letter;
    a captured tensor of m entries with d different values takes m log2(d) bits and the d values;
        what the challenge handed out (its `given`) 8;
    a captured network 32 bits for each of its weights.

The exceptions are k of n inputs: log2(n + 1) + log2(n choose k) bits, and log2(C - 1) more for each
with C classes. The table is coded as well as can be with its class counts: log2 of the multinomial
coefficient, and log2(n + 1) for each count but one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from utils.challenges.explanation import Explanation
from utils.challenges.source import NODE, Book
from utils.scrubbing import Step


@dataclass(frozen=True)
class Bits:
    """The two-part code of a program, and of its labels without it; all in bits.

    digest: SHA-256 of the program as it is measured, with the steps' wiring and places: two
        submissions that differ in comments, layout or names of their own share it.
    """

    program: float
    exceptions: float
    table: float
    digest: str = ""

    @property
    def saved(self) -> float:
        """1 - (program + exceptions) / table: 1 is all of it, 0 or less nothing. Not clipped."""
        return 1 - (self.program + self.exceptions) / self.table if self.table > 0 else 0.0


def measure(
    explanation: Explanation,
    said: Tensor,
    truth: Tensor,
    given: Mapping[str, Tensor] | None = None,
) -> Bits:
    """Bits of an explanation whose labels are `said` [n] where the network's are `truth` [n]."""
    program, digest = program_bits(explanation, given)
    classes = max(int(torch.cat([said, truth]).max()) + 1, 2)
    wrong = int((said != truth).sum())
    exceptions = exception_bits(wrong, len(truth), classes)
    return Bits(program, exceptions, table_bits(truth), digest)


def exception_bits(wrong: int, n: int, classes: int = 2) -> float:
    """Which `wrong` of n labels are otherwise, and what they are."""
    return math.log2(n + 1) + _log2_choose(n, wrong) + wrong * math.log2(max(classes - 1, 1))


def table_bits(labels: Tensor) -> float:
    """All labels [n] of a table, coded with their class counts."""
    counts = torch.bincount(labels.long())
    n = len(labels)
    order = math.lgamma(n + 1) - sum(math.lgamma(int(c) + 1) for c in counts)
    return order / math.log(2) + max(len(counts) - 1, 1) * math.log2(n + 1)


def program_bits(
    explanation: Explanation, given: Mapping[str, Tensor] | None = None
) -> tuple[float, str]:
    """(bits, digest) of the steps' functions and wiring. SourceError if one cannot be measured."""
    if explanation.measured is not None:
        return explanation.measured
    book = Book(given or {})
    wiring = []
    for step in explanation.steps:
        book.function(step.function, f"step {step.name!r}")
        wiring.append((step.name, step.inputs, _places(step), step.via))
    if explanation.unrecoverable is not None:
        book.function(explanation.unrecoverable, "the unrecoverable part")
    choices = math.log2(len(explanation.steps) + 1)
    bits = book.bits() + sum(
        NODE + choices * max(len(step.inputs), 1) for step in explanation.steps
    )
    text = repr((wiring, explanation.unimportant, book.record))
    return bits, hashlib.sha256(text.encode()).hexdigest()


def _places(step: Step) -> list[str]:
    sites = step.site if isinstance(step.site, tuple) else (step.site,)
    return [
        str(site) if site is None or isinstance(site, str) or site.basis is None
        else f"{site} {hashlib.sha256(site.basis.cpu().numpy().tobytes()).hexdigest()}"
        for site in sites
    ]  # fmt: skip


def _log2_choose(n: int, k: int) -> float:
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)
