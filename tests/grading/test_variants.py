"""Learners with exercises of their own: what a grader derives counts, not what a file says."""

from __future__ import annotations

import csv
import json

import pytest

from tests.grading.conftest import RIGHT, needs_sandbox
from utils.grading.referee import grade_notebook
from utils.grading.release import release_variants, variants_of
from utils.lessons import places, variants
from utils.lessons.build import build

KEY = b"a key of more than sixteen bytes"
SEED = variants.seeds_of(KEY, "anna", ["7.2"])["7.2"]
ASKED = 'rows = data["x"].shape[0] + lab.variant("7.2") % 1000\nlab.check("7.2", rows)'


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    """The small lesson with an exercise whose answer depends on the learner."""
    import shutil

    from tests.lessons.conftest import FIXTURE

    root = tmp_path_factory.mktemp("varied") / "course"
    shutil.copytree(FIXTURE, root)
    source = root / "solutions" / "07_fixture.py"
    text = source.read_text().replace("points=1 ", "points=1 variant=1 ")
    text = text.replace('data["x"].shape[0]\n', 'data["x"].shape[0] + lab.variant("7.2") % 1000\n')
    source.write_text(text)
    checks = root / "utils" / "lessons" / "checks" / "lesson_07.py"
    text = checks.read_text()
    text = text.replace("    expect_number(answer, rows", "    rows += lab.variant('7.2') % 1000\n"
                        "    expect_number(answer, rows")  # fmt: skip
    checks.write_text(text)
    assert not build(root=root, say=lambda line: None).errors
    return root


@pytest.fixture
def own(varied, monkeypatch):
    monkeypatch.setenv(places.ROOT_VARIABLE, str(varied))
    made = json.loads(next((varied / "notebooks").glob("*.ipynb")).read_text())

    def notebook(answer):
        for cell in made["cells"]:
            exercise = cell["metadata"].get("exercise")
            if exercise:
                cell["source"] = RIGHT["7.1"] if exercise == "7.1" else answer
        return made

    return notebook


@needs_sandbox
def test_the_seed_reaches_the_sandbox_and_the_check(own):
    def row(answer, seeds):
        found = grade_notebook(own(answer), "07", seeds=seeds)
        return found.rows[1]

    assert row(ASKED, {"7.2": SEED}).status == "passed"
    assert row(ASKED, None).status == "passed"
    common = row('lab.check("7.2", 4)', {"7.2": SEED})
    assert common.status == "failed" and "variants.json" in common.message
    other = row(f'lab.check("7.2", {4 + SEED % 1000})', {"7.2": SEED})
    assert other.status == "passed"


@needs_sandbox
def test_from_release_to_the_gradebook(own, varied, tmp_path, capsys):
    from utils.__main__ import main

    roster, key = tmp_path / "roster.csv", tmp_path / "course.key"
    roster.write_text("learner,email\nanna,a@x\nbert,b@x\n")
    key.write_bytes(KEY)
    files = release_variants(tmp_path / "out.variants", variants_of(roster, KEY))
    assert [path.parent.name for path in files] == ["anna", "bert"]
    assert variants.read_variants(files[0].parent) == {"7.2": SEED}
    bert = variants.seeds_of(KEY, "bert", ["7.2"])["7.2"]
    assert bert % 1000 != SEED % 1000
    for learner, seed in (("anna", SEED), ("bert", SEED)):  # bert hands in what anna found
        folder = tmp_path / "in" / learner
        folder.mkdir(parents=True)
        (folder / "07_fixture.ipynb").write_text(
            json.dumps(own(f'lab.check("7.2", {4 + seed % 1000})'))
        )
        variants.write_variants(folder, learner, {"7.2": SEED})  # and a file that says so
    out = tmp_path / "r.csv"
    grade = ["grade", str(tmp_path / "in"), "--out", str(out), "--roster", str(roster)]
    assert main([*grade, "--course-key", str(key), "--workers", "2"]) == 0
    with open(out, newline="") as file:
        found = {(r["learner"], r["exercise"]): r["status"] for r in csv.DictReader(file)}
    assert found["anna", "7.2"] == "passed" and found["bert", "7.2"] == "failed"
    capsys.readouterr()


def test_mistakes_on_the_command_line(tmp_path, capsys):
    from utils.__main__ import main

    roster = tmp_path / "roster.csv"
    roster.write_text("learner\nanna\n")
    assert main(["release", str(tmp_path / "out"), "--roster", str(roster)]) == 2
    assert "--course-key" in capsys.readouterr().err
    short = tmp_path / "key"
    short.write_bytes(b"short")
    more = ["--roster", str(roster), "--course-key", str(short)]
    assert main(["release", str(tmp_path / "out"), *more]) == 2
    assert "at least 16" in capsys.readouterr().err
    assert main(["release", str(tmp_path / "nb"), "--nbgrader", *more]) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["key", "roster.csv"]
