"""Draws: members of the class only, uniform, and moved by nothing that should not move them."""

import math

import pytest
import torch

from tests.scrubbing.toys import claim
from utils.scrubbing import (
    Classes,
    EmptyClassError,
    FeatureError,
    Hypothesis,
    HypothesisError,
    Node,
    Sampler,
)
from utils.scrubbing.samplers import classes_of

DATA = torch.arange(60)[:, None]


def third(x):
    return x[:, 0] % 3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def no_parts(path):
    return []


def test_draws_stay_in_the_class_and_are_uniform_in_it():
    values = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 2, 0])
    classes = Classes.from_values(values)
    like = torch.arange(10).repeat(6000)
    draws = classes.draw(like, generator())
    assert torch.equal(values[draws], values[like])
    for c in range(3):
        members = (values == c).nonzero()[:, 0]
        counts = torch.bincount(draws[values[like] == c], minlength=10)[members].double()
        expected = counts.sum() / len(members)
        chi2 = float(((counts - expected) ** 2 / expected).sum())
        assert chi2 < 2 * len(members) + 20  # far above the .999 quantile only if not uniform
    own = (draws == like)[values[like] == 0].double().mean()
    assert abs(float(own) - 1 / 4) < 0.02  # the reference itself may be drawn


def test_a_skewed_sampler_would_be_noticed():
    """The null of the test above: the same statistic on draws that favour one member."""
    counts = torch.tensor([12_000.0, 6000.0, 6000.0, 6000.0])
    expected = counts.sum() / 4
    assert float(((counts - expected) ** 2 / expected).sum()) > 2 * 4 + 20


def test_draws_do_not_depend_on_what_classes_are_called():
    values = torch.randint(0, 5, (100,), generator=generator())
    like = torch.arange(100)
    a = Classes.from_values(values).draw(like, generator(1))
    b = Classes.from_values(9.5 - values * 2).draw(like, generator(1))
    c = Classes.from_values(torch.stack([values, values], 1)).draw(like, generator(1))
    assert torch.equal(a, b) and torch.equal(a, c)


def test_many_inputs_in_many_classes():
    values = torch.randint(0, 300, (100_000,), generator=generator())
    draws = Classes.from_values(values).draw(torch.arange(100_000), generator(1))
    assert torch.equal(values[draws], values)
    assert float((draws == torch.arange(100_000)).double().mean()) < 0.01


def test_the_same_seed_draws_the_same_and_a_new_branch_moves_nothing():
    small = claim(Node("A", third, (Node("M", "any"),)), Node("B", third))
    large = Hypothesis(
        (
            Node("C", third),
            Node("A", third, (Node("N", "any"), Node("M", "any", (Node("Q", third),)))),
            Node("B", third),
        ),
        "shared",
    )
    refs = torch.arange(60)
    a, again = (Sampler(small, DATA, seed=4).draw(refs, 1, no_parts) for _ in range(2))
    b = Sampler(large, DATA, seed=4).draw(refs, 1, no_parts)
    for path, index in a.drawn.items():
        assert torch.equal(index, again.drawn[path]) and torch.equal(index, b.drawn[path])
    for path, index in a.others.items():
        assert torch.equal(index, b.others[path])
    for other in (Sampler(small, DATA, seed=5).draw(refs, 1, no_parts),
                  Sampler(small, DATA, seed=4).draw(refs, 2, no_parts)):  # fmt: skip
        assert not torch.equal(a.drawn["A"], other.drawn["A"])
    assert not torch.equal(a.drawn["A"], a.drawn["B"])  # alike, but drawn apart


def test_children_are_drawn_like_their_parents_draw():
    def half(x):
        return x[:, 0] % 2

    draws = Sampler(claim(Node("A", third, (Node("M", half),))), DATA).draw(
        torch.arange(60), 0, no_parts
    )
    a, m = draws.drawn["A"], draws.drawn["A/M"]
    assert torch.equal(third(DATA[a]), third(DATA)) and torch.equal(half(DATA[m]), half(DATA[a]))
    assert not torch.equal(half(DATA[m]), half(DATA))


