"""What people read: spelling, length, sections, figures that the text speaks of, links."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from utils.lessons.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[1]
SLUGS = {name: card["slug"] for name, card in read_manifest(ROOT).items()}
WORDS = (2000, 4000)  # CONTRIBUTING's budget for the prose of a lesson
# written for another place, where other tests follow their links: the site, a learner's copy
ELSEWHERE = ("docs/site/", "utils/grading/handout.md")
# Whom the course sends a reader to. Nothing is loaded from there; a new one needs a line.
HOSTS = {
    "docs.python.org": "virtual environments",
}


def cells(folder: str, slug: str) -> list[dict]:
    notebook = json.loads((ROOT / folder / f"{slug}.ipynb").read_text(encoding="utf-8"))
    return [{**cell, "source": "".join(cell["source"])} for cell in notebook["cells"]]


# --- spelling --------------------------------------------------------------------------------


def spelling(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codespell_lib", "--toml", str(ROOT / "pyproject.toml"), "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_spelling():
    done = spelling(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_slip_of_the_pen_is_found(tmp_path):
    slip = "rec" + "ieve"  # in two, or this file had it
    (tmp_path / "page.md").write_text(f"They {slip} a value, and LEACE erases it.\n")
    done = spelling(tmp_path)
    assert done.returncode and slip in done.stdout and "LEACE" not in done.stdout


# --- lessons ---------------------------------------------------------------------------------


def words(own: list[dict]) -> int:
    """Words of prose: no code blocks, no formulas."""
    text = "\n".join(cell["source"] for cell in own if cell["cell_type"] == "markdown")
    text = re.sub(r"```.*?```|\$\$.*?\$\$", "", text, flags=re.DOTALL)
    return len(re.findall(r"[A-Za-z][\w'’-]*", text))


@pytest.mark.parametrize("name", SLUGS)
def test_a_lesson_keeps_to_its_length(name):
    assert WORDS[0] <= words(cells("notebooks", SLUGS[name])) <= WORDS[1]


def sections_without_prose(own: list[dict]) -> list[str]:
    """Headings with nothing but code below them. A heading right below another one is fine, and the
    line of points and minutes is no prose."""
    found = []
    for number, cell in enumerate(own):
        if cell["cell_type"] != "markdown":
            continue
        parts = re.split(r"^#+ +(.+)$", cell["source"], flags=re.MULTILINE)
        if len(parts) > 1:
            last = re.sub(r"^\*.*difficulty.*\*$", "", parts[-1], flags=re.MULTILINE)
            code_follows = number + 1 < len(own) and own[number + 1]["cell_type"] == "code"
            if not last.strip() and code_follows:
                found.append(parts[-2])
    return found


@pytest.mark.parametrize("name", SLUGS)
def test_a_section_begins_with_prose(name):
    assert sections_without_prose(cells("notebooks", SLUGS[name])) == []


def broken_by_a_line(own: list[dict]) -> list[str]:
    """Lines of a paragraph that Markdown takes for a quotation, a list or a heading: a line that
    was filled up to its end left `>`, `+` or `=` at the beginning of the next."""
    found = []
    for cell in own:
        if cell["cell_type"] == "markdown":
            lines = cell["source"].split("\n")
            for before, line in zip(lines, lines[1:], strict=False):
                mark = re.match(r"(>|\+ |1[.)] |#+ |=+$|-+$)", line)
                if mark and before.strip() and not before.startswith((mark[1][0], "|", "#")):
                    found.append(line)
    return found


@pytest.mark.parametrize("name", SLUGS)
def test_no_line_breaks_its_paragraph(name):
    assert broken_by_a_line(cells("notebooks", SLUGS[name])) == []


_SPOKEN = re.compile(
    r"\b(figures?|pictures?|plot(s|ted)?|dr[ae]w(s|n|ing)?|curves?|maps?|bars?|histograms?|panels?"
    r"|tables? under|on the (left|right))\b",
    re.IGNORECASE,
)


def figures_not_spoken_of(own: list[dict]) -> list[str]:
    """Cells that show a figure of which neither the prose before nor the prose after speaks."""
    found = []
    for number, cell in enumerate(own):
        shown = [kind for out in cell.get("outputs", []) for kind in out.get("data", {})]
        if not any(kind.startswith(("image/", "application/vnd.plotly")) for kind in shown):
            continue
        before = [one for one in own[:number] if one["cell_type"] == "markdown"][-1:]
        after = [one for one in own[number:] if one["cell_type"] == "markdown"][:1]
        if not any(_SPOKEN.search(one["source"]) for one in before + after):
            found.append(cell["id"])
    return found


@pytest.mark.parametrize("name", SLUGS)
def test_each_figure_is_spoken_of(name):
    assert figures_not_spoken_of(cells("solutions", SLUGS[name])) == []


def test_the_rules_for_lessons_can_fail():
    def text(source: str) -> dict:
        return {"cell_type": "markdown", "source": source}

    code = {"cell_type": "code", "source": "1", "id": "one", "outputs": []}
    drawn = {**code, "outputs": [{"data": {"image/png": "x"}}]}
    badge = "*2 points · about 3 minutes · difficulty 1*"
    assert sections_without_prose([text(f"# A\n\nWhy.\n\n## B\n{badge}"), code]) == ["B"]
    assert sections_without_prose([text("# A\n\n## B\n\nWhy."), code, text("More"), code]) == []
    assert figures_not_spoken_of([text("Numbers."), drawn, text("So it is.")]) == ["one"]
    assert figures_not_spoken_of([text("Numbers."), drawn, text("The figure shows it.")]) == []
    assert broken_by_a_line([text("Here a + b\n>= 3, and\nc = d\n\n> said\n> so")]) == [">= 3, and"]
    assert words([text("One two, isn't it?\n```\nthree four\n```\n$$x = y$$"), code]) == 4


# --- links -----------------------------------------------------------------------------------


def links(text: str) -> list[str]:
    """The targets of the Markdown and HTML links in a text, without those in code blocks."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)|href=\"([^\"]+)\"", text)
    return [markdown or html for markdown, html in found]


