"""`progress.json`: one file for all lessons, beside the notebook that is running.

Every save takes a lock, reads the file again, merges and replaces it in one step, so that two
notebooks saving at once lose nothing. A damaged file is set aside and named.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from utils.lessons.places import NO_PROGRESS_VARIABLE, to_json, write_text

FILE_NAME = "progress.json"
_RANK = {"failed": 0, "partly": 1, "passed": 2}
_RECORDS = ("best", "last")
_TEXTS = ("status", "time", "question")
_NUMBERS = ("points", "max_points", "attempts", "hints", "probability", "late", "brier")
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
    if not all(_sound(entry) for entry in [*exercises.values(), *predictions.values()]):
        raise ValueError("an entry is not a record")
    return state


def _sound(record: Any) -> bool:
    """Whether every field that we know is of its kind; fields we do not know are let be."""
    if not isinstance(record, dict):
        return False
    for name, value in record.items():
        if name in _RECORDS and not _sound(value):
            return False
        if name in _TEXTS and not isinstance(value, str):
            return False
        if name in _NUMBERS and (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            return False
    return isinstance(record.get("happened", False), bool)


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

    def state(self) -> State:
        """Everything recorded, by other notebooks as well."""
        if self._keep and self.path.exists():
            self._memory = self._read()
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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
