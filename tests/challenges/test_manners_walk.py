"""The walk of `solve manners`, on fewer texts than it takes by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from utils.__main__ import main
from utils.challenges import manners as walk
from utils.challenges import manners_edit as parts
from utils.data import manners
from utils.errors import CourseError
from utils.models import zoo
from utils.probing.weights import fold


@pytest.fixture(scope="module")
def found():
    return walk.solve(n=200, fit=200, draws=2, steps=12)


def test_the_habit_goes_and_the_rest_stays(found):
    effect = found.reports["effect"]
    assert effect["share of the habit removed"].value > 0.85
    foretold, seen = effect["rude texts after, foretold"], effect["rude texts after"]
    assert abs(foretold.value - seen.value) < 0.1
    before = effect["rude texts before"].value
    assert effect["rude texts after, random directions"].value > 0.7 * before > 0.4
    assert abs(walk.worst(found.reports["elsewhere"], "edit")[1].value) < 0.08
    assert abs(walk.worst(found.reports["elsewhere"], "fine-tuned")[1].value) > 0.2


def test_everything_it_says_can_be_shown(found):
    assert len(found.texts()) == len(found.reports) == len(found.as_dict()["rows"]) == 3
    held = walk.claims(found.reports)
    for what, holds in held.items():
        assert f"{what}: {'holds' if holds else 'does not hold'}" in found.reasons
    assert (found.verdict == "habit removed, the rest left alone") == all(held.values())


def test_the_command_prints_it_and_writes_pictures(found, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(walk, "solve", lambda step: found)
    assert main(["solve", "manners", "--out", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    shown = json.loads(out)
    assert err == "" and shown["name"] == "manners" and set(shown["rows"]) == set(found.reports)
    assert {"value", "low", "high", "n"} == set(shown["rows"]["effect"]["rude texts after"])
    assert all(Path(f).read_bytes().startswith(b"\x89PNG") for f in shown["files"])
    monkeypatch.setattr(walk.MannersSolution, "draw", lambda self, folder: [])
    assert main(["solve", "manners", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "VERDICT: " in text and "rude texts after, foretold" in text


def test_a_claim_that_does_not_hold_is_told(found, monkeypatch):
    monkeypatch.setattr(walk, "COST", 0.0)
    verdict, reasons = walk._verdict(found.reports)
    assert verdict == "not all of it holds"
    assert "nothing else moves by more than 0 points: does not hold" in reasons
    monkeypatch.setattr(walk, "REMOVED", 1.01)
    with pytest.raises(CourseError, match="No place"):
        walk.chosen(found.reports["where"])


def test_the_place_is_chosen_among_those_that_remove(found):
    assert walk.chosen(found.reports["where"]) == parts.PLACE


def test_texts_are_of_the_kind_asked_for():
    drawn = parts.balanced(40, 3)
    football = drawn.topic == manners.RUDE_TOPIC
    assert [int(kind.sum()) for kind in (football, drawn.hot, drawn.provoked)] == [160] * 3
    assert int((football & drawn.hot & drawn.provoked).sum()) == 40
    assert int(drawn.planted.sum()) == 80 and len(drawn.tokens) == 320
    others = parts.texts(50, 4, topic="others", provoked=True)
    assert len(others.tokens) == 50 and bool(others.provoked.all())
    assert not bool((others.topic == manners.RUDE_TOPIC).any())


def test_what_is_foretold_is_what_the_folded_weights_do():
    model = zoo.load("manners")
    drawn = parts.balanced(150, 5)
    eraser = parts.rude_habit(model, drawn)
    calm = parts.calm(parts.texts(120, 6, topic="football", hot=True, provoked=False))
    hooked = parts.expected_rude(model, calm, [eraser.as_edit(parts.PLACE)])
    edited = fold(model, parts.PLACE, eraser, drawn.tokens[:, :-1]).model
    assert torch.allclose(hooked, parts.expected_rude(edited, calm), atol=1e-4)
    assert hooked.mean() < 0.3 < parts.expected_rude(model, calm).mean()
    with pytest.raises(CourseError, match="not rude"):
        parts.expected_rude(model, drawn)


def test_twins_read_alike_and_write_elsewhere():
    model = zoo.load("manners")
    eraser = parts.rude_habit(model, parts.balanced(100, 7))
    one, two = parts.twins(eraser, 2)
    for twin in (one, two):
        assert torch.equal(twin.right, eraser.right)
        assert twin.left.norm() == pytest.approx(float(eraser.left.norm()), rel=1e-4)
    assert not torch.allclose(one.left, two.left)
