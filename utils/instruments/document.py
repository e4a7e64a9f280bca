"""An instrument, and the one HTML document it is: template, style, scripts and data in a file."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGES = Path(__file__).resolve().parent / "pages"
MOST_BYTES = 1_500_000  # of a document, so that a page with it opens at once
_MARK = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True)
class Instrument:
    """One instrument with all that stands for it where no script runs.

    name, lesson: "grid" and the lesson it belongs to, "03". title, summary: a heading, and a
    sentence or two on what to try. data: what the page computes with, as JSON. sentence, table: its
    text twin, rows of one form with numbers to `digits` decimals. still, alt: draws a picture of
    it, and what the picture shows. scripts: files of `pages/` that it runs, in order. height:
    pixels it needs at a width of 900.
    """

    name: str
    lesson: str
    title: str
    summary: str
    data: Mapping[str, Any]
    sentence: str
    table: Sequence[Mapping[str, Any]]
    still: Callable[[], Figure]
    alt: str
    scripts: tuple[str, ...]
    digits: int = 3
    height: int = 760
    _made: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def document(self) -> str:
        """The whole page; the same data give the same text."""
        if "page" not in self._made:
            self._made["page"] = self._document()
        return self._made["page"]

    def _document(self) -> str:
        content = json.dumps(self.data, separators=(",", ":"), allow_nan=False)
        parts = {
            "name": self.name,
            "title": html.escape(self.title),
            "summary": html.escape(self.summary, quote=False),
            "palette": palette(),
            "style": _read("shared.css") + _read(f"{self.name}.css"),
            "body": _read(f"{self.name}.html"),
            "twin": self.twin(),
            "data": content.replace("<", "\\u003c"),  # nothing in it can end the script
            "script": "\n".join(map(_read, self.scripts)),
        }
        return _MARK.sub(lambda mark: parts[mark.group(1)], _read("page.html"))

    def twin(self) -> str:
        """The text twin as HTML: a sentence and a table."""
        names = list(self.table[0])
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
        rows = "".join(
            "<tr>"
            + "".join(f"<td>{html.escape(self._cell(row[name]))}</td>" for name in names)
            + "</tr>"
            for row in self.table
        )
        return (
            f"<p>{html.escape(self.sentence, quote=False)}</p>\n"
            f'<div class="wide" tabindex="0" role="region" aria-label="The numbers as a table">'
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )

    def _cell(self, value: Any) -> str:
        return f"{value:.{self.digits}f}" if isinstance(value, float) else str(value)


def palette() -> str:
    """The course's colours as CSS variables. Blue and vermilion get a lighter twin in the dark."""
    from utils import plots  # imports torch: kept off whoever only looks for a frame

    colours = {
        "blue": (plots.BLUE, "#56B4E9"),  # Okabe and Ito's sky blue: 4.5:1 on a dark ground
        "vermilion": (plots.VERMILION, "#F0883E"),
        "green": (plots.GREEN, "#2DC79B"),
        "orange": (plots.ORANGE, plots.ORANGE),
    }
    return " ".join(f"--{k}: light-dark({light}, {dark});" for k, (light, dark) in colours.items())


def _read(name: str) -> str:
    return (PAGES / name).read_text(encoding="utf-8")
