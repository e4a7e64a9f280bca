"""How a lesson's checks are tested: on the solution, on the stub, and on wrong answers.

A lesson's `test_checks_NN.py` lists plausible wrong answers and subclasses `CheckSuite`; the rest
is here. The solutions are taken from the source itself: its cells run once, with a lab that keeps
every answer it is asked to check.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch

import utils.lessons
from tests.lessons.slicing import needed
from utils.grading.codec import decode, encode
from utils.lessons import places
from utils.lessons.manifest import card_of
from utils.lessons.session import Lab, Result
from utils.lessons.source import read_lesson, sources


@dataclass(frozen=True)
class factory:
    """A wrong answer made when needed: `factory(lambda: ...)` or `factory(lambda lab: ...)`."""

    make: Callable[..., Any]

    def answer(self, lab: Lab) -> Any:
        return self.make(lab) if inspect.signature(self.make).parameters else self.make()


class CapturingLab(Lab):
    """Keeps the answers it is asked to check; draws no figure, and hands every value through."""

    answers: dict[str, Any]

    def check(self, exercise: str, answer: Any) -> None:
        self.answers[exercise] = answer

    def use(self, exercise: str, function_or_value: Any, *args: Any, name: str = "") -> Any:
        return function_or_value(*args) if args else function_or_value

    def figure(self, figure: Any, **options: Any) -> None:
        import matplotlib.pyplot as plt

        plt.close("all")


@dataclass(frozen=True)
class Solved:
    """A lesson's lab, and the solved answers by exercise."""

    lab: Lab
    answers: dict[str, Any]


@functools.cache
def exercises(name: str, root: Path) -> list[str]:
    """The exercises of lesson `name`; asked once for each test of its checks."""
    return list(read_lesson(sources(root)[name]).exercises)


@functools.cache
def solved(name: str, root: Path = places.PACKAGE_ROOT) -> Solved:
    """Run what the answers of lesson `name` hang on, up to its last check. Once a process."""
    lesson = read_lesson(sources(root)[name])
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setenv(places.ROOT_VARIABLE, str(root))
        patch.setenv(places.NO_PROGRESS_VARIABLE, "1")
        patch.chdir(root / places.SOLUTIONS)
        lab = CapturingLab(name, card=card_of(lesson))
        lab.answers = {}
        patch.setattr(utils.lessons, "lab", lambda lesson: lab)
        namespace: dict[str, Any] = {"__name__": "__main__"}
        for number, statements in needed(lesson):
            place = f"{lesson.path.name}, cell {number}"
            exec(compile(statements, place, "exec"), namespace)
    return Solved(lab, lab.answers)


