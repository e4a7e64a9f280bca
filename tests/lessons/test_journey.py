"""The way through all lessons: what is counted, what comes next, and the page for paper."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from utils.__main__ import main
from utils.errors import CourseError
from utils.lessons import journey_views as views
from utils.lessons import places
from utils.lessons.journey import journey, read
from utils.lessons.progress import FILE_NAME, Progress, empty
from utils.site.verify import read as read_html

NOW = datetime(2026, 3, 8, 12, tzinfo=UTC)


def exercises(lesson, *points):
    return {f"{lesson}.{n}": {"title": f"task {n}", "points": p} for n, p in enumerate(points, 1)}


CARDS = {
    "02": {"title": "Two", "points": 5, "exercises": exercises(2, 4, 1), "predictions": ["2.P"]},
    "03": {"title": "<Three>", "points": 5, "exercises": exercises(3, 2, 3), "predictions": []},
}


def record(status, points, day, attempts=1, hints=0):
    time = datetime(2026, 3, day, tzinfo=UTC).isoformat(timespec="seconds")
    result = {"status": status, "points": points, "max_points": 4, "time": time}
    return {"best": result, "last": result, "attempts": attempts, "hints": hints}


def after(entries):
    return journey({**empty(), "exercises": entries}, CARDS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A course of two lessons, and a file that notebooks wrote for it."""
    monkeypatch.delenv(places.NO_PROGRESS_VARIABLE)
    monkeypatch.setenv(places.ROOT_VARIABLE, str(tmp_path))
    places.write_text(tmp_path / places.MANIFEST, places.to_json({"lessons": CARDS}))
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    kept = Progress(notebooks)
    kept.record_result("2.1", "passed", 4, 4)
    kept.record_result("2.1", "failed", 0, 4)
    kept.record_hint("2.2", 2)
    kept.record_result("9.9", "passed", 4, 4)  # of a lesson that is gone
    kept.record_prediction("2.P", {"question": "Is <it> so?", "probability": 0.2})
    kept.record_prediction("2.P", {"happened": True, "brier": 0.64})
    return notebooks


def test_everything_is_counted_once_and_the_best_counts(folder):
    found = read(folder)
    assert [one.name for one in found.lessons] == ["02", "03"]
    two = found.lessons[0].as_dict()
    assert two.pop("last").startswith("20")
    assert two == {
        "lesson": "02", "title": "Two", "passed": 1, "tried": 1, "exercises": 2,
        "points": 4, "max_points": 5, "hints": 2,
    }  # fmt: skip
    assert (found.points, found.max_points, found.passed, found.hints) == (4, 10, 1, 2)
    assert [one.name for one in found.exercises] == ["2.2", "2.1"]  # the hint has no time
    assert found.exercises[1].attempts == 2 and found.exercises[1].status == "passed"
    assert found.brier == 0.64


def test_an_untouched_course(tmp_path):
    found = journey(empty(), CARDS)
    assert found.exercises == () and found.brier is None and found.touched is None
    assert found.next.exercise == "2.1" and found.as_dict()["last"] is None
    assert journey(empty(), {}).next is None


def test_what_comes_next_goes_on_with_the_lesson_in_hand():
    passed, failed = record("passed", 4, 1), record("failed", 0, 2)
    assert after({"3.1": passed}).next.exercise == "3.2"
    assert after({"2.1": passed, "3.1": failed}).next.exercise == "3.2"
    again = after({"3.1": record("failed", 0, 3), "3.2": passed}).next
    assert (again.exercise, again.why) == ("3.1", "tried, not passed yet")
    assert after({"3.1": record("passed", 4, 3), "3.2": passed}).next.exercise == "2.1"
    whole = {name: passed for card in CARDS.values() for name in card["exercises"]}
    assert after(whole).next is None
    assert after({**whole, "2.2": record("failed", 0, 1)}).next.exercise == "2.2"


def test_the_order_is_that_of_time():
    days = {"2.1": 5, "2.2": 2, "3.1": 3}
    found = after({name: record("passed", 1, day) for name, day in days.items()})
    assert [one.name for one in found.exercises] == ["2.2", "3.1", "2.1"]
    assert found.touched == datetime(2026, 3, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "ago, words",
    [
        ({"seconds": 3}, "just now"),
        ({"minutes": 1}, "1 minute ago"),
        ({"hours": 5}, "5 hours ago"),
        ({"days": 1, "hours": 5}, "1 day ago"),
        ({"days": -1}, "just now"),  # a clock that was set back
    ],
)
def test_how_long_ago(ago, words):
    assert views.since(NOW - timedelta(**ago), NOW) == words


