"""The folder that Sphinx turns into the site: Markdown, notebooks, and files served as they are."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import CourseError
from utils.lessons import places
from utils.lessons.claims import Claim, read_index
from utils.lessons.claims_page import page as claims_page
from utils.lessons.claims_page import plain_heading
from utils.lessons.manifest import read_manifest, read_measured
from utils.site import api, chart, instruments
from utils.site.lessons import Page, lesson_page
from utils.site.openers import Repository

DOCS, INSTRUCTORS = "docs/site", "docs/instructors"
DOCS_SHOWN = ("data.md", "bring_your_own_model.md")
SPOILERS = ("exercises.md",)  # never on the site
STATIC = "_static"
FIGURE = ("06", "Values of a2.h1 in a plane")  # on the home page: lesson, how its alt text begins
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?://|#)([^)\s]+)\)")


@dataclass
class Written:
    """What was written, and the lessons with a page."""

    folder: Path
    lessons: list[str] = field(default_factory=list)


def write(
    folder: Path,
    root: Path | None = None,
    only: Iterable[str] = (),
    repository: Repository | None = None,
) -> Written:
    """Write the site's sources to the empty or new `folder`.

    only: the lessons with a page (a quick look while writing); none given: all. repository: a
    public copy of the course, for links to Binder and Colab. Raises CourseError where the course
    has no built notebooks.
    """
    root = root or places.course_root()
    lessons, measured = read_manifest(root), read_measured(root)
    chosen = set(only) or set(lessons)
    lessons = {name: card for name, card in lessons.items() if name in chosen}
    if not lessons:
        raise CourseError("There is no lesson to show: run python -m utils build first.")
    made = {
        name: lesson_page(name, lessons, measured, root, repository) for name in sorted(lessons)
    }
    docs = root / DOCS
    if not (docs / "conf.py").is_file():
        raise CourseError(f"{docs / 'conf.py'} is missing; restore docs/site with git.")
    folder.mkdir(parents=True, exist_ok=True)
    written = Written(folder, list(made))
    shutil.copy2(docs / "conf.py", folder / "conf.py")
    shutil.copytree(docs / "static", folder / STATIC, dirs_exist_ok=True)
    shutil.copytree(docs / "templates", folder / "_templates")
    for name, page in made.items():
        _write_lesson(folder, lessons[name]["slug"], page, root)
    striking = _figure(made)
    fill = {
        "{{figure}}": f"{STATIC}/figures/{striking}",
        "{{alt}}": made[FIGURE[0]].alts[striking],
        "{{drawn}}": str(int.from_bytes(made[FIGURE[0]].pictures[striking][16:20])),  # PNG's width
        "{{lessons}}": "\n".join(f"lessons/{lessons[name]['slug']}" for name in made),
        "{{map}}": f'<div class="lesson-map">{chart.svg(lessons)}</div>',
        "{{table}}": chart.table(lessons, measured),
        "{{instruments}}": instruments.listed(lessons),
    }
    for path in sorted(docs.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        for mark, content in fill.items():
            text = text.replace(mark, content)
        _text(folder / path.name, text)
    _write_instruments(folder, lessons)
    for file, text in api.pages(root).items():
        _text(folder / "api" / file, text)
    _write_instructors(folder, root)
    _write_docs(folder, root)
    _write_claims(folder, root, lessons)
    return written


def _write_lesson(folder: Path, slug: str, page: Page, root: Path) -> None:
    _text(folder / "lessons" / f"{slug}.ipynb", json.dumps(page.notebook, ensure_ascii=False))
    for file, content in page.pictures.items():
        places.write_bytes(folder / STATIC / "figures" / file, content)
    for file, document in page.instruments.items():
        _text(folder / STATIC / "instruments" / file, document)
    handed_out = folder / STATIC / "notebooks" / f"{slug}.ipynb"
    handed_out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(root / places.NOTEBOOKS / f"{slug}.ipynb", handed_out)


def _write_instruments(folder: Path, lessons: dict[str, Any]) -> None:
    for name, page in instruments.pages(lessons).items():
        _text(folder / "instruments" / f"{name}.md", page.markdown)
        for file, content in page.files.items():
            places.write_bytes(folder / STATIC / "instruments" / file, content)


def _figure(made: dict[str, Page]) -> str:
    """The file of the home page's picture, whose caption stands in docs/site/index.md."""
    lesson, begins = FIGURE
    for file, alt in made[lesson].alts.items() if lesson in made else ():
        if alt.startswith(begins):
            return file
    raise CourseError(
        f"Lesson {lesson} has no picture {begins!r} any more: name another in utils/site/sources.py"
        " and its caption in docs/site/index.md."
    )


def _write_instructors(folder: Path, root: Path) -> None:
    source = root / INSTRUCTORS
    shown = {"README.md": "index.md"}
    shown |= {p.name: p.name for p in sorted(source.glob("*.md")) if p.name != "README.md"}
    shown = {name: to for name, to in shown.items() if name not in SPOILERS}
    for name, to in shown.items():
        if (source / name).is_file():
            text = _relinked((source / name).read_text(encoding="utf-8"), shown)
            if name == "README.md":
                others = "\n".join(one.removesuffix(".md") for one in shown.values() if one != to)
                text += f"\n```{{toctree}}\n:hidden:\n:maxdepth: 1\n\n{others}\n```\n"
            _text(folder / "instructors" / to, text)


def _write_docs(folder: Path, root: Path) -> None:
    for name in DOCS_SHOWN:
        if (root / "docs" / name).is_file():
            text = (root / "docs" / name).read_text(encoding="utf-8")
            _text(folder / name, _relinked(text, {}))


def _write_claims(folder: Path, root: Path, lessons: dict[str, Any]) -> None:
    """The index of claims, with links to the sections of the lessons that have a page."""

    def to_section(claim: Claim) -> str:
        name = plain_heading(claim.heading)
        # as the pages' headings are numbered: MyST makes its anchors like GitHub
        anchor = re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-")
        return f"[{name}](lessons/{lessons[claim.lesson]['slug']}.ipynb#{anchor})"

    claims = [one for one in read_index(root).claims if one.lesson in lessons]
    if claims:
        _text(folder / "claims.md", claims_page(claims, lessons, to_section))


def _relinked(text: str, shown: dict[str, str]) -> str:
    """Links to pages of the site kept; a link to a file that is in the course alone becomes its
    name."""

    def link(match: re.Match[str]) -> str:
        words, target = match.groups()
        file, _, anchor = target.partition("#")
        if file in shown:
            return f"[{words}]({shown[file]}{'#' + anchor if anchor else ''})"
        return f"`{words}`" if words == file else f"{words} (`{file}` in the course's folder)"

    return _LINK.sub(link, text)


def _text(path: Path, content: str) -> None:
    places.write_text(path, content if content.endswith("\n") else content + "\n")
