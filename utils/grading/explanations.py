"""A submitted explanation, judged as `challenge judge` does, with a sandbox around its file.

The network, the judge and every key stay outside; inside are the file and what it is sent.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from utils.challenges.submission import Ended, Started
from utils.errors import CourseError
from utils.grading.confined import Confined
from utils.grading.referee import Graded, Row
from utils.grading.sandbox import Limits, SandboxError

EXERCISE = "14.explanation"
POINTS = 20
# Labels alone are what a lookup table gives; "not recoverable" earns its points by its support.
EARNED = {
    "labels only": 0.0, "program": 0.6, "program and mechanism": 1.0,
    "not recoverable (supported)": 1.0,
}  # fmt: skip


def grade_explanation(
    file: Path,
    challenge: Path,
    *,
    limits: Limits | None = None,
    seconds: float = 60.0,
    trusted: bool = False,
) -> Graded:
    """Judge the explanation in `file` on the challenge in a folder. One row, `14.explanation`.

    seconds: for each step and batch. Raises SandboxError where there is no sandbox; a challenge
    that cannot be read is a CourseError. Whatever is wrong with the file is in the row.
    """
    from utils.challenges import seal
    from utils.challenges.judge import judge
    from utils.challenges.submission import submitted

    began = time.monotonic()
    limits = limits or Limits()
    loaded = seal.load(challenge)
    running: list[Confined] = []

    def start(path: Path, home: Path, memory_mb: int) -> Started:
        inside = path if trusted else Path("/submission.py")
        confined = Confined(
            ["-m", "utils.challenges.worker", str(inside), str(home)], limits,
            trusted=trusted, pipes=True,
            folders=None if trusted else {str(inside): path}, writable=home,
        )  # fmt: skip
        running.append(confined)
        return confined.process, confined.close  # type: ignore[return-value]

    def judged() -> Any:
        with submitted(
            file, loaded.given, seconds=seconds, memory_mb=limits.memory_mb, start=start
        ) as explanation:
            return judge(loaded, explanation)

    points, status, message, notes = 0.0, "failed", "", []
    try:
        try:
            verdict = judged()
        except Ended as ended:  # killed, and not by us: it may have been the machine
            if ended.code not in (-9, 137) or running[-1].ended_for:
                raise
            verdict = judged()
        found: Any = verdict.as_dict()
        points = EARNED.get(found["verdict"], 0.0) * POINTS
        status = "passed" if points == POINTS else "failed"
        message = f"{found['verdict']}: {' '.join(map(str, found['reasons']))}"
        notes.append(f"The verdict is {found['verdict']!r}.")
    except SandboxError:
        raise
    except CourseError as error:
        message = str(error)
        status = _status(message, running[-1].ended_for if running else None)
    seconds_taken = time.monotonic() - began
    row = Row(
        EXERCISE, status, points, POINTS, message, round(seconds_taken, 3),
        round(running[-1].peak_mb(), 1) if running else 0.0,
    )  # fmt: skip
    return Graded("14", [row], notes, seconds_taken)


def _status(message: str, ended_for: str | None) -> str:
    if ended_for == "memory" or "more memory" in message:
        return "out of memory"
    if "was stopped" in message:
        return "timeout"
    if "not its own" in message or "of no sense" in message:
        return "tampered"
    return "error"
