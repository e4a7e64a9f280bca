"""Dilution: the choice by hand, what is kept, and that the right list is worth more than others."""

import pytest
import torch

from utils.data import scenes
from utils.safety_filter import Gate, GateError, SafetyFilter, dilute, dilution, make
from utils.safety_filter.attack import STAGES, lowest, options, pick, targets


def test_the_lowest_of_the_highest_margins():
    table = torch.tensor([[[0.5, -0.9], [0.1, 0.0], [-0.5, 0.2]], [[0.0, 0.0], [1, 1], [-1, 0.5]]])
    assert lowest(table).tolist() == [1, 0]


def test_picking_takes_one_option_for_each_scene():
    rows = scenes.make(3, 0, most=1)
    choices = options(rows, 1, 5)
    assert len(choices) == 40 and len(options(rows, 0, 5)) == 20
    chosen = pick(choices, torch.tensor([0, 7, 39]))
    for n, which in enumerate((0, 7, 39)):
        assert torch.equal(chosen.images[n], choices[which].images[n])
        assert torch.equal(chosen.objects[n], choices[which].objects[n])


def test_what_is_guarded_stays_in_the_scene(planted, towers):
    rows = targets(Gate(planted.filter, towers), 4, 1)
    assert planted.filter(towers.embed(rows.images)).all()
    stages = dilute(planted.filter, towers, rows, 2)
    assert len(stages) == len(STAGES)
    for stage, (changed, expected) in enumerate(stages):
        assert ((changed.objects == rows.objects) | (rows.objects < 0)).all()
        assert ((changed.objects >= 0).sum(1) == 1 + stage).all() and 0 <= expected <= 1


def test_the_right_list_is_worth_more_than_another(found, planted, towers):
    gate = Gate(planted.filter, towers)
    report = dilution(
        {"ours": found.rule.filter(towers)}, make(999, towers).filter, gate, towers, n=25
    )
    ours = report["3 companions, by ours"].value
    assert ours > report["3 companions, by the list of another filter"].value + 0.1
    assert ours > report["3 companions, by chance"].value + 0.2
    assert report["nothing changed, drawn anew"].value < 0.2
    assert gate.asked < 1000


def test_nothing_to_hide_is_said_so(towers):
    never = SafetyFilter(
        towers.phrases(["cup"]), torch.tensor([0.99]), torch.zeros(0, 32), torch.zeros(0), 0.0
    )
    with pytest.raises(GateError, match="nothing to hide"):
        targets(Gate(never, towers), 4, 0)
