"""A lesson's page: the learner's notebook, with the outputs of the solved one.

Exercises keep the learner's stub, lose their output and get their hints, folded. Pictures become
files, so that a page stays light and a browser can keep them; a Plotly figure becomes a place that
`figures.js` draws into when it comes into view.
"""

from __future__ import annotations

import ast
import base64
import html
import json
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import CourseError
from utils.lessons import places
from utils.lessons.hygiene import text_of
from utils.lessons.instruments import FRAME
from utils.lessons.notebooks import dots
from utils.site.instruments import frame
from utils.site.openers import Repository, ways

WIDTH = 107  # characters of an output that a page shows without scrolling
PLOTLY = "application/vnd.plotly.v1+json"
_PICTURE = re.compile(
    r'<img alt="([^"]*)"( width="(\d+)"[^>]*) src="data:image/png;base64,([A-Za-z0-9+/=\s]+)"'
)
_INTERVAL = re.compile(r"(\[-?[\d.]+,) (?=-?[\d.]+\])")
_COLUMNS = re.compile(r"\S {2,}\S")  # printed below one another, as in a table
_LESSON_LINK = re.compile(r"\]\((\w+)\.ipynb(#[\w-]+)?\)")
_TITLE_LINE = re.compile(r"^\*Before this: .*\*$", re.MULTILINE)
# what a learner's own run prints; the course's would be somebody else's score
_PERSONAL = re.compile(r"^lab\.progress\(", re.MULTILINE)


@dataclass
class Page:
    """A lesson's notebook for the site; its pictures with their alternative texts (HTML), and the
    documents of its instruments, by file name."""

    notebook: dict[str, Any]
    pictures: dict[str, bytes] = field(default_factory=dict)
    alts: dict[str, str] = field(default_factory=dict)
    plots: int = 0
    instruments: dict[str, str] = field(default_factory=dict)


def lesson_page(
    name: str,
    lessons: dict[str, Any],
    measured: dict[str, Any],
    root: Path,
    repository: Repository | None = None,
) -> Page:
    """The page of lesson `name` ("06"); `lessons` and `measured` are the manifest's and the
    measured figures. repository: a public copy, for links to Binder and Colab. Raises CourseError
    where the two notebooks are missing or do not belong together."""
    card = lessons[name]
    learner = _read(root / places.NOTEBOOKS / f"{card['slug']}.ipynb")
    solved = _read(root / places.SOLUTIONS / f"{card['slug']}.ipynb")
    pairs = list(zip(learner["cells"], solved["cells"], strict=False))
    same = len(learner["cells"]) == len(solved["cells"])
    if not same or any(own.get("id") != other.get("id") for own, other in pairs):
        raise CourseError(
            f"The two notebooks of lesson {name} do not belong together: run python -m utils build."
        )
    hints = hints_of(root / places.CHECKS / f"lesson_{name}.py")
    page = Page({key: value for key, value in learner.items() if key != "cells"} | {"cells": []})
    cells = page.notebook["cells"]
    for number, (own, other) in enumerate(pairs):
        text = "".join(own["source"])
        if own["cell_type"] != "code":
            text = _LESSON_LINK.sub(lambda m: _lesson_link(m, lessons), text)
            if number == 0:
                text = _with_facts(text, name, lessons, measured, repository)
            cells.append({**own, "source": text})
            continue
        exercise = own["metadata"].get("exercise")
        cell = {**own, "outputs": [], "execution_count": None}
        tags = ["exercise"] if exercise else []
        if text == "".join(other["source"]) and not exercise and not _PERSONAL.search(text):
            shown = [_output(one, page, name) for one in other["outputs"]]
            if _COLUMNS.search("\n".join(map(text_of, shown))):
                shown = [_with_broken_sentences(one) for one in shown]
            else:
                tags.append("prose-output")  # `site.css` breaks it at the edge of the page
            cell["outputs"] = shown
            cell["execution_count"] = other["execution_count"]
        if tags:
            tags = [*own["metadata"].get("tags", []), *tags]
            cell["metadata"] = {**own["metadata"], "tags": tags}
        cells.append(cell)
        if exercise and hints.get(exercise):
            cells.append(_hints_cell(own["id"], hints[exercise]))
    return page


def hints_of(checks: Path) -> dict[str, list[str]]:
    """Exercise -> its hints, read from the source of its check without importing it."""
    if not checks.is_file():
        return {}
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(checks.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "check" and node.args):
            continue
        for keyword in node.keywords:
            if keyword.arg == "hints":
                found[ast.literal_eval(node.args[0])] = ast.literal_eval(keyword.value)
    return found


