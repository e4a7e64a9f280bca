"""An explanation: a program as named steps, some of them placed in the network it explains.

    left = Step("left", lambda x: similarity(x) <= -5.0, site=Site("hook_fc1", neuron=[4, 7]))
    right = Step("right", lambda x: similarity(x) >= 29.0, site=Site("hook_fc1", neuron=[9]))
    label = Step("label", lambda a, b: a | b, inputs=("left", "right"))
    explanation = Explanation([left, right, label])

Running it gives labels. Resampling along it is causal scrubbing. Putting another input's value in
one step says what the network must answer when that step's site is swapped (an interchange
intervention, Geiger et al. 2021). Writing it down takes so many bits.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from utils.errors import CourseError
from utils.scrubbing import Graph, Hypothesis, Plan, Step, treeify
from utils.scrubbing.hypothesis import Unimportant, X

__all__ = [
    "CycleError",
    "Explanation",
    "ExplanationError",
    "ForbiddenError",
    "NonDeterministicError",
    "NotAFunctionError",
    "Step",
    "StepError",
    "UnknownStepError",
]


class ExplanationError(CourseError, ValueError):
    """An explanation that cannot be run or tested as it stands."""


class CycleError(ExplanationError):
    """Steps that need each other."""


class UnknownStepError(ExplanationError):
    """A step that reads what no step is called."""


class StepError(ExplanationError):
    """A step that failed, or whose values are no numbers, one row an input."""


class NonDeterministicError(ExplanationError):
    """A step that gives another value when asked again, or in other company."""


class NotAFunctionError(ExplanationError):
    """A step whose value is not settled by what it says it reads."""


class ForbiddenError(ExplanationError):
    """A step that reached for something other than its inputs: a file, the network, a process."""


@dataclass(frozen=True)
class Explanation:
    """Named steps, the last of which is the answer.

    steps: each a `Step(name, function, inputs, site)`: a pure function of a batch, reading earlier
        steps or "x", the network's input [n, ...], and giving [n] or [n, k] numbers. The last one
        gives the label, [n] whole numbers or booleans, and has no site: it *is* the output. At
        least one other has a site if a mechanism is claimed. Order does not matter otherwise.
    unimportant: what scrubbing does to everything no step is placed at; see `Hypothesis`.
    unrecoverable: x -> [n] bool, inputs whose labels are given up: the claim that the network has
        not learned them, so that nothing in it can be recovered there. It needs evidence too.

    Raises CycleError, UnknownStepError or ExplanationError.
    """

    steps: Sequence[Step]
    unimportant: Unimportant = "shared"
    name: str = "explanation"
    unrecoverable: Callable[[Tensor], Any] | None = None
    # (bits, digest) of a submitted file, measured on its text: its steps run in another process
    measured: tuple[float, str] | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        steps = tuple(self.steps)
        for step in steps:
            if not isinstance(step, Step):
                raise ExplanationError(f"{step!r} is not a Step.")
            if not callable(step.function):
                raise ExplanationError(
                    f"The function of step {step.name!r} is {type(step.function).__name__}."
                )
        if not steps:
            raise ExplanationError("An explanation needs at least one step, the answer.")
        names = [step.name for step in steps]
        for name in names:
            if names.count(name) > 1:
                raise ExplanationError(f"Two steps are called {name!r}.")
            if name == X or not name or "/" in name:
                raise ExplanationError(f"A step cannot be called {name!r}.")
        if steps[-1].site is not None:
            raise ExplanationError(
                f"The last step, {names[-1]!r}, is the network's output itself: it takes no site."
                " Place the steps before it."
            )
        object.__setattr__(self, "steps", _sorted(steps))

    @property
    def placed(self) -> list[Step]:
        """The steps that have a site."""
        return [step for step in self.steps if step.site is not None]

    def values(self, x: Tensor, given: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Every step's value on x [n, ...]: name -> [n] or [n, k].

        given: values that stand in for those of some steps; what is computed from them follows.
        Raises StepError or ForbiddenError.
        """
        known: dict[str, Tensor] = dict(given or {})
        for step in self.steps:
            if step.name not in known:
                arguments = [x if s == X else known[s] for s in step.inputs or (X,)]
                known[step.name] = _value(step, arguments, len(x))
        return known

    def labels(self, x: Tensor, given: Mapping[str, Tensor] | None = None) -> Tensor:
        """The answer on x, [n] int64; with some steps replaced, what it would be then."""
        last = self.steps[-1].name
        values = self.values(x, given)[last]
        if values.ndim != 1:
            raise StepError(
                f"The last step, {last!r}, gives shape {list(values.shape)}; a label is one whole"
                " number an input."
            )
        whole = values.long()
        if values.is_floating_point() and not torch.equal(whole.to(values.dtype), values):
            raise StepError(
                f"The last step, {last!r}, gives {float(values[values != whole][0]):g}, which is"
                " no label; labels are whole numbers or booleans."
            )
        return whole

    def given_up(self, x: Tensor) -> Tensor:
        """Where the labels are called unrecoverable, [n] bool."""
        if self.unrecoverable is None:
            return torch.zeros(len(x), dtype=torch.bool)
        return _value(Step("unrecoverable", self.unrecoverable), [x], len(x)).bool()

    def hypothesis(self, name: str | None = None) -> Hypothesis:
        """The same claim for causal scrubbing: one node for every path to the output."""
        if not self.placed:
            raise ExplanationError("No step has a site, so there is nothing to scrub.")
        return treeify(self.steps, unimportant=self.unimportant, name=name or self.name)

    def check(self, x: Tensor, graph: Graph | None = None) -> None:
        """Raise a named error unless the steps are pure functions, placed where they can be.

        x: [n, ...], inputs to try them on. graph: the network; each site must be in it, and feed
        what the step feeds. Beside the errors above, those of `utils.scrubbing` (unknown site,
        not upstream, claimed twice).
        """
        values = self.values(x)
        self.labels(x, values)
        again = self.values(x)
        for name, value in values.items():
            if not _same(value, again[name]):
                raise NonDeterministicError(
                    f"Step {name!r} gives another value when it is asked again: it must be a"
                    " function of its inputs, without random numbers or memory."
                )
        for step in self.steps:
            sources = [values[s] for s in step.inputs if s != X]
            if sources and X not in step.inputs:
                self._settled(step, sources, values[step.name])
        backwards, few = torch.arange(len(x) - 1, -1, -2), torch.arange(-(-len(x) // 5))
        for rows in (backwards, few):
            for name, value in self.values(x[rows]).items():
                if not _same(values[name][rows], value):
                    raise NonDeterministicError(
                        f"Step {name!r} gives an input another value when other rows stand beside"
                        " it: each row must be judged by itself, not against the batch."
                    )
        if graph is not None and self.placed:
            Plan(graph, self.hypothesis())

    def _settled(self, step: Step, sources: list[Tensor], value: Tensor) -> None:
        """NotAFunctionError unless equal inputs give equal values: an input came in elsewhere."""
        columns = torch.cat([s.reshape(len(s), -1).double() for s in sources], 1)
        _, group = torch.unique(columns, dim=0, return_inverse=True)
        first = torch.zeros(int(group.max()) + 1, dtype=torch.int64)
        first[group] = torch.arange(len(group))
        if not _same(value[first[group]], value):
            raise NotAFunctionError(
                f"Step {step.name!r} gives different values where {', '.join(step.inputs)} are the"
                " same, so it reads something else too: name that among its inputs."
            )


def _sorted(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Sources before readers, the last step last; UnknownStepError, CycleError."""
    table = {step.name: step for step in steps}
    for step in steps:
        for source in step.inputs:
            if source not in table and source != X:
                raise UnknownStepError(
                    f"Step {step.name!r} reads {source!r}, but the steps are"
                    f" {', '.join(map(repr, table))} and the input is {X!r}."
                )
    done: list[Step] = []
    state: dict[str, int] = {}  # 1: being visited, 2: done

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name == X or state.get(name) == 2:
            return
        if state.get(name) == 1:
            circle = " -> ".join([*trail[trail.index(name) :], name])
            raise CycleError(f"The steps need each other in a circle: {circle}.")
        state[name] = 1
        for source in table[name].inputs:
            visit(source, (*trail, name))
        state[name] = 2
        done.append(table[name])

    for step in steps:
        visit(step.name, ())
    answer = steps[-1]
    used = {source for step in steps for source in step.inputs}
    for step in done:
        if step is not answer and step.name not in used:
            raise ExplanationError(
                f"Step {step.name!r} is used by no other step, so it explains nothing. (The last"
                f" step of the list, {answer.name!r}, is the answer.)"
            )
    if answer.name in used:
        raise ExplanationError(
            f"The last step of the list, {answer.name!r}, is the answer, but another step reads it."
        )
    return (*(step for step in done if step is not answer), answer)


def _value(step: Step, arguments: list[Tensor], n: int) -> Tensor:
    # a submitted file's steps run in a process that has closed its doors itself
    elsewhere = getattr(step.function, "elsewhere", False)
    guard = contextlib.nullcontext() if elsewhere else closed(step.name)
    try:
        with torch.no_grad(), guard:
            value = step.function(*(argument.clone() for argument in arguments))
    except ExplanationError:
        raise
    except Exception as error:
        raise StepError(f"Step {step.name!r} failed: {type(error).__name__}: {error}") from error
    try:
        value = torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise StepError(f"Step {step.name!r} gives {type(value).__name__}, not numbers.") from None
    if value.ndim < 1 or value.ndim > 2 or len(value) != n:
        raise StepError(
            f"Step {step.name!r} gives shape {list(value.shape)} for {n} inputs; it must give [{n}]"
            f" or [{n}, k]."
        )
    if value.is_floating_point() and not value.isfinite().all():
        raise StepError(f"Step {step.name!r} gives NaN or infinity for some inputs.")
    return value


def _same(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.is_floating_point():  # sums in another order differ in their last digits
        return torch.allclose(a, b, rtol=1e-4, atol=1e-5)
    return torch.equal(a, b)


# --- nothing but the input ----------------------------------------------------------------------

_CODE = (".py", ".pyc", ".so", ".pyd", ".dll", ".dylib")  # modules that torch loads when needed
_OUTSIDE = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "urllib.",
)
_watched: list[list[str]] = []  # for each step that is running, what it reached for
_installed = False


@contextlib.contextmanager
def closed(name: str) -> Iterator[None]:
    """While step `name` runs, opening a file, a connection or a process is a ForbiddenError.

    This keeps an honest person from fooling themselves and makes a careless cheat fail with a
    reason. It is no sandbox: code that means harm belongs in a process of its own.
    """
    global _installed
    if not _installed:
        sys.addaudithook(_audit)
        _installed = True
    offences: list[str] = []
    _watched.append(offences)
    try:
        yield
    finally:
        _watched.pop()
        if offences:  # whatever the step made of the refusal
            raise ForbiddenError(
                f"Step {name!r} {offences[0]}; a program may use its inputs and what is written in"
                " it, nothing else."
            ) from None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    if event == "open":
        path = arguments[0]
        if isinstance(path, int):
            return
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else str(path)
        if name.endswith(_CODE) or name in (os.devnull, "/dev/urandom"):
            return
        offence = f"opened the file {os.path.basename(name)}"
    elif event.startswith(_OUTSIDE):
        offence = f"used {event}"
    else:
        return
    _watched[-1].append(offence)
    raise PermissionError(offence)
