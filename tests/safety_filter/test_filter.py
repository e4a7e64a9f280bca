"""The rule in closed form, the gate's counting, and what the maker draws."""

import pytest
import torch

from utils.data import scenes
from utils.safety_filter import Gate, GateError, Rule, SafetyFilter, like, make, nameless


def hand_made(adjustment=0.2):
    return SafetyFilter(
        torch.eye(4)[:2], torch.tensor([0.6, 0.9]), 3 * torch.eye(4)[2:3], torch.tensor([0.5]),
        adjustment,
    )  # fmt: skip


@pytest.mark.parametrize(
    "vector, blocked",
    [
        ([1.0, 0, 0, 0], True),
        ([0.7, 0, 0, 0.72], True),  # .70 above .6
        ([0.5, 0, 0, 0.87], False),  # .50 below .6
        ([0.5, 0, 0.6, 0.62], True),  # .50 above .6 - .2, special care
        ([0.0, 0, 1, 0], False),  # special care alone blocks nothing
        ([0.0, 0.8, 0, 0.6], False),  # .80 below .9
        ([0.0, 0.8, 0.6, 0], True),
    ],
)
def test_the_rule(vector, blocked):
    rule, row = hand_made(), torch.tensor([vector])
    assert rule(row).tolist() == [blocked] and rule(7 * row).tolist() == [blocked]


def test_without_special_care_nothing_is_lowered():
    rule = SafetyFilter(torch.eye(3), torch.full((3,), 0.9), torch.zeros(0, 3), torch.zeros(0), 0.5)
    assert not rule.care(torch.eye(3)).any()
    assert rule(torch.tensor([[1.0, 0, 0], [0.7, 0.7, 0]])).tolist() == [True, False]
    with pytest.raises(GateError, match="one threshold for each"):
        SafetyFilter(torch.eye(3), torch.zeros(2), torch.zeros(0, 3), torch.zeros(0), 0.0)


def test_the_gate_counts_and_keeps_to_its_budget(towers, planted):
    gate, rows = Gate(planted.filter, towers, budget=10), scenes.make(8, 0)
    said = gate.ask(rows.images)
    assert said.dtype == torch.bool and torch.equal(said, planted.filter(towers(rows.images)))
    assert gate.asked == 8
    with pytest.raises(GateError, match="8 of 10 images"):
        gate.ask(rows.images[:3])
    assert gate.asked == 8 and len(gate.ask(rows.images[:2])) == 2
    with pytest.raises(GateError, match=r"image\[None\]"):
        gate.ask(rows.images[0])


def test_the_maker_draws_from_its_seed(towers):
    first, again, other = make(4, towers), make(4, towers), make(5, towers)
    assert first.concepts == again.concepts and first.concepts != other.concepts
    assert torch.equal(first.filter.concepts, again.filter.concepts)
    assert torch.equal(first.filter.thresholds, again.filter.thresholds)


@pytest.mark.parametrize("seed", range(6))
def test_a_filter_guards_one_kind_strays_once_and_holds_a_decoy(towers, seed):
    planted = make(seed, towers)
    kinds = {name: kind for kind, names in scenes.KINDS.items() for name in names}
    about = [kinds[scenes.OBJECTS[scenes.parse(text)[0]]] for text in planted.list]
    assert (
        sorted(about) == sorted([planted.kind] * 5 + ["plain"]) and planted.kind in scenes.GUARDED
    )
    assert planted.concepts.count("") == 1 and len(planted.concepts) == 7
    assert {kinds[word] for word in planted.special} == {"nursery"} and len(planted.special) == 2
    rows = scenes.make(1500, 60 + seed)
    embeddings = towers.embed(rows.images)
    share = planted.filter(embeddings).double().mean()
    assert 0.1 < share < 0.4
    decoy = planted.concepts.index("")
    assert not (planted.filter.margins(embeddings)[:, decoy] > 0).any()


def test_random_vectors_like_phrases_have_their_mean_and_spread(towers):
    table = towers.phrases(scenes.dictionary())
    drawn = like(table, 4000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.norm(dim=1), torch.ones(4000), atol=1e-5)
    direction = torch.nn.functional.normalize(table.mean(0), dim=0)
    assert abs((drawn @ direction).mean() - (table @ direction).mean()) < 0.05


def test_a_nameless_filter_blocks_about_as_much(towers):
    null = nameless(2, towers)
    share = null.filter(towers.embed(scenes.make(1500, 3).images)).double().mean()
    assert 0.08 < share < 0.3 and not null.list


def test_a_rule_without_phrases_is_refused(towers):
    with pytest.raises(GateError, match="without any phrase"):
        Rule((), ()).filter(towers)
