"""Explanations: what they compute, and a named error for each way in which they cannot be."""

import contextlib
import subprocess
import sys

import pytest
import torch

from tests.challenges.toy import Toy
from utils.challenges.explanation import (
    CycleError,
    Explanation,
    ExplanationError,
    ForbiddenError,
    NonDeterministicError,
    NotAFunctionError,
    Step,
    StepError,
    UnknownStepError,
)
from utils.scrubbing import ClaimedTwiceError, NotUpstreamError, UnknownComponentError, chain
from utils.sites import Site

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))


def positive(column, **more):
    return Step(f"p{column}", lambda x: x[:, column] > 0, **more)


def both():
    return Explanation([positive(0), positive(1), Step("y", lambda a, b: a & b, ("p0", "p1"))])


def test_labels_values_and_counterfactuals():
    e = both()
    right = (X[:, 0] > 0) & (X[:, 1] > 0)
    assert torch.equal(e.labels(X), right.long()) and e.labels(X).dtype == torch.int64
    assert set(e.values(X)) == {"p0", "p1", "y"}
    forced = e.labels(X, {"p0": torch.ones(40, dtype=torch.bool)})
    assert torch.equal(forced, (X[:, 1] > 0).long())
    e.check(X)


def test_steps_may_read_the_input_beside_other_steps_and_stand_in_any_order():
    e = Explanation(
        [
            Step("late", lambda early, x: early & (x[:, 2] > 0), ("early", "x")),
            Step("early", lambda x: x[:, 0] > 0),
            Step("y", lambda late: late, ("late",)),
        ]
    )
    assert [step.name for step in e.steps] == ["early", "late", "y"]
    assert torch.equal(e.labels(X), ((X[:, 0] > 0) & (X[:, 2] > 0)).long())
    e.check(X)


def answer(function, *names):
    return Step("y", function, names)


@pytest.mark.parametrize(
    ("steps", "error", "word"),
    [
        ([], ExplanationError, "at least one"),
        ([lambda x: x], ExplanationError, "not a Step"),
        ([Step("y", 3)], ExplanationError, "int"),
        ([positive(0), positive(0), answer(lambda a: a, "p0")], ExplanationError, "Two steps"),
        ([Step("x", lambda x: x), answer(lambda a: a, "x")], ExplanationError, "'x'"),
        ([positive(0), answer(lambda a: a, "q")], UnknownStepError, "'q'"),
        (
            [Step("a", lambda b: b, "b"), Step("b", lambda a: a, "a"), answer(lambda a: a, "a")],
            CycleError,
            "a -> b -> a",
        ),
        ([positive(0), positive(1), answer(lambda a: a, "p0")], ExplanationError, "no other step"),
        ([Step("y", lambda x: x, site=Site("hook_fc1"))], ExplanationError, "takes no site"),
    ],
)
def test_what_cannot_be_built(steps, error, word):
    with pytest.raises(error, match=word):
        Explanation(steps)


memory = []


def forgets_nothing(x):
    memory.append(1)
    return x[:, 0] > len(memory)


@pytest.mark.parametrize(
    ("function", "error", "word"),
    [
        (lambda x: x[:, 0] > torch.randn(len(x)), NonDeterministicError, "asked again"),
        (lambda x: x[:, 0] > x[:, 0].median(), NonDeterministicError, "other rows"),
        (lambda x: torch.arange(len(x)) % 2, NonDeterministicError, "other rows"),
        (lambda x: x[:, 5], StepError, "IndexError"),
        (lambda x: "yes", StepError, "str"),
        (lambda x: x[:3, 0], StepError, "shape"),
        (lambda x: x.unsqueeze(-1), StepError, "shape"),
        (lambda x: x / 0 * 0, StepError, "NaN"),
    ],
)
def test_steps_that_are_no_functions_of_a_row(function, error, word):
    e = Explanation(
        [Step("a", function), Step("y", lambda a: (a > 0).reshape(len(a), -1)[:, 0], "a")]
    )
    with pytest.raises(error, match=word):
        e.check(X)


def test_a_step_that_remembers_is_found():
    memory.clear()
    with pytest.raises(NonDeterministicError):
        Explanation([Step("y", forgets_nothing)]).check(X.abs() * 3)


def test_a_step_that_reads_more_than_it_says_is_found():
    e = Explanation([positive(0), Step("y", lambda p: p & (X[: len(p), 1] > 0), "p0")])
    with pytest.raises(NotAFunctionError, match="p0"):
        e.check(X)


@pytest.mark.parametrize("label", [lambda x: x[:, 0], lambda x: x])
def test_labels_are_whole_numbers(label):
    with pytest.raises(StepError, match="label"):
        Explanation([Step("y", label)]).labels(X)


def test_a_step_cannot_change_what_the_others_see():
    def spoils(x):
        x.zero_()
        return x[:, 0] > 0

    e = Explanation([Step("a", spoils), positive(1), answer(lambda a, b: b, "a", "p1")])
    before = X.clone()
    assert torch.equal(e.labels(X), (before[:, 1] > 0).long()) and torch.equal(X, before)


def reads_a_file(x):
    with contextlib.suppress(Exception), open(__file__ + ".txt") as file:
        file.read()  # a step may swallow the refusal; the explanation is refused all the same
    return x[:, 0] > 0


def starts_a_process(x):
    subprocess.run([sys.executable, "-c", ""])
    return x[:, 0] > 0


@pytest.mark.parametrize("function", [reads_a_file, starts_a_process])
def test_a_step_may_use_its_inputs_and_nothing_else(function):
    with pytest.raises(ForbiddenError, match="nothing else"):
        Explanation([Step("y", function)]).labels(X)
    with open(__file__) as file:  # and afterwards all is as before
        assert file.readline().startswith('"""')


def test_a_shipped_network_cannot_be_asked():
    from utils.models import zoo

    e = Explanation([Step("y", lambda x: zoo.load("cnn-challenge")(x).argmax(-1))])
    with pytest.raises(ForbiddenError):
        e.labels(torch.zeros(3, 1, 28, 28))


def test_sites_are_checked_against_the_network():
    images = torch.rand(20, 1, 28, 28)
    graph = chain(Toy().eval(), ["hook_fc1"], images)

    def placed(*sites):
        steps = [
            Step(f"s{i}", lambda x: x[:, 0, 0, 0] > 0.5, site=site) for i, site in enumerate(sites)
        ]
        names = tuple(step.name for step in steps)
        return Explanation([*steps, Step("y", lambda *values: values[0], names)])

    placed(Site("hook_fc1", neuron=0), Site("hook_fc1", neuron=1)).check(images, graph)
    with pytest.raises(UnknownComponentError):
        placed(Site("hook_fc9")).check(images, graph)
    with pytest.raises(ClaimedTwiceError):
        placed(Site("hook_fc1", neuron=[0, 1]), Site("hook_fc1", neuron=[1])).check(images, graph)
    inner = Step("in", lambda x: x[:, 0, 0, 0] > 0.5, site=Site("hook_fc1", neuron=0))
    outer = Step("out", lambda a: a, ("in",), site=Site("hook_fc1", neuron=1))
    with pytest.raises(NotUpstreamError):
        Explanation([inner, outer, Step("y", lambda a: a, ("out",))]).check(images, graph)


def test_nothing_to_scrub_without_a_site():
    with pytest.raises(ExplanationError, match="No step has a site"):
        both().hypothesis()
