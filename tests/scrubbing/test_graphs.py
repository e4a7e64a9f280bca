"""Graphs hold what their models hold, and notice when they do not."""

import copy

import pytest
import torch
from torch import nn

from tests.scrubbing import trees
from tests.scrubbing.toys import claim
from utils.data import digits
from utils.models import zoo
from utils.scrubbing import (
    Component,
    FunctionGraph,
    Hypothesis,
    HypothesisError,
    Node,
    NotUpstreamError,
    Plan,
    Sampler,
    TransformerGraph,
    UnknownComponentError,
    chain,
    gather,
    naive,
    scrub,
)
from utils.sites import Site, run


@pytest.mark.parametrize("kind", trees.KINDS)
def test_values_and_streams_are_those_the_models_hooks_read(kind):
    graph, data = trees.network(kind), trees.tokens(7)
    sites = {
        "embed": Site("blocks.0.hook_resid_pre"),
        "a1.h0": Site("blocks.1.attn.hook_z", head=0),
    }
    if graph.has_mlp[0]:
        sites["m0"] = Site("blocks.0.hook_mlp_out")
        sites["m1.post"] = Site("blocks.1.mlp.hook_post")
    streams = {
        "residual 2": Site("blocks.1.hook_resid_pre"),
        "residual 4": Site("ln_final.hook_in"),
    }
    if graph.has_mlp[0]:
        streams["residual 1"] = Site("blocks.0.hook_resid_mid")
    values, flows = graph.clean(data, dict.fromkeys(sites), dict.fromkeys(streams))
    right = run(graph.model, data, read=[*sites.values(), *streams.values()]).values
    for name, value in zip([*sites, *streams], right, strict=True):
        assert torch.allclose({**values, **flows}[name], value, atol=1e-5), name
    some, _ = graph.clean(data, {"a1.h0": (1, 3)}, {})
    assert torch.allclose(some["a1.h0"], values["a1.h0"][:, [1, 3]])


@pytest.mark.parametrize("kind", trees.KINDS)
def test_a_stream_is_the_sum_of_what_its_sources_write(kind):
    graph, data = trees.network(kind), trees.tokens(7)
    for component in ("a1.h1", "output"):
        slot, sources = next(iter(graph.slots(component).items()))
        name = graph.stream(component, slot)
        values, flows = graph.clean(data, dict.fromkeys(sources), {name: None})
        total = graph.gathered(component, slot, values, None)
        assert torch.allclose(total, flows[name], atol=1e-5)


def test_hooks_that_change_activations_and_changed_weights_are_noticed():
    graph, data = copy.deepcopy(trees.network("causal")), trees.tokens()
    handle = graph.model.blocks[0].hook_out.register_forward_hook(lambda *a: a[-1] * 2)
    with pytest.raises(HypothesisError, match="reset_hooks"):
        graph.check(data)
    with pytest.raises(HypothesisError, match="reset_hooks"):
        scrub(graph, claim(Node("m0", "any")), data, data[:, 0] % 3)
    handle.remove()
    graph.check(data)
    with torch.no_grad():
        graph.model.original_model.tok_embed.weight.mul_(2)
    graph.check(data)  # read live: still the model
    with torch.no_grad():
        graph.model.blocks[0].attn.q.original_component.weight.mul_(3)
    with pytest.raises(HypothesisError, match="build the graph again"):
        graph.check(data)


def test_a_model_in_train_mode_is_run_in_eval_mode():
    graph, data = trees.network("causal"), trees.tokens()
    graph.model.train()
    try:
        graph.check(data)
        assert graph.model.training
    finally:
        graph.model.eval()


def test_models_that_are_no_native_bridge_are_refused():
    with pytest.raises(HypothesisError, match="FunctionGraph or chain"):
        TransformerGraph(nn.Linear(2, 2), trees.tokens())
    with pytest.raises(HypothesisError, match="5 tokens"):
        trees.network("causal").check(trees.tokens()[:, :3])


