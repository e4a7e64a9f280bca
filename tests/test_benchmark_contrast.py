"""The benchmark of contrast pairs: on few pairs, since the whole trains two networks."""

import json

from benchmarks import probing_contrast


def test_every_setting_ordering_and_time_is_told(monkeypatch):
    monkeypatch.setattr(probing_contrast, "PAIRS", 600)
    rows = probing_contrast.rows(quick=True)
    json.dumps(rows)
    kinds = [row["kind"] for row in rows]
    assert kinds.count("setting") == len(probing_contrast.SETTINGS)
    assert kinds.count("steering") == len(probing_contrast.STEERED)
    by_name = {row["what"]: row for row in rows}
    assert by_name["no opinion"]["truth"][0] >= 9 and by_name["no opinion"]["opinion"] is None
    assert by_name["random opinion"]["truth"][0] + by_name["random opinion"]["opinion"][0] == 10
    text = probing_contrast.table(rows)
    assert all(row["what"] in text for row in rows)
    assert {"holds", "does not hold"} >= {
        line.split("|")[2].strip() for line in text.splitlines() if "holds" in line
    }
    assert rows[-1]["max_abs_diff"] < 1e-5 and rows[-1]["ratio"] > 0
