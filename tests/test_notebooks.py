"""Learners' notebooks as people run them: blank from end to end, and with a wrong answer."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest

from tests.lessons.conftest import FIXTURE
from utils.lessons import places
from utils.lessons.build import build
from utils.lessons.execute import run_notebook
from utils.lessons.hygiene import text_of
from utils.lessons.manifest import read_manifest

LEARNER = sorted((places.PACKAGE_ROOT / places.NOTEBOOKS).glob("*.ipynb"))


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


def run_blank(path, folder, root):
    """Run a learner's notebook from another folder, keeping progress there as a learner would."""
    copied = shutil.copy(path, folder)
    notebook = nbformat.read(copied, as_version=4)
    variables = {places.NO_PROGRESS_VARIABLE: "", places.ROOT_VARIABLE: str(root)}
    executed, _ = run_notebook(notebook, folder, variables)
    return printed(executed)


def assert_blank(text, exercises, folder):
    for name in exercises:
        assert f"{name} not attempted" in text
    assert " failed" not in text and " passed:" not in text
    kept = folder / "progress.json"
    state = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {"exercises": {}}
    assert not any("last" in entry for entry in state["exercises"].values())


class Blank:
    """A learner's notebook; a class for each, so that two workers share them."""

    path: Path

    def test_it_runs_blank_to_its_end(self, tmp_path):
        text = run_blank(self.path, tmp_path, places.PACKAGE_ROOT)
        exercises = read_manifest(places.PACKAGE_ROOT)[self.path.name[:2]]["exercises"]
        assert_blank(text, exercises, tmp_path)


for _path in LEARNER:
    _name = f"TestBlank{_path.name[:2]}"
    globals()[_name] = type(_name, (Blank,), {"path": _path})


def test_every_lesson_is_run_blank():
    known = {name.removeprefix("TestBlank") for name in globals() if name.startswith("TestBlank")}
    assert known == set(read_manifest(places.PACKAGE_ROOT))


def test_the_small_lesson_runs_blank_to_its_end(course, tmp_path):
    text = run_blank(course / "notebooks" / "07_fixture.ipynb", tmp_path, course)
    assert_blank(text, ["7.1", "7.2"], tmp_path)
    assert "7.P not attempted" in text
    assert "7.1 is not passed yet: the reference data stand in for it." in text
    assert "half of the rows: 2" in text


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