def anchors(text: str) -> set[str]:
    """The places in a page that a link can name, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?)\s*$", text, re.MULTILINE)
    plain = [re.sub(r"\]\([^)]*\)|[`*\[\]]", "", heading).lower() for heading in headings]
    made = {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in plain}
    return made | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))


def prose_of(path: Path) -> str:
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in found if c["cell_type"] == "markdown")


def dead(path: Path) -> list[str]:
    """Links of a page to files or places that are not there."""
    found = []
    for link in links(prose_of(path)):
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if not re.match(r"[a-z]+:", link) and (
            not target.exists()
            or (anchor and target.is_file() and anchor not in anchors(prose_of(target)))
        ):
            found.append(link)
    return found


PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "utils/**/*.md", "*s/*.ipynb")
    for path in ROOT.glob(pattern)
    if not path.relative_to(ROOT).as_posix().startswith(ELSEWHERE)
)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert dead(ROOT / page) == []


def test_links_to_other_hosts_are_listed():
    found = {
        re.match(r"https?://([^/]+)", link)[1]: page
        for page in [*PAGES, *(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/site/*.md"))]
        for link in links(prose_of(ROOT / page))
        if re.match(r"https?://", link)
    }
    assert set(found) == set(HOSTS), found


def test_a_dead_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A `page`: of *two*\n[x](page.md#a-page-of-two) [x](#a-page-of-two) [x](no.md)\n"
        '[x](#b) [x](page.md#c)\n<a href="gone.html">x</a> [x](https://docs.python.org/3)\n'
        "```\n[x](in-code.md)\n```\n"
    )
    assert dead(page) == ["no.md", "#b", "page.md#c", "gone.html"]
    notebook = {"cells": [{"cell_type": "markdown", "source": ["[x](page.md) ", "[x](q.md)"]}]}
    (tmp_path / "one.ipynb").write_text(json.dumps(notebook))
    assert dead(tmp_path / "one.ipynb") == ["q.md"]
