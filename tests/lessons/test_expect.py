"""The helpers of checks: what they let through, and what they say."""

import numpy as np
import pytest
import torch

from utils.lessons.checking import CheckFailed, NotAttempted, call, check, clone, describe
from utils.lessons.expect import (
    expect_choice,
    expect_close,
    expect_keys,
    expect_number,
    expect_tensor,
    expect_type,
)


def refusal(function, *args, **kwargs):
    with pytest.raises(CheckFailed) as caught:
        function(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize(
    "value", [torch.ones(2, 3), np.ones((2, 3)), [[1, 1, 1], [1.0, 1, 1]], [[1, 1, 1], [1, 1, 1]]]
)
def test_a_tensor_in_many_clothes(value):
    found = expect_tensor(value, (2, 3))
    assert found.is_floating_point() and found.sum() == 6
    assert expect_tensor(value, ("a", None)).shape == (2, 3)


def test_the_tensor_that_comes_back_is_a_copy():
    value = torch.ones(2, requires_grad=True)
    found = expect_tensor(value)
    found.zero_()
    assert value.sum() == 2 and not found.requires_grad
    array = np.ones(2)
    expect_tensor(array).zero_()
    assert array.sum() == 2


def test_named_sizes_must_agree():
    assert "shape (n, n)" in refusal(expect_tensor, torch.ones(2, 3), ("n", "n"), name="it")
    assert expect_tensor(torch.ones(3, 3), ("n", "n")).shape == (3, 3)


@pytest.mark.parametrize(
    "value, options, words",
    [
        (torch.ones(2), {"shape": (3,)}, "a float32 tensor of shape (2,); expected a floating"),
        (torch.ones(2).long(), {}, "a int64 tensor of shape (2,)"),
        (torch.ones(2), {"dtype": "int"}, "expected a whole-number tensor"),
        (torch.ones(2).bool(), {"dtype": "int"}, "a bool tensor"),
        (torch.tensor([1.0, float("nan")]), {}, "holds 1 value that is NaN"),
        (torch.tensor([float("inf")] * 2), {}, "holds 2 values that are NaN"),
        ("abc", {}, "the text 'abc'"),
        (None, {}, "is None"),
        ([1, "a"], {}, "a list of length 2"),
        ([[1], [1, 2]], {}, "a list of length 2"),
        (object(), {}, "an object of type object"),
    ],
)
def test_a_tensor_refused(value, options, words):
    assert words in refusal(expect_tensor, value, **options)


def test_numbers():
    for value in (2, 2.0, np.float32(2), torch.tensor(2), torch.tensor([[2.0]]), np.array([2])):
        assert expect_number(value, 1, 3) == 2.0
    assert refusal(expect_number, 5, 1, 3, "it") == (
        "it is 5: too high; expected a number from 1 to 3."
    )
    assert refusal(expect_number, 0, low=1) == "your answer is 0: too low; expected at least 1."
    assert refusal(expect_number, 0, 1, 3, reveal=False) == "your answer is 0: too low."
    for value in ("2", True, None, 2j, torch.ones(2), torch.tensor(True), [2]):
        assert "expected a number" in refusal(expect_number, value)
    assert "NaN" in refusal(expect_number, float("nan"))


def test_close():
    target = torch.arange(6.0).reshape(2, 3)
    assert expect_close(target + 1e-6, target).shape == (2, 3)
    wrong = target.clone()
    wrong[1, 2] = 9
    assert refusal(expect_close, wrong, target, name="it", hint="Why?") == (
        "it is 9 at index (1, 2); expected 5. Why?"
    )
    assert "expected 2." in refusal(expect_close, 1.0, 2.0)
    assert "shape (2,)" in refusal(expect_close, [1.0, 2], target)


def test_choices_keys_and_types():
    assert expect_choice(" Yes ", ["yes", "no"]) == "yes"
    assert "expected one of 'yes', 'no'" in refusal(expect_choice, "perhaps", ["yes", "no"])
    assert "expected one of 1, 2" in refusal(expect_choice, True, [1, 2])
    assert "expected one of" in refusal(expect_choice, torch.ones(3), ["a"])
    assert expect_keys({"a": 1}, ["a"]) == {"a": 1}
    assert "expected ['a', 'b']" in refusal(expect_keys, {"a": 1}, ["a", "b"])
    assert "expected a dict" in refusal(expect_keys, 3, ["a"])
    assert "expected a list or tuple" in refusal(expect_type, 3, (list, tuple))


def test_call():
    data = {"x": torch.ones(2)}
    assert call(lambda d: d["x"].zero_().sum(), data) == 0 and data["x"].sum() == 2
    assert "expected a function, got the number 3" in refusal(call, 3)
    with pytest.raises(NotAttempted):
        call(lambda: ...)


def test_clones_keep_what_they_are():
    weight = torch.ones(2, requires_grad=True)
    inner = (weight * 2,)  # inside a graph: deepcopy alone refuses it
    assert clone(inner[0]).sum() == 4 and clone(weight).requires_grad
    model = torch.nn.Linear(2, 2)
    with torch.no_grad():
        clone(model).weight.zero_()
    assert model.weight.abs().sum() > 0


def test_descriptions():
    assert describe(torch.ones(2, 3)) == "a float32 tensor of shape (2, 3)"
    assert describe(np.float32(0.5)) == "the number 0.5"
    assert describe(10**12) == "the number 1000000000000"
    assert describe([1, 2]) == "a list of length 2"
    assert describe(describe) == "the function describe"


def test_a_check_needs_hints_and_credit_is_a_share():
    for hints in ([], ["a", "b", "c", "d"], [" "]):
        with pytest.raises(ValueError, match="one to three hints"):
            check("7.1", hints=hints)
    with pytest.raises(ValueError, match="share of the points"):
        CheckFailed("x", credit=1.0)
