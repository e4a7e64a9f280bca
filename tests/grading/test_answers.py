"""Reading a notebook nobody vouches for, and finding the answers in it."""

from __future__ import annotations

import json

import pytest

from tests.grading.conftest import RIGHT
from utils.grading import answers
from utils.grading.answers import SubmissionProblem, lesson_of, match, pristine, read_notebook


@pytest.fixture
def ours(course):
    return pristine("07", course)


def _cells(found):
    return {cell.exercise: cell for cell in found.cells if cell.exercise}


def _index(made, exercise):
    return next(i for i, c in enumerate(made["cells"]) if c["metadata"].get("exercise") == exercise)


def test_an_untouched_notebook_has_no_notes(notebook, ours):
    found = match(notebook(), "07", ours)
    assert found.found == {"7.1", "7.2"} and not found.missing and not found.notes
    assert [c.source for c in found.cells if not c.own] == [
        c.source for c in ours if not c.exercise
    ]
    assert _cells(found)["7.1"].source == RIGHT["7.1"]


def test_a_deleted_answer_is_missing_and_our_stub_runs(notebook, ours):
    made = notebook()
    del made["cells"][_index(made, "7.1")]
    found = match(made, "07", ours)
    assert found.missing == {"7.1"} and not _cells(found)["7.1"].own
    assert "NotImplementedError" in _cells(found)["7.1"].source


def test_lost_metadata_and_ids_are_survived(notebook, ours):
    made = notebook()
    made["cells"][_index(made, "7.1")]["metadata"] = {}
    found = match(made, "07", ours)
    assert found.found == {"7.1", "7.2"} and "by its cell's id" in found.notes[0]
    for cell in made["cells"]:
        cell.pop("id")
        cell["metadata"] = {}
    found = match(made, "07", ours)
    assert found.found == {"7.1", "7.2"} and "call of lab.check" in " ".join(found.notes)


def test_of_two_answers_the_last_counts_and_a_copied_stub_does_not(notebook, ours):
    made = notebook()
    at = _index(made, "7.1")
    stub = next(cell.source for cell in ours if cell.exercise == "7.1")
    made["cells"].insert(at + 1, {**made["cells"][at], "source": stub})
    assert _cells(match(made, "07", ours))["7.1"].source == RIGHT["7.1"]
    made["cells"][at + 1]["source"] = 'better = 1\nlab.check("7.1", better)'
    found = match(made, "07", ours)
    assert _cells(found)["7.1"].source.startswith("better") and "answered twice" in found.notes[0]


def test_a_split_answer_runs_with_its_other_half(notebook, ours):
    made = notebook(a71='lab.check("7.1", centre)')
    helper = {
        "cell_type": "code",
        "metadata": {},
        "source": "def centre(x):\n    return x - x.mean(0)",
    }
    made["cells"].insert(_index(made, "7.1"), helper)
    found = match(made, "07", ours)
    sources = [cell.source for cell in found.cells]
    assert sources.index(helper["source"]) == sources.index('lab.check("7.1", centre)') - 1
    assert "1 cells were added" in found.notes[0]


def test_a_check_that_was_taken_out_is_put_back(notebook, ours):
    bare = "def centre(x):\n    return x - x.mean(dim=0)"
    found = match(notebook(a71=bare), "07", ours)
    assert _cells(found)["7.1"].source == f'{bare}\n\nlab.check("7.1", centre)'


def test_changed_cells_of_ours_are_replaced(notebook, ours):
    made = notebook()
    at = next(i for i, c in enumerate(made["cells"]) if "data = lab.data" in "".join(c["source"]))
    made["cells"][at]["source"] = "".join(made["cells"][at]["source"]) + "\ndata['x'] *= 0"
    found = match(made, "07", ours)
    assert not any("*= 0" in cell.source for cell in found.cells)
    assert "ours were run instead" in found.notes[0]


def test_reordered_cells_run_in_the_lessons_order(notebook, ours):
    made = notebook()
    made["cells"].reverse()
    found = match(made, "07", ours)
    assert [c.exercise for c in found.cells if c.exercise] == ["7.1", "7.2"]
    assert "another order" in " ".join(found.notes)


def test_a_lesson_is_known_by_metadata_exercises_or_name(notebook):
    made = notebook()
    assert lesson_of(made, "x.ipynb", {"07", "08"}) == "07"
    made["metadata"] = "nonsense"
    assert lesson_of(made, "x.ipynb", {"07", "08"}) == "07"
    made["cells"] = []
    assert lesson_of(made, "08_other.ipynb", {"07", "08"}) == "08"
    assert lesson_of(made, "x.ipynb", {"07", "08"}) is None


@pytest.mark.parametrize(
    "content, word",
    [
        (b"", "empty"),
        (b"{", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 200_000, "no JSON"),
        (b"[]", "no list of cells"),
        (b'{"cells": {}}', "no list of cells"),
        (b'{"worksheets": [], "nbformat": 3}', "no list of cells"),
        (b'{"cells": [], "nbformat": 3}', "format 3"),
        (json.dumps({"nbformat": 4, "cells": [{}] * 5000}).encode(), "5000 cells"),
    ],
)
def test_files_that_are_no_notebook_are_told(tmp_path, content, word):
    path = tmp_path / "x.ipynb"
    path.write_bytes(content)
    with pytest.raises(SubmissionProblem, match=word):
        read_notebook(path)


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "x.ipynb"
    with open(path, "wb") as file:
        file.truncate(200 * 2**20)
    with pytest.raises(SubmissionProblem, match="200 MB"):
        read_notebook(path)


def test_cells_of_no_sense_are_passed_over(notebook, ours):
    made = notebook()
    made["cells"] += [
        3, None, {"cell_type": "code"}, {"cell_type": "code", "source": 7, "metadata": []},
        {"cell_type": "code", "source": ["a", 3], "metadata": {"exercise": ["7.1"]}, "id": 4},
    ]  # fmt: skip
    assert match(made, "07", ours).found == {"7.1", "7.2"}


def test_without_a_built_notebook_it_is_told(tmp_path):
    with pytest.raises(answers.CourseError, match="utils build"):
        pristine("99", tmp_path)
