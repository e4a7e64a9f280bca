"""The lessons as an nbgrader course: what `nbgrader generate_assignment` and `autograde` expect.

After each exercise's cell stands a locked cell of nbgrader's kind "autograder tests". It runs the
exercise's check and shows the points, which nbgrader takes as the score, parts included. nbgrader
runs submissions without a sandbox and in the same process as the checks: use it for people you
know, and `python -m utils grade` for everybody else.
"""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path
from typing import Any

from utils.errors import CourseError
from utils.lessons import places
from utils.lessons.manifest import read_manifest

SCHEMA = 3
CONFIG = '''"""Made by `python -m utils release --nbgrader`; yours to change."""

c = get_config()
# The lessons come with their stubs in place, so there is no solution for nbgrader to clear.
c.GenerateAssignment.preprocessors = [
    f"nbgrader.preprocessors.{name}"
    for name in (
        "LockCells", "ClearOutput", "CheckCellMetadata", "ComputeChecksums", "SaveCells",
        "CheckCellMetadata",
    )
]  # fmt: skip
c.Execute.timeout = 300  # seconds a cell
# The course's package is not part of the notebook; the course must be installed where you grade.
'''


def assignment(notebook: dict[str, Any], points: dict[str, int]) -> dict[str, Any]:
    """A learner's notebook (plain JSON) with nbgrader's metadata and a test cell an exercise.

    points: of each exercise of the lesson. Raises CourseError for an exercise without a check.
    """
    made = json.loads(json.dumps(notebook))  # a copy; the notebook is plain JSON
    cells: list[dict[str, Any]] = []
    for number, cell in enumerate(made["cells"]):
        cells.append(cell)
        if cell["cell_type"] != "code":
            continue
        exercise = cell["metadata"].get("exercise")
        if exercise is None:
            cell["metadata"]["nbgrader"] = _kind(f"lesson-{number}", locked=True)
            continue
        name = exercise.replace(".", "-")
        cell["metadata"]["nbgrader"] = _kind(f"exercise-{name}", solution=True)
        source = f'lab.earned("{exercise}", {_checked(cell["source"], exercise)})'
        cells.append(
            {
                "cell_type": "code",
                "id": f"points-{name}",
                "metadata": {
                    "nbgrader": {
                        **_kind(f"points-{name}", locked=True, grade=True),
                        "points": points[exercise],
                    }
                },
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
        )
    return {**made, "cells": cells}


def write_course(folder: Path, lessons: list[str] | None = None) -> list[Path]:
    """An nbgrader course in `folder`, which must not exist; returns its assignments' notebooks.

    lessons: their numbers; none: all. Afterwards, in that folder: `nbgrader generate_assignment
    lesson_02`, hand out release/, and `nbgrader autograde lesson_02 --create` on submitted/.
    """
    if folder.exists():
        raise CourseError(f"{folder} exists already; name a folder that is to be made.")
    manifest = read_manifest()
    chosen = [places.lesson_id(one) for one in lessons] if lessons else list(manifest)
    if unknown := [one for one in chosen if one not in manifest]:
        raise CourseError(f"There is no lesson {unknown[0]}; there are: {', '.join(manifest)}.")
    draft = folder.with_name(folder.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    made = []
    try:
        for lesson in chosen:
            card = manifest[lesson]
            points = {name: entry["points"] for name, entry in card["exercises"].items()}
            source = places.course_root() / places.NOTEBOOKS / f"{card['slug']}.ipynb"
            notebook = assignment(json.loads(source.read_text(encoding="utf-8")), points)
            place = draft / "source" / f"lesson_{lesson}" / source.name
            place.parent.mkdir(parents=True)
            place.write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")
            made.append(folder / place.relative_to(draft))
        (draft / "nbgrader_config.py").write_text(CONFIG, encoding="utf-8")
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return made


def _kind(name: str, *, locked: bool = False, solution: bool = False, grade: bool = False) -> dict:
    return {
        "schema_version": SCHEMA, "grade_id": name, "locked": locked, "solution": solution,
        "grade": grade, "task": False,
    }  # fmt: skip


def _checked(source: str | list[str], exercise: str) -> str:
    """What the exercise's cell gives to lab.check, as text."""
    text = source if isinstance(source, str) else "".join(source)
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "lab.check"
            and len(node.args) == 2
            and ast.literal_eval(node.args[0]) == exercise
        ):
            return ast.unparse(node.args[1])
    raise CourseError(f"The cell of exercise {exercise} calls no lab.check({exercise!r}, answer).")
