"""Exercises that differ by learner: seeds from the owner's key, and a file that carries them."""

from __future__ import annotations

import json

import pytest

from tests.lessons.test_source import SOURCE, read
from utils.challenges.envelope import LearnerError
from utils.errors import CourseError
from utils.lessons import variants
from utils.lessons.manifest import read_manifest
from utils.lessons.session import Lab
from utils.lessons.source import SourceError

KEY = b"sixteen bytes and more"


def test_seeds_differ_by_learner_exercise_and_key_and_repeat():
    one = variants.seeds_of(KEY, "anna", ["7.8", "3.1"])
    assert one == variants.seeds_of(KEY, " anna ", ["3.1", "7.8"]) and min(one.values()) > 0
    others = [
        one["3.1"],
        variants.seeds_of(KEY, "bert", ["7.8"])["7.8"],
        variants.seeds_of(KEY + b"!", "anna", ["7.8"])["7.8"],
    ]
    assert len({one["7.8"], *others}) == 4
    for key, learner in ((b"short", "anna"), (KEY, "  ")):
        with pytest.raises(LearnerError):
            variants.seeds_of(key, learner, ["7.8"])


def test_a_file_carries_them_to_the_lab(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Lab("07").variant("7.8") == 0 and Lab("07").seeds() == {}
    variants.write_variants(tmp_path, "anna", {"7.8": 5, "99.1": 3})
    assert Lab("07").variant("7.8") == 5 and Lab("07").seeds() == {"7.8": 5}
    with pytest.raises(CourseError, match="same for everybody"):
        Lab("07").variant("7.1")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"seeds": [1]}', '{"seeds": {"7.8": "5"}}', '{"seeds": {"7.8": -1}}']
)
def test_a_damaged_file_is_told_and_left_alone(tmp_path, content):
    path = tmp_path / variants.FILE_NAME
    path.write_text(content)
    with pytest.raises(CourseError, match="damaged"):
        variants.read_variants(tmp_path)
    assert path.read_text() == content


def test_the_mark_and_the_call_belong_together(tmp_path):
    marked = SOURCE.replace("points=4", "points=4 variant=1")
    with pytest.raises(SourceError, match="no cell asks"):
        read(tmp_path, marked)
    asked = SOURCE.replace('lab.use("7.2", rows)', 'lab.use("7.2", rows + lab.variant("7.1"))')
    with pytest.raises(SourceError, match="lacks variant=1"):
        read(tmp_path, asked)
    both = asked.replace("points=4", "points=4 variant=1")
    lesson = read(tmp_path, both)
    assert lesson.exercises["7.1"].card()["variant"] is True
    assert "variant" not in lesson.exercises["7.2"].card()
    with pytest.raises(SourceError, match="variant=1 marks"):
        read(tmp_path, both.replace("variant=1", "variant=2"))


def test_the_manifest_knows_them():
    assert "7.8" in variants.marked(read_manifest())
    assert json.dumps(variants.marked(read_manifest()))
