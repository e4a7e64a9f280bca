"""The pages of the instruments: each in a frame, with a still picture for paper."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from utils.instruments import NAMES, Instrument, instrument
from utils.lessons.figures import figure_png


@dataclass(frozen=True)
class InstrumentPage:
    """Markdown of a page, and the files it shows by name: the document and the still picture."""

    markdown: str
    files: dict[str, bytes]


def pages(lessons: dict[str, Any]) -> dict[str, InstrumentPage]:
    """Name -> its page. lessons: those that have a page of their own."""
    return {name: _page(instrument(name), lessons) for name in NAMES}


def listed(lessons: dict[str, Any]) -> str:
    """The instruments as a list with links, in Markdown."""
    return "\n".join(
        f"- [{made.title}](instruments/{made.name}.md), for {_lesson(made, lessons, '')}."
        f" {made.summary}"
        for made in map(instrument, NAMES)
    )


def frame(source: str, title: str, height: int) -> str:
    """The element that shows a document of `_static`; `instruments.js` fits its height."""
    return (
        f'<iframe class="instrument" src="{source}" title="{title}" sandbox="allow-scripts" '
        f'loading="lazy" style="height: {height}px"></iframe>'
    )


def _page(made: Instrument, lessons: dict[str, Any]) -> InstrumentPage:
    shown = frame(f"../_static/instruments/{made.name}.html", html.escape(made.title), made.height)
    picture = (
        f'<img alt="{html.escape(made.alt)}" loading="lazy" '
        f'src="../_static/instruments/{made.name}.png">'
    )
    text = (
        f"# {made.title.partition(':')[0]}\n\n"
        f"It belongs to {_lesson(made, lessons, '../')}. Nothing is sent anywhere: what it shows "
        f"was computed by the course's package, and the rest happens in your browser.\n\n"
        f'{shown}\n\n<details class="still"><summary>The same as a still picture</summary>'
        f"{picture}</details>\n"
    )
    document = made.document.encode("utf-8")
    files = {f"{made.name}.html": document, f"{made.name}.png": figure_png(made.still())}
    return InstrumentPage(text, files)


def _lesson(made: Instrument, lessons: dict[str, Any], up: str) -> str:
    card = lessons.get(made.lesson)
    target = f"{up}lessons/{card['slug']}.ipynb" if card else f"{up}map.md"
    return f"[lesson {made.lesson}]({target})"
