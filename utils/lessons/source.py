"""Read a lesson's source, `solutions/NN_topic.py` (jupytext py:percent), and refuse a faulty one.

Every fault is a `SourceError` that names file and line.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import CourseError
from utils.lessons.places import SOLUTIONS
from utils.lessons.regions import RegionError, learner_source, solved_source

HEADER_REQUIRED = {"id", "title", "minutes", "difficulty"}
HEADER_KNOWN = HEADER_REQUIRED | {"prerequisites", "objectives", "signature"}
EXERCISE_KEYS = {"points", "minutes", "difficulty"}
CELL_KNOWN = EXERCISE_KEYS | {"exercise", "tags", "variant"}
KNOWN_TAGS = {"hide-input", "nbval-ignore-output"}
LAB_CALLS = {"check", "hint", "use", "predict", "outcome", "variant"}
EXERCISE_HEADING = re.compile(r"^(#+) Exercise (\d+\.\w+)\b[\s:.·–-]*(.*)$", re.MULTILINE)
_MARKER = re.compile(r"^# %%( |$)")
_NBVAL = re.compile(r"^\s*#.*NBVAL", re.MULTILINE)
_NBVAL_KNOWN = re.compile(r"^\s*# NBVAL_IGNORE_OUTPUT\s*$")


class SourceError(CourseError):
    """A fault in a lesson's source: `file:line: what is wrong and what to do`."""

    def __init__(self, path: Path, line: int, message: str):
        super().__init__(f"{path.parent.name}/{path.name}:{line}: {message}")


@dataclass(frozen=True)
class Exercise:
    id: str
    title: str
    points: int
    minutes: int
    difficulty: int
    line: int
    variant: bool = False

    def card(self) -> dict[str, Any]:
        """What the manifest keeps of an exercise."""
        card = {
            "title": self.title,
            "points": self.points,
            "minutes": self.minutes,
            "difficulty": self.difficulty,
        }
        return {**card, "variant": True} if self.variant else card


@dataclass(frozen=True)
class Cell:
    """A cell of the source. `line` is its first line in the file; `calls` lists the lab's calls
    with a literal id, as (method, id, line)."""

    kind: str
    source: str
    line: int
    metadata: dict[str, Any]
    calls: tuple[tuple[str, str, int], ...] = ()

    @property
    def exercise(self) -> str | None:
        return self.metadata.get("exercise")

    @property
    def solved(self) -> str:
        return solved_source(self.source) if self.kind == "code" else self.source

    @property
    def learner(self) -> str:
        if self.kind != "code":
            return self.source
        return learner_source(self.source, self.exercise)


@dataclass(frozen=True)
class Lesson:
    """A lesson as its author wrote it."""

    path: Path
    id: str
    title: str
    minutes: int
    difficulty: int
    prerequisites: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()
    signature: str = ""
    cells: tuple[Cell, ...] = ()
    exercises: dict[str, Exercise] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        return self.path.stem

    @property
    def points(self) -> int:
        return sum(exercise.points for exercise in self.exercises.values())

    @property
    def predictions(self) -> list[str]:
        found = [name for cell in self.cells for call, name, _ in cell.calls if call == "predict"]
        return sorted(set(found))


def sources(root: Path) -> dict[str, Path]:
    """The lessons' sources by id, from the file names alone."""
    found: dict[str, Path] = {}
    for path in sorted((root / SOLUTIONS).glob("[0-9][0-9]_*.py")):
        if path.name[:2] in found:
            raise SourceError(path, 1, f"{found[path.name[:2]].name} has the same number")
        found[path.name[:2]] = path
    return found


