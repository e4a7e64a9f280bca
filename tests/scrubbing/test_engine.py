"""The engines agree with each other, with the model, and with what must not matter."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.scrubbing import trees
from tests.scrubbing.toys import claim, column, signs, squared, two_parts
from utils.scrubbing import (
    Cost,
    Hypothesis,
    HypothesisError,
    MemoryBoundError,
    Node,
    Plan,
    Sampler,
    TransformerGraph,
    expectation,
    gather,
    make_store,
    naive,
    prefix,
)
from utils.scrubbing.engine import choose
from utils.sites import Site


def drawn(graph, hypothesis, data, seed=0, rows=12, round=0, ids=None):
    plan = Plan(graph, hypothesis)
    sampler = Sampler(hypothesis, data, seed=seed, ids=ids)
    refs = torch.randint(len(data), (rows,), generator=torch.Generator().manual_seed(seed))
    return plan, sampler.draw(refs, round, plan.sources)


def outputs(graph, hypothesis, data, **options):
    plan, draws = drawn(graph, hypothesis, data, **options)
    return gather(plan, data, draws)


def close(a, b, tolerance=1e-5):
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, float(b.abs().max())))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(kind=st.sampled_from(trees.KINDS), seed=st.integers(0, 10_000))
def test_gather_prefix_and_naive_agree_on_random_trees(kind, seed):
    graph, data = trees.network(kind), trees.tokens()
    hypothesis = trees.random_hypothesis(kind, seed)
    plan, draws = drawn(graph, hypothesis, data, seed)
    right = naive(plan, data, draws)
    assert close(prefix(plan, data, draws), right)
    assert close(gather(plan, data, draws), right)
    assert close(gather(plan, data, draws, chunk=5), right)


@pytest.mark.parametrize("kind", trees.KINDS)
def test_random_trees_change_the_output(kind):
    """Else the test above would compare the model with itself."""
    graph, data = trees.network(kind), trees.tokens()
    moved = 0
    for seed in range(20):
        plan, draws = drawn(graph, trees.random_hypothesis(kind, seed), data, seed)
        clean = graph.model(data[draws.refs])
        clean = clean[:, graph.answer()[0]]
        moved += not close(gather(plan, data, draws), clean, 1e-3)
    assert moved >= 15


# --- identities --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", trees.KINDS)
def test_exact_everywhere_is_the_model(kind):
    graph, data = trees.network(kind), trees.tokens()
    for seed in range(6):
        tree = trees.random_hypothesis(kind, seed).map(lambda _, n: replace(n, feature="exact"))
        tree = replace(tree, unimportant="exact")
        plan, draws = drawn(graph, tree, data)
        assert close(gather(plan, data, draws), graph.model(data[draws.refs])[:, graph.answer()[0]])


def test_an_empty_claim_is_another_inputs_output():
    graph, data = trees.network("causal"), trees.tokens()
    plan, draws = drawn(graph, claim(), data)
    assert close(gather(plan, data, draws), graph.model(data[draws.others[""]])[:, -1])
    assert not torch.equal(draws.others[""], draws.refs)


def test_an_injective_feature_on_every_input_is_the_model():
    graph, data = trees.network("causal"), trees.tokens().unique(dim=0)

    def number(x):
        return (x * 6 ** torch.arange(trees.LENGTH)).sum(1)

    sources = graph.slots("output")["in"]
    hypothesis = claim(*(Node(name, number) for name in sources))
    plan, draws = drawn(graph, hypothesis, data)
    assert close(gather(plan, data, draws), graph.model(data[draws.refs])[:, -1])


def test_a_constant_feature_is_no_feature():
    graph, data = trees.network("causal"), trees.tokens()
    for seed in range(4):
        tree = trees.random_hypothesis("causal", seed)
        free = tree.map(lambda _, n: replace(n, feature="any"))
        same = tree.map(lambda _, n: replace(n, feature=lambda x: torch.zeros(len(x))))
        assert torch.equal(outputs(graph, free, data), outputs(graph, same, data))


def test_names_of_classes_order_of_children_and_batches_do_not_matter():
    graph, data = trees.network("bidirectional"), trees.tokens()
    hypothesis = trees.random_hypothesis("bidirectional", 4, nodes=14)

    def renamed(feature):
        if isinstance(feature, str):
            return feature
        return lambda x: -7 * feature(x) + 3

    table = {f: renamed(f) for f in trees.FEATURES}
    other = hypothesis.map(
        lambda _, n: replace(n, feature=table[n.feature], inputs=tuple(reversed(n.inputs)))
    )
    other = replace(other, inputs=tuple(reversed(other.inputs)))
    a, b = outputs(graph, hypothesis, data), outputs(graph, other, data)
    assert close(a, b, 1e-6)
    plan, draws = drawn(graph, hypothesis, data)
    for chunk in (1, 7, 100):
        assert close(gather(plan, data, draws, chunk=chunk), a, 1e-6)


def test_a_shuffled_data_set_with_ids_gives_the_same_outputs():
    graph, data = trees.network("causal"), trees.tokens()
    hypothesis = trees.random_hypothesis("causal", 7)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))
    ids = torch.arange(len(data))
    plan = Plan(graph, hypothesis)
    refs = torch.arange(10)
    place = order.argsort()
    a = Sampler(hypothesis, data, ids=ids).draw(refs, 0, plan.sources)
    b = Sampler(hypothesis, data[order], ids=ids[order]).draw(place[refs], 0, plan.sources)
    assert close(gather(plan, data, a), gather(plan, data[order], b), 1e-6)
    without = Sampler(hypothesis, data[order]).draw(place[refs], 0, plan.sources)
    assert not close(gather(plan, data, a), gather(plan, data[order], without), 1e-3)


def test_a_leaf_is_its_own_exact_refinement_when_the_rest_is_left_alone():
    graph, data = trees.network("bidirectional"), trees.tokens()
    leaf = Hypothesis((Node("m1", trees.first), Node("a1.h0", trees.total)), "exact")
    deep = leaf.change("m1", inputs=tuple(Node(s, "exact") for s in ("a1.h1", "m0", "embed")))
    assert close(outputs(graph, leaf, data), outputs(graph, deep, data))


@pytest.mark.parametrize("split", ["positions", "neurons", "basis", "heads"])
def test_a_node_split_into_parts_drawn_together_is_the_node(split):
    graph, data = trees.network("causal"), trees.tokens()
    mid = "blocks.1.hook_mlp_out"
    basis = torch.linalg.qr(torch.randn(8, 3, generator=torch.Generator().manual_seed(2))).Q
    projected = Site(mid, basis=basis)
    whole, parts = {
        "positions": (Site(mid), [Site(mid, position=[0, 2]), Site(mid, position=[1, 3, 4])]),
        "neurons": (Site(mid), [Site(mid, neuron=[0, 5]), Site(mid, neuron=[1, 2, 3, 4, 6, 7])]),
        "basis": (Site(mid), [projected, projected.complement]),
        "heads": (Site("blocks.1.hook_attn_out"), ["a1.h0", "a1.h1"]),
    }[split]
    one = claim(Node(whole, trees.first, together="x"))
    if split == "positions":  # the output reads the last position only, so put a head above
        whole, parts = (
            [Site("blocks.0.hook_mlp_out", position=s.position) for s in some]
            for some in ([whole], parts)
        )
        above = [
            claim(Node("a1.h0", "any", tuple(Node(s, trees.first, together="x") for s in some)))
            for some in (whole, parts)
        ]
        one, two = above
    else:
        two = claim(*(Node(s, trees.first, together="x") for s in parts))
    assert close(outputs(graph, one, data), outputs(graph, two, data))
    apart = two.map(lambda _, n: replace(n, together=None))
    assert not close(outputs(graph, two, data), outputs(graph, apart, data), 1e-3)


def test_a_tree_drawn_together_throughout_is_the_graph():
    """The diamond as a graph: one draw for the shared step, whoever reads it."""
    x = signs(3)

    def middle(x):
        return x[:, 0] + x[:, 2]

    from utils.scrubbing import Component, FunctionGraph

    graph = FunctionGraph(
        [
            Component("M", middle, ("input",)),
            Component("A", lambda m: m * 2, ("M",)),
            Component("B", lambda m: m - 1, ("M",)),
            Component("output", torch.mul, ("A", "B")),
        ]
    )

    def tree(word):
        low = Node("M", column(0), together=word)
        return claim(*(Node(n, "exact", (low,), together=word) for n in "AB"))

    y = torch.zeros(len(x))
    low = FunctionGraph(
        [
            Component("M", middle, ("input",)),
            Component("output", lambda m: m * 2 * (m - 1), ("M",)),
        ]
    )
    shared = expectation(low, claim(Node("M", column(0))), x, y, squared)
    assert expectation(graph, tree("same"), x, y, squared) == pytest.approx(shared)
    assert expectation(graph, tree(None), x, y, squared) != pytest.approx(shared)


@pytest.mark.parametrize("kind", ["causal", "bidirectional"])
def test_enumeration_and_sampling_agree_on_a_transformer(kind):
    graph, data = trees.network(kind), trees.tokens(4, seed=2)
    y = torch.tensor([0, 1, 2, 0])

    def loss(output, target):
        return nn.functional.cross_entropy(output, target, reduction="none")

    tree = Hypothesis((Node("a1.h0", trees.first, (Node("m0", "any", via="v"),)),), "shared")
    exact = expectation(graph, tree, data, y, loss)
    plan, sampler = Plan(graph, tree), Sampler(tree, data)
    refs = torch.arange(4).repeat(250)
    draws = [sampler.draw(refs, r, plan.sources) for r in range(8)]
    losses = torch.stack([loss(gather(plan, data, d), y[d.refs]) for d in draws]).double()
    sampled = losses.reshape(8 * 250, 4)
    error = sampled.std(0).pow(2).sum().sqrt() / 4 / (8 * 250) ** 0.5
    assert abs(float(sampled.mean()) - exact) < 4.5 * float(error)
    far = expectation(graph, replace(tree, unimportant="exact"), data, y, loss)
    assert abs(far - exact) > 8 * float(error)  # the test could tell another hypothesis


def test_enumeration_refuses_what_it_cannot_finish():
    graph, data = trees.network("causal"), trees.tokens(30)
    with pytest.raises(HypothesisError, match="enumeration"):
        hypothesis = trees.random_hypothesis("causal", 1)
        expectation(graph, hypothesis, data, data[:, 0], squared, limit=1000)


# --- memory, cost, the caller's things ---------------------------------------------------------


def test_a_data_set_over_the_memory_bound_is_done_in_parts_and_says_so():
    graph, data = trees.network("bidirectional"), trees.tokens(3000)
    hypothesis = trees.random_hypothesis("bidirectional", 3)
    plan, draws = drawn(graph, hypothesis, data, rows=60)
    free, bound = Cost(), Cost()
    a = gather(plan, data, draws, cost=free)
    b = gather(plan, data, draws, cost=bound, memory_mb=0.25)
    assert close(a, b, 1e-6)
    assert not free.notes and "over the bound" in bound.notes[0]
    with pytest.raises(MemoryBoundError, match="memory_mb"):
        gather(plan, data, draws, memory_mb=1e-4)


def test_costs_count_what_is_computed():
    graph, data = trees.network("causal"), trees.tokens()
    flat = claim(Node("a1.h0", trees.first), Node("m0", trees.first))
    plan, draws = drawn(graph, flat, data, rows=10)
    cost = Cost()
    gather(plan, data, draws, cost=cost)
    components = sum(1 for name in graph.order if graph.slots(name))
    assert (cost.computed, cost.cached, cost.rows) == (0, len(data) * components, 10)
    deep = flat.change("a1.h0", inputs=(Node("m0", "any"),))
    plan, draws = drawn(graph, deep, data, rows=10)
    one, all_of_it, half = Cost(), Cost(), Cost()
    gather(plan, data, draws, cost=one)
    naive(plan, data, draws, cost=all_of_it)
    prefix(plan, data, draws, cost=half)
    assert one.computed == 10 < half.computed < all_of_it.computed


def test_a_store_serves_many_draws():
    graph, data = trees.network("causal"), trees.tokens()
    hypothesis = trees.random_hypothesis("causal", 5)
    plan = Plan(graph, hypothesis)
    store, cost = make_store(plan, data), Cost()
    for round in range(3):
        _, draws = drawn(graph, hypothesis, data, round=round)
        again = gather(plan, data, draws, store=store, cost=cost)
        assert close(again, gather(plan, data, draws), 1e-6)
    assert cost.cached == 0


def test_few_references_are_not_worth_a_store():
    graph = trees.network("causal")
    plan = Plan(graph, claim(Node("a1.h0", trees.first)))
    assert choose(plan, 10_000, 20)[0] == "prefix" and "10000" in choose(plan, 10_000, 20)[1]
    assert choose(plan, 100, 2000) == ("gather", "")


def test_the_model_and_the_random_state_are_left_as_they_were():
    graph, data = trees.network("causal"), trees.tokens()
    model = graph.model
    before = copy.deepcopy(model.state_dict())
    hooks = sum(len(m._forward_hooks) for m in model.modules())
    model.train()
    state = torch.get_rng_state()
    plan, draws = drawn(graph, trees.random_hypothesis("causal", 2), data)
    results = [engine(plan, data, draws) for engine in (gather, prefix, naive)]
    graph.check(data)
    assert model.training and torch.equal(state, torch.get_rng_state())
    assert sum(len(m._forward_hooks) for m in model.modules()) == hooks
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(r.requires_grad for r in results)
    model.eval()


def test_double_precision_stays_double():
    model = copy.deepcopy(trees.network("attention only").model)
    model.original_model.double()
    data = trees.tokens()
    graph = TransformerGraph(model, data)
    hypothesis = trees.random_hypothesis("attention only", 3)
    plan, draws = drawn(graph, hypothesis, data)
    found = gather(plan, data, draws)
    assert found.dtype == torch.float64
    single = gather(Plan(trees.network("attention only"), hypothesis), data, draws)
    assert close(found.float(), single)


def test_function_graphs_run_on_every_engine():
    x = signs(3).repeat(5, 1)
    graph = two_parts(column(0), column(2), torch.mul)
    for policy in ("shared", "separate", "exact"):
        hypothesis = claim(Node("A", "any", (Node("input", column(1)),)), unimportant=policy)
        plan, draws = drawn(graph, hypothesis, x)
        a, b, c = (engine(plan, x, draws) for engine in (gather, prefix, naive))
        assert torch.equal(a, b) and torch.equal(a, c)
        expected = x[draws.drawn["A/input"], 0]
        other = draws.refs if policy == "exact" else draws.others.get("", None)
        if other is not None:
            assert torch.equal(a, expected * x[other, 2])
