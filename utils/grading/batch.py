"""Many submissions: N at once here, or on a Dask cluster, each result kept as it arrives.

The journal decides what is left to do. So an interrupted run, a killed worker or a lost scheduler
costs the submissions that were under way, and the same command again does those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

from utils.errors import CourseError
from utils.grading import job as jobs
from utils.grading.job import Job, Options
from utils.grading.journal import Journal
from utils.grading.submissions import Submission
from utils.lessons import places, variants
from utils.lessons.manifest import read_manifest

Progress = Callable[[int, int, dict[str, Any]], None]  # done, in all, the latest result


class Interrupted(CourseError):
    """The run was stopped; what was graded is kept."""


def grade_all(
    submissions: Sequence[Submission],
    journal: Journal,
    options: Options,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    course_key: bytes | None = None,
    progress: Progress = lambda done, total, result: None,
) -> list[dict[str, Any]]:
    """The results of all submissions, in their order; those in the journal are not graded again.

    scheduler: address of a Dask cluster whose workers have the course installed; then `workers`
    does not count. course_key: what the learners' variants were released with; none: everybody has
    the common variant. Raises Interrupted on Ctrl-C or when the cluster is lost.
    """
    course = jobs.course_digest(places.course_root())
    seeds = _seeds(submissions, course_key)
    keys = [
        jobs.key_of(s.learner, s.shown, s.digest(), options, course, seeds[s.learner])
        for s in submissions
    ]
    known = [journal.get(key) for key in keys]
    waiting = [
        (key, submission)
        for key, submission, result in zip(keys, submissions, known, strict=True)
        if result is None
    ]
    done, total = len(submissions) - len(waiting), len(submissions)
    arriving = (
        _on_cluster(waiting, options, seeds, scheduler)
        if scheduler
        else _here(waiting, options, seeds, max(1, workers))
    )
    try:
        for key, submission, result in arriving:
            journal.put(key, submission.learner, submission.shown, result)
            done += 1
            progress(done, total, result)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped: {done} of {total} are graded and kept in {journal.path}. The same command"
            " goes on from there."
        ) from None
    results = [journal.get(key) for key in keys]
    return [result for result in results if result is not None]


Seeds = dict[str, dict[str, int]]  # by learner


def _seeds(submissions: Sequence[Submission], course_key: bytes | None) -> Seeds:
    learners = {submission.learner for submission in submissions}
    if course_key is None:
        return {learner: {} for learner in learners}
    exercises = variants.marked(read_manifest())
    return {one: variants.seeds_of(course_key, one, exercises) for one in learners}


def _job(key: str, submission: Submission, seeds: Seeds) -> Job:
    from utils.grading.answers import LARGEST

    hints = submission.hints_file()
    with open(submission.path, "rb") as file:
        content = file.read(LARGEST + 1)  # a longer one is refused by its size alone
    return Job(
        key, submission.learner, submission.shown, content,
        None if hints is None else hints.read_bytes()[: 2**22], submission.kind,
        seeds[submission.learner],
    )  # fmt: skip


Arrived = tuple[str, Submission, dict[str, Any]]


def _here(
    waiting: list[tuple[str, Submission]], options: Options, seeds: Seeds, workers: int
) -> Iterator[Arrived]:
    """Threads that each look after one grading process at a time."""
    pool = ThreadPoolExecutor(workers)
    running: dict[Future[dict[str, Any]], tuple[str, Submission]] = {}
    left = iter(waiting)
    try:
        while True:
            while len(running) < workers and (one := next(left, None)) is not None:
                running[pool.submit(jobs.run, _job(*one, seeds), options)] = one
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                key, submission = running.pop(future)
                yield key, submission, future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _on_cluster(
    waiting: list[tuple[str, Submission]],
    options: Options,
    seeds: Seeds,
    scheduler: str,
    run: Callable[[Job, Options], dict[str, Any]] = jobs.run,
) -> Iterator[Arrived]:
    """Tasks of an existing Dask cluster, a few ahead of its workers so that none waits."""
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise CourseError(
            "A cluster needs Dask: `python -m pip install distributed`, here and on its workers."
        ) from None
    try:
        client = Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise CourseError(f"There is no Dask scheduler at {scheduler} ({error}).") from None
    with client, client.as_current():
        left = iter(waiting)
        of: dict[str, tuple[str, Submission]] = {}
        ahead = max(4, 2 * sum(client.nthreads().values()))

        def submit(one: tuple[str, Submission]) -> Any:
            of[one[0]] = one
            return client.submit(
                run, _job(*one, seeds), options, key=f"grade-{one[0]}", pure=False, retries=2
            )

        pool = as_completed([submit(one) for one in islice(left, ahead)])
        for future in pool:
            one = of.pop(future.key.removeprefix("grade-"))
            if future.status != "finished":
                raise CourseError(f"The cluster lost {one[1].shown}: {future.exception()}")
            yield *one, future.result()
            if (more := next(left, None)) is not None:
                pool.add(submit(more))


def newest(submissions: Sequence[Submission]) -> tuple[list[Submission], list[str]]:
    """One file of each learner and name: the one changed last; and a sentence for each other."""
    kept: dict[tuple[str, str], Submission] = {}
    notes = []
    for one in sorted(submissions, key=lambda s: (_changed(s.path), s.shown)):
        place = (one.learner, Path(one.shown).name)
        if place in kept:
            notes.append(f"{kept[place].shown}: {one.shown} of the same learner is newer.")
        kept[place] = one
    return sorted(kept.values(), key=lambda s: (s.learner, s.shown)), notes


def _changed(path: Path) -> float:
    return path.stat().st_mtime
