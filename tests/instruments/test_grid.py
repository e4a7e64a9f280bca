"""The grid explorer: its data are the lesson's, and its scripts count as the package does."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import torch

from tests.instruments.javascript import run
from utils.challenges.pairs_case import neighbours
from utils.data import grid as pairs
from utils.errors import CourseError
from utils.instruments import grid, instrument
from utils.lessons.checks import lesson_03

SCRIPTS = ("formula.js", "cells.js")


@pytest.fixture(scope="module")
def its():
    return grid.case()


@pytest.fixture(scope="module")
def shown(its):
    return grid.data(its)


def cells(text: str) -> torch.Tensor:
    return torch.tensor([int(letter) for letter in text]).view(113, 113)


def test_data_are_those_of_the_lesson(shown):
    given, model = lesson_03.load_data(), lesson_03.load_model()
    assert torch.equal(cells(shown["labels"]), given.labels)
    assert torch.equal(cells(shown["seen"]).bool(), given.seen)
    with torch.no_grad():
        logits = model(pairs.tokens(pairs.every_cell()))[:, -1]
    assert torch.equal(cells(shown["answers"]).flatten(), logits.argmax(-1))
    margins = np.frombuffer(base64.b64decode(shown["margins"]), dtype=np.int8) / 10
    real = (logits[:, 1] - logits[:, 0]).clamp(-12.7, 12.7).numpy()
    assert np.abs(margins - real).max() < 0.051


def test_shares_are_counted_as_the_reports_count_them(its):
    held = ~its.seen
    gap = held & neighbours(its.labels, its.seen).gap
    found = grid.agreements(its.answers, its)
    for share, hits, of in ((found[1], ~its.wrong, held), (found[2], ~its.wrong, gap)):
        wanted = its.share(hits, of)
        ends = (share.value, share.low, share.high)
        # the ends come from other numbers of resamples, so they differ in the third decimal
        assert ends == pytest.approx((wanted.value, wanted.low, wanted.high), abs=0.02)
    assert int(gap.sum()) == 155 and found[2].value == pytest.approx(0.6, abs=1e-3)


def test_scripts_and_package_agree_on_every_cell_of_every_preset(its, shown):
    found = run(
        SCRIPTS,
        """(data) => {
          const [labels, answers, seen] = [data.labels, data.answers, data.seen].map(cellsOf);
          const layers = { nearest: nearestOf(labels, seen, data.size) };
          const setting = { answers, seen, size: data.size, layers };
          const held = seen.map((value) => 1 - value);
          return {
            gaps: [...gapsOf(labels, seen, data.size)],
            presets: data.presets.map(({ formula, bits }) => {
              const own = hypothesis(formula, bits, setting);
              const { value, low, high } = agreement(own.cells, answers, held, data.size);
              return { cells: [...own.cells].join(""), bits: own.bits, value, low, high };
            }),
          };
        }""",
        shown,
    )
    gap = ~its.seen & neighbours(its.labels, its.seen).gap
    assert torch.equal(torch.tensor(found["gaps"]).view(113, 113).bool(), gap)
    for preset, own in zip(grid.PRESETS, found["presets"], strict=True):
        wanted, bits = grid.cells_of(preset, its)
        assert torch.equal(cells(own["cells"]), wanted), preset.name
        assert own["bits"] == bits
        share = grid.agreements(wanted, its)[0]
        assert own["value"] == pytest.approx(share.value, abs=1e-12)
        # another random generator draws the rows, so the ends of the interval differ a little
        assert own["low"] == pytest.approx(share.low, abs=0.025)
        assert own["high"] == pytest.approx(share.high, abs=0.025)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 + 3 * 4", 14), ("2^3^2", 512), ("-2^2", -4), ("(1 + 1) ** 3", 8), ("-7 % 3", 2),
        ("a - b - 1", 1), ("a / 2 >= 2.5", 1), ("a > 5", 0), ("a == 5 and not b == 5", 1),
        ("a < 1 or b < 9 && a != 5", 0), ("max(a, b, 9) - min(a, b)", 6), ("sqrt(a + 4)", 3),
        ("floor(2.7) + abs(-1)", 3), ("20 * 8^(1/3) <= 40", 1), ("!a", 0), ("cos(pi)", -1),
    ],
)  # fmt: skip
def test_formulas(text, value):
    assert evaluate([text]) == [pytest.approx(value)]


def evaluate(texts: list[str]) -> list:
    return run(
        SCRIPTS,
        """(texts) => texts.map((text) => {
          try { return formula(text, ["a", "b"])({ a: 5, b: 3 }); }
          catch (error) { return error.message; }
        })""",
        texts,
    )


def test_faulty_formulas_are_named():
    faults = {
        "": "write a formula", "a +": "too early", "(a": '")" is missing', "a b": "too much",
        "c > 1": '"c" is unknown', "a ? 1": '"?" means nothing', "max a": '"(" is missing',
        "a > ;": "means nothing", "* a": "stands where", "constructor": "is unknown",
        "a.b": "means nothing",
    }  # fmt: skip
    for (text, word), said in zip(faults.items(), evaluate(list(faults)), strict=True):
        assert isinstance(said, str) and word in said, (text, said)


# --- a learner's own labels --------------------------------------------------------------------


def test_your_own_labels_become_a_layer(its):
    made = instrument("grid", mine=lambda a, b: a + b >= 113)
    assert cells(made.data["mine"])[50].tolist() == [int(50 + b >= 113) for b in range(113)]
    share = grid.agreements(cells(made.data["mine"]), its)[0]
    assert made.table[0]["who"] == "your labels"
    assert f"Your labels agree with the network on {100 * share.value:.1f} %" in made.sentence
    assert "mine" not in instrument("grid").data


@pytest.mark.parametrize(
    "mine", [lambda a, b: (a * b) % 2, torch.ones(113, 113), np.zeros((113, 113), bool)]
)
def test_labels_come_in_many_kinds(mine):
    assert grid.read_labels(mine).shape == (113, 113)


@pytest.mark.parametrize(
    ("mine", "word"),
    [
        (lambda a: a, "raised TypeError"),
        (lambda a, b: a / 0 + b.nothing, "raised AttributeError"),
        (lambda a, b: a, "other values than 0 and 1"),
        (lambda a, b: a[:5] > 1, r"shape \[5\]"),
        (lambda a, b: True, "shape"),
        (lambda a, b: None, "NoneType"),
        (lambda a, b: "1010", "str"),
    ],
)
def test_labels_that_are_none_are_refused(mine, word):
    with pytest.raises(CourseError, match=word):
        grid.read_labels(mine)


def test_your_function_cannot_spoil_the_course_s_own_cells():
    def greedy(a, b):
        a.zero_()
        return a

    grid.read_labels(greedy)
    assert int(pairs.every_cell()[:, 0].max()) == 112
