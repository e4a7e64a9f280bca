"""Finding submissions in folders and zips, and whose they are."""

from __future__ import annotations

import os
import zipfile

import pytest

from utils.errors import CourseError
from utils.grading.batch import newest
from utils.grading.submissions import RosterError, find


def _put(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return root


def _learners(found):
    return {s.shown: s.learner for s in found.submissions}


def test_the_first_folder_that_tells_them_apart_names_the_learner(tmp_path):
    source = _put(
        tmp_path / "in", "hw/anna/02_x.ipynb", "hw/bert/deep/er/02_x.ipynb", "hw/bert/expl.py",
        "hw/bert/.ipynb_checkpoints/02_x-checkpoint.ipynb", "hw/bert/notes.txt",
    )  # fmt: skip
    found = find(source, tmp_path / "scratch")
    assert _learners(found) == {
        "anna/02_x.ipynb": "anna", "bert/deep/er/02_x.ipynb": "bert", "bert/expl.py": "bert",
    }  # fmt: skip
    assert {s.shown: s.kind for s in found.submissions}["bert/expl.py"] == "explanation"


@pytest.mark.parametrize(
    "name, learner",
    [
        ("anna_02_challenge_cnn.ipynb", "anna"),
        ("02_challenge_cnn-anna.ipynb", "anna"),
        ("Ärger 日本.ipynb", "Ärger 日本"),
        ("02_challenge_cnn.ipynb", "02_challenge_cnn"),
    ],
)
def test_in_one_folder_the_file_name_names_the_learner(tmp_path, name, learner):
    source = _put(tmp_path / "in", name, "zoe_03_other.ipynb")
    assert _learners(find(source, tmp_path / "s"))[name] == learner


def test_a_pattern_and_a_roster(tmp_path):
    source = _put(tmp_path / "in", "late/s123_hw.ipynb", "ok/s124_hw.ipynb", "ok/odd.ipynb")
    found = find(source, tmp_path / "s", pattern="*/{learner}_*.ipynb")
    assert set(_learners(found).values()) == {"s123", "s124"} and "odd.ipynb" in found.notes[0]
    roster = tmp_path / "roster.csv"
    roster.write_text("learner,id,email\nAnna,S123,a@x.org\nBert,s124,b@x.org\n")
    found = find(source, tmp_path / "s", roster=roster)
    assert _learners(found) == {"late/s123_hw.ipynb": "Anna", "ok/s124_hw.ipynb": "Bert"}


@pytest.mark.parametrize(
    "text, word",
    [("name,id\na,b\n", "column `learner`"), ("", "column"), ("learner,id\na,1\nb,1\n", "two"),
     (None, "cannot be read")],
)  # fmt: skip
def test_a_roster_nobody_can_use(tmp_path, text, word):
    source = _put(tmp_path / "in", "a.ipynb")
    roster = tmp_path / "roster.csv"
    if text is not None:
        roster.write_text(text)
    with pytest.raises(RosterError, match=word):
        find(source, tmp_path / "s", roster=roster)
    with pytest.raises(RosterError, match="learner"):
        find(source, tmp_path / "s", pattern="*.ipynb")


def test_zips_in_zips_are_unpacked_and_stay_inside(tmp_path):
    inner = tmp_path / "bert.zip"
    with zipfile.ZipFile(inner, "w") as z:
        z.writestr("02_x.ipynb", "{}")
    outer = tmp_path / "all.zip"
    with zipfile.ZipFile(outer, "w") as z:
        z.writestr("anna/02_x.ipynb", "{}")
        z.writestr("../../escape.ipynb", "{}")
        z.writestr("/abs.ipynb", "{}")
        link = zipfile.ZipInfo("anna/link.ipynb")
        link.external_attr = 0o120777 << 16
        z.writestr(link, "/etc/passwd")
        z.write(inner, "bert.zip")
        z.writestr("clara.zip", b"no zip")
    found = find(outer, tmp_path / "scratch")
    assert set(_learners(found).values()) == {"anna", "bert"}
    assert len([n for n in found.notes if "not unpacked" in n]) == 3
    assert any("clara" in note for note in found.notes)
    assert (
        not (tmp_path / "escape.ipynb").exists() and not (tmp_path.parent / "escape.ipynb").exists()
    )


def test_links_are_not_followed(tmp_path):
    source = _put(tmp_path / "in", "anna/02.ipynb", "bert/02.ipynb")
    secret = _put(tmp_path / "secret", "key.ipynb")
    os.symlink(secret / "key.ipynb", source / "bert" / "key.ipynb")
    os.symlink(secret, source / "bert" / "folder")
    os.mkfifo(source / "bert" / "pipe.ipynb")
    found = find(source, tmp_path / "s")
    assert len(found.submissions) == 2 and len(found.notes) == 3


def test_nothing_to_grade_is_told(tmp_path):
    with pytest.raises(CourseError, match="nothing at"):
        find(tmp_path / "absent", tmp_path / "s")
    with pytest.raises(CourseError, match="no notebook"):
        find(_put(tmp_path / "in", "a.txt"), tmp_path / "s")


def test_of_two_files_the_newer_counts(tmp_path):
    source = _put(tmp_path / "in", "anna/old/02.ipynb", "anna/new/02.ipynb", "bert/02.ipynb")
    os.utime(source / "anna/old/02.ipynb", (1, 1))
    chosen, notes = newest(find(source, tmp_path / "s").submissions)
    assert [s.shown for s in chosen] == ["anna/new/02.ipynb", "bert/02.ipynb"] and len(notes) == 1


def test_names_that_are_no_text_are_shown_as_text(tmp_path):
    source = _put(tmp_path / "in", "a.ipynb")
    with open(os.fsencode(source) + b"/b\xff.ipynb", "w") as file:
        file.write("{}")
    found = find(source, tmp_path / "s")
    assert len(found.submissions) == 2
    for one in found.submissions:
        one.shown.encode("utf-8")
