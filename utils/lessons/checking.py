"""What a lesson's check module is written with: `check`, `CheckFailed`, `call` and `expect_*`.

A check tests properties of the answer (invariants, planted truth, tolerance) and never imports a
solution. When it fails it says what came, what was expected, and which misconception is likely.
Values are described by `describe`; the helpers below raise `CheckFailed` with such sentences.
"""

from __future__ import annotations

import contextlib
import copy
import dis
import inspect
import linecache
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch

_RAISE = dis.opmap["RAISE_VARARGS"]


class CheckFailed(Exception):
    """The answer is wrong. `credit` is the share of the points it earns all the same, 0 to 1."""

    def __init__(self, message: str, credit: float = 0.0):
        super().__init__(message)
        if not 0 <= credit < 1:
            raise ValueError("credit is the share of the points, at least 0 and below 1")
        self.credit = credit


class NotAttempted(Exception):
    """The stub is still in place."""


class Elsewhere(Exception):
    """What a learner's function raised in a process of its own, explained there already.

    stub: it was the stub's own NotImplementedError.
    """

    def __init__(self, text: str, stub: bool = False):
        super().__init__(text)
        self.stub = stub


@dataclass(frozen=True)
class Check:
    """A registered check. `expects` completes "expected ..." where a failure has no better word."""

    id: str
    function: Callable[[Any, Any], str | None]
    hints: tuple[str, ...]
    expects: str


def check(
    exercise: str, *, hints: list[str], expects: str = ""
) -> Callable[[Callable[[Any, Any], str | None]], Callable[[Any, Any], str | None]]:
    """Register `function(answer, lab)` as the check of `exercise`, with one to three hints.

    The function returns None, or a sentence to print beside "passed", and raises `CheckFailed`.
    `lab.data` and `lab.model` are pristine: the learner's code has never seen these objects.
    """
    if not 1 <= len(hints) <= 3 or not all(isinstance(h, str) and h.strip() for h in hints):
        raise ValueError(f"exercise {exercise}: give one to three hints, none of them empty")

    def register(function: Callable[[Any, Any], str | None]):
        function.course_check = Check(exercise, function, tuple(hints), expects)  # type: ignore
        return function

    return register


def clone(value: Any) -> Any:
    """A deep copy, so that the learner's code cannot change what the check reads."""
    if isinstance(value, torch.Tensor):  # deepcopy refuses tensors inside an autograd graph
        return value.detach().clone().requires_grad_(value.requires_grad)
    try:
        return copy.deepcopy(value)
    except Exception:  # an open file, a generator: nothing a check could compare with either
        return value


@contextlib.contextmanager
def own_randomness(seed: int = 0) -> Iterator[None]:
    """Seed torch, numpy and random inside, and leave their states outside as they were."""
    states = random.getstate(), np.random.get_state(), torch.random.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.random.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.random.set_rng_state(states[2])


def call(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Run the learner's `function` on copies of the arguments, and return what it returned.

    Raises `CheckFailed` when it is no function or raises (saying where), `NotAttempted` when the
    stub is still there.
    """
    if not callable(function):
        raise CheckFailed(f"expected a function, got {describe(function)}.")
    try:
        result = function(*clone(args), **clone(kwargs))
    except (Exception, SystemExit) as error:
        if is_stub_error(error):
            raise NotAttempted from error
        raise CheckFailed(f"your function raised {explain(error)}") from error
    if result is ...:
        raise NotAttempted
    if result is None:
        raise CheckFailed("your function returned None; does it end with a return statement?")
    return result


def is_stub_error(error: BaseException) -> bool:
    """Whether `error` is a NotImplementedError raised by a `raise` statement.

    torch raises the same type from C for a missing kernel: there the innermost Python frame is
    in the middle of a call, not at a raise.
    """
    if isinstance(error, Elsewhere):
        return error.stub
    if not isinstance(error, NotImplementedError) or error.__traceback__ is None:
        return False
    innermost = _innermost(error.__traceback__)
    return innermost.tb_frame.f_code.co_code[innermost.tb_lasti] == _RAISE


def _innermost(trace: TracebackType) -> TracebackType:
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def explain(error: BaseException) -> str:
    """`ValueError: the message (line 3 of your cell: return x @ y)`, the learner's last line."""
    if isinstance(error, Elsewhere):
        return str(error)
    place, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == "__main__":
            code = trace.tb_frame.f_code
            text = linecache.getline(code.co_filename, trace.tb_lineno).strip()
            place = f" (line {trace.tb_lineno} of your cell{': ' + text if text else ''})"
        trace = trace.tb_next
    message = str(error).strip().split("\n")[0][:300]
    if isinstance(error, RecursionError):
        message = "the function calls itself without end"
    return f"{type(error).__name__}{': ' + message if message else ''}{place}"


def describe(value: Any) -> str:
    """A value in a few words: "a float32 tensor of shape (3, 4)", "the text 'abc'"."""
    if isinstance(value, torch.Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of {value.dtype}, shape {value.shape}"
    if value is None or value is ...:
        return "None" if value is None else "..."
    if isinstance(value, bool | np.bool_):
        return f"the truth value {bool(value)}"
    if isinstance(value, int | float | complex | np.number):
        return f"the number {value:.6g}" if not isinstance(value, int) else f"the number {value}"
    if isinstance(value, str):
        return f"the text {value[:60]!r}"
    if isinstance(value, list | tuple | set | dict):
        return f"a {type(value).__name__} of length {len(value)}"
    if inspect.isfunction(value) or inspect.ismethod(value) or inspect.isbuiltin(value):
        return f"the function {value.__name__}"
    return f"an object of type {type(value).__name__}"
