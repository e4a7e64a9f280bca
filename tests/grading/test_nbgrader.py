"""The released assignments in the real nbgrader, from generating to the gradebook."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from utils.errors import CourseError
from utils.grading.nbgrader import assignment, write_course
from utils.lessons import places
from utils.lessons.manifest import read_manifest
from utils.lessons.source import read_lesson, sources

ROOT = places.PACKAGE_ROOT
LESSONS = ("00", "14")


def _run(folder, *arguments):
    ran = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-3000:]


@pytest.fixture(scope="module")
def graded(tmp_path_factory, request):
    """{(learner, assignment): {grade_id: score}} of a class that nbgrader graded."""
    pytest.importorskip(
        "nbgrader",
        reason="nbgrader is not installed: pip install -r tests/grading/requirements-nbgrader.txt",
    )
    from nbgrader.api import Gradebook

    # nbgrader starts `alembic`, which lies beside this Python
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("PATH", path)
    request.addfinalizer(monkeypatch.undo)
    folder = tmp_path_factory.mktemp("nbgrader") / "course"
    write_course(folder, list(LESSONS))
    for lesson in LESSONS:
        name = f"lesson_{lesson}"
        _run(folder, "generate_assignment", name)
        released = next((folder / "release" / name).glob("*.ipynb"))
        solved = {cell.exercise: cell.solved for cell in read_lesson(sources(ROOT)[lesson]).cells}
        for learner in ("anna", "bert") if lesson == "00" else ("anna",):
            made = json.loads(released.read_text(encoding="utf-8"))
            for cell in made["cells"]:
                exercise = cell["metadata"].get("exercise")
                if exercise and (learner == "anna" or exercise == "0.1"):
                    cell["source"] = solved[exercise]
                elif exercise == "0.3":  # partly right: it says a percentage
                    cell["source"] = solved[exercise].replace("return ", "return 100 * ")
                elif learner == "bert" and cell["id"] == "points-0-4":
                    cell["source"] = "4.0"
            place = folder / "submitted" / learner / name / released.name
            place.parent.mkdir(parents=True)
            place.write_text(json.dumps(made), encoding="utf-8")
        _run(folder, "autograde", name, "--create")
    found = {}
    with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
        for lesson in LESSONS:
            for submission in book.assignment_submissions(f"lesson_{lesson}"):
                found[submission.student.id, lesson] = {
                    grade.name: grade.score
                    for note in submission.notebooks
                    for grade in note.grades
                }
    return found


def test_a_solved_notebook_gets_every_point(graded):
    for lesson in LESSONS:
        exercises = read_manifest()[lesson]["exercises"]
        assert graded["anna", lesson] == {
            f"points-{name.replace('.', '-')}": card["points"] for name, card in exercises.items()
        }


def test_stubs_get_none_and_a_changed_test_cell_is_put_back(graded):
    scores = graded["bert", "00"]
    whole = read_manifest()["00"]["exercises"]
    assert scores.pop("points-0-1") == whole["0.1"]["points"]
    assert scores.pop("points-0-3") == whole["0.3"]["points"] / 2  # a part is a part there too
    assert set(scores.values()) == {0}


def test_every_lesson_becomes_an_assignment(tmp_path):
    made = write_course(tmp_path / "course")
    manifest = read_manifest()
    assert len(made) == len(manifest)
    for path in made:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        marks = [cell["metadata"].get("nbgrader") for cell in cells if cell["cell_type"] == "code"]
        assert all(marks) and len({mark["grade_id"] for mark in marks}) == len(marks)
        assert sum(mark.get("points", 0) for mark in marks) == manifest[path.stem[:2]]["points"]
        assert not any(mark["grade"] and mark["solution"] for mark in marks)


def test_mistakes_are_told(tmp_path):
    with pytest.raises(CourseError, match="no lesson 77"):
        write_course(tmp_path / "course", ["77"])
    with pytest.raises(CourseError, match="exists already"):
        write_course(tmp_path)
    cell = {
        "cell_type": "code", "metadata": {"exercise": "0.1"}, "id": "a", "source": "x = 1",
        "outputs": [], "execution_count": None,
    }  # fmt: skip
    with pytest.raises(CourseError, match="calls no lab.check"):
        assignment({"cells": [cell]}, {"0.1": 1})
    shutil.rmtree(tmp_path)
