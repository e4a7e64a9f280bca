"""The walk of `solve trojan` on the command line, on fewer trojans, methods and steps."""

from __future__ import annotations

import json

import pytest

from utils.__main__ import main
from utils.trojans import TrojanError, walk

METHODS = ("look at the mistakes", "every name")


@pytest.fixture(scope="module")
def found():
    said: list[str] = []
    result = walk.solve(
        said.append, 2, names=("solid", "token"), methods=METHODS, steps=100, images=20, units=4,
        starts=2,
    )  # fmt: skip
    assert said[0] == "trojan solid: planted?" and len(said) == 2 * 2 + 1 + 3
    return result


def test_what_is_planted_is_told_apart_from_what_is_found(found):
    for name in ("solid", "token"):
        planted = found.reports[f"{name}: planted"]
        assert planted["attack success rate"].value > 0.95
        assert planted["attack success rate, clean twin"].value < 0.1
    assert "Flagged: 7" in found.reports["solid: detected"].title
    assert found.reports["solid: found"].notes[0].startswith("Verdict: rediscovered")
    # no search finds the trigger that has clutter around it; all patterns at its place do
    assert found.reports["the needle"]["the best of them is the planted one"].value == 1
    # methods of the other kind are left out
    assert found.board["every name", "token"].solved and found.board.beats() == []
    assert not found.board["look at the mistakes", "solid"].solved
    with pytest.raises(TrojanError, match="no run"):
        found.board["every name", "solid"]


def test_attributions_are_judged_beside_the_image_itself(found):
    score = found.reports["attributions: footprint"]
    assert score["occlusion 3x3"].value > score["the image itself"].value + 0.1
    assert abs(score["random"].value - 0.5) < 0.1


def test_on_the_command_line(found, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(walk, "solve", lambda step: found)
    assert main(["solve", "trojan", "--json", "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    shown = json.loads(out)
    assert err == "" and shown["name"] == "trojan" and shown["beaten"] == []
    assert set(shown["rows"]) == set(found.reports)
    planted = shown["rows"]["solid: planted"]["attack success rate"]
    assert planted["low"] <= planted["value"] <= planted["high"] and planted["n"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "trojan-found.png", "trojan-attributions.png", "trojan-attributions-scored.png",
    }  # fmt: skip
    assert all(str(tmp_path) in file for file in shown["files"])
    assert main(["solve", "trojan", "--out", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "A needle: 512 patterns" in out and out.rstrip().splitlines()[-1].startswith("Pictures:")
    assert err and all(line.startswith("... ") for line in err.splitlines())
    assert main(["solve", "trojan", "--original"]) == 2
