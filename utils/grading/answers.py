"""A learner's notebook, read without trusting it: which cell answers which exercise.

Cells are matched by the exercise in their metadata, else by their id, else by the `lab.check` call
they hold. What is matched goes into the course's own notebook; everything else of ours that the
learner changed is put back, and what they added stays where they added it.
"""

from __future__ import annotations

import ast
import difflib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import CourseError
from utils.lessons import places

LARGEST = 20 * 2**20  # bytes of a notebook: figures included, ours have less than one megabyte
MOST_CELLS = 1000
LONGEST = 200_000  # characters of one cell


class SubmissionProblem(CourseError):
    """A file in which there is nothing to grade; the message says why."""


@dataclass(frozen=True)
class Cell:
    """A cell to run. exercise: None where it answers none. own: it came from the learner."""

    source: str
    exercise: str | None = None
    own: bool = False


@dataclass
class Answers:
    """What was found in a notebook: the cells to run, in order, and what was remarkable.

    found: exercises that have a cell. missing: those that have none. notes: one sentence each.
    """

    lesson: str
    cells: list[Cell]
    found: set[str]
    missing: set[str]
    notes: list[str] = field(default_factory=list)


def read_notebook(path: Path) -> dict[str, Any]:
    """A notebook file as plain JSON, whatever its minor format.

    Raises SubmissionProblem for a file that is too large, no JSON, or no notebook of format 4.
    """
    size = path.stat().st_size
    if size > LARGEST:
        raise SubmissionProblem(
            f"The file has {size / 2**20:.0f} MB; at most {LARGEST // 2**20} are read. Clear the"
            " outputs and hand it in again."
        )
    try:
        notebook = json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError):
        reason = "is empty" if not size else "is no JSON, so no notebook"
        raise SubmissionProblem(f"The file {reason}.") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise SubmissionProblem("The file is no notebook of format 4: it has no list of cells.")
    if notebook.get("nbformat") != 4:
        raise SubmissionProblem(
            f"The notebook has format {notebook.get('nbformat')!r}; save it as format 4."
        )
    if len(notebook["cells"]) > MOST_CELLS:
        raise SubmissionProblem(
            f"The notebook has {len(notebook['cells'])} cells; at most {MOST_CELLS} are read."
        )
    return notebook


def lesson_of(notebook: dict[str, Any], name: str, known: set[str]) -> str | None:
    """Which lesson a notebook belongs to: by its metadata, its exercises, else its file name."""
    metadata = notebook.get("metadata")
    told = metadata.get("lesson") if isinstance(metadata, dict) else None
    if isinstance(told, dict) and told.get("id") in known:
        return told["id"]
    numbers = [exercise.split(".")[0].zfill(2) for _, exercise, _ in _code(notebook) if exercise]
    votes = [number for number in numbers if number in known]
    if votes:
        return max(set(votes), key=votes.count)
    return name[:2] if name[:2] in known else None


def pristine(lesson: str, root: Path | None = None) -> list[Cell]:
    """The code cells of the course's own notebook, stubs in place."""
    folder = (root or places.course_root()) / places.NOTEBOOKS
    paths = sorted(folder.glob(f"{lesson}_*.ipynb"))
    if not paths:
        raise CourseError(f"There is no notebook of lesson {lesson}: run `python -m utils build`.")
    notebook = json.loads(paths[0].read_text(encoding="utf-8"))
    return [Cell(source, exercise) for source, exercise, _ in _code(notebook)]


