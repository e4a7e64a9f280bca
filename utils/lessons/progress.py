"""`progress.json`: one file for all lessons, beside the notebook that is running.

Every save takes a lock, reads the file again, merges and replaces it in one step, so that two
notebooks saving at once lose nothing. A damaged file is set aside and named.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from utils.errors import CourseError
from utils.lessons import places
from utils.lessons.places import NO_PROGRESS_VARIABLE, to_json, write_text

FILE_NAME = "progress.json"
_RANK = {"failed": 0, "partly": 1, "passed": 2}
State = dict[str, Any]


def empty() -> State:
    return {"version": 1, "exercises": {}, "predictions": {}}


def read_progress(path: Path) -> State:
    """The state in `path`; empty when there is none. Raises ValueError for a damaged file."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return empty()
    exercises = state.get("exercises") if isinstance(state, dict) else None
    predictions = state.get("predictions") if isinstance(state, dict) else None
    if not isinstance(exercises, dict) or not isinstance(predictions, dict):
        raise ValueError("not a progress file")
    if not all(isinstance(entry, dict) for entry in [*exercises.values(), *predictions.values()]):
        raise ValueError("an entry is not a record")
    return state


class Progress:
    """The learner's record. `warn` prints one line to the learner.

    Where no file can be kept (a read-only folder, or `COURSE_NO_PROGRESS` set) the record lives in
    memory for the session.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = print):
        self.path = Path(folder) / FILE_NAME
        self._warn = warn
        self._memory = empty()
        self._keep = not os.environ.get(NO_PROGRESS_VARIABLE)
        if self._keep and self.path.exists():
            self._memory = self._read()

    @property
    def state(self) -> State:
        """Everything recorded, as of the last read or save."""
        return self._memory

    def exercise(self, name: str) -> dict[str, Any]:
        return self._memory["exercises"].get(name, {})

    def prediction(self, name: str) -> dict[str, Any]:
        return self._memory["predictions"].get(name, {})

    def record_result(self, name: str, status: str, points: float, max_points: int) -> None:
        """Keep the last result and the best one: a pass is never overwritten by a later fail."""
        result = {"status": status, "points": points, "max_points": max_points, "time": _now()}

        def merge(state: State) -> None:
            entry = state["exercises"].setdefault(name, {})
            best = entry.get("best")
            entry["last"] = result
            entry["attempts"] = entry.get("attempts", 0) + 1
            if best is None or (points, _RANK[status]) > (
                best.get("points", 0),
                _RANK.get(best.get("status"), 0),
            ):
                entry["best"] = result

        self._save(merge)

    def record_hint(self, name: str, shown: int) -> None:
        """Keep the largest number of hints that were shown of an exercise."""

        def merge(state: State) -> None:
            entry = state["exercises"].setdefault(name, {})
            entry["hints"] = max(entry.get("hints", 0), shown)

        self._save(merge)

    def record_prediction(self, name: str, changes: dict[str, Any]) -> None:
        """Set fields of a prediction's record."""
        stamped = {**changes, "time": _now()}
        self._save(lambda state: state["predictions"].setdefault(name, {}).update(stamped))

    def _save(self, merge: Callable[[State], None]) -> None:
        if not self._keep:
            merge(self._memory)
            return
        try:
            with FileLock(str(self.path) + ".lock", timeout=10):
                state = self._read_locked()
                merge(state)
                write_text(self.path, to_json(state))
                self._memory = state
        except (OSError, Timeout) as error:
            self._keep = False
            merge(self._memory)
            reason = getattr(error, "strerror", None) or "the file stays locked"
            self._warn(f"Progress is not being saved ({reason}: {self.path.parent}); go on.")

    def _read(self) -> State:
        try:
            with FileLock(str(self.path) + ".lock", timeout=10):
                return self._read_locked()
        except (OSError, Timeout):  # a read-only folder: no lock can be made, reading may do
            try:
                return read_progress(self.path)
            except (OSError, ValueError):
                return empty()

    def _read_locked(self) -> State:
        try:
            return read_progress(self.path)
        except ValueError:  # JSON and UTF-8 errors are ValueErrors too
            aside = self._aside()
            os.replace(self.path, aside)
            self._warn(f"{FILE_NAME} was damaged: kept as {aside.name}, a new one begins.")
            return empty()

    def _aside(self) -> Path:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        names = (f"progress.damaged-{stamp}{f'-{n}' if n else ''}.json" for n in range(1000))
        return next(p for name in names if not (p := self.path.with_name(name)).exists())


def overview(folder: Path, root: Path | None = None) -> list[dict[str, Any]]:
    """What `folder/progress.json` holds of each lesson that was begun, one row a lesson.

    Keys: lesson, title, passed, exercises, points, max_points, hints. Raises `CourseError` for a
    missing folder and for a damaged file, which it leaves alone.
    """
    path = Path(folder) / FILE_NAME
    if not path.parent.is_dir():
        raise CourseError(f"There is no folder {path.parent}: name the one with your notebooks.")
    try:
        begun = read_progress(path)["exercises"]
    except ValueError as error:
        raise CourseError(
            f"{path} is damaged; the next check in a notebook sets it aside and begins a new one."
        ) from error
    manifest = places.read_json((root or places.course_root()) / places.MANIFEST, default={})
    rows = []
    for lesson, card in sorted(manifest.get("lessons", {}).items()):
        entries = [begun[name] for name in card["exercises"] if name in begun]
        best = [entry.get("best", {}) for entry in entries]
        if entries:
            rows.append(
                {
                    "lesson": lesson,
                    "title": card["title"],
                    "passed": sum(result.get("status") == "passed" for result in best),
                    "exercises": len(card["exercises"]),
                    "points": sum(result.get("points", 0) for result in best),
                    "max_points": card["points"],
                    "hints": sum(entry.get("hints", 0) for entry in entries),
                }
            )
    return rows


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
