"""A learner's way through all lessons, from `progress.json` and the manifest; nothing is written.

`utils.lessons.journey_views` shows it: in a terminal, in a notebook, on paper.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from utils.errors import CourseError
from utils.lessons import places
from utils.lessons.progress import FILE_NAME, State, read_progress


@dataclass(frozen=True)
class Exercise:
    """An exercise that was tried: its best result, and when that came about (None: unknown)."""

    lesson: str
    name: str
    title: str
    status: str
    points: float
    max_points: int
    attempts: int
    hints: int
    solved: datetime | None
    touched: datetime | None


@dataclass(frozen=True)
class Prediction:
    """A probability stated before a result; brier is None where nothing was scored."""

    lesson: str
    name: str
    question: str
    probability: float | None
    happened: bool | None
    brier: float | None


@dataclass(frozen=True)
class Lesson:
    """A lesson as far as it was done; `touched` is None where it was not begun."""

    name: str
    title: str
    exercises: int
    tried: int
    passed: int
    points: float
    max_points: int
    hints: int
    touched: datetime | None

    def as_dict(self) -> dict[str, Any]:
        return {
            "lesson": self.name,
            "title": self.title,
            "passed": self.passed,
            "tried": self.tried,
            "exercises": self.exercises,
            "points": self.points,
            "max_points": self.max_points,
            "hints": self.hints,
            "last": _text(self.touched),
        }


@dataclass(frozen=True)
class Suggestion:
    """What to do next, and why that."""

    lesson: str
    exercise: str
    title: str
    why: str

    def __str__(self) -> str:
        return f"exercise {self.exercise}, {self.title} (lesson {self.lesson}): {self.why}"


@dataclass(frozen=True)
class Journey:
    """All lessons of the course, what was tried of them in order of time, and what comes next.

    next is None when every exercise is passed.
    """

    lessons: tuple[Lesson, ...]
    exercises: tuple[Exercise, ...]
    predictions: tuple[Prediction, ...]
    next: Suggestion | None

    @property
    def points(self) -> float:
        return round(sum(one.points for one in self.lessons), 2)

    @property
    def max_points(self) -> int:
        return sum(one.max_points for one in self.lessons)

    @property
    def passed(self) -> int:
        return sum(one.passed for one in self.lessons)

    @property
    def hints(self) -> int:
        return sum(one.hints for one in self.lessons)

    @property
    def touched(self) -> datetime | None:
        """When a result was last recorded."""
        return max((one.touched for one in self.exercises if one.touched), default=None)

    @property
    def brier(self) -> float | None:
        """The mean Brier score (Brier 1950) of the predictions that were scored."""
        scored = [one.brier for one in self.predictions if one.brier is not None]
        return sum(scored) / len(scored) if scored else None

    def as_dict(self) -> dict[str, Any]:
        """The JSON of `python -m utils progress`; times are ISO 8601 in UTC."""
        return {
            "points": self.points,
            "max_points": self.max_points,
            "passed": self.passed,
            "hints": self.hints,
            "last": _text(self.touched),
            "brier": None if self.brier is None else round(self.brier, 4),
            "next": None if self.next is None else dict(vars(self.next)),
            "rows": [one.as_dict() for one in self.lessons],
            "exercises": [
                {
                    **{key: value for key, value in vars(one).items() if key != "touched"},
                    "solved": _text(one.solved),
                    "last": _text(one.touched),
                }
                for one in self.exercises
            ],
            "predictions": [dict(vars(one)) for one in self.predictions],
        }


def read(folder: Path, root: Path | None = None) -> Journey:
    """The journey recorded in `folder/progress.json`; an empty one where there is no file.

    Raises CourseError for a missing folder and for a file that is damaged or cannot be read; the
    file is left as it is.
    """
    path = Path(folder) / FILE_NAME
    if not path.parent.is_dir():
        raise CourseError(f"There is no folder {path.parent}: name the one with your notebooks.")
    try:
        state = read_progress(path)
    except ValueError as error:
        raise CourseError(
            f"{path} is damaged and was left as it is; the next check in a notebook sets it aside"
            " under a name of its own and begins a new one."
        ) from error
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}).") from error
    manifest = places.read_json((root or places.course_root()) / places.MANIFEST, default={})
    return journey(state, manifest.get("lessons", {}))


def journey(state: State, cards: dict[str, Any]) -> Journey:
    """The journey in `state` through the lessons `cards` of the manifest; what `state` holds of
    exercises that are no longer there is left out."""
    lessons, done, foretold = [], [], []
    for name, card in sorted(cards.items()):
        own = [
            _exercise(name, exercise, its, state["exercises"][exercise])
            for exercise, its in card["exercises"].items()
            if exercise in state["exercises"]
        ]
        done += own
        lessons.append(
            Lesson(
                name,
                card["title"],
                len(card["exercises"]),
                sum(one.attempts > 0 for one in own),
                sum(one.status == "passed" for one in own),
                round(sum(one.points for one in own), 2),
                card["points"],
                sum(one.hints for one in own),
                max((one.touched for one in own if one.touched), default=None),
            )
        )
        foretold += [
            _prediction(name, one, state["predictions"][one])
            for one in card.get("predictions", [])
            if one in state["predictions"]
        ]
    begin = datetime.min.replace(tzinfo=UTC)
    done.sort(key=lambda one: one.solved or one.touched or begin)
    return Journey(tuple(lessons), tuple(done), tuple(foretold), _suggestion(cards, done))


def _exercise(lesson: str, name: str, card: dict[str, Any], entry: dict[str, Any]) -> Exercise:
    best, last = entry.get("best", {}), entry.get("last", {})
    return Exercise(
        lesson,
        name,
        card["title"],
        best.get("status", "not attempted"),
        best.get("points", 0),
        card["points"],
        entry.get("attempts", 0),
        entry.get("hints", 0),
        _moment(best.get("time")),
        _moment(last.get("time")),
    )


def _prediction(lesson: str, name: str, entry: dict[str, Any]) -> Prediction:
    return Prediction(
        lesson,
        name,
        entry.get("question", ""),
        entry.get("probability"),
        entry.get("happened"),
        entry.get("brier"),
    )


def _suggestion(cards: dict[str, Any], done: Iterable[Exercise]) -> Suggestion | None:
    """The lesson in hand first: what is untried in it, then what is not passed; then the first
    lesson with something untried, and whatever else is left."""
    known = {one.name: one for one in done}
    begun = [one for one in known.values() if one.touched]
    order = sorted(cards)
    if begun:
        hand = max(begun, key=lambda one: one.touched).lesson  # type: ignore[arg-type,return-value]
        order = [hand, *order]
    passed = {name for name, one in known.items() if one.status == "passed"}
    tried = {name for name, one in known.items() if one.attempts}

    def first(lessons: list[str], left_out: set[str], why: str) -> Suggestion | None:
        for lesson in lessons:
            for name, card in cards[lesson]["exercises"].items():
                if name not in left_out:
                    return Suggestion(lesson, name, card["title"], why)
        return None

    return (
        (first(order[:1], tried, "not tried yet") if begun else None)
        or (first(order[:1], passed, "tried, not passed yet") if begun else None)
        or first(order, tried, "not tried yet")
        or first(order, passed, "tried, not passed yet")
    )


def _moment(text: Any) -> datetime | None:
    """The time written in `text`; None where that is no time."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")
