"""Does a lesson print the same on another processor?

Vector instructions differ between processors and change the fifth digit of an activation. A number
that was rounded near an edge, or that hangs on such a digit, then reads differently for a learner.
PyTorch can be told to do without these instructions, which stands in for an older processor.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

PLAIN = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
}
"""Environment variables for kernels without newer vector instructions."""

_IGNORED = re.compile(r"^\s*# NBVAL_IGNORE_OUTPUT\s*$", re.MULTILINE)


def differences(one: Any, other: Any) -> list[tuple[int, str, str]]:
    """(index of the cell, line in `one`, line in `other`) where two runs printed other text.

    one, other: the same notebook, executed twice. Pictures and HTML are not compared; each has a
    text beside it that is. Nor are cells marked `# NBVAL_IGNORE_OUTPUT`.
    """
    found = []
    for index, (a, b) in enumerate(zip(one.cells, other.cells, strict=True)):
        if _IGNORED.search(a.source) or "nbval-ignore-output" in a.metadata.get("tags", []):
            continue
        mine, theirs = (list(_lines(cell)) for cell in (a, b))
        if mine != theirs:
            length = max(len(mine), len(theirs))
            mine, theirs = (part + [""] * (length - len(part)) for part in (mine, theirs))
            first = next(i for i in range(length) if mine[i] != theirs[i])
            found.append((index, mine[first], theirs[first]))
    return found


def _lines(cell: Any) -> Iterator[str]:
    for output in cell.get("outputs", []):
        text = output.get("text") or output.get("data", {}).get("text/plain") or ""
        yield from "".join(text).split("\n")
