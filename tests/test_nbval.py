"""nbval with this repository's settings passes a sound notebook, and fails a changed one."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest

from tests.lessons.conftest import built_once  # noqa: F401  the fixture itself
from utils.lessons import places

CHANGES = {
    "printed": ("largest column mean: 0.000", "largest column mean: 0.001"),
    "checked": ("4 of 4 points", "3 of 4 points"),
    "drawn": ("-31.500", "-31.501"),
    "predicted": ("Brier score 0.04", "Brier score 0.05"),
}


@pytest.fixture(scope="module")
def course(built_once):  # noqa: F811
    return built_once


def nbval(folder, course):
    """pytest on `folder` with this repository's conftest.py and nbval options, on its own."""
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=120", "-q", "-rfE"]
    shutil.copy(places.PACKAGE_ROOT / "conftest.py", folder / "conftest.py")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    shutil.copytree(places.PACKAGE_ROOT / "tests" / "offline", folder / "tests" / "offline")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, places.ROOT_VARIABLE: str(course), "PYTHONUTF8": "1"},
    )


def changed(notebook, old, new):
    """The notebook with `old` replaced in its outputs' text, which must be there once."""
    hits = 0
    for output in [o for cell in notebook.cells for o in cell.get("outputs", [])]:
        holder, key = (output, "text") if "text" in output else (output.data, "text/plain")
        hits += holder[key].count(old)
        holder[key] = holder[key].replace(old, new)
    assert hits == 1
    return notebook


@pytest.fixture(scope="module")
def ran(course, tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies")
    for name, changes in (("sound", []), ("changed", CHANGES.values())):
        notebook = nbformat.read(course / "solutions" / "07_fixture.ipynb", as_version=4)
        for old, new in changes:
            changed(notebook, old, new)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return nbval(folder, course)


def test_each_changed_cell_fails_and_no_other(ran):
    failed = re.findall(r"^FAILED (\w+)\.ipynb::Cell (\d+)", ran.stdout, re.MULTILINE)
    assert {name for name, _ in failed} == {"changed"}, ran.stdout + ran.stderr
    assert len({cell for _, cell in failed}) == len(failed) == len(CHANGES)
    assert ran.returncode == 1
    assert "4 failed, 16 passed" in ran.stdout.splitlines()[-1]


def test_no_kernel_is_started_for_a_learners_notebook(course, tmp_path):
    """Not even when somebody asks pytest for the whole folder."""
    shutil.copytree(course / "notebooks", tmp_path / "notebooks")
    ran = nbval(tmp_path, course)
    assert ran.returncode == 5, ran.stdout  # nothing collected
