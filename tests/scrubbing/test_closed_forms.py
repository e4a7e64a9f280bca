"""Scrubbed losses that can be worked out on paper, by enumeration and by sampling."""

import pytest
import torch

from tests.scrubbing.toys import claim, column, recovered, signs, squared, two_parts
from utils.scrubbing import Component, FunctionGraph, Hypothesis, Node, expectation, scrub


def t0():
    x = signs(2)
    graph = two_parts(lambda x: 2 * x[:, 0], lambda x: 3 * x[:, 1])
    return graph, claim(Node("A", column(0)), Node("B", column(1))), x, 2 * x[:, 0] + 3 * x[:, 1]


def t1():
    x = signs(2)  # the model reads x1 though the label does not need it
    graph = two_parts(column(0), column(1))
    return graph, claim(Node("A", column(0))), x, x[:, 0]


def t2():
    x = signs(2) * torch.tensor([2.0, 1.0])  # the model has the wrong sign of x1
    graph = two_parts(column(0), column(1))
    return graph, claim(Node("A", column(0))), x, x[:, 0] - x[:, 1]


def t3(together=None):
    x = signs(3)  # a common sign that cancels in the product
    graph = two_parts(lambda x: x[:, 2] * x[:, 0], lambda x: x[:, 2] * x[:, 1], torch.mul)
    nodes = (Node("A", column(0), together=together), Node("B", column(1), together=together))
    if together is not None:
        nodes = tuple(Node(s, lambda x: x[:, :2], together=together) for s in "AB")
        nodes = (nodes[0], Node("B", nodes[0].feature, together=together))
    return graph, claim(*nodes), x, x[:, 0] * x[:, 1]


def t4():
    x = signs(3)  # x2 enters A and leaves in B: "intermediates cancel"
    graph = two_parts(lambda x: x[:, 0] + x[:, 2], lambda x: x[:, 1] - x[:, 2])
    return graph, claim(Node("A", column(0)), Node("B", column(1))), x, x[:, 0] + x[:, 1]


def t5():
    x = signs(1).expand(2, 2)  # x1 is x0: the data hide which of them is read
    graph = two_parts(column(0), column(1))
    return graph, claim(Node("A", column(0))), x, x.sum(1)


@pytest.mark.parametrize(
    ("toy", "share"),
    [
        (t0, 1.0),
        (t1, 1.0),
        (t2, 4 / 3),
        (t3, 0.0),
        (lambda: t3("both"), 1.0),
        (t4, 0.5),
        (t5, 0.75),
    ],
    ids=["T0", "T1", "T2", "T3 apart", "T3 together", "T4", "T5"],
)
def test_recovered_shares_are_those_worked_out_by_hand(toy, share):
    graph, hypothesis, x, y = toy()
    if toy is t3:  # the common sign is drawn apart: loss 2 against a baseline of 2
        assert expectation(graph, hypothesis, x, y, squared) == pytest.approx(2.0)
    assert recovered(graph, hypothesis, x, y) == pytest.approx(share, abs=1e-6)
    many = x.repeat(50, 1)
    report = scrub(
        graph, hypothesis, many, y.repeat(50), loss=squared, refs=400, resamples=20, nulls=0
    )
    error = (report.recovered.high - report.recovered.low) / 3.92
    assert abs(report.recovered.value - share) < 5 * error + 0.02


def test_t1_keeps_the_loss_while_every_output_changes():
    graph, hypothesis, x, y = t1()
    moved = expectation(graph, hypothesis, x, x.sum(1), squared)  # against the model's own output
    assert moved == pytest.approx(2.0)  # 2 var(x1)
    report = scrub(graph, hypothesis, x, y, loss=squared, refs=4, resamples=50, nulls=0)
    assert report["mean |output - the model's|"].value > 0.5
    assert 0.9 < report.recovered.value < 1.1


def test_t7_resampling_and_mean_ablation_disagree_on_an_or():
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0]])  # x0 is always on, x1 does not matter
    graph = two_parts(column(0), column(1), lambda a, b: ((a + b) >= 1).float())
    hypothesis = claim(Node("A", "exact"))
    y = torch.ones(2)
    assert expectation(graph, hypothesis, x, y, squared) == 0
    off = FunctionGraph(
        [
            Component("A", lambda x: x[:, 0] - 0.75, ("input",)),  # a mean over other data
            Component("B", lambda x: torch.full((len(x),), 0.2), ("input",)),
            Component("output", lambda a, b: ((a + b) >= 1).float(), ("A", "B")),
        ]
    )
    assert expectation(off, Hypothesis((), "exact"), x, y, squared) == 1


