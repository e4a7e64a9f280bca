"""The benchmark of erasure: on few rows and texts, since the whole trains a network."""

import json

import pytest

from benchmarks import probing_erasure


@pytest.fixture(scope="module")
def rows():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing_erasure, "ROWS", 2400)
        return probing_erasure.rows(quick=True)


def test_every_setting_and_ordering_is_told(rows):
    json.dumps(rows)
    kinds = [row["kind"] for row in rows]
    assert kinds.count("setting") == len(probing_erasure.SETTINGS)
    assert {"edges", "edit", "ordering", "time"} < set(kinds)
    text = probing_erasure.table(rows)
    assert all(row["what"] in text for row in rows if row["kind"] != "edges")
    told = [
        line.split("|")[2].strip() for line in text.splitlines() if "hold" in line.split("(")[0]
    ]
    assert sum("holds" in cell or "does not hold" in cell for cell in told) >= 15


def test_the_numbers_are_those_of_an_eraser(rows):
    at = {row["what"]: row for row in rows}
    linear = {name: at[f"end: {name}"]["numbers"]["linear, correct"]["value"]
              for name in probing_erasure.ERASERS}  # fmt: skip
    assert linear["nothing"] > 0.95 and linear["LEACE, random labels"] > 0.95
    assert abs(linear["LEACE"] - 0.5) < 0.12 and abs(linear["LEACE, joint"] - 0.5) < 0.12
    assert at["end: LEACE"]["numbers"]["MLP, correct"]["value"] > 0.9
    kept = {name: at[f"end: {name}"]["numbers"]["network, correct"]["value"]
            for name in ("nothing", "LEACE", "LEACE, joint")}  # fmt: skip
    assert kept["nothing"] > 0.95 and kept["LEACE"] > 0.7 > 0.6 > kept["LEACE, joint"]
    assert rows[-1]["max_abs_diff"] < 1e-5
    for row in rows:
        if "numbers" in row and row["kind"] == "setting":
            assert all(n["low"] <= n["value"] <= n["high"] for n in row["numbers"].values())
