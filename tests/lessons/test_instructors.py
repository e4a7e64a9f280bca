"""The instructors' pages: timetables that keep to prerequisites, mistakes as checks say them."""

from __future__ import annotations

import pytest

from utils.errors import CourseError
from utils.lessons import instructors, places
from utils.lessons.manifest import read_manifest
from utils.lessons.source import read_lesson, sources

ROOT = places.PACKAGE_ROOT


@pytest.fixture(scope="module")
def pages():
    return {path.name: text for path, text in instructors.files(read_manifest(), ROOT).items()}


def test_the_pages_are_current(pages):
    for name, text in pages.items():
        assert (ROOT / instructors.FOLDER / name).read_text(encoding="utf-8") == text


def test_a_timetable_adds_up(pages):
    lessons = read_manifest()
    day = instructors._day(("00", "01", "02", "05"), lessons, [])
    rows = [line.split("|")[1:4] for line in day.split("\n")[2:]]
    ends = [row[1].strip() for row in rows]
    assert [row[0].strip() for row in rows][1:] == ends[:-1] and rows[0][0].strip() == "9:00"
    worked = sum(lessons[name]["minutes"] for name in ("00", "01", "02", "05"))
    hours, minutes = map(int, ends[-1].split(":"))
    breaks = day.count("| break |") * instructors.BREAK + instructors.LUNCH
    assert 60 * hours + minutes == instructors.START + worked + breaks
    assert day.count("lunch") == 1 and all(name in pages["schedules.md"] for name in lessons)


def test_a_plan_against_the_prerequisites_is_refused():
    with pytest.raises(CourseError, match="06 before 05"):
        instructors._day(("06",), read_manifest(), ["00", "01"])
    with pytest.raises(CourseError, match="which there is not"):
        instructors._day(("77",), read_manifest(), [])


def test_every_exercise_is_there_with_what_its_check_says(pages):
    text = pages["exercises.md"]
    for card in read_manifest().values():
        assert all(f"**{name} {e['title']}**" in text for name, e in card["exercises"].items())
    assert "these are percentages; give shares between 0 and 1." in text
    said = instructors.mistakes(ROOT / places.CHECKS / "lesson_00.py")
    assert set(said) == set(read_manifest()["00"]["exercises"]) and all(said.values())
    assert "differs by learner" in text.split("**7.8")[1].split("\n")[0]


def test_what_later_cells_use_is_not_called_free(pages):
    lesson = read_lesson(sources(ROOT)["02"])
    used = {name for cell in lesson.cells for call, name, _ in cell.calls if call == "use"}
    row = next(
        line for line in pages["schedules.md"].split("## What can be skipped")[1].split("\n")
        if line.startswith("| 02")
    )  # fmt: skip
    assert used and not used & set(row.split("|")[2].replace(",", " ").split())


def test_drift_is_found(built_root, monkeypatch):
    from utils.lessons.drift import find_drift

    lessons = read_manifest(built_root)
    assert instructors.files(lessons, built_root) == {}  # a course without such a folder
    folder = built_root / instructors.FOLDER
    folder.mkdir(parents=True)
    assert any("A schedule names lesson 00" in line for line in find_drift(built_root))
    monkeypatch.setattr(instructors, "PLANS", (("An hour", "Why.", (("07",),)),))
    for path, text in instructors.files(lessons, built_root).items():
        path.write_text(text)
    assert find_drift(built_root) == []
    (folder / "schedules.md").write_text("none")
    assert find_drift(built_root) == [
        f"{instructors.FOLDER}/schedules.md: not what the lessons say"
    ]
