"""Grading a class: what a sandbox costs, what workers gain, nbgrader on the same notebooks.

The class hands in lesson 00: a third solved, a third untouched, a third half done. The peer of a
submission is its own notebook run plainly, in a kernel without sandbox or grader. The last rows
look at what a cohort of 100,000 on 100 workers would ask of the scheduler and of the journal.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LESSON = "00"
COHORT, WORKERS = 100_000, 100


def rows(quick: bool = False, learners: int | None = None) -> list[dict[str, Any]]:
    """A row a comparison. Needs a sandbox; nbgrader's row needs nbgrader.

    learners: size of the class; 30 take a quarter of an hour, 200 more than an hour. quick: one
    submission beside its plain run, and the cohort.
    """
    from utils.grading import batch
    from utils.grading.job import Options
    from utils.grading.journal import Journal
    from utils.grading.submissions import find

    learners = learners or (1 if quick else 30)
    few = min(learners, 6)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _class(folder / "in", learners)
        submissions = find(folder / "in", folder / "scratch").submissions

        def graded(which: list[Any], **how: Any) -> tuple[float, list[dict[str, Any]]]:
            began = time.perf_counter()
            journal = Journal(folder / f"{time.monotonic_ns()}.sqlite")
            result = batch.grade_all(which, journal, Options(), **how)
            return time.perf_counter() - began, result

        graded(submissions[:1])  # the server that loads torch starts once, not once a submission
        own = statistics.mean(_plain_run(one.path) for one in submissions[:few])
        alone = graded(submissions[:few])[0] / few
        found.append(_row("a submission, beside its own plain run", alone, own, "s", few))
        if quick:
            return found + _scheduler(100, alone)
        one, results = graded(submissions)
        wrong = sum(_unlike(result) for result in results)
        found.append(
            {**_row("the class with 1 worker", one, None, "s", learners), "wrong_statuses": wrong}
        )
        two = graded(submissions, workers=2)[0]
        found.append(_row("2 workers, beside 1", two, one, "s", learners))
        found.append(_row("Dask, 2 processes, beside 1 worker", _dask(graded, submissions), one,
                          "s", learners))  # fmt: skip
        found += _nbgrader(submissions[:few], results, folder, alone)
    return found + _scheduler(2000, alone)


def _row(what: str, ours: float, peer: float | None, unit: str, n: int) -> dict[str, Any]:
    return {
        "what": what, "ours": ours, "peer": peer, "unit": unit, "n": n,
        "ratio": None if peer is None else peer / ours, "max_abs_diff": None,
    }  # fmt: skip


def table(found: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | n | ours | peer | peer / ours |", "|---|--:|--:|--:|--:|"]
    for row in found:
        peer = "" if row["peer"] is None else f"{row['peer']:.3g} {row['unit']}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        more = "".join(
            f"; {key.replace('_', ' ')}: {row[key]}"
            for key in ("wrong_statuses", "same_points", "note")
            if key in row
        )
        lines.append(
            f"| {row['what']}{more} | {row['n']} | {row['ours']:.3g} {row['unit']} | {peer} "
            f"| {ratio} |"
        )
    return "\n".join(lines)


# --- the class --------------------------------------------------------------------------------


def _class(folder: Path, learners: int) -> None:
    from utils.lessons import places
    from utils.lessons.source import read_lesson, sources

    lesson = read_lesson(sources(places.course_root())[LESSON])
    path = places.course_root() / places.NOTEBOOKS / f"{lesson.slug}.ipynb"
    solved = {cell.exercise: cell.solved for cell in lesson.cells if cell.exercise}
    for number in range(learners):
        made = json.loads(path.read_text(encoding="utf-8"))
        kept = _answered(number, list(solved))
        for cell in made["cells"]:
            exercise = cell["metadata"].get("exercise")
            if exercise in kept:
                cell["source"] = solved[exercise]
        place = folder / f"learner-{number:04d}" / path.name
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(made), encoding="utf-8")


def _answered(number: int, exercises: list[str]) -> list[str]:
    return [exercises, [], exercises[::2]][number % 3]


def _unlike(result: dict[str, Any]) -> int:
    """How many exercises of a submission got another status than they deserve."""
    exercises = [row["exercise"] for row in result["rows"]]
    kept = _answered(int(result["learner"].rsplit("-", 1)[1]), exercises)
    return sum(
        row["status"] != ("passed" if row["exercise"] in kept else "not attempted")
        for row in result["rows"]
    )


def _plain_run(path: Path) -> float:
    """Seconds of the notebook in a kernel of its own, with the lab that a learner has."""
    import nbformat
    from nbclient import NotebookClient

    began = time.perf_counter()
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook, timeout=300, allow_errors=True, resources={"metadata": {"path": folder}}
        ).execute()
    return time.perf_counter() - began


def _dask(graded: Any, submissions: list[Any]) -> float:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        graded(submissions[:2], scheduler=cluster.scheduler_address)  # loads torch there
        return graded(submissions, scheduler=cluster.scheduler_address)[0]


# --- nbgrader ---------------------------------------------------------------------------------


def _nbgrader(
    submissions: list[Any], results: list[dict[str, Any]], folder: Path, ours: float
) -> list[dict[str, Any]]:
    try:
        from nbgrader.api import Gradebook
    except ImportError:
        return []
    from utils.grading.nbgrader import write_course

    course, name = folder / "course", f"lesson_{LESSON}"
    write_course(course, [LESSON])
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def call(*arguments: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "nbgrader", *arguments], cwd=course, check=True,
            capture_output=True,
        )  # fmt: skip

    call("generate_assignment", name)
    released = next((course / "release" / name).glob("*.ipynb"))
    for one in submissions:
        theirs = json.loads(one.path.read_text(encoding="utf-8"))
        answers = {c["metadata"].get("exercise"): c["source"] for c in theirs["cells"]}
        made = json.loads(released.read_text(encoding="utf-8"))
        for cell in made["cells"]:
            exercise = cell["metadata"].get("exercise")
            if exercise:
                cell["source"] = answers[exercise]
        place = course / "submitted" / one.learner / name / released.name
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(made), encoding="utf-8")
    began = time.perf_counter()
    call("autograde", name, "--create")
    each = (time.perf_counter() - began) / len(submissions)
    points = {(r["learner"], row["exercise"]): row["points"] for r in results for row in r["rows"]}
    same = total = 0
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        for submission in book.assignment_submissions(name):
            for notebook in submission.notebooks:
                for grade in notebook.grades:
                    exercise = grade.name.removeprefix("points-").replace("-", ".")
                    total += 1
                    same += grade.score == points[submission.student.id, exercise]
    row = _row("a submission, beside nbgrader autograde", ours, each, "s", len(submissions))
    return [{**row, "same_points": f"{same} of {total}"}]


# --- a cohort ---------------------------------------------------------------------------------


def _scheduler(tasks: int, seconds: float) -> list[dict[str, Any]]:
    """Submissions that cost nothing, through the same pool and journal: how many a second."""
    from distributed import LocalCluster

    from utils.grading import batch
    from utils.grading.job import Options
    from utils.grading.journal import Journal
    from utils.grading.submissions import Submission

    needed = WORKERS / seconds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _class(folder / "in", 1)
        path = next((folder / "in").rglob("*.ipynb"))
        waiting = [(f"{n}", Submission("a", path, f"{n}", "notebook")) for n in range(tasks)]
        with LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster:
            began = time.perf_counter()
            arriving = batch._on_cluster(
                waiting, Options(), {"a": {}}, cluster.scheduler_address, _nothing
            )
            results = list(arriving)
            a_second = len(results) / (time.perf_counter() - began)
        journal, began = Journal(folder / "j.sqlite"), time.perf_counter()
        for key, one, result in results:
            journal.put(key, one.learner, one.shown, result)
        kept = len(journal) / (time.perf_counter() - began)
        journal.close()
    about = f"{WORKERS} workers ask for {needed:.0f} a second; {COHORT:,} last " + (
        f"{COHORT / needed / 3600:.1f} h"
    )
    return [
        {**_row("scheduler: empty submissions", a_second, needed, "/s", tasks), "note": about},
        _row("journal: rows kept", kept, needed, "/s", tasks),
    ]


def _nothing(job: Any, options: Any) -> dict[str, Any]:
    """A submission that is graded in no time, with a result of the usual size."""
    row = {
        "exercise": "0.1", "status": "failed", "points": 0, "max_points": 4, "seconds": 1.0,
        "message": "x" * 200, "peak_mb": 500.0, "hints": 0,
    }  # fmt: skip
    return {
        "learner": job.learner, "file": job.shown, "notebook": "00", "rows": [row] * 6,
        "notes": [], "answers": {"0.1": "x" * 1000}, "seconds": 1.0,
    }  # fmt: skip
