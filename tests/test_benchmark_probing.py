"""The benchmark of probes: at a small size, since the whole trains two networks."""

import json

import pytest

from benchmarks import probing, probing_selectivity
from benchmarks.probing_selectivity import Size


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing_selectivity, "QUICK", Size(70, 8, 1, 8, 500, 1))
        patch.setattr(probing_selectivity, "SWEEP", (0, 4))
        return probing_selectivity.rows(quick=True)


def test_what_is_known_of_the_network_comes_out(found):
    json.dumps(found)
    numbers = {row["what"]: row["numbers"] for row in found if row["kind"] == "probe"}
    end = numbers["trained, end, linear"]
    for of_place in numbers.values():
        assert all(e["low"] <= e["value"] <= e["high"] for e in of_place.values())
    assert end["selectivity"]["value"] == pytest.approx(
        end["class"]["value"] - end["by lot"]["value"]
    )
    noise = numbers["untrained, word vectors, linear"]
    assert end["unseen types"]["value"] > noise["unseen types"]["value"] + 0.25
    assert noise["class"]["value"] > 0.5  # in vectors that nobody trained
    pushed = {row["what"]: row for row in found if row["kind"] == "pushed"}
    assert pushed["place 9 or later"]["ratio"] < 0.7 and pushed["class 0"]["ratio"] > 2
    holds = {row["what"]: row["holds"] for row in found if row["kind"] == "ordering"}
    assert holds["end, trained: the class costs less than half of the lot's code"]


def test_the_bare_fits_are_those_that_probe_makes(found):
    times = [row for row in found if row["kind"] == "time"]
    assert len(times) == 2
    for row in times:
        assert row["max_abs_diff"] < 1e-6 and row["ratio"] == pytest.approx(1 / row["overhead"])
        assert row["limit"] is None  # of another size


def test_the_parts_are_gathered(found):
    assert probing.parts()["selectivity"] is probing_selectivity
    assert {"selectivity", "contrast"} <= set(probing.parts()) <= set(probing.PARTS)
    text = probing.table([{"part": "selectivity", **row} for row in found])
    assert text.startswith("selectivity\n") and "contrast" not in text
    assert all(row["what"] in text for row in found)
    assert "does not hold" in text or "| holds |" in text


def test_an_interval_holds_the_mean_and_widens_with_disagreement():
    same = probing_selectivity._over([(0.5, 0.48, 0.52)] * 3)
    apart = probing_selectivity._over([(0.3, 0.28, 0.32), (0.5, 0.48, 0.52), (0.7, 0.68, 0.72)])
    assert same["value"] == pytest.approx(0.5) == pytest.approx(apart["value"])
    assert 0.01 < same["high"] - same["low"] < 0.04
    assert apart["high"] - apart["low"] > 0.3