def test_a_time_that_is_none_is_unknown_and_nothing_else_is_lost():
    odd = record("passed", 4, 1)
    odd["best"]["time"] = "last spring"
    odd["last"] = {**odd["best"], "time": "2026-03-01T10:00:00"}  # without a zone
    found = after({"2.1": odd})
    assert found.points == 4 and found.exercises[0].solved is None
    assert found.touched == datetime(2026, 3, 1, 10, tzinfo=UTC)


# --- the page --------------------------------------------------------------------------------


class Words(HTMLParser):
    """Tags that were left open, and the text."""

    def __init__(self, page):
        super().__init__()
        self.open, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "rect":
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_says_all_of_it_and_needs_nothing_else(folder):
    page = views.page(read(folder), NOW)
    words = Words(page)
    text = " ".join(words.text)
    assert words.open == []
    for said in ("4 of 10", "Is <it> so?", "20 %", "0.64", "<Three>", "2.1 task 1", "✔ passed"):
        assert said in text, said
    assert "exercise 2.2, task 2 (lesson 02): not tried yet" in text
    assert "<script" not in page and "<it>" not in page
    assert read_html(page).loads == [] and "http" not in page and "url(" not in page
    assert "@media print" in page and "color-scheme: light" in page
    assert page.count("<caption>") == page.count("<table>") == 3


def test_the_chart_draws_points_to_scale(folder):
    picture = views.chart(read(folder))
    widths = [float(w) for w in re.findall(r'<rect [^>]*width="([\d.]+)"', picture)]
    assert widths == [views.BAR, views.BAR * 4 / 5, views.BAR, 0]
    assert 'role="img" aria-label="' in picture


def test_an_empty_page_is_a_page():
    page = views.page(journey(empty(), {}), NOW)
    assert Words(page).open == [] and "Nothing is recorded yet" in page


# --- the command -----------------------------------------------------------------------------


def test_the_command_shows_all_lessons_and_writes_the_page(folder, capsys, tmp_path):
    page = tmp_path / "mine" / "journey.html"
    assert main(["progress", str(folder), "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^02 +Two +1 of 2 +4 of 5 +2  just now$", out, re.MULTILINE)
    assert re.search(r"^03 +<Three> +0 of 2 +0 of 5 +0$", out, re.MULTILINE)
    assert "mean Brier score 0.64" in out and "Next: exercise 2.2" in out and str(page) in out
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert main(["progress", str(folder), "--json", "--html", str(page)]) == 0
    given = json.loads(capsys.readouterr().out)
    assert given["html"] == str(page) and given["points"] == 4 and len(given["rows"]) == 2
    assert given["predictions"][0]["brier"] == 0.64
    assert given["exercises"][1]["solved"].endswith("+00:00")


def test_a_page_that_cannot_be_written_is_told(folder, capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    for name in (folder / FILE_NAME, tmp_path / "file" / "x.html"):
        assert main(["progress", str(folder), "--html", str(name)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
    assert read(folder).points == 4


@pytest.mark.parametrize(
    "content",
    ["{", '{"exercises": {"2.1": {"best": 3}}, "predictions": {}}']
    + [
        f'{{"exercises": {{"2.1": {{"best": {{"points": {p}}}}}}}, "predictions": {{}}}}'
        for p in ("NaN", '"4"')
    ]
    + ['{"exercises": {}, "predictions": {"2.P": {"happened": 1}}}'],
)
def test_a_damaged_file_is_told_in_one_line_and_kept(folder, capsys, content, tmp_path):
    path, page = folder / FILE_NAME, tmp_path / "journey.html"
    path.write_text(content)
    assert main(["progress", str(folder), "--html", str(page)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "is damaged and was left as it is" in err
    assert path.read_text() == content and not page.exists()
    Progress(folder, warn=lambda line: None).record_result("2.1", "passed", 4, 4)
    (aside,) = folder.glob("progress.damaged-*.json")
    assert aside.read_text() == content and read(folder).points == 4


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CourseError, match="no folder"):
        read(tmp_path / "none")
