"""The benchmarks' command line and agreement of the two sides; times are never asserted."""

from __future__ import annotations

import json

import pytest

from benchmarks import NAMES, challenges, patching, scrubbing, side_by_side, sites
from benchmarks.__main__ import main


def test_sites_agree_with_the_loop():
    for row in sites.rows(quick=True, layers=2, positions=4):
        assert row["max_abs_diff"] <= 1e-5 and row["unit"] == "s"
        assert row["ours"] > 0 and row["ratio"] == pytest.approx(row["peer"] / row["ours"])
        assert row["sites"] == 8


def test_patching_agrees_with_the_loop_of_transformer_lens():
    from utils.data import sequences

    row = patching._row("induction", sequences.repeats(1, 1)[0], sequences.repeats(1, 2)[0], runs=1)
    assert row["sites"] == 2 * 2 * 24 and row["max_abs_diff"] <= 1e-5


@pytest.mark.parametrize("size", scrubbing.TREES)
def test_trees_of_the_benchmark_have_the_size_they_say(size):
    assert len(scrubbing.hypothesis_of(size)) == size


def test_scrubbing_agrees_with_every_loop(capsys):
    rows = scrubbing.rows(quick=True, inputs=300, trees=(4, 13))
    trees = [row for row in rows if "nodes" in row["what"]]
    # recursion twice and transformer-lens at least; other peers where they are installed
    assert len(trees) >= 6 and all(row["max_abs_diff"] < 1e-5 for row in trees)
    for row in trees:
        assert row["ours_evaluations"] < row["peer_evaluations"], row["what"]
    assert "ratio" in scrubbing.table(rows) and rows[-1]["max_abs_diff"] == 0
    missing = capsys.readouterr().err
    for line in missing.splitlines():
        assert "requirements-peers" in line


def test_command_line(capsys, monkeypatch):
    assert main([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(NAMES)
    assert main(["stes"]) == 2
    caught = capsys.readouterr()
    assert caught.out == "" and caught.err.count("\n") == 1 and "stes" in caught.err
    rows = sites.rows
    monkeypatch.setattr(sites, "rows", lambda quick: rows(quick, layers=1, positions=2))
    assert main(["sites", "--quick", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert set(data) == {"machine", "rows"} and data["machine"]["torch"]
    assert {"what", "ours", "peer", "ratio", "unit", "max_abs_diff"} <= set(data["rows"][0])
    assert main(["sites", "--quick"]) == 0
    assert "ratio" in capsys.readouterr().out


def test_challenges_are_timed_and_counted(monkeypatch):
    """With the runs given: the real ones take minutes."""
    run = {
        "seconds": 10.0, "wall": 12.0, "template": "sum", "accuracy": 0.97, "difference": 0.0,
        "shortcut": 0.8, "refusals": [],
    }  # fmt: skip
    again = {**run, "seconds": 30.0, "accuracy": 0.96, "refusals": ["a shortcut"]}
    runs = iter([run, again, {**run, "seconds": 12.0}])
    monkeypatch.setattr(challenges, "one", lambda family, seed: next(runs))
    (row,) = challenges.rows(seeds=3, families=("cnn",))
    assert row["what"] == "cnn, 2 of 3 at the first draw" and row["first_draw_passes"] == 2
    assert (row["ours"], row["slowest"], row["ratio"]) == (12.0, 30.0, 5.0)
    assert row["lowest_accuracy"] == 0.96 and row["refusals"] == ["a shortcut"]
    assert {"what", "ours", "peer", "ratio", "unit", "max_abs_diff"} <= set(row)


def test_results_of_different_shape_are_no_comparison():
    import torch

    with pytest.raises(ValueError, match="shape"):
        side_by_side("x", lambda: torch.zeros(2), lambda: torch.zeros(3), runs=1)


def test_engineering_gathers_its_parts_and_says_what_does_not_hold():
    from benchmarks import engineering, engineering_editing

    found = engineering_editing.rows(quick=True)
    methods = {row["what"]: row["numbers"] for row in found if row["kind"] == "method"}
    assert methods["facts, no edit"]["efficacy"]["value"] == 0
    assert methods["facts, rank-one edit"]["efficacy"]["value"] > 0.9
    for numbers in methods.values():
        assert all(e["low"] <= e["value"] <= e["high"] for e in numbers.values())
    grades = {row["what"]: row["holds"] for row in found if row["kind"] == "grade"}
    # the known answers; one of them is that the edit loses this comparison
    assert grades["facts-planted: noise gives the only place below .3 of the effect"]
    lost = "facts: the edit keeps more other relations than rehearsed fine-tuning"
    assert grades[lost] is False
    assert engineering.parts()["editing"] is engineering_editing
    text = engineering.table([{"part": "editing", **row} for row in found])
    assert text.startswith("editing\n") and f"| {lost} | does not hold |" in text
    (time,) = (row for row in found if row["kind"] == "time")
    assert {"what", "ours", "peer", "ratio", "unit", "max_abs_diff"} <= set(time)


def test_intervals_over_networks_hold_the_mean_and_widen_with_disagreement():
    from benchmarks.engineering_editing import _interval

    same = _interval([[0.2, 0.4, 0.3]] * 3)
    apart = _interval([[0.0, 0.2, 0.1], [0.2, 0.4, 0.3], [0.4, 0.6, 0.5]])
    assert same["value"] == pytest.approx(apart["value"]) == pytest.approx(0.3)
    assert apart["high"] - apart["low"] > 1.5 * (same["high"] - same["low"])
    assert _interval([[1.0, 1.0], [1.0, 1.0]])["low"] < 1  # four edits prove no certainty
    assert _interval([[0.0, 0.0], [0.0, 0.0]], share=False)["high"] == 0  # nats are no share
