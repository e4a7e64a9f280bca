"""Lengths of programs: what costs, what does not, and that a packed table saves nothing."""

import math
import zlib

import pytest
import torch

from tests.challenges.toy import Toy
from utils.challenges.bits import (
    Bits,
    exception_bits,
    measure,
    program_bits,
    table_bits,
)
from utils.challenges.explanation import Explanation, Step
from utils.challenges.source import SourceError, number_bits

N = 512
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(N, 4, generator=GENERATOR)
LABELS = torch.rand(N, generator=GENERATOR) > 0.5
THRESHOLD = 0.25


def length(function, given=None):
    return program_bits(Explanation([Step("y", function)]), given)


def helper(x):
    return x[:, 0] + x[:, 1]


def plain(x):
    return helper(x) > THRESHOLD


def commented(values):
    """A docstring costs nothing, nor do names and hints."""
    # nor does a comment
    result: torch.Tensor = helper(values) > THRESHOLD
    return result


def renamed(value):
    outcome = helper(value) > THRESHOLD
    return outcome


def longer(x):
    return (helper(x) > THRESHOLD) & (x[:, 2] < 1.2345) | (x[:, 3] > x[:, 0])


def test_names_comments_and_layout_cost_nothing():
    assert length(commented)[0] == pytest.approx(length(renamed)[0], abs=20)  # AnnAssign, Assign
    a = length(lambda x: helper(x) > THRESHOLD)
    b = length(
        lambda values: (
            helper(values)
            # the same
            > THRESHOLD
        )
    )
    assert a == b
    assert length(lambda x: helper(x) > 0.5)[1] != a[1]  # another constant is another program


def test_what_a_program_calls_of_its_own_is_counted_once():
    once = length(lambda x: helper(x) > 0.25)[0]
    alone = length(lambda x: x[:, 0] > 0.25)[0]
    twice = length(lambda x: (helper(x) > 0.25) & (helper(x) < 2))[0]
    assert once > alone
    body = length(helper)[0]
    assert twice - once < body


def test_longer_programs_and_sharper_numbers_cost_more():
    assert length(longer)[0] > length(plain)[0]
    assert number_bits(29.0) < number_bits(29.0417) < number_bits(29.041712345)
    assert number_bits(3) < number_bits(3000) and number_bits(True) == 1
    assert number_bits(0.5) == number_bits(-0.5)
    assert number_bits(1e-5) < number_bits(0.123456)


def test_several_lambdas_in_one_line_are_told_apart():
    # fmt: off
    short, long = lambda x: x[:, 0] > 0, lambda x: (x[:, 0] > 0) & (x[:, 1] > 0) & (x[:, 2] > 0)
    # fmt: on
    assert length(short)[0] < length(long)[0]


def test_closures_defaults_and_partials_are_constants_too():
    from functools import partial

    table = LABELS.clone()

    def takes(x, values):
        return values[: len(x)]

    closed = length(lambda x: table[: len(x)])[0]
    default = length(lambda x, table=table: table[: len(x)])[0]
    part = length(partial(takes, values=table))[0]
    assert min(closed, default, part) >= N


def lookup(x):
    keys = {round(float(k), 4): bool(v) for k, v in zip(X[:, 0], LABELS, strict=True)}
    return torch.tensor([keys.get(round(float(v), 4), False) for v in x[:, 0]])


TABLE = LABELS.clone()
KEYS = X[:, 0].clone()
PACKED = zlib.compress(bytes(LABELS.tolist()), 9)
NETWORK = Toy()


def by_nearest(x):
    return TABLE[(x[:, :1] - KEYS).abs().argmin(1)]


def by_order(x):
    return TABLE[: len(x)]


def unpacked(x):
    return torch.tensor(list(zlib.decompress(PACKED)))[: len(x)].bool()


def asked(x):
    return NETWORK(x).argmax(-1)


@pytest.mark.parametrize("cheat", [lookup, by_nearest, by_order, unpacked, asked])
def test_a_table_or_a_network_in_disguise_saves_nothing(cheat):
    e = Explanation([Step("y", cheat)])
    bits = measure(e, LABELS.long(), LABELS.long())  # and without a single exception
    assert bits.saved < 0.05


def test_a_real_program_saves_and_exceptions_count():
    truth = (helper(X) > THRESHOLD).long()
    e = Explanation([Step("y", plain)])
    none = measure(e, truth, truth)
    said = truth.clone()
    said[:60] = 1 - said[:60]
    some = measure(e, said, truth)
    assert none.saved > 0.4 > some.saved and none.program == some.program
    assert none.exceptions == pytest.approx(math.log2(N + 1))
    half = LABELS.long()
    assert measure(e, half, truth).saved < 0  # right half of the time


def test_what_was_handed_out_is_nearly_free():
    clue = torch.rand(28, 28)

    def uses(x):
        return (x * clue).sum((1, 2)) > 3

    with_it, without = length(uses, {"clue": clue.clone()})[0], length(uses)[0]
    assert without - with_it > 1000


def test_exceptions_and_tables():
    assert exception_bits(0, 100) == pytest.approx(math.log2(101))
    assert exception_bits(3, 100) == pytest.approx(math.log2(101) + math.log2(math.comb(100, 3)))
    assert exception_bits(3, 100, 5) == pytest.approx(exception_bits(3, 100) + 3 * 2)
    labels = torch.tensor([0] * 30 + [1] * 70)
    assert table_bits(labels) == pytest.approx(math.log2(math.comb(100, 30)) + math.log2(101))
    assert Bits(10, 10, 100).saved == pytest.approx(0.8) and Bits(200, 10, 100).saved < 0


def imports_the_course(x):
    from utils.models import zoo

    return zoo.load("cnn-challenge")(x).argmax(-1)


class Strange:
    __slots__ = ()

    def __call__(self, x):
        return x[:, 0] > 0


strange = Strange()


def uses_something_strange(x):
    return strange(x)


@pytest.mark.parametrize("function", [imports_the_course, uses_something_strange, Strange()])
def test_what_cannot_be_measured_is_refused(function):
    with pytest.raises(SourceError):
        length(function)


def test_a_function_without_source_is_refused():
    scope = {}
    exec("def f(x): return x[:, 0] > 0", scope)
    with pytest.raises(SourceError, match="source"):
        length(scope["f"])
