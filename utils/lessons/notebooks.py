"""From a lesson to its two notebooks, before and after execution; pure functions."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from utils.lessons.places import NOTEBOOKS, SOLUTIONS
from utils.lessons.regions import BEGIN, END
from utils.lessons.source import EXERCISE_HEADING, Cell, Lesson, SourceError, sources

_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},  # without versions, which would differ between machines
}


def learner_path(lesson: Lesson, root: Path) -> Path:
    return root / NOTEBOOKS / f"{lesson.slug}.ipynb"


def solved_path(lesson: Lesson, root: Path) -> Path:
    return root / SOLUTIONS / f"{lesson.slug}.ipynb"


def learner_notebook(lesson: Lesson, root: Path) -> NotebookNode:
    """Stubs in place, no outputs, null counts."""
    notebook = _notebook(lesson, root, solved=False)
    for cell, node in zip(lesson.cells, notebook.cells, strict=True):
        if BEGIN in node.source or END in node.source:
            raise SourceError(
                lesson.path, cell.line, "a solution mark would reach the learner's file"
            )
    return notebook


def solved_notebook(lesson: Lesson, root: Path) -> NotebookNode:
    """Solutions in place, not executed yet."""
    return _notebook(lesson, root, solved=True)


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """What of a solved notebook does not come from running it."""
    bare = copy.deepcopy(notebook)
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return bare


def settle(executed: NotebookNode) -> NotebookNode:
    """The executed notebook without anything that differs from run to run."""
    notebook = copy.deepcopy(executed)
    notebook.metadata = nbformat.from_dict(_notebook_metadata(notebook.metadata["lesson"]))
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.pop("transient", None)
    return notebook


def to_bytes(notebook: NotebookNode) -> bytes:
    """The notebook as it is stored: valid nbformat 4.5, UTF-8, `\\n` line ends."""
    nbformat.validate(notebook)
    return (nbformat.writes(notebook, version=4).rstrip("\n") + "\n").encode("utf-8")


def _notebook_metadata(lesson: dict[str, str]) -> dict[str, object]:
    return {**copy.deepcopy(_METADATA), "lesson": dict(lesson)}


def _notebook(lesson: Lesson, root: Path, solved: bool) -> NotebookNode:
    notebook = nbformat.v4.new_notebook()
    notebook.metadata = nbformat.from_dict(
        _notebook_metadata({"id": lesson.id, "title": lesson.title})
    )
    names = cell_ids(lesson.cells)
    for number, (cell, name) in enumerate(zip(lesson.cells, names, strict=True)):
        metadata = nbformat.from_dict(dict(cell.metadata))
        if cell.kind == "code":
            source = cell.solved if solved else cell.learner
            node = nbformat.v4.new_code_cell(source, metadata=metadata)
        elif cell.kind == "raw":
            node = nbformat.v4.new_raw_cell(cell.source, metadata=metadata)
        else:
            text = _with_badges(cell.source, lesson)
            if number == 0:
                text = _with_title_line(text, lesson, root)
            node = nbformat.v4.new_markdown_cell(text, metadata=metadata)
        node.id = name
        notebook.cells.append(node)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def cell_ids(cells: tuple[Cell, ...]) -> list[str]:
    """Stable ids: the exercise's, else the nearest heading's with a number inside its section."""
    names: list[str] = []
    section, number = "start", 0
    for cell in cells:
        heading = re.search(r"^#+ +(.+)$", cell.source, re.MULTILINE)
        if cell.kind == "markdown" and heading:
            section, number = _slug(heading.group(1)), 0
        number += 1
        name = f"exercise-{_slug(cell.exercise)}" if cell.exercise else f"{section}-{number}"
        base, again = name, 2
        while name in names:
            name, again = f"{base}-{again}", again + 1
        names.append(name)
    return names


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48] or "section"


def dots(difficulty: int) -> str:
    """`●●○○○ (2 of 5)`: the dots for the eye, the words for everyone."""
    return f"{'●' * difficulty}{'○' * (5 - difficulty)} ({difficulty} of 5)"


def _with_badges(text: str, lesson: Lesson) -> str:
    """A line with points, minutes and difficulty under each exercise's heading."""

    def badge(match: re.Match[str]) -> str:
        exercise = lesson.exercises[match.group(2)]
        points = f"{exercise.points} point{'s' * (exercise.points != 1)}"
        minutes = f"about {exercise.minutes} minute{'s' * (exercise.minutes != 1)}"
        line = f"{points} · {minutes} · difficulty {dots(exercise.difficulty)}"
        return f"{match.group(0)}\n\n*{line}*"

    return EXERCISE_HEADING.sub(badge, text)


def _with_title_line(text: str, lesson: Lesson, root: Path) -> str:
    before = ", ".join(_link(name, root) for name in lesson.prerequisites) or "nothing"
    points = f"{lesson.points} point{'s' * (lesson.points != 1)}"
    count = len(lesson.exercises)
    line = (
        f"*Before this: {before} · about {lesson.minutes} minutes · "
        f"difficulty {dots(lesson.difficulty)} · {points} in "
        f"{count} exercise{'s' * (count != 1)}*"
    )
    heading, _, rest = text.partition("\n")
    return f"{heading}\n\n{line}\n\n{rest.lstrip()}".rstrip()


def _link(name: str, root: Path) -> str:
    """A link to the lesson `name`, which lies beside the notebook in both folders."""
    path = sources(root).get(name)
    return f"[{name}]({path.stem}.ipynb)" if path else name
