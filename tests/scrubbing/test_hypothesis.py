"""What a hypothesis may say, by the name of the error it gets otherwise."""

import pytest
import torch

from tests.scrubbing import trees
from tests.scrubbing.toys import claim, column, signs, squared
from utils.scrubbing import (
    ClaimedTwiceError,
    Component,
    FeatureError,
    FunctionGraph,
    Hypothesis,
    HypothesisError,
    Node,
    NotUpstreamError,
    Plan,
    Step,
    UnknownComponentError,
    expectation,
    treeify,
)
from utils.sites import Site


def z(layer, head, **where):
    return Site(f"blocks.{layer}.attn.hook_z", head=head, **where)


def test_paths_length_change_and_map():
    tree = claim(
        Node("a1.h0", "any", (Node("m0", "any", name="low"),), name="top"), Node("m1", "any")
    )
    assert [path for path, _ in tree.nodes()] == ["top", "top/low", "m1"] and len(tree) == 4
    changed = tree.change("top/low", feature="exact")
    assert dict(changed.nodes())["top/low"].feature == "exact"
    assert dict(tree.nodes())["top/low"].feature == "any"
    with pytest.raises(HypothesisError, match="top/lo'"):
        tree.change("top/lo", feature="exact")
    seen = []
    tree.map(lambda path, node: seen.append(path) or node)
    assert seen == ["top/low", "top", "m1"]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Node(3, "any"), HypothesisError, "site"),
        (lambda: Node("m0", 5), FeatureError, "function of the inputs"),
        (lambda: Node("m0", "exakt"), FeatureError, "exakt"),
        (lambda: Node("m0", "any", name="a/b"), HypothesisError, "slash"),
        (lambda: Node("m0", "any", ("a0.h0",)), HypothesisError, "not a Node"),
        (lambda: Hypothesis((), "random"), HypothesisError, "separate"),
        (lambda: claim(Node("m0", "any"), Node("m0", "any")), ClaimedTwiceError, "'m0'"),
        (
            lambda: claim(Node("m1", "any", (Node("m0", "any"), Node("m0", "exact")))),
            ClaimedTwiceError, "inputs of m1",
        ),
    ],
)  # fmt: skip
def test_what_no_graph_is_needed_to_refuse(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_unimportant_has_no_default():
    with pytest.raises(TypeError, match="unimportant"):
        Hypothesis(())


@pytest.mark.parametrize(
    ("nodes", "error", "words"),
    [
        ([Node("a7.h0", "any")], UnknownComponentError, "a0.h0"),
        ([Node("output", "any")], UnknownComponentError, "no component"),
        ([Node(Site("blocks.0.hook_mlpout"), "any")], UnknownComponentError, "no component"),
        ([Node(z(5, 0), "any")], UnknownComponentError, "no component"),
        ([Node(z(0, 2), "any")], UnknownComponentError, "2 heads"),
        ([Node(z(0, 1, position=5), "any")], UnknownComponentError, "5 positions"),
        ([Node("m0", "any", (Node("m1", "any"),))], NotUpstreamError, "m0/m1 cannot feed m0"),
        ([Node("m0", "any", (Node("m0", "any"),))], NotUpstreamError, "does not come before"),
        ([Node("a0.h0", "any", (Node("a0.h1", "any"),))], NotUpstreamError, "does not come before"),
        ([Node(z(1, 0, position=1), "any")], NotUpstreamError, "other positions"),
        ([Node("embed", "any", (Node("embed", "any"),))], NotUpstreamError, "does not come"),
        ([Node("m1", "any", via="q")], HypothesisError, "slot 'q'"),
        ([Node("a1.h0", "any", (Node("m0", "any", via="w"),))], HypothesisError, "'k', 'q', 'v'"),
        (
            [Node(z(1, 0), "any", name="x"), Node("a1.h0", "any", name="y")],
            ClaimedTwiceError, "x and y",
        ),
        (
            [Node(z(1, 0, position=-1), "any", name="x"),
             Node(z(1, 0, position=4), "any", name="y")],
            ClaimedTwiceError, "x and y",
        ),
        (
            [Node(z(1, 0), "any"), Node(Site("blocks.1.hook_attn_out"), "any")],
            ClaimedTwiceError, "same path",
        ),
        (
            [Node(Site("blocks.1.hook_mlp_out", neuron=[0, 1]), "any"),
             Node(Site("blocks.1.hook_mlp_out", neuron=slice(1, 4)), "any")],
            ClaimedTwiceError, "same path",
        ),
        (
            [Node(Site("blocks.1.hook_mlp_out", basis=torch.eye(8)[:, :2]), "any"),
             Node(Site("blocks.1.hook_mlp_out", basis=torch.eye(8)[:, 1:3]), "any", name="y")],
            ClaimedTwiceError, "orthogonal",
        ),
        (
            [Node(Site("blocks.1.mlp.hook_post", neuron=[1]), "any"), Node("m1", "any")],
            ClaimedTwiceError, "same path",
        ),
        (
            [Node(Site("blocks.1.hook_resid_post"), "any"), Node("m0", "any")],
            ClaimedTwiceError, "same path",
        ),
        (
            [Node(Site("blocks.1.hook_resid_mid"), "any", (Node("m0", "any"),))],
            HypothesisError, "only be a leaf",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_model(nodes, error, words):
    with pytest.raises(error, match=words):
        Plan(trees.network("causal"), claim(*nodes))


@pytest.mark.parametrize(
    "nodes",
    [
        [Node(z(1, 0), "any"), Node(z(1, 1), "any")],
        [Node(Site("blocks.1.hook_mlp_out", neuron=[0, 1]), "any"),
         Node(Site("blocks.1.hook_mlp_out", neuron=[2]), "any")],
        [Node(Site("blocks.1.hook_mlp_out", basis=torch.eye(8)[:, :2]), "any"),
         Node(Site("blocks.1.hook_mlp_out", basis=torch.eye(8)[:, 2:4]), "any", name="y")],
        [Node("a1.h0", "any", (Node("m0", "any", via="q", name="q"), Node("m0", "any", via="v")))],
        [Node("m1", "any", (Node("m0", "any"),)), Node("m0", "any")],
    ],
)  # fmt: skip
def test_disjoint_parts_and_other_paths_are_no_double_claim(nodes):
    assert len(Plan(trees.network("causal"), claim(*nodes)).nodes) == len(claim(*nodes))


# --- diagrams ------------------------------------------------------------------------------------


def diamond(**changes):
    steps = {
        "m": Step("m", lambda x: x[:, 0], site="M"),
        "a": Step("a", lambda m: m > 0, ("m",), site="A"),
        "b": Step("b", lambda m: m * 0, ("m",), site="B"),
        "out": Step("out", lambda a, b: a, ("a", "b")),
    }
    steps.update(changes)
    return list(steps.values())


def test_a_diamond_becomes_a_tree_with_its_shared_step_twice():
    tree = treeify(diamond(), unimportant="shared", name="diamond")
    assert [path for path, _ in tree.nodes()] == ["a", "a/m", "b", "b/m"] and len(tree) == 5
    nodes = dict(tree.nodes())
    x = signs(2)
    assert nodes["a/m"].feature is nodes["b/m"].feature
    assert torch.equal(nodes["a"].feature(x), x[:, 0] > 0) and nodes["a"].label == "a"


def test_a_step_without_a_site_is_passed_through():
    steps = diamond(a=Step("a", lambda m: m > 0, ("m",)))
    assert [p for p, _ in treeify(steps, unimportant="shared").nodes()] == ["m", "b", "b/m"]
    twice = diamond(a=Step("a", lambda m: m > 0, ("m",)), b=Step("b", lambda m: m, ("m",)))
    assert [p for p, _ in treeify(twice, unimportant="shared").nodes()] == ["m"]


def test_a_step_at_several_sites_is_a_node_for_each():
    steps = [
        Step("m", lambda x: x[:, 0], site=("a1.h0", "a1.h1"), via=None),
        Step("out", lambda m: m, "m"),
    ]
    assert [p for p, _ in treeify(steps, unimportant="exact").nodes()] == [
        "m at a1.h0",
        "m at a1.h1",
    ]


def test_a_true_diagram_recovers_everything():
    x = signs(2)
    graph = FunctionGraph(
        [
            Component("M", column(0), ("input",)),
            Component("A", lambda m: (m > 0).float(), ("M",)),
            Component("B", lambda m: m * 0, ("M",)),
            Component("output", torch.add, ("A", "B")),
        ]
    )
    tree = treeify(diamond(), unimportant="shared")
    y = (x[:, 0] > 0).float()
    assert expectation(graph, tree, x, y, squared) == 0
    wrong = treeify(diamond(m=Step("m", lambda x: x[:, 1], site="M")), unimportant="shared")
    assert expectation(graph, wrong, x, y, squared) > 0.2


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "at least one step"),
        (diamond(b=Step("b", lambda q: q, ("q",))), "not an earlier step"),
        (list(reversed(diamond())), "not an earlier step"),
        (diamond(out=Step("out", lambda a: a, ("a",))), "'b' is used by no later step"),
        ([*diamond()[:2], *diamond()], "Two steps are called 'm'"),
        ([Step("m", lambda x: x), Step("out", lambda m: m, ("m",))], "nothing to test"),
    ],
)
def test_diagrams_that_are_none(steps, words):
    with pytest.raises(HypothesisError, match=words):
        treeify(steps, unimportant="shared")