def code_marked(text: str) -> str:
    """Plain text as HTML, with `code` between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def run_time(cost: dict[str, Any] | None) -> str:
    """What a lesson was measured to take, for people."""
    if not cost:
        return "not measured"
    return f"{cost['seconds']:.0f} s, {cost['peak_mb']:.0f} MB"


def _read(path: Path) -> dict[str, Any]:
    notebook = places.read_json(path)
    if notebook is None:
        raise CourseError(
            f"{path} is missing: the site is made from the built notebooks of the whole course, "
            "so run python -m utils build first (a learner's copy cannot make it)."
        )
    return notebook


def _lesson_link(match: re.Match[str], lessons: dict[str, Any]) -> str:
    known = match.group(1) in {card["slug"] for card in lessons.values()}
    return match.group(0) if known else "](../map.md)"


def _with_facts(
    text: str,
    name: str,
    lessons: dict[str, Any],
    measured: dict[str, Any],
    repository: Repository | None,
) -> str:
    """The notebook's line of minutes and points, replaced by what a page can say and link."""
    card = lessons[name]
    before = ", ".join(_to(one, lessons) for one in card["prerequisites"]) or "nothing"
    opens = [one for one, its in sorted(lessons.items()) if name in its["prerequisites"]]
    after = ", ".join(_to(one, lessons) for one in opens) or "nothing that needs it"
    facts = {
        "before this": before,
        "opens": after,
        "for you": f"about {card['minutes']} minutes, {len(card['exercises'])} exercises, "
        f"{card['points']} points",
        "difficulty": dots(card["difficulty"]),
        "for the machine": f"{run_time(measured.get(name))}, on two cores without a GPU",
    }
    rows = "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in facts.items())
    notebook = f"{places.NOTEBOOKS}/{card['slug']}.ipynb"
    block = (
        f'<div class="lesson-facts"><dl>{rows}</dl>'
        f"{ways(notebook, repository)}"
        "<p>Below it is shown with its exercises open; the outputs come from a run in which they"
        " were solved.</p></div>"
    )
    if _TITLE_LINE.search(text):
        return _TITLE_LINE.sub(lambda _: block, text, count=1)
    heading, _, rest = text.partition("\n")
    return f"{heading}\n\n{block}\n{rest}"


def _to(name: str, lessons: dict[str, Any]) -> str:
    card = lessons.get(name)
    if card is None:
        return name
    return f'<a href="{card["slug"]}.html" title="{html.escape(card["title"])}">{name}</a>'


def _hints_cell(cell: str, hints: list[str]) -> dict[str, Any]:
    folded = "\n".join(
        f'<details class="hint"><summary>Hint {number} of {len(hints)}</summary>'
        f"<p>{code_marked(hint)}</p></details>"
        for number, hint in enumerate(hints, 1)
    )
    text = f'<div class="hints">\n{folded}\n</div>'
    return {"cell_type": "markdown", "id": f"{cell[:58]}-hints", "metadata": {}, "source": text}


def _output(output: dict[str, Any], page: Page, name: str) -> dict[str, Any]:
    """An output as the site shows it: text, or HTML alone where there is some."""
    data = output.get("data")
    if data is None:
        return output
    if PLOTLY in data:
        shown = _plot(data[PLOTLY], "".join(data.get("text/plain", "")), page, name)
    elif "text/html" in data:
        shown = _PICTURE.sub(
            lambda m: _picture(m, page, name),
            FRAME.sub(
                lambda m: _instrument(m, page, name),
                _INTERVAL.sub(r"\1&nbsp;", "".join(data["text/html"])),  # in one line of a table
            ),
        )
    else:
        return output
    return {**output, "metadata": {}, "data": {"text/html": shown}}


def _with_broken_sentences(output: dict[str, Any]) -> dict[str, Any]:
    """The same with its long sentences broken, so that the table beside them alone decides whether
    there is anything to scroll to."""
    text = "\n".join(
        line if len(line) <= WIDTH or _COLUMNS.search(line)
        else textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        for line in text_of(output).split("\n")
    )  # fmt: skip
    if "text" in output:
        return {**output, "text": text}
    if "text/plain" in output.get("data", {}):
        return {**output, "data": {**output["data"], "text/plain": text}}
    return output


def _picture(match: re.Match[str], page: Page, name: str) -> str:
    alt, more, width, encoded = match.groups()
    file = f"{name}-{len(page.pictures) + 1}.png"
    page.pictures[file] = base64.b64decode(encoded)
    page.alts[file] = alt
    # on a phone its letters stay legible: `site.css` lets it shrink to a part of this, then scroll
    more = more.replace('style="', f'style="--drawn: {width}px; ', 1)
    return f'<img alt="{alt}"{more} loading="lazy" src="../_static/figures/{file}"'


def _instrument(match: re.Match[str], page: Page, lesson: str) -> str:
    """The frame, with its document in a file of its own and a link to the instrument's page."""
    name, attributes, document = match.groups()
    file = f"{lesson}-{name}.html"
    page.instruments[file] = html.unescape(document)
    title = re.search(r'title="([^"]*)"', attributes)
    height = re.search(r"height: (\d+)px", attributes)
    shown = frame(
        f"../_static/instruments/{file}",
        title.group(1) if title else name,
        int(height.group(1)) if height else 800,
    )
    return f'{shown}<p><a href="../instruments/{name}.html">On a page of its own</a></p>'


def _plot(figure: dict[str, Any], described: str, page: Page, name: str) -> str:
    page.plots += 1
    layout = {key: value for key, value in figure["layout"].items() if key != "width"}
    height, width = layout.get("height", 450), figure["layout"].get("width", 0)
    content = json.dumps({"data": figure["data"], "layout": layout}, separators=(",", ":"))
    content = content.replace("<", "\\u003c")  # nothing in it can end the script
    return (
        f'<div class="plot" id="plot-{name}-{page.plots}" role="figure"'
        f' style="min-height: {height}px; --drawn: {width}px"'
        f' aria-label="{html.escape(described.removeprefix("Figure: "))}">'
        f'<script type="application/json">{content}</script></div>'
    )
