"""One submission graded in a process of its own, so that nothing it does reaches the next one.

The process is forked from a server that has loaded torch and the course already, and is killed when
it runs over its time. What comes back is a plain dict, the same on one machine and on a cluster.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from utils.errors import CourseError
from utils.lessons.places import ROOT_VARIABLE

TRIALS = 3  # of a submission whose grading ends for a reason that need not lie in it
PRELOAD = ["torch", "transformer_lens", "utils.grading.referee", "utils.lessons.session"]


@dataclass(frozen=True)
class Job:
    """One submission as it travels to a worker: plain values only.

    hints: the bytes of the learner's progress.json, or None. seeds: the learner's, of exercises
    that differ by learner; the key they come from stays at home.
    """

    key: str
    learner: str
    shown: str
    content: bytes
    hints: bytes | None = None
    kind: str = "notebook"
    seeds: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """How to grade. cell_seconds: a cell with its check. total_seconds: a submission. memory_mb:
    its sandbox. trusted: no sandbox at all. root: another course folder than the package's own.
    challenges: folder with each learner's challenge; else explanations are for the practice one."""

    cell_seconds: float = 60.0
    total_seconds: float = 1200.0
    memory_mb: int = 6144
    trusted: bool = False
    root: str | None = None
    challenges: str | None = None


def key_of(
    learner: str,
    shown: str,
    digest: str,
    options: Options,
    course: str,
    seeds: dict[str, int] | None = None,
) -> str:
    """Under which a result is kept: whatever could change it is in here."""
    parts = json.dumps([learner, shown, digest, asdict(options), course, seeds or {}])
    return hashlib.sha256(parts.encode()).hexdigest()


def course_digest(root: Path) -> str:
    """SHA-256 over what decides a result: checks, notebooks, reference data, networks, package."""
    sha = hashlib.sha256()
    for pattern in (
        "utils/**/*.py",
        "utils/**/*.json",
        "utils/**/*.safetensors",
        "notebooks/*.ipynb",
    ):
        for path in sorted(root.glob(pattern)):
            sha.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()


def run(job: Job, options: Options) -> dict[str, Any]:
    """Grade one submission in a process of its own. Never raises for what is in it.

    A process that is killed (a machine out of memory, say) is no result: it is tried again.
    Returns {"learner", "file", "notebook", "rows": [...], "notes": [...], "answers": {exercise:
    source}, "seconds"}. Raises SandboxError where there is no sandbox and submissions are not
    trusted, CourseError where one does not come up.
    """
    began = time.monotonic()
    for trial in range(TRIALS):
        outcome = _in_a_process(job, options)
        if not ({"died", "not up"} & set(outcome)):
            break
        time.sleep(trial)  # a machine out of memory may have some again
    if "refused" in outcome:
        from utils.grading.sandbox import SandboxError

        raise SandboxError(outcome["refused"])
    if "not up" in outcome:  # the machine's fault, and nothing to hold against a learner
        raise CourseError(
            f"{job.shown} could not be graded, tried {TRIALS} times: {outcome['not up']} What was"
            " graded is kept; the same command goes on from there."
        )
    if "died" in outcome:
        outcome = {
            "problem": f"the process that graded it died {TRIALS} times (exit code"
            f" {outcome['died']}): look at this submission yourself."
        }
    if "problem" in outcome:
        outcome = _nothing(job, outcome["problem"])
    return {**outcome, "seconds": round(time.monotonic() - began, 3)}


def _in_a_process(job: Job, options: Options) -> dict[str, Any]:
    """The result; or {"problem", "refused", "not up" or "died": why}."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, job, options), daemon=False)
    try:
        with _may_have_children():
            process.start()
        theirs.close()
        if ours.poll(options.total_seconds):
            found: dict[str, Any] = ours.recv()
            return found
        return {"problem": f"it took longer than {options.total_seconds:g} seconds."}
    except (EOFError, OSError):  # killed, or the server that it is forked from was
        if process.pid is not None:
            process.join(10)
        return {"died": process.exitcode if process.pid is not None else "none"}
    finally:
        theirs.close()
        ours.close()
        with suppress(OSError, AttributeError):  # it may not even have started
            process.terminate()
            process.join(10)
            process.kill()
            process.join()


class _may_have_children:
    """A Dask worker is a daemon, which multiprocessing forbids to start processes; this one ends
    before its parent's task does."""

    def __enter__(self) -> None:
        self._config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
        self._daemon = self._config.get("daemon")
        self._config["daemon"] = False

    def __exit__(self, *_: object) -> None:
        self._config["daemon"] = self._daemon


