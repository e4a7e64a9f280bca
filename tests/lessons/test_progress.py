"""The progress file: nothing lost, whatever happens to it."""

import json
import multiprocessing

import pytest

from utils.lessons import places
from utils.lessons.progress import FILE_NAME, Progress


@pytest.fixture(autouse=True)
def keep_files(monkeypatch):
    monkeypatch.delenv(places.NO_PROGRESS_VARIABLE)


def stored(folder):
    return json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))


def test_a_pass_is_not_lost_to_a_later_fail(tmp_path):
    progress = Progress(tmp_path)
    for status, points in [("failed", 0), ("partly", 1), ("passed", 4), ("failed", 0)]:
        progress.record_result("2.1", status, points, 4)
    entry = stored(tmp_path)["exercises"]["2.1"]
    assert entry["best"]["status"] == "passed" and entry["best"]["points"] == 4
    assert entry["last"]["status"] == "failed" and entry["attempts"] == 4
    again = Progress(tmp_path)
    assert again.exercise("2.1") == entry and again.exercise("2.2") == {}


def test_hints_and_predictions(tmp_path):
    progress = Progress(tmp_path)
    for shown in (1, 2, 1):
        progress.record_hint("2.1", shown)
    progress.record_prediction("2.P", {"probability": 0.25})
    progress.record_prediction("2.P", {"happened": True})
    state = stored(tmp_path)
    assert state["exercises"]["2.1"]["hints"] == 2
    assert state["predictions"]["2.P"]["probability"] == 0.25
    assert state["predictions"]["2.P"]["happened"] is True


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b"\xff\xfe", b"[1]", b'{"exercises": 1, "predictions": {}}', b'{"exercises": {}}']
    + [b'{"exercises": {"2.1": 3}, "predictions": {}}'],
)
def test_a_damaged_file_is_set_aside_and_named(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    said = []
    progress = Progress(tmp_path, warn=said.append)
    progress.record_result("2.1", "passed", 1, 1)
    (aside,) = tmp_path.glob("progress.damaged-*.json")
    assert aside.read_bytes() == content
    assert len(said) == 1 and aside.name in said[0] and "\n" not in said[0]
    assert stored(tmp_path)["exercises"]["2.1"]["best"]["status"] == "passed"


def test_damaged_twice_in_a_second_keeps_both(tmp_path):
    for content in (b"one", b"two"):
        (tmp_path / FILE_NAME).write_bytes(content)
        Progress(tmp_path, warn=lambda line: None).record_hint("2.1", 1)
    kept = {path.read_bytes() for path in tmp_path.glob("progress.damaged-*.json")}
    assert kept == {b"one", b"two"}


def test_a_folder_that_cannot_be_written_gives_one_warning(tmp_path):
    said = []
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")  # a file where a folder is needed: refused for root too
    progress = Progress(blocked, warn=said.append)
    progress.record_result("2.1", "passed", 1, 1)
    progress.record_result("2.2", "failed", 0, 1)
    assert len(said) == 1 and "not being saved" in said[0]
    assert progress.exercise("2.1")["best"]["points"] == 1
    assert progress.exercise("2.2")["last"]["status"] == "failed"


def test_no_file_where_the_environment_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv(places.NO_PROGRESS_VARIABLE, "1")
    progress = Progress(tmp_path)
    progress.record_result("2.1", "passed", 1, 1)
    assert progress.exercise("2.1")["attempts"] == 1
    assert list(tmp_path.iterdir()) == []


def _save_many(folder, lesson):
    progress = Progress(folder)
    for number in range(20):
        progress.record_result(f"{lesson}.{number}", "passed", 1, 1)
        progress.record_hint("0.1", number)


def test_two_notebooks_saving_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")  # as on Windows and macOS
    workers = [context.Process(target=_save_many, args=(tmp_path, n)) for n in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    exercises = stored(tmp_path)["exercises"]
    assert len(exercises) == 41 and exercises["0.1"]["hints"] == 19
    assert not list(tmp_path.glob("progress.damaged-*"))


def test_what_another_notebook_saved_is_seen(tmp_path):
    mine, other = Progress(tmp_path), Progress(tmp_path)
    other.record_result("3.1", "passed", 2, 2)
    assert mine.exercise("3.1") == {}
    assert mine.state()["exercises"]["3.1"]["attempts"] == 1