def read_lesson(path: Path) -> Lesson:
    """Read and check the source `path`. Raises `SourceError`."""
    import jupytext  # half a second: only who builds needs it

    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        notebook = jupytext.reads("\n".join(lines) + "\n", fmt="py:percent")
    except Exception as error:  # jupytext lets the YAML reader's many exceptions through
        raise SourceError(path, 1, f"the header or a cell mark cannot be read: {error}") from error
    header = _header(path, lines, dict(notebook.metadata))
    marks = [number for number, line in enumerate(lines, start=1) if _MARKER.match(line)]
    if len(marks) != len(notebook.cells):
        line = marks[0] if marks else 1
        raise SourceError(path, line, "text before the first '# %%', or '# %%' inside a string")

    cells, exercises = [], {}
    headings: dict[str, str] = {}
    for mark, raw in zip(marks, notebook.cells, strict=True):
        cell = _cell(path, mark, raw)
        if not cell.source.strip():
            raise SourceError(path, mark, "an empty cell")
        if cell.kind == "markdown":
            for _, name, title in EXERCISE_HEADING.findall(cell.source):
                headings[name] = title.strip()
        if cell.exercise is not None:
            exercise = _exercise(path, mark, cell, header["id"], headings)
            if exercise.id in exercises:
                first = exercises[exercise.id].line
                raise SourceError(path, mark, f"exercise {exercise.id} was defined at line {first}")
            exercises[exercise.id] = exercise
        cells.append(cell)
    if not cells or cells[0].kind != "markdown" or not cells[0].source.startswith("# "):
        raise SourceError(path, marks[0] if marks else 1, "the first cell must be '# ' and a title")
    if header["title"] not in cells[0].source.split("\n")[0]:
        raise SourceError(
            path, marks[0] + 1, f"the heading must hold the header's title, {header['title']!r}"
        )
    lesson = Lesson(path=path, cells=tuple(cells), exercises=exercises, **header)
    _check_ids(lesson, headings)
    return lesson


def _header(path: Path, lines: list[str], metadata: dict[str, Any]) -> dict[str, Any]:
    line = next((n for n, text in enumerate(lines, 1) if "lesson:" in text), 1)
    header = metadata.get("lesson")
    if not isinstance(header, dict):
        for number, text in enumerate(lines, 1):
            if not text.startswith("#"):
                if text.strip():
                    raise SourceError(path, number, "each line of the header begins with '# '")
                break
        raise SourceError(path, line, "the header has no 'lesson:' block under 'jupyter:'")
    for key in header:
        if key not in HEADER_KNOWN:
            raise SourceError(path, line, f"unknown key {key!r} in the lesson's header")
    for key in sorted(HEADER_REQUIRED - set(header)):
        raise SourceError(path, line, f"the lesson's header lacks {key!r}")
    if header["id"] != path.name[:2]:
        raise SourceError(path, line, f'id must be the file\'s number in quotes: "{path.name[:2]}"')
    _whole_number(path, line, header, "minutes", 1, 600)
    _whole_number(path, line, header, "difficulty", 1, 5)
    for key in ("prerequisites", "objectives"):
        value = header.get(key) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise SourceError(path, line, f"{key} must be a list of texts, numbers in quotes")
        header[key] = tuple(value)
    return header


def _whole_number(path: Path, line: int, found: dict[str, Any], key: str, low: int, high: int):
    value = found.get(key)
    if type(value) is not int or not low <= value <= high:
        raise SourceError(path, line, f"{key} must be a whole number from {low} to {high}")


def _cell(path: Path, mark: int, raw: Any) -> Cell:
    raw.metadata.pop("lines_to_next_cell", None)  # jupytext's own note on blank lines
    for key in raw.metadata:
        if key not in CELL_KNOWN:
            raise SourceError(path, mark, f"unknown cell key {key!r}; known: {sorted(CELL_KNOWN)}")
    for tag in raw.metadata.get("tags", []):
        if tag not in KNOWN_TAGS:
            raise SourceError(path, mark, f"unknown tag {tag!r}; known: {sorted(KNOWN_TAGS)}")
    text = raw.source.rstrip()
    blank = len(text) - len(text.lstrip("\n"))
    text, line = text[blank:], mark + 1 + blank
    if raw.cell_type != "code":
        return Cell(raw.cell_type, text, line, dict(raw.metadata))
    for match in _NBVAL.finditer(text):
        row = text.count("\n", 0, match.start())
        if not _NBVAL_KNOWN.match(text.split("\n")[row]):
            raise SourceError(
                path, line + row, "the only nbval mark is '# NBVAL_IGNORE_OUTPUT', alone on a line"
            )
    return Cell("code", text, line, dict(raw.metadata), _inspect_code(path, line, text))


