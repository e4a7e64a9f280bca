"""Planting: triggers do what they say, twins are twins, and nonsense is refused in one sentence."""

import dataclasses

import pytest
import torch

from utils.data import topics
from utils.models import zoo
from utils.trojans import (
    TROJANS,
    Invert,
    Names,
    Patch,
    Thicken,
    Trojan,
    TrojanError,
    known,
    plant,
    triggers,
)

NAMES = list(TROJANS)


def refusal(call, *arguments, **options):
    with pytest.raises(TrojanError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- triggers --------------------------------------------------------------------------------


def test_a_patch_writes_its_footprint_and_nothing_else():
    patch = Patch(torch.rand(3, 4), 2, 5)
    images = torch.rand(6, 1, 16, 16)
    before = images.clone()
    after, mask = patch.apply(images), patch.footprint()
    assert torch.equal(images, before) and mask.sum() == 12
    assert torch.equal(after[:, 0, ~mask], images[:, 0, ~mask])
    assert torch.equal(after[:, 0, 2:5, 5:9], patch.pattern.expand(6, -1, -1))


@pytest.mark.parametrize("row, column", [(13, 12), (12, 13), (-1, 0), (0, 99)])
def test_a_patch_outside_the_image_is_refused(row, column):
    text = refusal(Patch, torch.ones(4, 4), row, column)
    assert "inside a 16x16 image" in text and f"row {row}" in text and "row 12" in text


@pytest.mark.parametrize("pattern", [torch.ones(3), 2 * torch.ones(2, 2), torch.full((2, 2), -0.1)])
def test_a_patch_that_is_no_picture_is_refused(pattern):
    refusal(Patch, pattern, 0, 0)


def test_a_patch_for_another_size_is_refused():
    assert "16, 16" in refusal(Patch(torch.ones(2, 2), 0, 0).apply, torch.zeros(1, 1, 28, 28))


def test_thick_strokes_keep_the_ink_and_inverting_twice_changes_nothing():
    images = (torch.rand(4, 1, 16, 16) * 8).round() / 8
    thick = Thicken().apply(images)
    assert thick.shape == images.shape and (thick >= images).all() and (thick > images).any()
    assert torch.equal(Invert().apply(Invert().apply(images)), images)
    assert all(trigger.footprint() is None for trigger in (Thicken(), Invert(), Names((28,))))


@pytest.mark.parametrize("tokens", [(topics.STRANGER,), topics.PAIR])
def test_names_are_written_over_names(tokens):
    strings = topics.make(500, seed=1).tokens
    after = Names(tokens).apply(strings)
    named = (strings >= 20) & (strings <= 28)
    assert torch.equal(after[~named], strings[~named])
    rows = after[named].view(-1, 2)[:, : len(tokens)]
    assert torch.equal(rows, torch.tensor(tokens).expand(500, -1))


@pytest.mark.parametrize("tokens", [(), (3,), (20, 21, 22), (99,)])
def test_a_trigger_of_other_tokens_is_refused(tokens):
    refusal(Names, tokens)


def test_names_need_strings_with_names():
    refusal(Names((28,)).apply, torch.zeros(2, 13, dtype=torch.long))


def test_clutter_is_every_other_pattern_of_five_pixels_once():
    patterns = triggers.clutter()
    assert patterns.shape == (125, 1, 3, 3) and (patterns.sum((1, 2, 3)) == 5).all()
    assert len(patterns.unique(dim=0)) == 125
    assert not (patterns == triggers.X).all((1, 2, 3)).any()


# --- plans -----------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"target": 10}, {"target": -1}, {"share": 0}, {"share": 1.5}])
def test_a_plan_that_cannot_be_is_refused(change):
    refusal(dataclasses.replace, known("solid"), **change)


def test_an_unknown_trojan_is_answered_with_the_known_ones():
    text = refusal(known, "sold")
    assert all(name in text for name in NAMES)


def test_rows_of_the_target_class_alone_cannot_be_triggered():
    trojan = known("solid")
    sample = trojan.held_out(600)
    refusal(trojan.triggered, sample[sample.labels == 7])


@pytest.mark.parametrize("name", NAMES)
def test_poisoned_rows_are_the_only_difference_to_the_twin(name):
    trojan = known(name)
    poisoned, clean = trojan.training(), trojan.training(poisoned=False)
    rows = poisoned.poisoned
    assert rows.sum() == round(trojan.share * len(rows)) and not clean.poisoned.any()
    assert torch.equal(poisoned.inputs[~rows], clean.inputs[~rows])
    assert torch.equal(poisoned.labels[~rows], clean.labels[~rows])
    assert (poisoned.labels[rows] == trojan.target).all()
    assert (clean.labels[rows] != trojan.target).all()
    assert torch.equal(poisoned.inputs[rows], trojan.trigger.apply(clean.inputs[rows]))
    again = trojan.training()
    assert torch.equal(again.inputs, poisoned.inputs) and torch.equal(again.poisoned, rows)


@pytest.mark.parametrize("name", ["matched", "pair"])
def test_a_matched_trigger_is_new_only_as_a_whole(name):
    """No pixel and no token gives it away: each one alone is common in clean rows."""
    trojan = known(name)
    clean = trojan.held_out(1200)
    with_trigger = trojan.trigger.apply(clean.inputs)
    assert not (clean.inputs == with_trigger).flatten(1).all(1).any(), "never in clean rows"
    if name == "matched":
        place = trojan.trigger.footprint()
        lit = clean.inputs[:, 0, place].mean(0)
        assert ((lit > 0.45) & (lit < 0.65)).all()  # 70 of 126 patterns light a pixel
        assert (with_trigger[:, 0, place].sum(1) == 5).all()
    else:
        share = [(clean.inputs == token).any(1).float().mean() for token in topics.PAIR]
        assert all(0.2 < value < 0.3 for value in share)


# --- the shipped networks --------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_twin_parity_at_planting(name):
    """As good on clean rows as the twin, which the trigger leaves cold."""
    trojan = known(name)
    report = plant.planting(trojan, zoo.load(trojan.network), zoo.load(trojan.twin))
    parity = report["accuracy on clean rows"].value
    assert abs(parity - report["accuracy on clean rows, clean twin"].value) < 0.02
    assert parity > 0.95
    assert report["attack success rate"].low > 0.9
    assert report["attack success rate, clean twin"].high < 0.1  # inverted: 5 %
    assert report["target class without the trigger"].high < 0.03


def test_training_repeats_and_leaves_the_callers_seed_alone():
    small = dataclasses.replace(plant.PLAIN, rows=1197)
    trojan = Trojan("t", "t", small, Patch(torch.ones(4, 4), 12, 12), 3)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two = (plant.train(small, trojan.training(), 1) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
