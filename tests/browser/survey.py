"""What a reader meets on a page: read in Chromium, in both themes, on a phone and on a desk."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag

SCRIPT = Path(__file__).with_name("survey.js")
WIDTHS = {1440: 900, 360: 740}  # of a desk and of a phone, in CSS pixels, with the height
LEAST = 10.0  # px: the smallest letters that may stand on a page, those of formulas apart
SCALE = (
    0.75  # pictures are drawn with letters of 14 px; below this share of their size, not legible
)
# Resolved when the frame that is asked has been drawn twice, or ten seconds later.
DRAWN = """new Promise((done) => {
  setTimeout(done, 10_000);
  requestAnimationFrame(() => requestAnimationFrame(done));
})"""
THEMES = ("light", "dark")
VIEWS = tuple(f"{width}-{theme}" for width in WIDTHS for theme in THEMES)
KINDS = (
    "console",
    "foreign",
    "structure",
    *(f"contrast in {theme}" for theme in THEMES),
    *(f"overflow at {width}" for width in WIDTHS),
    *(f"legibility at {width}" for width in WIDTHS),
)


@dataclass
class Seen:
    """A page as it was found: where its links lead, the places in it, and what is wrong."""

    links: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    faults: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})


def visit(
    page: Any,
    url: str,
    *,
    dark: bool = True,
    shots: Path | None = None,
    views: Collection[str] = VIEWS,
    scale: float = 1,
) -> Seen:
    """Read `url` in Playwright's `page`; one for all is much quicker than a fresh one each.

    dark: look at contrast in the dark theme as well. shots: where pictures of the whole page go,
    `WIDTH-THEME.jpg`; none given: no pictures. views: which of them. scale: of the pictures.
    """
    from axe_playwright_python.base import AXE_SCRIPT

    seen = Seen()
    page.goto("about:blank")  # or what was here before would be laid out again, and speak here
    with _listening(page, url, seen):
        page.emulate_media(color_scheme="light")
        first, *others = WIDTHS
        page.set_viewport_size({"width": first, "height": WIDTHS[first]})
        page.goto(url)
        page.evaluate(AXE_SCRIPT)
        page.evaluate(SCRIPT.read_text(encoding="utf-8"))
        page.evaluate("survey.settle()")
        seen.links = page.evaluate("survey.links()")
        seen.ids = set(page.evaluate("survey.ids()"))
        seen.faults["structure"] = page.evaluate("survey.structure()")
        seen.faults["contrast in light"] = page.evaluate("survey.contrast()")
        _measure(page, first, seen)

        def shoot(width: int, theme: str) -> None:
            if shots is not None and f"{width}-{theme}" in views:
                _shoot(page, shots / f"{width}-{theme}.jpg", width, scale)

        shoot(first, "light")
        if dark:
            _theme(page, "dark")
            seen.faults["contrast in dark"] = page.evaluate("survey.contrast()")
            shoot(first, "dark")
        for width in others:
            page.set_viewport_size({"width": width, "height": WIDTHS[width]})
            if dark:
                shoot(width, "dark")
                _theme(page, "light")
            _measure(page, width, seen)
            shoot(width, "light")
    return seen


def dead_links(pages: dict[str, Seen], files: Iterable[str], base: str) -> list[str]:
    """Links of `pages` (by address below `base`) that lead to no file and to no place there."""
    there = set(files)
    found = []
    for name, seen in pages.items():
        for link in dict.fromkeys(seen.links):
            if not link.startswith(base):
                continue
            address, place = urldefrag(link.removeprefix(base))
            target = address.partition("?")[0] or "index.html"
            if target not in there:
                found.append(f"{name} links to {target}, which is not there")
            elif place and target in pages and place not in pages[target].ids:
                found.append(f"{name} links to {target}#{place}, but there is no such place")
    return found


@contextmanager
def _listening(page: Any, url: str, seen: Seen) -> Iterator[None]:
    """Puts down what the page says and asks for meanwhile."""
    host = url.split("/")[2]
    said, foreign = seen.faults["console"], seen.faults["foreign"]

    def request(asked: Any) -> None:
        if asked.url.split(":")[0] in ("http", "https", "ws", "wss") and (
            asked.url.split("/")[2] != host
        ):
            foreign.append(asked.url)

    heard = {
        "console": lambda m: said.append(m.text) if m.type == "error" else None,
        "pageerror": lambda error: said.append(str(error)),
        "response": lambda r: said.append(f"{r.status} {r.url}") if r.status >= 400 else None,
        "request": request,
    }
    for event, listener in heard.items():
        page.on(event, listener)
    try:
        yield
    finally:
        for event, listener in heard.items():
            page.remove_listener(event, listener)


def _theme(page: Any, name: str) -> None:
    """The system's preference, which pages follow."""
    page.emulate_media(color_scheme=name)
    page.wait_for_function(f"document.documentElement.dataset.theme === '{name}'")


def _measure(page: Any, width: int, seen: Seen) -> None:
    seen.faults[f"overflow at {width}"] = page.evaluate("survey.overflow()")
    seen.faults[f"legibility at {width}"] = page.evaluate("survey.illegible", [LEAST, SCALE])


def _shoot(page: Any, path: Path, width: int, scale: float) -> None:
    """A picture of the whole page, however long. As JPEG: PNG takes four times as long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tall = "document.documentElement.scrollHeight"
    window, framed = page.viewport_size, page.frames[1:]
    if framed:  # frames are drawn, and say how tall they are, only where they can be seen
        page.set_viewport_size({"width": width, "height": page.evaluate(tall)})
    for frame in framed:
        frame.evaluate(DRAWN)
    height = page.evaluate(tall)
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": scale}
    session = page.context.new_cdp_session(page)
    made = session.send(
        "Page.captureScreenshot",
        {"format": "jpeg", "quality": 70, "captureBeyondViewport": True, "clip": clip},
    )
    session.detach()
    if framed:
        page.set_viewport_size(window)
    path.write_bytes(base64.b64decode(made["data"]))
