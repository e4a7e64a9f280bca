"""A learner's copy: complete, working, and without a line of any solution."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from utils.errors import CourseError
from utils.grading.release import _copy, release, search
from utils.lessons import places
from utils.lessons.source import sources

ROOT = places.PACKAGE_ROOT


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("released") / "course"
    release(folder)
    return folder


def test_it_holds_the_course_and_nothing_of_the_graders(released):
    names = {path.relative_to(released).as_posix() for path in released.rglob("*")}
    assert {"README.md", "requirements.txt", "notebooks/00_start_here.ipynb"} <= names
    assert not [n for n in names if n.startswith(("solutions", "tests", "benchmarks", ".git"))]
    assert not [n for n in names if n.startswith(("utils/site/", "docs/site", "docs/instructors"))]
    assert not [n for n in names if "grading" in n or re.search(r"(?<!practice)\.key\.json", n)]


def test_its_readme_names_nothing_that_it_does_not_have(released):
    text = (released / "README.md").read_text()
    assert not re.search(r"pytest|solutions|tests/|utils (grade|release|site|build)", text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    ours = [link for link in links if not link.startswith("https://")]
    assert len(ours) == len(sources(ROOT)) + 1
    assert all((released / link).is_file() for link in ours), ours
    assert "jupyter lab notebooks/00_start_here.ipynb" in text and "{" not in text


def test_an_image_can_be_made_of_it(released):
    text = (released / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", text, re.MULTILINE)
    assert copied and all((released / one).exists() for line in copied for one in line.split())
    assert (released / ".dockerignore").is_file()


def test_its_command_line_works_and_knows_no_grading(released):
    environment = {**os.environ, "PYTHONPATH": str(released)}
    # an editable install of this very course would lend the copy what it has not
    code = (
        "import sys\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
        "from utils.__main__ import main\nsys.exit(main(['--help']))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, cwd=released, env=environment,
    )  # fmt: skip
    assert (
        ran.returncode == 0
        and "solve" in ran.stdout
        and not re.search(r"\b(grade|site)  ", ran.stdout)
    )


def test_the_doctor_finds_it_whole(released):
    """Its notebooks begin with the doctor; what is installed here is another copy, and only that
    may be said of it."""
    from utils import doctor

    found = {one.name: one for one in doctor.examine(root=released)}
    assert "notebooks" not in found["Course"].found and "import utils" in found["Course"].found
    assert found["Packages"].ok is True


@pytest.fixture
def spoiled(released, tmp_path):
    return shutil.copytree(released, tmp_path / "course")


def test_a_solution_anywhere_is_found(spoiled):
    assert search(spoiled, ROOT) == []
    source = (ROOT / "solutions" / "02_challenge_cnn.py").read_text()
    region = source.split("### BEGIN SOLUTION\n")[1].split("    ### END SOLUTION")[0]
    assert region.count("\n") >= 3
    place = spoiled / "utils" / "plots.py"
    place.write_text(place.read_text() + "\n\ndef f(model, images):\n" + region)
    assert {(leak.exercise, leak.file) for leak in search(spoiled, ROOT)} == {
        ("2.1", "utils/plots.py")
    }


@pytest.mark.parametrize("how", ["code", "output", "hidden constant"])
def test_a_solution_in_its_notebook_is_found(spoiled, how):
    path = next((spoiled / "notebooks").glob("00_*.ipynb"))
    made = json.loads(path.read_text())
    solved = json.loads((ROOT / "solutions" / path.name).read_text())
    answer = next(c for c in solved["cells"] if c["metadata"].get("exercise") == "0.3")
    cell = next(c for c in made["cells"] if c["metadata"].get("exercise") == "0.3")
    if how == "code":
        cell["source"] = answer["source"]
    elif how == "output":
        text = "".join(answer["source"]).split("\n")
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": text}]
        cell["source"] = answer["source"]
    else:
        made["cells"].append({**cell, "source": answer["source"], "metadata": {}, "id": "z"})
    path.write_text(json.dumps(made))
    assert "0.3" in {leak.exercise for leak in search(spoiled, ROOT)}


def test_a_leak_stops_the_release(tmp_path, monkeypatch):
    import utils.grading.release as module

    original = _copy

    def leaky(root, target, lessons):
        original(root, target, lessons)
        shutil.copy(sources(root)["02"], target / "docs" / "left.py")

    monkeypatch.setattr(module, "_copy", leaky)
    with pytest.raises(CourseError, match=r"solution of 2\.\d stands in docs/left.py"):
        release(tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_some_lessons_alone_and_mistakes(tmp_path):
    files = release(tmp_path / "out", ["0", "02"])
    names = {path.name for path in files if path.suffix == ".ipynb"}
    assert names == {"00_start_here.ipynb", "02_challenge_cnn.ipynb"}
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "02_challenge_cnn" in readme and "03_challenge" not in readme
    with pytest.raises(CourseError, match="exists already"):
        release(tmp_path / "out")
    with pytest.raises(CourseError, match="no lesson 77"):
        release(tmp_path / "other", ["77"])