def _stub(*args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError("exercise")


def _raises(*args: Any, **kwargs: Any) -> Any:
    raise ValueError("on purpose")


def _endless(*args: Any, **kwargs: Any) -> Any:
    return _endless(*args, **kwargs)


def spoiled(value: Any, how: str) -> Any:
    """A right answer made wrong in its shape, its type or by NaN, inside containers too."""
    if isinstance(value, dict):
        return {key: spoiled(item, how) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(spoiled(item, how) for item in value)
    if isinstance(value, torch.Tensor | np.ndarray):
        tensor = torch.as_tensor(value)
        if how == "shape":
            return tensor[None, ..., None].expand(2, *tensor.shape, 3)
        return tensor.to(torch.complex64) if how == "dtype" else tensor.float() * float("nan")
    if isinstance(value, bool | int | float | np.number):
        if how == "shape":
            return torch.full((2, 3), float(value))
        return complex(value, 1) if how == "dtype" else float("nan")
    return {"shape": [value], "dtype": b"bytes", "nan": float("nan")}[how]


FUNCTION_FAULTS = ["shape", "dtype", "nan", "a string", "raises", "never ends", "no function"]
VALUE_FAULTS = ["shape", "dtype", "nan", "a string", "an object", "an empty list"]


def faulty(answer: Any, fault: str) -> Any:
    """The solution `answer` with a fault that no check may pass or choke on."""
    fixed = {
        "a string": "abc",
        "raises": _raises,
        "never ends": _endless,
        "no function": 3,
        "an object": object(),
        "an empty list": [],
    }
    if not callable(answer):
        return fixed[fault] if fault in fixed else spoiled(answer, fault)
    if fault == "a string":
        return lambda *args, **kwargs: "abc"
    if fault in fixed:
        return fixed[fault]
    return lambda *args, **kwargs: spoiled(answer(*args, **kwargs), fault)


def assert_failed(result: Result, allow_part: bool = False) -> None:
    """The answer earned less than the points, and the message says something."""
    allowed = {"failed", "partly"} if allow_part else {"failed"}
    assert result.status in allowed, f"{result.exercise} said {result.status}: {result.message}"
    assert len(result.message) > 15, f"{result.exercise} fails without saying why"
    assert result.points < result.max_points


class Elsewhere:
    """A learner's function as a grader's check sees it: what goes in is pickled, what comes out is
    data that may cross the channel, and nothing else."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = cloudpickle.loads(cloudpickle.dumps((args, kwargs)))
        return through_channel(self.function(*args, **kwargs))

    def __deepcopy__(self, memo: dict[int, Any]) -> Elsewhere:
        return self

    def __reduce__(self) -> Any:
        _elsewhere[id(self)] = self
        return _elsewhere.__getitem__, (id(self),)


_elsewhere: dict[int, Elsewhere] = {}


def through_channel(answer: Any) -> Any:
    """An answer as it reaches a check that runs outside the learner's process."""
    functions: list[Any] = []

    def keep(function: Any) -> int:
        functions.append(function)
        return len(functions) - 1

    tree, blob = encode(answer, keep)
    return decode(
        json.loads(json.dumps(tree)), blob, lambda number, name: Elsewhere(functions[number])
    )


class CheckSuite:
    """Subclass it as `TestChecksNN` with `lesson`, `wrong` and, with a reason each, `no_fault`.

    `wrong` maps an exercise to three or more wrong answers; `no_fault` maps (exercise, fault) to
    why that general fault is no fault there.
    """

    lesson: str
    wrong: dict[str, list[Any]]
    no_fault: dict[tuple[str, str], str] = {}
    root: Path = places.PACKAGE_ROOT

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        names = exercises(self.lesson, self.root)
        if "number" in metafunc.fixturenames:
            cases = [(name, n) for name in names for n in range(len(self.wrong.get(name, [])))]
            metafunc.parametrize("exercise, number", cases, ids=[f"{e}-{n}" for e, n in cases])
        elif "fault" in metafunc.fixturenames:
            faults = list(dict.fromkeys(FUNCTION_FAULTS + VALUE_FAULTS))
            cases = [(name, f) for name in names for f in faults]
            metafunc.parametrize("exercise, fault", cases, ids=[f"{e}-{f}" for e, f in cases])
        elif "exercise" in metafunc.fixturenames:
            metafunc.parametrize("exercise", names)

    def grade(self, exercise: str, answer: Any) -> Result:
        with contextlib.redirect_stdout(io.StringIO()):
            return solved(self.lesson, self.root).lab.grade(exercise, answer)

    def test_the_solution_passes(self, exercise: str) -> None:
        result = self.grade(exercise, solved(self.lesson, self.root).answers[exercise])
        assert result.status == "passed", result.message
        assert result.points == result.max_points

    def test_the_solution_passes_from_another_process(self, exercise: str) -> None:
        """As `grade` runs it: the check outside, the learner's functions behind a channel."""
        answer = through_channel(solved(self.lesson, self.root).answers[exercise])
        result = self.grade(exercise, answer)
        assert result.status == "passed", result.message

    def test_a_stub_is_not_attempted(self, exercise: str) -> None:
        stubs = [..., None]
        if callable(solved(self.lesson, self.root).answers[exercise]):
            stubs.append(_stub)
        for stub in stubs:
            assert self.grade(exercise, stub).status == "not attempted"

    def test_a_wrong_answer_fails(self, exercise: str, number: int) -> None:
        answer = self.wrong[exercise][number]
        if isinstance(answer, factory):
            answer = answer.answer(solved(self.lesson, self.root).lab)
        assert_failed(self.grade(exercise, answer), allow_part=True)

    def test_a_faulty_answer_fails(self, exercise: str, fault: str) -> None:
        answer = solved(self.lesson, self.root).answers[exercise]
        fits = fault in (FUNCTION_FAULTS if callable(answer) else VALUE_FAULTS)
        if fits and (exercise, fault) not in self.no_fault:
            assert_failed(self.grade(exercise, faulty(answer, fault)))

    def test_the_solution_passes_again(self, exercise: str) -> None:
        """After all those answers the check's own data and model are as they were."""
        self.test_the_solution_passes(exercise)

    def test_a_check_never_says_the_folder(self, exercise: str) -> None:
        for answer in ("abc", _raises):
            assert os.fspath(self.root) not in self.grade(exercise, answer).message