def _end_with_parent() -> None:
    """Close the sandbox and end when told to, and when whoever waits for the result is gone.

    A run that was killed would else leave graders behind, which take the memory of the next run.
    """
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
            os._exit(1)  # it hangs where no signal reaches it

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=watch, daemon=True).start()


def _child(out: Connection, job: Job, options: Options) -> None:
    from utils.grading.referee import NotUp
    from utils.grading.sandbox import SandboxError

    _end_with_parent()
    if options.root is not None:
        os.environ[ROOT_VARIABLE] = options.root
    try:
        out.send(_graded(job, options))
    except SandboxError as error:
        out.send({"refused": str(error)})
    except NotUp as error:
        out.send({"not up": str(error)})
    except CourseError as error:
        out.send({"problem": str(error)})
    except Exception as error:
        out.send({"problem": f"grading stopped at {type(error).__name__}: {error}"})


def _graded(job: Job, options: Options) -> dict[str, Any]:
    import torch

    from utils.grading import answers, referee
    from utils.grading.sandbox import Limits
    from utils.lessons import places

    torch.set_num_threads(1)
    if job.kind == "explanation":
        return _judged(job, options)
    manifest = places.read_json(places.course_root() / places.MANIFEST, default={})["lessons"]
    name = job.shown.rsplit("/", 1)[-1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "submission.ipynb")
        path.write_bytes(job.content)
        notebook = answers.read_notebook(path)
    lesson = answers.lesson_of(notebook, name, set(manifest))
    if lesson is None:
        raise answers.SubmissionProblem("The notebook is none of the course's lessons.")
    graded = referee.grade_notebook(
        notebook, lesson, limits=Limits(memory_mb=options.memory_mb),
        cell_seconds=options.cell_seconds, trusted=options.trusted, seeds=job.seeds,
    )  # fmt: skip
    hints = _hints(job.hints)
    rows = [{**asdict(row), "hints": hints.get(row.exercise, 0)} for row in graded.rows]
    slug = sorted(Path(places.course_root(), places.NOTEBOOKS).glob(f"{lesson}_*.ipynb"))[0].stem
    return {
        "learner": job.learner, "file": job.shown, "notebook": slug, "rows": rows,
        "notes": graded.notes, "answers": graded.answers,
    }  # fmt: skip


def _judged(job: Job, options: Options) -> dict[str, Any]:
    from utils.challenges import seal
    from utils.grading.explanations import grade_explanation
    from utils.grading.sandbox import Limits

    challenge = seal.practice()[0]
    if options.challenges is not None:
        challenge = Path(options.challenges, job.learner)
        if not challenge.is_dir():
            raise CourseError(f"There is no challenge {challenge} for this learner.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "explanation.py")
        path.write_bytes(job.content)
        path.chmod(0o644)
        Path(folder).chmod(0o755)  # the sandbox is nobody, and has to read it
        graded = grade_explanation(
            path, challenge, limits=Limits(memory_mb=options.memory_mb),
            seconds=options.cell_seconds, trusted=options.trusted,
        )  # fmt: skip
    return {
        "learner": job.learner, "file": job.shown, "notebook": "14_explanation",
        "rows": [{**asdict(row), "hints": 0} for row in graded.rows], "notes": graded.notes,
        "answers": {graded.rows[0].exercise: job.content.decode("utf-8", "replace")},
    }  # fmt: skip


def _nothing(job: Job, why: str) -> dict[str, Any]:
    """A submission in which nothing could be graded: one row that says so."""
    row = {
        "exercise": "", "status": "error", "points": 0, "max_points": 0, "message": why,
        "seconds": 0.0, "peak_mb": 0.0, "hints": 0,
    }  # fmt: skip
    name = job.shown.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return {
        "learner": job.learner, "file": job.shown, "notebook": name, "rows": [row], "notes": [],
        "answers": {},
    }  # fmt: skip


def _hints(content: bytes | None) -> dict[str, int]:
    """Hints shown, by exercise, as the learner's own record claims; {} if it makes no sense."""
    try:
        exercises = json.loads((content or b"{}")[: 2**22])["exercises"]
        return {
            str(name): int(entry["hints"])
            for name, entry in exercises.items()
            if isinstance(entry.get("hints"), int) and 0 <= entry["hints"] <= 3
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
