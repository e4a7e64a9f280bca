"""What every walk has: reports as text, as JSON and as pictures."""

from dataclasses import dataclass

from utils.reports import Estimate, Report, Row
from utils.walk import Walk


class Fixture(Walk):
    name = "fixture"


@dataclass(frozen=True)
class More(Walk):
    name = "more"
    extra: int


def report(title):
    rows = [Row("ours", Estimate.proportion(8, 10), "result"),
            Row("chance", Estimate.proportion(5, 10), "null")]  # fmt: skip
    return Report(title, rows, {"rows": 10})


def test_json_texts_and_pictures(tmp_path):
    found = Fixture({"first one": report("A"), "second": report("B")}, "yes", ["because"])
    told = found.as_dict()
    assert (told["name"], told["verdict"], told["reasons"]) == ("fixture", "yes", ["because"])
    assert told["rows"]["second"]["ours"]["value"] == 0.8
    assert [text.split("\n")[0] for text in found.texts()] == ["A", "B"]
    files = found.draw(tmp_path)
    assert [path.name for path in files] == ["fixture-first-one.png", "fixture-second.png"]
    assert all(path.stat().st_size > 5000 for path in files)


def test_a_walk_may_hold_more():
    assert More({"a": report("A")}, "no", [], 3).extra == 3
