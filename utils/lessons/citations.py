"""Where a lesson leans on others: the papers it cites and the figures it calls published."""

from __future__ import annotations

import re
from dataclasses import dataclass

_YEAR = r"(?:1[89]|20)\d\d"
# (2023)   "Title", 2023   (Wang and others, 2019)
_CITED = re.compile(rf"\(({_YEAR})\)|[\"\w],\s({_YEAR})(?=[,)])")
_TITLE = re.compile(r"\"([A-Z][^\"]{5,160})\"(?=[^\"]{0,60}$)")
_REACH = 220  # characters before a year in which its title or author stands
_FIGURE = re.compile(r"(?<![\w.^-])(?:\d*\.\d+ ?%?|\d+ %|\d+(?:,\d{3})+)(?![\w-])")
_NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?!\d)")
_REFERENCE = re.compile(r"\b(?:lesson|exercise|section|row|rows|challenge)s? \d[\d.]*", re.I)


@dataclass(frozen=True)
class Citation:
    """A year in a lesson's prose with the words before it; `title` is "" where none is quoted."""

    cell: str
    year: int
    title: str
    words: str

    def is_of(self, authors: str, titles: list[str], year: int) -> bool:
        """Whether it can mean the paper of that year: by one of its titles where one is quoted,
        else by an author or by the first word of a shorter title."""
        if self.year != year:
            return False
        if self.title:
            return any(plain(one).startswith(plain(self.title)) for one in titles)
        names = re.findall(r"[A-Z][\w-]+", authors) + [plain(one).split()[0] for one in titles[1:]]
        return any(name.lower() in self.words.lower() for name in names)


def citations(cell: str, prose: str) -> list[Citation]:
    """The citations in the prose of a cell."""
    text = " ".join(prose.split())
    found, before = [], 0
    for match in _CITED.finditer(text):
        words = text[max(before, match.start() - _REACH) : match.end()]
        title = _TITLE.search(text[max(before, match.start() - _REACH) : match.start() + 1])
        found.append(Citation(cell, int(match[1] or match[2]), title[1] if title else "", words))
        before = match.end()
    return found


def published(prose: str) -> list[str]:
    """The figures that the prose of a cell gives as published: those of a table's column of that
    name, and decimals, percentages and large numbers in sentences that say so."""
    found = []
    for block in re.split(r"\n\s*\n", prose):
        if block.startswith("|"):
            head, _, *below = [_cells(line) for line in block.split("\n")]
            if "published" in head:
                column = head.index("published")
                found += [row[column] for row in below if re.search(r"\d", row[column])]
            continue
        for sentence in re.split(r"(?<=[.:?!])\s+(?=[A-Z`\"*(])|\n- ", block):
            if re.search(r"\bpublish", sentence):
                bare = _REFERENCE.sub("", re.sub(r"`[^`]*`", "", " ".join(sentence.split())))
                found += [figure.strip() for figure in _FIGURE.findall(bare)]
    return found


def numbers(text: str) -> set[float]:
    """The figures in a text as numbers: `.5`, `0.50` and `0.5` are one."""
    return {float(one.replace(",", "")) for one in _NUMBER.findall(text)}


def plain(text: str) -> str:
    """A title for comparison: letters and digits in lower case."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


def _cells(line: str) -> list[str]:
    return [re.sub(r"[*`]", "", cell).strip() for cell in line.strip().strip("|").split("|")]
