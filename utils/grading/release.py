"""`release`: a folder with everything a learner gets and nothing more, searched for leaks.

What goes in is listed, not what stays out: a new file is not handed out by accident. Afterwards the
folder is searched for the text of every solution; a hit stops the release.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path

from utils.errors import CourseError
from utils.grading.results import safe_name
from utils.grading.submissions import learners_of
from utils.lessons import places, variants
from utils.lessons.manifest import read_manifest
from utils.lessons.regions import find_regions
from utils.lessons.source import read_lesson, sources

FILES = ("LICENSE", "requirements.txt", "constraints.txt", "pyproject.toml", "docs/data.md")
FILES += ("Dockerfile", ".dockerignore")  # so that an image of a release holds its lessons alone
FOLDERS = ("utils",)
LEFT_OUT = ("utils/grading", "utils/site", "utils/lessons/measured.json")
HANDOUT = Path(__file__).with_name("handout.md")  # the README of a learner's copy
SHORTEST = 2  # lines of a solution that are looked for everywhere, not in its notebook alone


@dataclass(frozen=True)
class Leak:
    """Where a solution's text stands in a release."""

    exercise: str
    file: str
    text: str


def release(folder: Path, lessons: list[str] | None = None) -> list[Path]:
    """Write a learner's copy to `folder`, which must not exist; returns its files.

    lessons: their numbers; none: all. Raises CourseError for a folder that exists, a lesson that
    does not, and for a leak, which is named; the folder is taken away again then.
    """
    root = places.course_root()
    if folder.exists():
        raise CourseError(f"{folder} exists already; name a folder that is to be made.")
    known = sources(root)
    chosen = [places.lesson_id(one) for one in lessons] if lessons else list(known)
    if unknown := [one for one in chosen if one not in known]:
        raise CourseError(f"There is no lesson {unknown[0]}; there are: {', '.join(known)}.")
    draft = folder.with_name(folder.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        _copy(root, draft, chosen)
        if leaks := search(draft, root):
            first = leaks[0]
            raise CourseError(
                f"The solution of {first.exercise} stands in {first.file} ({first.text[:60]!r}"
                f" ...), and {len(leaks) - 1} more leaks; nothing was released."
            )
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _copy(root: Path, target: Path, lessons: list[str]) -> None:
    target.mkdir(parents=True)
    for name in FILES:
        if (root / name).is_file():
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copy2(root / name, target / name)
    for name in FOLDERS:
        if (root / name).is_dir():
            shutil.copytree(
                root / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
            )
    for name in LEFT_OUT:
        place = target / name
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    (target / places.NOTEBOOKS).mkdir()
    for lesson in lessons:
        for path in (root / places.NOTEBOOKS).glob(f"{lesson}_*.ipynb"):
            shutil.copy2(path, target / places.NOTEBOOKS / path.name)
    (target / "README.md").write_text(_readme(root, lessons), encoding="utf-8")


def _readme(root: Path, lessons: list[str]) -> str:
    """The course's own README speaks of tests and solutions, which a learner does not have."""
    known = read_manifest(root)
    cards = [(name, known[name]) for name in lessons]
    rows = ["| lesson | minutes | exercises | points |", "|---|--:|--:|--:|"]
    rows += [
        f"| [{name} {card['title']}]({places.NOTEBOOKS}/{card['slug']}.ipynb) | {card['minutes']} "
        f"| {len(card['exercises'])} | {card['points']} |"
        for name, card in cards
    ]
    first = cards[0][1]
    return HANDOUT.read_text(encoding="utf-8").format(
        first=f"{first['slug']}.ipynb", hint=next(iter(first["exercises"])), table="\n".join(rows)
    )


def variants_of(roster: Path, course_key: bytes) -> dict[str, dict[str, int]]:
    """The seeds of everybody in the roster, by learner. Raises RosterError for an unusable roster,
    LearnerError for a course key under 16 bytes."""
    exercises = variants.marked(read_manifest())
    return {one: variants.seeds_of(course_key, one, exercises) for one in learners_of(roster)}


def release_variants(folder: Path, seeds: dict[str, dict[str, int]]) -> list[Path]:
    """`FOLDER/LEARNER/variants.json` for each learner; returns the files. Raises CourseError where
    the folder exists already."""
    if folder.exists():
        raise CourseError(f"{folder} exists already; move it away first.")
    return [
        variants.write_variants(folder / safe_name(one), one, its) for one, its in seeds.items()
    ]


# --- leaks -----------------------------------------------------------------------------------


def search(folder: Path, root: Path) -> list[Leak]:
    """Every place in `folder` where the text of a solution of the course at `root` stands.

    A solution of two lines or more, or one constant that is nowhere in the learner's own cell, must
    not stand in any text file; a single line must not stand in a cell of its own notebook. Blank
    space and comments do not count.
    """
    texts = {
        path.relative_to(folder).as_posix(): text if path.suffix == ".ipynb" else _plain(text)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (text := _text(path)) is not None
    }
    found = []
    for lesson, path in sources(root).items():
        for exercise, lines, stub in _solutions(path):
            wanted = "\n".join(lines)
            everywhere = len(lines) >= SHORTEST
            for file, text in texts.items():
                own = file.startswith(f"{places.NOTEBOOKS}/{lesson}_")
                if not everywhere and (not own or wanted in stub):
                    continue
                if f"\n{wanted}\n" in f"\n{text}\n":
                    found.append(Leak(exercise, file, wanted))
    return found


def _solutions(path: Path) -> list[tuple[str, list[str], str]]:
    """(exercise, the lines of a solution region, the learner's cell) of a lesson's source."""
    found = []
    for cell in read_lesson(path).cells:
        if cell.exercise is None:
            continue
        lines = cell.source.split("\n")
        for region in find_regions(lines):
            end = region.stub if region.stub is not None else region.end
            body = _plain("\n".join(lines[region.begin + 1 : end])).split("\n")
            body = [line for line in body if line]
            # a bare `return x` or `pass` is nobody's secret
            if len("".join(body)) >= 12 and _says_something(body):
                found.append((cell.exercise, body, _plain(cell.learner)))
    return found


def _says_something(lines: list[str]) -> bool:
    return len(lines) > 1 or not re.fullmatch(r"(return|pass|\w+ = )\s*\w*", lines[0])


def _text(path: Path) -> str | None:
    """The text of a file; of a notebook, its cells cell by cell and outputs; None if binary."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
    if path.suffix != ".ipynb":
        return text
    return "\n".join(
        _plain("".join(cell["source"])) + "\n" + json.dumps(cell.get("outputs", []))
        for cell in json.loads(text)["cells"]
    )


def _plain(text: str) -> str:
    """Lines without indentation, comments and blank ones, so that a shifted copy is found too."""
    try:
        # one way to write it: quotes, brackets and line breaks are no difference
        text = ast.unparse(ast.parse(textwrap.dedent(text)))
    except (SyntaxError, ValueError):
        text = re.sub(r"^\s*#.*$|\s+#\s.*$", "", text, flags=re.MULTILINE)
    return "\n".join(line.strip() for line in text.split("\n") if line.strip())
