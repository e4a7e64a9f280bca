"""Recovery from outside and from inside, on planted filters and on ones without names."""

import math

import pytest
import torch

from utils.data import scenes
from utils.safety_filter import (
    Gate,
    GateError,
    SafetyFilter,
    agreement,
    balanced,
    bisect,
    explained,
    from_inside,
    from_outside,
    let_through,
    missed,
    naming,
    null_matches,
    shortlist,
    showing,
    special_threshold,
)
from utils.safety_filter.filter import nameless
from utils.safety_filter.recover import listing


def test_explained_and_shortlist_by_hand():
    cosines = torch.tensor([[0.9, 0.8, 0.1], [0.9, 0.2, 0.1], [0.1, 0.9, 0.6], [0.5, 0.5, 0.5]])
    blocked = torch.tensor([True, True, True, False])
    assert explained(cosines, blocked, 0.05).tolist() == [
        [True, True, False], [True, False, False], [False, True, True], [False, False, False],
    ]  # fmt: skip
    assert shortlist(cosines, blocked, 0.05) == [0, 1]
    assert shortlist(cosines, blocked, 0.45) == []
    with pytest.raises(GateError, match="floor"):
        explained(cosines, torch.ones(4, dtype=torch.bool))


def test_bisect_finds_the_change_and_asks_no_more_than_it_says():
    asked = []

    def ask(images):
        asked.append(len(images))
        return images[:, 0, 0, 0] > torch.tensor([0.3, 0.8])

    ends = torch.ones(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)
    share = bisect(ask, *ends, steps=12)
    assert asked == [2] * 12
    assert torch.allclose(share, torch.tensor([0.7, 0.2]), atol=2**-12)


def test_everything_is_recovered_from_outside(found, planted):
    assert set(found.rule.phrases) == planted.list
    stored = dict(zip(planted.concepts, planted.filter.thresholds.tolist(), strict=True))
    for phrase, limit in zip(found.rule.phrases, found.rule.thresholds, strict=True):
        assert limit == pytest.approx(stored[phrase], abs=0.002)
    assert set(found.rule.special) == set(planted.special)
    assert found.rule.adjustment == pytest.approx(0.04, abs=0.002)
    assert 1500 < found.asked < 3500


def test_only_special_companions_block(found, planted):
    for companion in found.companions:
        assert (companion.blocked.value > 0.5) == (companion.name in planted.special)


def test_a_word_without_special_care_has_no_threshold(found, planted, towers):
    gate = Gate(planted.filter, towers)
    assert math.isnan(special_threshold(gate, found.rule, towers, "cup", 1))


def test_nameless_vectors_suggest_phrases_and_none_is_kept(towers):
    _, borders = listing(Gate(nameless(1, towers).filter, towers), towers, 3)
    assert borders and not any(border.own for border in borders)


def test_a_gate_that_blocks_nothing_or_by_no_phrase_is_said_so(towers):
    none = torch.zeros(0, 32), torch.zeros(0), 0.0
    never = SafetyFilter(towers.phrases(["cup"]), torch.tensor([0.99]), *none)
    with pytest.raises(GateError, match="blocked nothing"):
        from_outside(Gate(never, towers), towers, 3)
    with pytest.raises(GateError, match="border of its own"):
        from_outside(Gate(nameless(1, towers).filter, towers), towers, 3)


def test_names_from_inside_and_their_null(planted, towers):
    report, names = naming(planted.filter, towers, scenes.dictionary())
    said = dict(zip(planted.concepts, names, strict=False))
    assert said[""][0] == ""  # the decoy gets no name
    for phrase, (name, cosine) in said.items():
        if phrase and len(phrase.split()) < 3:
            assert name == phrase and cosine > 0.9999
        elif phrase:  # not in the dictionary: a neighbour
            assert cosine < 0.95
    longer, names = naming(planted.filter, towers, [*scenes.dictionary(), *scenes.long_phrases()])
    assert {name for name, _ in names} == planted.list | set(planted.special) | {""}
    assert {row.role for row in report} == {"result", "null"}
    with pytest.raises(GateError, match="two phrases"):
        naming(planted.filter, towers, ["cup"])


def test_a_null_that_lies_where_phrases_lie_is_harder_to_beat(towers):
    table = towers.phrases(scenes.dictionary())
    near, anywhere = (null_matches(table, 500, matched=kind) for kind in (True, False))
    assert near.median() > anywhere.median() + 0.15
    assert torch.equal(near, null_matches(table, 500))


def test_agreement_beside_its_baselines(found, planted, towers):
    inside = from_inside(planted.filter, towers, scenes.dictionary(), 0.75)
    assert len(inside.phrases) == 6 and set(inside.special) == set(planted.special)
    rules = {"outside": found.rule.filter(towers), "inside": inside.filter(towers)}
    report = agreement(rules, planted.filter, towers, found.survey, n=1500, others=4)
    assert report["outside"].value > 0.99 and report["inside"].value > 0.95
    assert report["always allowed"].value == 0.5
    assert report["as the most similar scene asked"].value < 0.9
    assert report["other filters of the maker, mean"].value < 0.8


def test_balanced_agreement_by_hand():
    truth = torch.tensor([True, True, False, False, False, False])
    said = torch.tensor([True, False, False, False, False, True])
    assert balanced(said, truth) == pytest.approx((0.5 + 0.75) / 2)
    with pytest.raises(GateError, match="blocked and allowed"):
        balanced(said, torch.zeros(6, dtype=torch.bool))


def test_what_it_lets_through_is_what_the_rule_says(found, planted, towers):
    rule = found.rule.filter(towers)
    gate = Gate(planted.filter, towers)
    report = let_through(rule, gate, towers)
    assert gate.asked == 400
    passed = missed(rule, towers)
    assert {"knife", "flame"} <= set(passed) and not {"skull", "ghost"} & set(passed)
    for row in report:
        said = float(row.note.removeprefix("rule said "))
        assert row.estimate.value == pytest.approx(said, abs=0.11)


def test_scenes_that_show_a_phrase_show_it():
    rows = showing("red snake", 8, 3)
    assert scenes.holds(rows, torch.tensor([scenes.parse("red snake")])).all()
    assert sorted((rows.objects >= 0).sum(1).tolist()) == [1] * 4 + [2] * 4
    assert len(set(rows.ground.tolist())) == 4
