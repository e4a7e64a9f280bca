"""The hypothesis builder: what is kept is what scrubbing finds."""

from __future__ import annotations

import json

import pytest

from utils.errors import CourseError
from utils.instruments import scrub
from utils.lessons.checks import lesson_06
from utils.scrubbing import scrub as run_scrub


def test_the_setting_is_that_of_the_lesson():
    _, data = scrub.setting()
    lesson = lesson_06.load_data()
    assert data.tokens.equal(lesson.tokens) and data.balanced.equal(lesson.balanced)


@pytest.mark.parametrize("name", ["both ends, refined", "a2.h1 alone: horizon"])
def test_a_sample_of_the_table_is_what_scrub_finds(name):
    graph, data = scrub.setting()
    claim = scrub.accounts()[name]
    found = run_scrub(
        graph, scrub.hypothesis(claim), data.tokens, data.balanced,
        refs=scrub.REFS, resamples=scrub.RESAMPLES, nulls=scrub.SHUFFLES,
    )  # fmt: skip
    kept = scrub.stored(claim)
    for key, row in (
        ("recovered", "loss recovered"),
        ("random", "recovered, random classes"),
        ("label", "recovered, label only"),
        ("exact", "recovered, named parts exact"),
    ):
        estimate = found[row]
        wanted = (estimate.value, estimate.low, estimate.high)
        assert kept[key] == pytest.approx(wanted, abs=0.002), (name, key)


def test_measuring_many_at_once_gives_the_table():
    claims = [("horizon", "none", "count", "none", "both"), ("none",) * 5]
    for claim, found in scrub.measure(claims).items():
        kept = scrub.stored(claim)
        for key, estimate in found.items():
            wanted = (estimate.value, estimate.low, estimate.high)
            assert kept[key] == pytest.approx(wanted, abs=0.002), (claim, key)


def test_bits_are_the_entropy_of_the_features():
    kept, found = scrub.table()["bits"], scrub.features_bits()
    assert kept == pytest.approx(found) and list(kept) == list(scrub.FEATURES)
    assert kept["none"] == 0 < kept["horizon"] <= 1 < kept["both"] <= 2


def test_every_claim_has_its_own_place():
    claims = scrub.every_claim()
    assert sorted(map(scrub.number, claims)) == list(range(5**5))
    table = scrub.table()
    assert len(table["recovered"]) == len(table["random"]) == 3 * 5**5
    assert len(table["label"]) == len(table["exact"]) == 3 * 2**5
    for key in ("recovered", "random", "label", "exact"):
        numbers = table[key]
        for value, low, high in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
            assert low <= value <= high <= 1005


def test_the_page_numbers_claims_as_the_package_does():
    data = scrub.data()
    for preset, claim in zip(data["presets"], scrub.accounts().values(), strict=True):
        digits = [preset["claim"] // 5**k % 5 for k in range(5)]
        assert [list(scrub.FEATURES)[digit] for digit in digits] == list(claim)
    assert data["parts"] == scrub.PARTS


def test_results_of_other_weights_are_refused(monkeypatch, tmp_path):
    kept = json.loads(scrub.TABLE.read_text(encoding="utf-8"))
    scrub.write({**kept, "network": "another"}, tmp_path / "scrub.json")
    monkeypatch.setattr(scrub, "TABLE", tmp_path / "scrub.json")
    with pytest.raises(CourseError, match="--refresh"):
        scrub.table.__wrapped__()
    (tmp_path / "scrub.json").write_text("{")
    with pytest.raises(CourseError, match="restore it"):
        scrub.table.__wrapped__()


def test_writing_keeps_the_bytes(tmp_path):
    kept = json.loads(scrub.TABLE.read_text(encoding="utf-8"))
    scrub.write(kept, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == scrub.TABLE.read_bytes()
