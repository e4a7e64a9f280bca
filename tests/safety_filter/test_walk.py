"""The walk of `solve filter`, on fewer filters and scenes than it takes by itself."""

import json
from pathlib import Path

import pytest

from utils.__main__ import main
from utils.safety_filter import walk


@pytest.fixture(scope="module")
def found():
    return walk.solve(seeds=(3,), n=800, attacked=10, nulls=1)


def test_the_shipped_filter_is_recovered(found):
    assert found.verdict == "recovered from outside" and len(found.reasons) == 5
    assert found.reports["other filters"]["planted phrases that were recovered"].n == 6
    null = found.reports["other filters"]["nameless vectors: listed phrases that were kept"]
    assert null.value == 0 and null.n > 1


def test_everything_it_says_can_be_shown(found, tmp_path, monkeypatch, capsys):
    assert len(found.texts()) == len(found.reports) == len(found.as_dict()["rows"])
    monkeypatch.setattr(walk, "solve", lambda step: found)
    assert main(["solve", "filter", "--json", "--out", str(tmp_path)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["name"] == "filter" and len(shown["rule"]["phrases"]) == 6
    assert len(shown["files"]) == len(found.reports)
    assert all(Path(file).stat().st_size > 5000 for file in shown["files"])
