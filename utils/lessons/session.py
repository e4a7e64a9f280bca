"""`Lab`: what a notebook talks to. `from utils.lessons import lab` and `lab = lab("02")`."""

from __future__ import annotations

import contextlib
import difflib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from utils.errors import CourseError
from utils.lessons import journey, journey_views, places, predictions, variants
from utils.lessons.checking import (
    CheckFailed,
    NotAttempted,
    clone,
    describe,
    explain,
    is_stub_error,
    own_randomness,
)
from utils.lessons.display import show, show_line, table_data
from utils.lessons.figures import show_figure
from utils.lessons.materials import Materials, check_module, make_deterministic, registered
from utils.lessons.progress import Progress
from utils.lessons.reference import read_reference, same, write_reference


@dataclass(frozen=True)
class Result:
    """What a check found: status is passed, partly, failed or not attempted."""

    exercise: str
    status: str
    points: float
    max_points: int
    message: str


class Lab:
    """One lesson's session: model, data, checks, hints, figures, predictions, progress.

    Opening it sets one thread, fixed seeds and deterministic algorithms. Raises `CourseError` for
    an unknown lesson. `card` replaces the manifest's entry (a build and the tests give it), `seeds`
    what `variants.json` says (a grader gives them).
    """

    def __init__(
        self,
        lesson: str | int,
        card: dict[str, Any] | None = None,
        seeds: dict[str, int] | None = None,
    ):
        make_deterministic()
        self.lesson = places.lesson_id(lesson)
        self._root, self._build = places.course_root(), places.build_folder()
        manifest = self._build / "manifest.json" if self._build else self._root / places.MANIFEST
        lessons = places.read_json(manifest, default={}).get("lessons", {})
        self._cards = lessons
        self._card = card or lessons.get(self.lesson)
        if self._card is None:
            known = ", ".join(sorted(lessons)) or "none (run python -m utils build)"
            raise CourseError(f"There is no lesson {lesson!r}. Lessons: {known}.")
        module = check_module(self.lesson, self._root)
        self._checks = registered(module)
        if seeds is None:  # what is built is what everybody has: no variant of anybody's
            seeds = {} if self._build else variants.read_variants(Path.cwd())
        exercises = self._card["exercises"]
        self._pristine = Materials(
            self.lesson, module, {name: seeds.get(name, 0) for name in variants.of(exercises)}
        )
        self._progress = Progress(Path.cwd(), warn=lambda text: show_line("note", text))
        self._results: dict[str, Result] = {}
        self._hints: dict[str, int] = {}
        self._recorded: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"lab({self.lesson!r})"

    @cached_property
    def model(self) -> Any:
        """The lesson's model, as a copy: what you do to it does not reach the checks."""
        return clone(self._pristine.model)

    @cached_property
    def data(self) -> Any:
        """The lesson's data, as a copy."""
        return clone(self._pristine.data)

    def variant(self, exercise: str) -> int:
        """The seed of an exercise that differs by learner; 0 where nobody gave you one."""
        self._known(exercise, self._card["exercises"], "exercise")
        return self._pristine.variant(exercise)

    def seeds(self) -> dict[str, int]:
        """The seeds of this session's exercises that are not the common ones."""
        return {
            name: seed
            for name in variants.of(self._card["exercises"])
            if (seed := self._pristine.variant(name))
        }

    def grade(self, exercise: str, answer: Any) -> Result:
        """Run the check without showing or recording anything. Never raises for an answer."""
        check = self._checks.get(self._known(exercise, self._card["exercises"], "exercise"))
        if check is None:
            raise CourseError(f"Exercise {exercise} has no check registered.")
        points = self._card["exercises"][exercise]["points"]
        if _is_blank(answer):
            return Result(exercise, "not attempted", 0, points, "")
        try:
            with own_randomness(), torch.enable_grad():
                note = check.function(answer if callable(answer) else clone(answer), self._pristine)
            return Result(exercise, "passed", points, points, note or "")
        except NotAttempted:
            return Result(exercise, "not attempted", 0, points, "")
        except CheckFailed as failure:
            status = "partly" if failure.credit else "failed"
            earned = round(failure.credit * points, 2)
            return Result(exercise, status, earned, points, str(failure))
        except CourseError as error:
            return Result(exercise, "failed", 0, points, str(error))
        except Exception as error:  # an answer of a kind the check did not think of
            if is_stub_error(error):
                return Result(exercise, "not attempted", 0, points, "")
            expected = f"expected {check.expects}; " if check.expects else ""
            message = f"got {describe(answer)}; {expected}the check stopped at {explain(error)}."
            return Result(exercise, "failed", 0, points, message)

    def check(self, exercise: str, answer: Any) -> None:
        """Check `answer`, print one line, and keep the result in `progress.json`."""
        result = self.grade(exercise, answer)
        self._results[exercise] = result
        if result.status != "not attempted":
            self._progress.record_result(exercise, result.status, result.points, result.max_points)
        if self._build:
            found = {name: [r.status, r.message] for name, r in self._results.items()}
            places.write_text(self._build / "results.json", places.to_json(found))
        score = f"{result.points:g} of {_count(result.max_points, 'point')}"
        rest = {
            "passed": f"{score}. {result.message}".strip().removesuffix(".") + ".",
            "partly": f"{score}; {result.message}",
            "failed": result.message,
            "not attempted": "",
        }[result.status]
        label = "partly right" if result.status == "partly" else result.status
        show_line(result.status, f"{exercise} {label}", rest)

    def earned(self, exercise: str, answer: Any) -> float:
        """The points of `answer`, and one line that says why. For graders such as nbgrader, which
        take a cell's value as its score; nothing is recorded."""
        with contextlib.redirect_stderr(io.StringIO()):  # nbgrader gives 0 for a word on stderr
            result = self.grade(exercise, answer)
        print(f"{exercise} {result.status}{': ' if result.message else ''}{result.message}")
        return float(result.points)

    def hint(self, exercise: str) -> None:
        """Show the next hint of an exercise; the last one again when there are no more."""
        check = self._checks[self._known(exercise, self._checks, "exercise")]
        shown = min(self._hints.get(exercise, 0) + 1, len(check.hints))
        self._hints[exercise] = shown
        self._progress.record_hint(exercise, shown)
        label = f"Hint {shown} of {len(check.hints)} for {exercise}"
        show_line("hint", label, check.hints[shown - 1])

    def use(self, exercise: str, function_or_value: Any, *args: Any, name: str = "") -> Any:
        """What later cells build on: the learner's own where it passed, else reference data.

        `function(*args)`, or the value. `name` tells several uses of one exercise apart. Reference
        data must be data: a function without arguments is refused.
        """
        self._known(exercise, self._card["exercises"], "exercise")
        own = exercise in self._results and self._results[exercise].status == "passed"
        if callable(function_or_value) and not args:
            raise CourseError(
                f"lab.use({exercise!r}, function) needs the function's arguments too: later cells "
                "can only build on data, so write lab.use(id, function, argument)."
            )
        if args and not callable(function_or_value) and own:
            raise CourseError(f"lab.use({exercise!r}, value, ...): a value takes no arguments.")
        key = f"{exercise}#{name}" if name else exercise
        if self._build:
            return self._record(key, own, function_or_value, args)
        if own:
            try:
                return function_or_value(*args) if args else function_or_value
            except Exception as error:
                print(f"{exercise} raised {explain(error)}; the reference data stand in for it.")
        else:
            print(f"{exercise} is not passed yet: the reference data stand in for it.")
        stored = read_reference(self.lesson, self._root / places.REFERENCE)
        if key not in stored:
            raise CourseError(
                f"There are no reference data for {key}: run python -m utils build {self.lesson}."
            )
        return stored[key]

    def _record(self, key: str, own: bool, function_or_value: Any, args: tuple[Any, ...]) -> Any:
        assert self._build is not None
        if not own:
            raise CourseError(f"lab.use({key!r}) comes before the exercise passed its check.")
        value = function_or_value(*args) if args else function_or_value
        if key in self._recorded and not same(self._recorded[key], value):
            raise CourseError(f"Two lab.use({key!r}) give different data: tell them apart by name=")
        self._recorded[key] = clone(value)
        write_reference(self.lesson, self._recorded, self._build / "reference")
        return value

    def predict(self, name: str, question: str, probability: Any) -> None:
        """State the probability that `question` will be answered yes, before the result."""
        self._known(name, self._card["predictions"], "prediction")
        predictions.predict(self._progress, name, question, probability)

    def outcome(self, name: str, happened: Any) -> None:
        """Say whether it happened; scores the prediction by its squared error (Brier)."""
        self._known(name, self._card["predictions"], "prediction")
        predictions.outcome(self._progress, name, happened)

    def figure(self, figure: Any, *, alt: str, table: Any, **options: Any) -> None:
        """Show a figure with its text alternative and its table; see `figures.show_figure`."""
        show_figure(figure, alt, table, **options)

    def instrument(self, name: str, *, mine: Any = None) -> None:
        """Show an instrument: "grid", "scrub" or "paint". It runs in the browser, without a kernel.

        mine: for the grid explorer, your own labels as one more layer: a function of `a` and `b`,
        whole numbers [12769] each, that gives 0 or 1 for each pair, or a grid [113, 113] of them.
        """
        from utils.instruments import instrument
        from utils.lessons.instruments import show_instrument

        show_instrument(instrument(name, mine=mine))

    def progress(self, all_lessons: bool = False) -> None:
        """Show the lesson's exercises with status, points and hints used.

        all_lessons: the whole course instead, a row a lesson, and what comes next.
        """
        if all_lessons:
            found = journey.journey(self._progress.state(), self._cards)
            show(table_data(journey_views.table(found), 0, "The whole course", folded=False))
            for line in journey_views.closing(found):
                show_line("note", line.removesuffix("."))
            return
        rows, total = [], 0.0
        for name, card in self._card["exercises"].items():
            entry = self._progress.exercise(name)
            best = entry.get("best", {})
            total += best.get("points", 0)
            rows.append(
                {
                    "exercise": name,
                    "title": card["title"],
                    "status": best.get("status", "not attempted"),
                    "points": f"{best.get('points', 0):g} of {card['points']}",
                    "hints": entry.get("hints", 0),
                }
            )
        most = sum(card["points"] for card in self._card["exercises"].values())
        caption = f"Lesson {self.lesson}: {total:g} of {_count(most, 'point')}"
        if rows:
            show(table_data(rows, 0, caption, folded=False))
        else:
            show_line("note", caption)

    def _known(self, name: str, known: Iterable[str], kind: str) -> str:
        names = list(known)
        if name in names:
            return name
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5) or names
        listed = ", ".join(near) or "none"
        raise CourseError(f"Lesson {self.lesson} has no {kind} {name!r}. Nearest: {listed}.")


def _is_blank(answer: Any) -> bool:
    """`...`, None, or a container in which a `...` still stands."""
    if answer is None or answer is ...:
        return True
    if isinstance(answer, dict):
        answer = list(answer.values())
    return isinstance(answer, list | tuple) and any(item is ... for item in answer)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
