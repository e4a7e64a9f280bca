"""Many submissions: results kept as they arrive, and kept only once, whatever is killed."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import subprocess
import sys
import threading
import time

import psutil
import pytest

from tests.grading.conftest import RIGHT, left, needs_sandbox
from utils.errors import CourseError
from utils.grading import batch, job
from utils.grading.job import Job, Options
from utils.grading.journal import Journal
from utils.grading.submissions import find
from utils.lessons import places

pytestmark = needs_sandbox

ANSWERS = {
    "anna": (RIGHT["7.1"], RIGHT["7.2"]),
    "bert": ('def centre(x):\n    return x - x.mean(1, keepdim=True)\nlab.check("7.1", centre)',
             RIGHT["7.2"]),
    "clara": ("import os\nos._exit(1)", RIGHT["7.2"]),
    "dora": (RIGHT["7.1"], "while True: pass"),
}  # fmt: skip
EXPECTED = {
    ("anna", "7.1"): ("passed", "4"), ("anna", "7.2"): ("passed", "1"),
    ("bert", "7.1"): ("failed", "2.0"), ("bert", "7.2"): ("passed", "1"),
    ("clara", "7.1"): ("error", "0"), ("clara", "7.2"): ("passed", "1"),
    ("dora", "7.1"): ("passed", "4"), ("dora", "7.2"): ("timeout", "0"),
    ("egon", ""): ("error", "0"),
}  # fmt: skip


@pytest.fixture
def classroom(tmp_path, notebook):
    folder = tmp_path / "in"
    for learner, (first, second) in ANSWERS.items():
        (folder / learner).mkdir(parents=True)
        made = notebook(a71=first, a72=second)
        (folder / learner / "07_fixture.ipynb").write_text(json.dumps(made))
    (folder / "egon").mkdir()
    (folder / "egon" / "07_fixture.ipynb").write_text("{broken")
    return folder


def _command(classroom, out, *more):
    return [
        sys.executable, "-m", "utils", "grade", str(classroom), "--out", str(out),
        "--cell-seconds", "5", "--memory-mb", "3072", *more,
    ]  # fmt: skip


def _rows(out):
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({(r["learner"], r["exercise"]) for r in rows}) == len(rows)
    return {(r["learner"], r["exercise"]): (r["status"], r["points"]) for r in rows}


def test_a_class_is_graded_and_a_second_run_changes_no_row(classroom, tmp_path):
    out = tmp_path / "results.csv"
    first = subprocess.run(
        _command(classroom, out, "--workers", "2", "--json", "--feedback", str(tmp_path / "pages"),
                 "--gradescope", str(tmp_path / "scope")),
        capture_output=True, text=True,
    )  # fmt: skip
    assert first.returncode == 0, first.stderr
    assert _rows(out) == EXPECTED
    before = out.read_bytes()
    told = json.loads(first.stdout)
    assert told["summary"]["learners"] == 5 and len(told["rows"]) == 9
    again = subprocess.run(_command(classroom, out), capture_output=True, text=True)
    assert again.returncode == 0 and "passed" in again.stdout
    assert out.read_bytes() == before  # the seconds of each row too: nothing was graded again
    with open(tmp_path / "results.learners.csv", newline="") as file:
        learners = list(csv.DictReader(file))
    assert [row["points"] for row in learners] == ["5", "3.0", "1", "4", "0"]
    scope = json.loads((tmp_path / "scope" / "bert" / "results.json").read_text())
    assert scope["score"] == 3 and scope["tests"][0]["max_score"] == 4
    page = (tmp_path / "pages" / "learners" / "bert.html").read_text()
    assert "these are rows with mean 0" in page and "partly right" in page
    assert "x.mean" not in page  # no answer in it, neither theirs nor ours
    assert "egon" in (tmp_path / "pages" / "index.html").read_text()


def test_killed_at_random_moments_nothing_is_lost_or_doubled(classroom, tmp_path):
    out, chance = tmp_path / "results.csv", random.Random(0)
    killed, started = 0, []
    for moment in range(40):
        run = subprocess.Popen(
            _command(classroom, out, "--workers", "2"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            run.wait(chance.uniform(0.5, 6.0) if killed < 4 else 300)
            break
        except subprocess.TimeoutExpired:
            workers = _children(run, lambda p: "python" in p.name() or "bwrap" in p.name())
            if moment % 2 and workers:  # a worker alone; the main process goes on, or is told
                with contextlib.suppress(psutil.Error):
                    chance.choice(workers).kill()
                time.sleep(0.5)
            started += _kill(run)
            killed += 1
    subprocess.run(_command(classroom, out), check=True, capture_output=True)
    assert killed >= 3 and _rows(out) == EXPECTED
    kept = Journal(tmp_path / "results.journal.sqlite")
    assert len(kept) == 5
    assert not left(lambda: started)


def _children(run, chosen):
    """Those that a process has started, children's children too, and that are chosen."""
    found = []
    for one in psutil.Process(run.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may end while it is looked at
            if chosen(one):
                found.append(one)
    return found


def _kill(run):
    """Kill the main process; all that it had started."""
    family = _children(run, lambda p: True)
    run.kill()
    run.wait()
    return family


def test_graders_end_with_the_run_that_was_killed(classroom, tmp_path):
    """They would else go on for up to their whole time, beside the run that replaces theirs."""
    endless = (classroom / "anna" / "07_fixture.ipynb").read_text()
    endless = endless.replace("def centre", "import time\\ntime.sleep(900)\\ndef centre")
    (classroom / "anna" / "07_fixture.ipynb").write_text(endless)
    run = subprocess.Popen(
        _command(classroom, tmp_path / "r.csv", "--cell-seconds", "900"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 120
    inside = []
    while not inside and time.monotonic() < until:
        time.sleep(0.1)
        inside = _children(run, lambda p: "utils.grading.inside" in p.cmdline())
    started = _kill(run)
    assert inside and set(inside) <= set(started)
    assert not left(lambda: started)


def _killer(chosen):
    """In the background: kill the first process of ours that is chosen, half a second after."""
    done = []

    def kill():
        until = time.monotonic() + 120
        while not done and time.monotonic() < until:
            for one in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if not done and chosen(one):
                        time.sleep(0.5)
                        one.kill()
                        done.append(one.pid)
            time.sleep(0.02)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread, done


def test_a_sandbox_killed_from_outside_is_no_fault_of_the_learner(notebook, course):
    """A machine out of memory kills what it likes; the answer is run once more."""
    slow = "import time\ntime.sleep(2)\n" + RIGHT["7.1"]
    made = json.dumps(notebook(a71=slow)).encode()
    thread, done = _killer(lambda p: p.name() == "bwrap" and "utils.grading.inside" in p.cmdline())
    found = job.run(Job("k", "anna", "07_fixture.ipynb", made), Options(root=str(course)))
    thread.join()
    assert done and [row["status"] for row in found["rows"]] == ["passed", "passed"]


def test_an_answer_that_kills_its_process_each_time_is_its_own_doing(notebook, course):
    own = "import os\nos.kill(os.getpid(), 9)\n" + RIGHT["7.1"]
    made = json.dumps(notebook(a71=own)).encode()
    found = job.run(Job("k", "anna", "07_fixture.ipynb", made), Options(root=str(course)))
    assert [row["status"] for row in found["rows"]] == ["out of memory", "passed"]


@pytest.mark.parametrize(("deaths", "status"), [(2, "passed"), (3, "error")])
def test_a_grading_process_that_is_killed_is_run_again(deaths, status, notebook, monkeypatch):
    made, left = json.dumps(notebook()).encode(), [deaths]
    real = job._in_a_process

    def dies(*given):
        left[0] -= 1
        return {"died": -9} if left[0] >= 0 else real(*given)

    monkeypatch.setattr(job, "_in_a_process", dies)
    monkeypatch.setattr(job.time, "sleep", lambda seconds: None)
    options = Options(root=os.environ[places.ROOT_VARIABLE])
    found = job.run(Job("k", "anna", "07_fixture.ipynb", made), options)
    assert found["rows"][0]["status"] == status
    assert status == "passed" or "died 3 times" in found["rows"][0]["message"]


def test_a_process_that_dies_is_told_from_one_that_fails(notebook, course):
    made = json.dumps(notebook()).encode()
    thread, done = _killer(lambda p: "forkserver" in " ".join(p.parent().cmdline()))
    found = job._in_a_process(Job("k", "anna", "07_fixture.ipynb", made), Options(root=str(course)))
    thread.join()
    assert done and found == {"died": -9}


def test_a_sandbox_that_does_not_come_up_is_the_machines_fault(notebook, course, monkeypatch):
    made = json.dumps(notebook()).encode()
    monkeypatch.setattr(job, "_in_a_process", lambda *given: {"not up": "It did not come up."})
    monkeypatch.setattr(job.time, "sleep", lambda seconds: None)
    with pytest.raises(CourseError, match="kept; the same command"):
        job.run(Job("k", "anna", "07_fixture.ipynb", made), Options(root=str(course)))


def test_a_grading_process_that_takes_too_long_says_so(notebook, course, monkeypatch):
    made = json.dumps(notebook()).encode()
    options = Options(total_seconds=0.05, root=str(course))
    found = job.run(Job("k", "anna", "07_fixture.ipynb", made), options)
    assert found["rows"][0]["status"] == "error" and "longer than" in found["rows"][0]["message"]


def test_a_changed_file_is_graded_again_and_a_changed_course_too(classroom, tmp_path):
    submissions = find(classroom, tmp_path / "s").submissions
    one, options = submissions[0], Options()
    before = job.key_of(one.learner, one.shown, one.digest(), options, "course")
    one.path.write_text(one.path.read_text() + " ")
    keys = {
        before,
        job.key_of(one.learner, one.shown, one.digest(), options, "course"),
        job.key_of(one.learner, one.shown, one.digest(), Options(memory_mb=2000), "course"),
        job.key_of(one.learner, one.shown, one.digest(), options, "another"),
    }
    assert len(keys) == 4
    root = tmp_path / "root"
    (root / "utils").mkdir(parents=True)
    (root / "utils" / "a.py").write_text("1")
    digest = job.course_digest(root)
    (root / "utils" / "a.py").write_text("2")
    assert job.course_digest(root) != digest


def test_a_cluster_that_is_not_there_is_told(classroom, tmp_path):
    submissions = find(classroom, tmp_path / "s").submissions
    with pytest.raises(CourseError, match="no Dask scheduler|needs Dask"):
        batch.grade_all(
            submissions, Journal(tmp_path / "j.sqlite"), Options(), scheduler="tcp://127.0.0.1:9"
        )


def test_a_dask_cluster_gives_the_same(classroom, tmp_path, course):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    options = Options(cell_seconds=5.0, memory_mb=3072, root=str(course))
    submissions = find(classroom, tmp_path / "s").submissions
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        found = batch.grade_all(
            submissions, Journal(tmp_path / "j.sqlite"), options,
            scheduler=cluster.scheduler_address,
        )  # fmt: skip
    rows = {(one["learner"], r["exercise"]): r["status"] for one in found for r in one["rows"]}
    assert rows == {key: status for key, (status, _) in EXPECTED.items()}


def test_a_file_that_is_no_journal_is_told(tmp_path):
    path = tmp_path / "x.sqlite"
    path.write_text("this is no database, and long enough to be looked at as one" * 20)
    with pytest.raises(CourseError, match="journal"):
        Journal(path)


def test_mistakes_on_the_command_line_end_in_one_line(tmp_path, capsys):
    from utils.__main__ import main

    assert main(["grade", str(tmp_path / "absent"), "--out", str(tmp_path / "r.csv")]) == 2
    assert main(["grade", str(tmp_path), "--out", str(tmp_path / "no" / "r.csv")]) == 2
    lines = capsys.readouterr().err.strip().split("\n")
    assert len(lines) == 2 and all(line.startswith("Error: ") for line in lines)
    assert places.PACKAGE_ROOT.is_dir()