def test_together_and_exact():
    hypothesis = claim(
        Node("A", third, (Node("M", "any", together="m"),), together="t"),
        Node("B", third, (Node("N", "any", together="m"),), together="t"),
        Node("C", "exact"),
        Node("D", third, (Node("M", "any", together="m"),)),
    )
    refs = torch.arange(60)
    draws = Sampler(hypothesis, DATA).draw(refs, 0, no_parts)
    assert torch.equal(draws.drawn["A"], draws.drawn["B"])
    assert torch.equal(draws.drawn["A/M"], draws.drawn["B/N"])
    assert not torch.equal(draws.drawn["A/M"], draws.drawn["D/M"])
    assert torch.equal(draws.drawn["C"], refs)
    assert torch.equal(draws.others["A"], draws.others["B"])
    assert not torch.equal(draws.others["A"], draws.others["D"])
    wrong = claim(Node("A", third, together="t"), Node("B", "any", together="t"))
    with pytest.raises(FeatureError, match="drawn together"):
        Sampler(wrong, DATA)


def test_separate_draws_one_input_for_each_component():
    hypothesis = claim(Node("A", third, (Node("M", "any"),)), unimportant="separate")
    draws = Sampler(hypothesis, DATA).draw(torch.arange(60), 0, lambda path: ["M", "N"])
    assert set(draws.others) == {("", "M"), ("", "N"), ("A", "M"), ("A", "N")}
    assert not torch.equal(draws.others["", "M"], draws.others["", "N"])


@pytest.mark.parametrize("n", [1, 5])
def test_enumeration_weighs_every_combination(n):
    data = torch.arange(n)[:, None]
    hypothesis = claim(Node("A", third, (Node("M", third),)), Node("B", "exact"))
    draws, weight = Sampler(hypothesis, data).enumerate(no_parts)
    assert float(weight.sum()) == pytest.approx(1.0)
    rows = torch.stack([draws.refs, *draws.drawn.values(), *draws.others.values()], 1)
    assert len(rows.unique(dim=0)) == len(rows)
    assert torch.equal(draws.drawn["B"], draws.refs)
    assert torch.equal(third(data[draws.drawn["A/M"]]), third(data[draws.refs]))
    shares = torch.zeros(n, dtype=torch.float64).index_add(0, draws.refs, weight)
    assert torch.allclose(shares, torch.full((n,), 1 / n, dtype=torch.float64))
    with pytest.raises(HypothesisError, match="enumeration"):
        Sampler(hypothesis, DATA).enumerate(no_parts, limit=100)


def test_entropy_of_classes_is_what_strength_shows():
    from utils.scrubbing.report import _strength

    hypothesis = claim(Node("A", lambda x: (x[:, 0] < 15).long()), Node("B", lambda x: x[:, 0]))
    sampler = Sampler(hypothesis, DATA)
    draws = sampler.draw(torch.arange(60), 0, no_parts)
    a, b = (_strength(sampler.classes[p], draws, p) for p in "AB")
    assert (a.classes, a.smallest, a.alone) == (2, 15, 0.0) and a.moved > 0.9
    assert a.bits == pytest.approx(-0.25 * math.log2(0.25) - 0.75 * math.log2(0.75))
    assert (b.classes, b.alone, b.moved) == (60, 1.0, 0.0)
    assert b.bits == pytest.approx(math.log2(60))


# --- what is refused -----------------------------------------------------------------------------


def raises(x):
    raise KeyError("column")


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        (raises, "failed on the data: KeyError"),
        (lambda x: x[:5, 0], r"shape \[5\] for 60 inputs"),
        (lambda x: x[:, 0].sum(), r"shape \[\]"),
        (lambda x: torch.where(x[:, 0] > 3, 1.0, torch.nan), "is NaN for 4"),
        (lambda x: ["a"] * len(x), "not numbers"),
        (lambda x: None, "not numbers"),
    ],
)
def test_features_that_name_no_classes(feature, words):
    with pytest.raises(FeatureError, match=words) as error:
        Sampler(claim(Node("A", feature, name="the node")), DATA)
    assert "the node" in str(error.value)


def test_floats_bools_and_lists_are_fine():
    for feature in (lambda x: x[:, 0] / 7, lambda x: x[:, 0] > 3, lambda x: [1] * len(x)):
        assert len(classes_of(feature, DATA, "A").of) == 60


def test_an_empty_data_set_and_bad_ids():
    with pytest.raises(EmptyClassError, match="empty"):
        Sampler(claim(), DATA[:0])
    for ids in (torch.zeros(60), torch.arange(59)):
        with pytest.raises(HypothesisError, match="ids"):
            Sampler(claim(), DATA, ids=ids)
