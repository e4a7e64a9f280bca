"""Learners' notebooks as people run them: blank from end to end, and with a wrong answer."""

import json
import shutil

import nbformat
import pytest

from tests.lessons.conftest import FIXTURE
from utils.lessons import places
from utils.lessons.build import blank_fault, build
from utils.lessons.execute import run_notebook
from utils.lessons.hygiene import text_of
from utils.lessons.source import read_lesson, sources

# under twenty seconds; a browser runs 00 (tests/browser), `build --measure` runs every one
SHORT = ("14",)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    root = shutil.copytree(FIXTURE, tmp_path_factory.mktemp("blank") / "course")
    assert build(root=root, say=lambda line: None).errors == []
    return root


def printed(notebook):
    return "\n".join(
        text_of(output)
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


@pytest.mark.parametrize("name", SHORT)
def test_a_learners_notebook_runs_blank_to_its_end(name):
    root = places.PACKAGE_ROOT
    assert blank_fault(read_lesson(sources(root)[name]), root) is None


def test_the_small_lesson_runs_blank_to_its_end(course, tmp_path):
    notebook = nbformat.read(course / "notebooks" / "07_fixture.ipynb", as_version=4)
    variables = {places.NO_PROGRESS_VARIABLE: "", places.ROOT_VARIABLE: str(course)}
    text = printed(run_notebook(notebook, tmp_path, variables)[0])
    assert "7.1 not attempted" in text and "7.P not attempted" in text
    assert "7.1 is not passed yet: the reference data stand in for it." in text
    assert "half of the rows: 2" in text


def test_a_blank_notebook_that_stops_or_says_too_much_is_found(course, tmp_path):
    root = shutil.copytree(course, tmp_path / "course")
    lesson = read_lesson(sources(root)["07"])
    path = root / places.NOTEBOOKS / "07_fixture.ipynb"
    sound = path.read_text(encoding="utf-8")
    for old, new, told in (
        ('raise NotImplementedError(\\"exercise 7.1\\")', "return x - x.mean(dim=0)", "7.1"),
        ('lab.check(\\"7.2\\", rows)', "pass", "7.2 was not attempted"),
        ("rows // 2", "rows // 0", "blank notebook stops at"),
    ):
        assert sound.count(old) == 1, old
        path.write_text(sound.replace(old, new), encoding="utf-8")
        assert told in blank_fault(lesson, root)
    path.write_text(sound, encoding="utf-8")
    for file in (root / places.REFERENCE).glob("07*"):
        file.unlink()
    assert "no reference data" in blank_fault(lesson, root)


def test_wrong_answers_in_a_real_kernel_name_the_line(course, tmp_path):
    notebook = nbformat.read(course / "notebooks" / "07_fixture.ipynb", as_version=4)
    (cell,) = [cell for cell in notebook.cells if cell.id == "exercise-7-1"]
    cell.source = cell.source.replace(
        'raise NotImplementedError("exercise 7.1")', "y = x.T\n    return x @ x"
    )
    variables = {places.NO_PROGRESS_VARIABLE: "", places.ROOT_VARIABLE: str(course)}
    executed, _ = run_notebook(notebook, tmp_path, variables)
    text = printed(executed)
    assert "7.1 failed: your function raised RuntimeError" in text
    assert "(line 4 of your cell: return x @ x)" in text
    state = json.loads((tmp_path / "progress.json").read_text(encoding="utf-8"))
    assert state["exercises"]["7.1"]["last"]["status"] == "failed"