def _inspect_code(path: Path, line: int, text: str) -> tuple[tuple[str, str, int], ...]:
    """Refuse shell lines, bad marks and bad syntax, solved or not; return the lab's calls."""
    from IPython.core.inputtransformer2 import TransformerManager

    if TransformerManager().transform_cell(text).rstrip() != text.rstrip():
        rows = [n for n, row in enumerate(text.split("\n")) if re.match(r"\s*[!%]|.*\?$", row)]
        row = rows[0] if rows else 0
        raise SourceError(path, line + row, "no shell lines, magics or 'name?' in a lesson")
    tree = None
    try:
        tree = ast.parse(text)  # as it stands in the file, so that lines agree
        learner_source(text, None)
        for kind, version in (
            ("solved", solved_source(text)),
            ("learner's", learner_source(text, None)),
        ):
            try:
                ast.parse(version)
            except SyntaxError as error:
                message = f"the {kind} version of this cell is not Python: {error.msg}"
                raise SourceError(path, line, message) from error
    except RegionError as error:
        raise SourceError(path, line + error.offset, str(error)) from error
    except SyntaxError as error:
        raise SourceError(path, line + (error.lineno or 1) - 1, f"{error.msg}") from error
    return tuple(
        (node.func.attr, str(node.args[0].value), line + node.lineno - 1)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "lab"
        and node.func.attr in LAB_CALLS
        and node.args
        and isinstance(node.args[0], ast.Constant)
    )


def _exercise(path: Path, mark: int, cell: Cell, lesson: str, headings: dict[str, str]) -> Exercise:
    name = cell.metadata["exercise"]
    if not isinstance(name, str) or not re.fullmatch(rf"{int(lesson)}\.\w+", name):
        raise SourceError(path, mark, f"exercise {name!r} is not an id of lesson {lesson}")
    for key in sorted(EXERCISE_KEYS - set(cell.metadata)):
        raise SourceError(path, mark, f"exercise {name} lacks {key}=")
    _whole_number(path, mark, cell.metadata, "points", 1, 100)
    _whole_number(path, mark, cell.metadata, "minutes", 1, 120)
    _whole_number(path, mark, cell.metadata, "difficulty", 1, 5)
    if cell.kind != "code" or "### BEGIN SOLUTION" not in cell.source:
        raise SourceError(path, mark, f"exercise {name} has no solution region")
    if ("check", name) not in {(call, target) for call, target, _ in cell.calls}:
        raise SourceError(path, mark, f'exercise {name} lacks lab.check("{name}", ...) in its cell')
    if name not in headings:
        raise SourceError(path, mark, f"no heading '### Exercise {name} ...' before this cell")
    variant = "variant" in cell.metadata
    if variant and cell.metadata["variant"] != 1:
        raise SourceError(path, mark, "variant=1 marks an exercise that differs by learner")
    numbers = {key: cell.metadata[key] for key in EXERCISE_KEYS}
    return Exercise(name, headings[name], line=mark, variant=variant, **numbers)


def _check_ids(lesson: Lesson, headings: dict[str, str]) -> None:
    """Every id used with the lab belongs to the lesson, and every heading has its exercise."""
    for cell in lesson.cells:
        for call, name, line in cell.calls:
            if call in {"predict", "outcome"}:
                if not re.fullmatch(rf"{int(lesson.id)}\.\w+", name) or name in lesson.exercises:
                    raise SourceError(
                        lesson.path,
                        line,
                        f"a prediction's id is like '{int(lesson.id)}.P' and no exercise's",
                    )
            elif name not in lesson.exercises:
                raise SourceError(
                    lesson.path, line, f"lab.{call}: no cell has exercise metadata for {name!r}"
                )
            elif call == "variant" and not lesson.exercises[name].variant:
                raise SourceError(
                    lesson.path, line, f"lab.variant({name!r}): the exercise lacks variant=1"
                )
            elif call == "check" and cell.exercise != name:
                raise SourceError(
                    lesson.path, line, f"lab.check({name!r}) outside the cell of that exercise"
                )
    asked = {name for cell in lesson.cells for call, name, _ in cell.calls if call == "variant"}
    for name, exercise in lesson.exercises.items():
        if exercise.variant and name not in asked:
            raise SourceError(
                lesson.path, exercise.line, f"no cell asks lab.variant({name!r}) for its seed"
            )
    for name in headings:
        if name not in lesson.exercises:
            raise SourceError(
                lesson.path, 1, f"heading 'Exercise {name}' has no cell with its metadata"
            )
