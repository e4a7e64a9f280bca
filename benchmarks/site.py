"""The face of the course: the site's build, its pages in Chromium, JupyterLab to a first pass.

There is no peer. A page stands beside an empty page of the same theme, measured in the same run;
the rest beside the limit that it was given. Needs docs/site/requirements.txt, Chromium and
tests/browser/requirements.txt.
"""

from __future__ import annotations

import gzip
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.browser import chromium, lab
from tests.browser.survey import SCRIPT

BUILD_LIMIT, PAGE_LIMIT, READY_LIMIT, LAB_LIMIT = 180.0, 1_500_000, 2.0, 90.0
BLANK = "blank.html"
LIBRARY = "plotly.min.js"  # fetched once for all pages, when the first figure comes near the screen
EXERCISE = "0.1"

# milliseconds since the navigation began: the load event is over, and nothing is left to do
READY = """
addEventListener("load", () => setTimeout(() => requestIdleCallback(() => {
  window.ready = performance.now();
})));
"""
LOADED = """() => [
  ...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource"),
].map((entry) => [entry.name, entry.encodedBodySize])"""


def rows(quick: bool = False, runs: int = 7) -> list[dict[str, Any]]:
    """One row for the build, one for each lesson's page, one for JupyterLab.

    quick: two lessons alone, and one run of each. Raises CourseError where Sphinx is missing, and
    SystemExit where there is no browser to drive.
    """
    from utils.site import command

    command.require_sphinx()
    if chromium.missing():
        sys.exit(f"benchmarks: {chromium.missing()}")
    with tempfile.TemporaryDirectory(prefix="course-site-") as scratch:
        site = Path(scratch, "site")
        start = time.perf_counter()
        # lesson 06 has the picture of the home page
        faults, pages = command.build(site, only=("00", "06") if quick else ())
        seconds = time.perf_counter() - start
        found = [_row(f"build of {pages} pages", seconds, BUILD_LIMIT, kind="build")]
        found[0]["faults"] = len(faults)
        with chromium.browser() as browser, chromium.served(site) as base:
            found += _pages(browser, base, site, 1 if quick else runs)
        with chromium.browser() as browser:
            found.append(_first_pass(browser, Path(scratch, "lab")))
    return found


def _row(what: str, ours: float, limit: float, **more: Any) -> dict[str, Any]:
    """As the other benchmarks have it, the limit in the peer's place."""
    row = {"what": what, "ours": ours, "peer": limit, "ratio": limit / ours, "unit": "s"}
    return {**row, "max_abs_diff": 0.0, **more}


def _pages(browser: Any, base: str, site: Path, runs: int) -> list[dict[str, Any]]:
    """A row for each lesson's page: seconds beside the empty page, interleaved, and bytes."""
    lessons = sorted(path.name for path in (site / "lessons").glob("*.html"))
    # in the lessons' folder, so that it shows the same sidebar and loads the same files
    (site / "lessons" / BLANK).write_text(blank(site / "lessons" / lessons[0]), encoding="utf-8")
    names = [BLANK, *lessons]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(runs):
        for name in names:
            seconds[name].append(_ready(browser, f"{base}lessons/{name}"))
    empty = statistics.median(seconds[BLANK])
    found = []
    for name in names:
        ours = statistics.median(seconds[name])
        weight = _weight(browser, f"{base}lessons/{name}", site)
        row = {"what": Path(name).stem, "ours": ours, "peer": empty, "ratio": empty / ours}
        found.append(
            {**row, "unit": "s", "max_abs_diff": 0.0, "kind": "page", "runs": runs} | weight
        )
    return found


def blank(page: Path) -> str:
    """A built page with nothing in its article but a heading."""
    text = page.read_text(encoding="utf-8")
    empty = re.sub(
        r'(<article class="bd-article"[^>]*>).*</article>',
        r"\1<h1>Blank</h1></article>",
        text,
        count=1,
        flags=re.DOTALL,
    )
    if empty == text:
        raise ValueError(f"{page.name} has no article to empty: the theme has changed")
    return empty


def _ready(browser: Any, url: str) -> float:
    """Seconds until the page is loaded and the browser idle, with nothing in its cache."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.add_init_script(READY)
    page.goto(url)
    page.wait_for_function("window.ready")
    milliseconds = page.evaluate("window.ready")
    context.close()
    return float(milliseconds) / 1000


def _weight(browser: Any, url: str, site: Path) -> dict[str, int]:
    """Bytes: at first sight, after reading to the end, of the drawing library; and compressed."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(url)
    first = dict(page.evaluate(LOADED))
    page.evaluate(SCRIPT.read_text(encoding="utf-8"))
    page.evaluate("survey.settle()")
    every = dict(page.evaluate(LOADED))
    context.close()
    library = {name for name in every if name.endswith(LIBRARY)}
    return {
        "first": sum(size for name, size in first.items() if name not in library),
        "whole": sum(size for name, size in every.items() if name not in library),
        "library": sum(every[name] for name in library),
        "compressed": sum(_compressed(name, site) for name in every),
    }


def _compressed(url: str, site: Path) -> int:
    """Bytes of a file as most hosts send it: text by gzip, pictures and fonts as they are."""
    path = site / unquote(urlsplit(url).path).lstrip("/")
    content = path.read_bytes()
    return len(gzip.compress(content)) if path.suffix in (".html", ".css", ".js") else len(content)


def _first_pass(browser: Any, folder: Path) -> dict[str, Any]:
    """Seconds from README's command to "passed" below the first exercise of lesson 00."""
    folder.mkdir()
    answer = lab.answer_of(EXERCISE)
    start = time.perf_counter()
    with lab.jupyter_lab(folder) as address:
        up = time.perf_counter() - start
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        notebook = lab.Notebook(page, address)
        shown = time.perf_counter() - start
        notebook.run_above(EXERCISE)
        notebook.answer(EXERCISE, answer)
        notebook.result(EXERCISE).filter(has_text="passed").wait_for()
        seconds = time.perf_counter() - start
        page.close()
    return _row("JupyterLab to a first pass", seconds, LAB_LIMIT, kind="lab", up=up, shown=shown)


def table(found: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = ["| | seconds | limit |", "|---|--:|--:|"]
    for row in found:
        if row["kind"] != "page":
            lines.append(f"| {row['what']} | {row['ours']:.1f} | {row['peer']:.0f} |")
    lines += [
        "",
        "| page | ready, ms | of an empty page | first sight, KB | whole, KB | Plotly, KB "
        "| all compressed, KB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in found:
        if row["kind"] == "page":
            sizes = [row[key] for key in ("first", "whole", "library", "compressed")]
            cells = " | ".join(f"{size / 1000:.0f}" for size in sizes)
            times = f"{1000 * row['ours']:.0f} | {1 / row['ratio']:.1f}"
            lines.append(f"| {row['what']} | {times} | {cells} |")
    pages = [row for row in found if row["kind"] == "page"]
    slowest = max(row["ours"] for row in pages)
    heaviest = max(row["whole"] for row in pages)
    lines += [
        "",
        f"slowest page {slowest:.2f} s, limit {READY_LIMIT:.0f} s; "
        f"heaviest {heaviest / 1e6:.2f} MB, limit {PAGE_LIMIT / 1e6:.1f} MB.",
    ]
    return "\n".join(lines)