def test_all_answers_may_be_kept():
    model, data = trees.network("causal").model, trees.tokens()
    graph = TransformerGraph(model, data, answer=None)
    hypothesis = claim(Node("a1.h0", "any"), Node("m0", trees.first))
    plan = Plan(graph, hypothesis)
    draws = Sampler(hypothesis, data).draw(torch.arange(10), 0, plan.sources)
    found = gather(plan, data, draws)
    assert found.shape == (10, 5, 3)
    assert torch.allclose(found, naive(plan, data, draws), atol=1e-5)


# --- chains and plain functions ------------------------------------------------------------------


@pytest.fixture(scope="module")
def cnn():
    torch.set_num_threads(1)
    return zoo.load("cnn-challenge"), digits.make("held-out", 60, seed=3).images


def test_a_cnn_is_a_chain_and_is_scrubbed_by_the_same_engines(cnn):
    model, images = cnn
    graph = chain(model, ["hook_conv2", "hook_fc1"], images)
    hypothesis = claim(
        Node(Site("hook_fc1", neuron=list(range(20))), "any", (
            Node(Site("hook_conv2", channel=[0, 1]), "any"),
        ))
    )  # fmt: skip
    plan = Plan(graph, hypothesis)
    draws = Sampler(hypothesis, images).draw(torch.arange(12), 0, plan.sources)
    found = gather(plan, images, draws)
    # the same by hand, through hooks
    path = hypothesis.inputs[0].name
    other, inner = draws.others[""], draws.others[path]
    leaf = draws.drawn[f"{path}/{hypothesis.inputs[0].inputs[0].name}"]
    part, fc = Site("hook_conv2", channel=[0, 1]), Site("hook_fc1", neuron=list(range(20)))
    value = part.read(model, images[leaf])
    mixed = run(model, images[inner], edits=[(part, value)], read=[fc], allow_unchanged=True)
    right = fc.write(model, images[other], mixed.values[0], allow_unchanged=True)
    assert torch.allclose(found, right, atol=1e-5)
    assert not torch.allclose(found, model(images[draws.refs]), atol=1e-2)


def test_hooks_out_of_order_are_no_chain(cnn):
    model, images = cnn
    with pytest.raises(HypothesisError, match="no chain|not in order|another output"):
        chain(model, ["hook_fc1", "hook_conv2"], images)


def test_a_chain_without_hooks_is_the_model_in_one_piece(cnn):
    model, images = cnn
    graph = chain(model, [], images)
    output = graph.clean(images[:5], {"output": None}, {})[0]["output"]
    assert torch.allclose(output, model(images[:5]), atol=1e-5)
    with pytest.raises(HypothesisError, match="hook_fc1"):
        Plan(graph, Hypothesis((Node(Site("hook_fc1"), "exact"),), "shared"))


def test_a_transformer_layer_alone_is_no_chain():
    graph = trees.network("causal")
    with pytest.raises(HypothesisError, match="bypasses"):
        chain(graph.model, ["blocks.0.hook_mlp_out"], trees.tokens())


def test_function_graphs_say_what_is_wrong_with_them():
    def one(x):
        return x

    with pytest.raises(NotUpstreamError, match="'B'"):
        FunctionGraph([Component("A", one, ("B",)), Component("B", one, ("input",))])
    with pytest.raises(HypothesisError, match="Two components"):
        FunctionGraph([Component("A", one, ("input",)), Component("A", one, ("input",))])
    with pytest.raises(HypothesisError, match="at least one"):
        FunctionGraph([])
    graph = FunctionGraph([Component("A", one, ("input",)), Component("output", one, ("A",))])
    with pytest.raises(UnknownComponentError, match="there are input, A"):
        Plan(graph, claim(Node("C", "any")))
    with pytest.raises(NotUpstreamError, match="cannot feed"):
        Plan(graph, claim(Node("input", "any")))  # the output reads A alone
