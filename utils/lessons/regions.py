"""Solution regions: what the author keeps between marks, and what a learner gets instead.

A region goes from `### BEGIN SOLUTION` to `### END SOLUTION`. A `### STUB` line in it begins the
learner's lines, each commented out once; without it they get `raise NotImplementedError`.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

BEGIN, STUB, END = "### BEGIN SOLUTION", "### STUB", "### END SOLUTION"
_NEARLY = re.compile(r"^\s*#+\s*(BEGIN|END)\s+SOLUTION\b|^\s*#+\s*STUB\s*$", re.IGNORECASE)


class RegionError(Exception):
    """A fault in the marks; `offset` is the line inside the cell, counted from 0."""

    def __init__(self, message: str, offset: int):
        super().__init__(message)
        self.offset = offset


@dataclass(frozen=True)
class Region:
    """Lines `begin` to `end` of a cell, the marks included; `stub` is the STUB mark's line."""

    begin: int
    end: int
    stub: int | None
    indent: str


def find_regions(lines: list[str]) -> list[Region]:
    """The regions of one cell. Raises `RegionError` for marks that do not pair up."""
    regions: list[Region] = []
    begin: int | None = None
    stub: int | None = None
    for number, line in enumerate(lines):
        mark = line.strip()
        if mark == BEGIN:
            if begin is not None:
                raise RegionError(f"'{BEGIN}' inside a region that is still open", number)
            begin, stub = number, None
        elif mark == STUB:
            if begin is None or stub is not None:
                raise RegionError(f"'{STUB}' outside a region, or twice in one", number)
            stub = number
        elif mark == END:
            if begin is None:
                raise RegionError(f"'{END}' without '{BEGIN}'", number)
            indent = lines[begin][: len(lines[begin]) - len(lines[begin].lstrip())]
            regions.append(Region(begin, number, stub, indent))
            begin = None
        elif _NEARLY.match(line):
            raise RegionError(f"'{mark}' is not a mark; write it as '{BEGIN}'", number)
    if begin is not None:
        raise RegionError(f"'{BEGIN}' without '{END}'", begin)
    return regions


def solved_source(source: str) -> str:
    """The cell with its solutions, without marks and stubs."""
    lines = source.split("\n")
    for region in reversed(find_regions(lines)):
        body_end = region.end if region.stub is None else region.stub
        lines[region.begin : region.end + 1] = lines[region.begin + 1 : body_end]
    # a function right under the mark leaves the blank lines that set it off at the cell's top
    return "\n".join(lines).lstrip("\n")


def learner_source(source: str, exercise: str | None) -> str:
    """The cell with its stubs. Raises `RegionError` where no stub can be made."""
    lines = source.split("\n")
    for region in reversed(find_regions(lines)):
        if region.stub is not None:
            stub = _given_stub(lines, region)
        elif _inside_function(lines, region):
            name = f"exercise {exercise}" if exercise else "your turn"
            stub = [f'{region.indent}raise NotImplementedError("{name}")']
        else:
            raise RegionError(
                f"a region outside a function needs '{STUB}' and commented stub lines, "
                "for example '# answer = ...'",
                region.begin,
            )
        lines[region.begin : region.end + 1] = stub
    return "\n".join(lines)


def _given_stub(lines: list[str], region: Region) -> list[str]:
    assert region.stub is not None
    stub = []
    for number in range(region.stub + 1, region.end):
        line = lines[number]
        match = re.match(r"^(\s*)# ?(.*)$", line)
        if line.strip() and not match:
            raise RegionError("a stub line must be commented out once: '# answer = ...'", number)
        stub.append((match.group(1) + match.group(2)).rstrip() if match else "")
    if not any(line.strip() for line in stub):
        raise RegionError(f"'{STUB}' has no lines under it", region.stub)
    return stub


def _inside_function(lines: list[str], region: Region) -> bool:
    """Whether the region lies in a function's body (and does not hold its `def` line)."""
    tree = ast.parse("\n".join(lines))  # the marks are comments, so line numbers agree
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.lineno - 1 < region.begin
        and (node.end_lineno or 0) - 1 >= _last_code_line(lines, region)
        for node in ast.walk(tree)
    )


def _last_code_line(lines: list[str], region: Region) -> int:
    """A function ends at its last statement; comments at the end of a region do not count."""
    body_end = region.end if region.stub is None else region.stub
    code = [
        n
        for n in range(region.begin + 1, body_end)
        if lines[n].strip() and not lines[n].lstrip().startswith("#")
    ]
    return code[-1] if code else region.begin + 1
