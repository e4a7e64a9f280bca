"""The benchmarks' command line and agreement of the two sides; times are never asserted."""

from __future__ import annotations

import json

import pytest

from benchmarks import NAMES, patching, scrubbing, side_by_side, sites
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


def test_results_of_different_shape_are_no_comparison():
    import torch

    with pytest.raises(ValueError, match="shape"):
        side_by_side("x", lambda: torch.zeros(2), lambda: torch.zeros(3), runs=1)