# --- end-to-end cases in the spirit of the first implementation's own suite -----------------------


def test_identical_model_and_hypothesis_recover_everything():
    assert recovered(*t0()) == pytest.approx(1.0)


def test_a_value_spread_over_two_nodes_is_found_by_naming_both():
    x = signs(2)
    graph = two_parts(lambda x: 0.5 * x[:, 0], lambda x: 0.5 * x[:, 0] + 0 * x[:, 1])
    both = claim(Node("A", column(0)), Node("B", column(0)))
    one = claim(Node("A", column(0)))
    assert recovered(graph, both, x, x[:, 0]) == pytest.approx(1.0)
    assert recovered(graph, one, x, x[:, 0]) == pytest.approx(0.75)


def test_a_value_spread_over_the_residual_needs_the_residual():
    x = signs(2)
    wide = FunctionGraph(
        [
            Component("A", lambda x: torch.stack([x[:, 0], 0 * x[:, 1], x[:, 1]], 1), ("input",)),
            Component("output", lambda a: a.sum(1), ("A",)),
        ]
    )
    from utils.sites import Site

    first = claim(Node(Site("A", neuron=[0, 1]), column(0)))
    split = claim(Node(Site("A", neuron=[0, 1]), column(0)), Node(Site("A", neuron=[2]), column(1)))
    assert recovered(wide, first, x, x.sum(1)) == pytest.approx(0.5)
    assert recovered(wide, split, x, x.sum(1)) == pytest.approx(1.0)


@pytest.mark.parametrize(("size", "loss"), [(3.0, 18.0), (0.001, 2e-6)])
def test_a_deviation_costs_its_size_so_a_tiny_falsehood_passes(size, loss):
    x = signs(2)
    graph = two_parts(column(0), lambda x: size * x[:, 1])
    y = x[:, 0] + size * x[:, 1]
    found = expectation(graph, claim(Node("A", column(0))), x, y, squared)
    assert found == pytest.approx(loss, rel=1e-4)
    assert (found < 0.01) == (size < 1)


def test_swapped_intermediates_are_rejected():
    x = signs(2) * torch.tensor([1.0, 2.0])
    graph = two_parts(column(0), column(1))
    wrong = claim(Node("A", column(1)), Node("B", column(0)))
    assert recovered(graph, wrong, x, x.sum(1)) == pytest.approx(0.0, abs=1e-6)


def test_data_correlation_makes_a_wrong_feature_score():
    x = signs(2)[:3]  # dropping one corner correlates the coordinates
    graph = two_parts(column(0), lambda x: 0 * x[:, 1])
    right = recovered(graph, claim(Node("A", column(0))), x, x[:, 0])
    wrong = recovered(graph, claim(Node("A", column(1))), x, x[:, 0])
    full = recovered(graph, claim(Node("A", column(1))), signs(2), signs(2)[:, 0])
    assert right == pytest.approx(1.0) and full == pytest.approx(0.0, abs=1e-6)
    assert 0.1 < wrong < 0.9


@pytest.mark.parametrize(("policy", "share"), [("shared", 0.5), ("separate", 0.5), ("exact", 1.0)])
def test_unspecified_nodes_are_random_or_left_alone_as_the_policy_says(policy, share):
    x = signs(2)
    graph = two_parts(column(0), column(1))
    hypothesis = claim(Node("A", column(0)), unimportant=policy)
    assert recovered(graph, hypothesis, x, x.sum(1)) == pytest.approx(share)


def test_shared_and_separate_differ_where_unimportant_inputs_interact():
    x = signs(2)
    graph = two_parts(column(0), column(0), torch.mul)
    one = torch.ones(4)
    # one other input for both factors: x0 * x0 = 1; another one for each: a random sign
    assert expectation(graph, claim(unimportant="shared"), x, one, squared) == 0
    assert expectation(graph, claim(unimportant="separate"), x, one, squared) == pytest.approx(2.0)
