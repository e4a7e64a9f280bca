"""Read figures back out of what is printed: reports, tables under figures, Markdown, any text."""

from __future__ import annotations

import re
from itertools import pairwise

from utils.errors import CourseError

ROW = "row: "
_RULED = re.compile(r"^-+(?:  +-+)+$")
_MARK = re.compile(r"[*`]")


def figure(text: str, pattern: str) -> str:
    """The one figure that `pattern` finds in `text`.

    pattern: `row: NAME` for a row of a report (its value and interval) or `row: NAME | COLUMN` for
    one column of any table. NAME is the first cell or a part of it, or the beginning of the row.
    Anything else is a regular expression with one group; `^` and `$` stand for line ends.

    Raises CourseError where nothing is found, or where two places say different things.
    """
    if pattern.startswith(ROW):
        name, _, column = pattern.removeprefix(ROW).partition(" | ")
        found = _in_rows(rows(text), name.strip().lower(), column.strip())
    else:
        compiled = re.compile(pattern, re.MULTILINE)
        if compiled.groups != 1:
            raise CourseError(f"{pattern!r} needs one group, round the figure")
        found = [" ".join(match.group(1).split()) for match in compiled.finditer(text)]
    if not found:
        raise CourseError(f"{pattern!r} finds nothing")
    if len(set(found)) > 1:
        raise CourseError(f"{pattern!r} finds {' and also '.join(dict.fromkeys(found))}")
    return found[0]


def rows(text: str) -> list[dict[str, str]]:
    """The rows of every table in `text`, column -> cell: ruled ones (as reports print), those that
    `lab.figure` prints under a figure, and Markdown."""
    found: list[dict[str, str]] = []
    for block in re.split(r"\n\s*\n", text):
        lines = block.strip("\n").split("\n")
        rules = [at for at, line in enumerate(lines) if at and _RULED.match(line.rstrip())]
        for at in rules:
            starts = [match.start() for match in re.finditer("-+", lines[at])]
            found += _columns(lines[at - 1], _until(lines[at + 1 :], "Protocol: "), starts)
        bars = [at for at, line in enumerate(lines) if at and re.match(r"\|[\s:|-]+\|$", line)]
        for at in bars:
            names = _split(lines[at - 1])
            below = _until(lines[at + 1 :], r"(?!\|)")
            found += [dict(zip(names, _split(one), strict=False)) for one in below]
        if not rules and not bars and len(lines) > 2 and "  " not in lines[0]:  # a caption, a table
            found += _columns(lines[1], lines[2:], _gaps(lines[1:]))
    return found


def _in_rows(table: list[dict[str, str]], name: str, column: str) -> list[str]:
    def first(row: dict[str, str]) -> str:
        return next(iter(row.values())).lower()

    chosen = [row for row in table if first(row) == name] or [
        row
        for row in table
        if name in first(row) or " ".join(filter(None, row.values())).lower().startswith(name)
    ]
    if column:
        return [row[column] for row in chosen if row.get(column)]
    return [
        row["value"] + (f" {row['interval']}" if row["interval"].startswith("[") else "")
        for row in chosen
        if "interval" in row
    ]


def _until(lines: list[str], end: str) -> list[str]:
    taken = []
    for line in lines:
        if re.match(end, line):
            break
        taken.append(line)
    return taken


def _gaps(block: list[str]) -> list[int]:
    """Where columns begin: behind two characters or more that are blank in every line."""
    width = max(map(len, block))
    blank = [all(line[at : at + 1] in ("", " ") for line in block) for at in range(width)]
    return [0] + [at for at in range(2, width) if blank[at - 1] and blank[at - 2] and not blank[at]]


def _columns(head: str, below: list[str], starts: list[int]) -> list[dict[str, str]]:
    edges = list(pairwise([*starts, None]))
    names = [head[a:b].strip() for a, b in edges]
    return [dict(zip(names, [one[a:b].strip() for a, b in edges], strict=True)) for one in below]


def _split(line: str) -> list[str]:
    return [_MARK.sub("", cell).strip() for cell in line.strip().strip("|").split("|")]