def match(notebook: dict[str, Any], lesson: str, ours: list[Cell]) -> Answers:
    """The course's notebook with the learner's answers in it; see this module's first lines."""
    known = [cell.exercise for cell in ours if cell.exercise]
    notes: list[str] = []
    theirs = _code(notebook)
    answers: dict[str, str] = {}
    place: list[tuple[str | None, str]] = []  # what each of their cells is: an exercise, or theirs
    plain = {_bare(cell.source) for cell in ours if not cell.exercise}
    for source, named, id_ in theirs:
        exercise = _exercise_of(source, named, id_, known, notes)
        if exercise is None:
            if _bare(source) and _bare(source) not in plain:
                place.append((None, source))
            continue
        if exercise in answers:
            first, second = answers[exercise], source
            stub = next(_bare(c.source) for c in ours if c.exercise == exercise)
            if _bare(second) == stub or _bare(first) == _bare(second):
                notes.append(f"{exercise} stands there twice; the copy says nothing more.")
                continue
            if _bare(first) != stub:
                notes.append(f"{exercise} was answered twice; the last answer counts.")
            place = [entry for entry in place if entry[0] != exercise]
        answers[exercise] = source
        place.append((exercise, source))
    cells = _merge(ours, answers, place, notes)
    missing = {name for name in known if name not in answers}
    order = [name for name, _ in place if name]
    if order != [name for name in known if name in answers]:
        notes.append("The cells were in another order; they were run in the lesson's.")
    return Answers(lesson, cells, set(answers), missing, notes)


def _merge(
    ours: list[Cell], answers: dict[str, str], place: list[tuple[str | None, str]], notes: list[str]
) -> list[Cell]:
    """Our cells with their answers, and the cells they added before the next answer of theirs."""
    changed = _changed([cell for cell in ours if not cell.exercise], place)
    if changed:
        notes.append(f"{len(changed)} cells of the lesson were changed; ours were run instead.")
    before: dict[str | None, list[str]] = {}
    waiting: list[str] = []
    for name, source in place:
        if name is None:
            if source not in changed:
                waiting.append(source)
        else:
            before[name], waiting = [*before.get(name, []), *waiting], []
    before[None] = waiting
    if added := sum(map(len, before.values())):
        notes.append(f"{added} cells were added; they were run where they stood.")
    cells = []
    for cell in ours:
        if cell.exercise is None:
            cells.append(cell)
            continue
        cells += [Cell(s, None, True) for s in before.get(cell.exercise, [])]
        answer = answers.get(cell.exercise)
        own = answer is not None
        source = _with_check(answer, cell.source, cell.exercise) if own else cell.source
        cells.append(Cell(source, cell.exercise, own))
    return [*cells, *(Cell(s, None, True) for s in before[None])]


def _changed(ours: list[Cell], place: list[tuple[str | None, str]]) -> set[str]:
    """Which of their unmatched cells are edited copies of ours, not cells they added."""
    found = set()
    for name, source in place:
        if name is None and difflib.get_close_matches(
            _bare(source)[:4000], [_bare(c.source)[:4000] for c in ours], n=1, cutoff=0.75
        ):
            found.add(source)
    return found


def _with_check(source: str, stub: str, exercise: str) -> str:
    """The learner's cell, with our line that checks it where theirs has none."""
    if f'lab.check("{exercise}"' in source or f"lab.check('{exercise}'" in source:
        return source
    lines = [line for line in stub.split("\n") if line.startswith("lab.check(")]
    start = stub.index(lines[0]) if lines else len(stub)
    return f"{source}\n\n{stub[start:]}"


def _exercise_of(
    source: str, named: str | None, id_: str, known: list[str], notes: list[str]
) -> str | None:
    if named in known:
        return named
    for name in known:
        if id_ == f"exercise-{name.replace('.', '-')}":
            notes.append(f"{name} was found by its cell's id; its metadata are gone.")
            return name
    for name in _checked(source):
        if name in known:
            notes.append(f"{name} was found by its call of lab.check; its cell is a new one.")
            return name
    return None


def _checked(source: str) -> list[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "check"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
    ]


def _code(notebook: dict[str, Any]) -> list[tuple[str, str | None, str]]:
    """(source, exercise in the metadata, id) of each code cell; nothing is taken on trust."""
    found = []
    for cell in notebook["cells"]:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", "")
        if isinstance(source, list):
            source = "".join(line for line in source if isinstance(line, str))
        if not isinstance(source, str):
            continue
        metadata = cell.get("metadata")
        named = metadata.get("exercise") if isinstance(metadata, dict) else None
        id_ = cell.get("id")
        found.append(
            (
                source[:LONGEST],
                named if isinstance(named, str) else None,
                id_ if isinstance(id_, str) else "",
            )
        )
    return found


def _bare(source: str) -> str:
    """Text that is equal for cells that differ in blank space only."""
    return "\n".join(line.rstrip() for line in source.strip().split("\n") if line.strip())
