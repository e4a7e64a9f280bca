"""Estimates, intervals and reports."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from utils.errors import CourseError
from utils.reports import Estimate, Report, ReportError, Row, bootstrap, paired_difference


def _report(**changes):
    rows = [
        Row("program", Estimate.proportion(953, 1000), "result"),
        Row("majority class", Estimate.proportion(480, 1000), "baseline", "always <band>"),
        Row("perfect", Estimate.exact(1), "ceiling"),
    ]
    fields = {
        "title": "Agreement",
        "rows": rows,
        "protocol": {"inputs": "held-out digits & more", "n": 1000, "rate": 1 / 3},
        "notes": ["measured once"],
    }
    return Report(**{**fields, **changes})


# --- estimates -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_published_intervals(successes, n, low, high):
    e = Estimate.proportion(successes, n)
    assert (round(e.low, 4), round(e.high, 4)) == (low, high)
    mirror = Estimate.proportion(n - successes, n)
    assert (mirror.low, mirror.high) == pytest.approx((1 - e.high, 1 - e.low))


@pytest.mark.parametrize(("p", "n"), [(0.5, 30), (0.9, 100), (0.96, 400)])
def test_wilson_covers_in_95_of_100_experiments(p, n):
    draws = np.random.default_rng(0).binomial(n, p, size=4000)
    inside = [e.low <= p <= e.high for e in map(lambda k: Estimate.proportion(int(k), n), draws)]
    assert 0.93 < np.mean(inside) < 0.975


def test_mean_is_students_t():
    e = Estimate.mean([1.0, 2.0, 3.0, 4.0, 5.0])
    # t(.975, 4) = 2.7764, standard error sqrt(2.5 / 5)
    assert e.value == 3 and e.high - 3 == pytest.approx(2.7764 * math.sqrt(0.5), abs=1e-4)
    draws = np.random.default_rng(1).normal(2.0, 3.0, size=(2000, 8))
    covered = [(e := Estimate.mean(row)).low <= 2.0 <= e.high for row in draws]
    assert 0.935 < np.mean(covered) < 0.965


def test_estimates_take_torch_tensors():
    import torch

    assert Estimate.mean(torch.tensor([1.0, 2.0], requires_grad=True)).value == 1.5
    e = bootstrap(np.mean, torch.arange(6.0), groups=torch.tensor([0, 0, 1, 1, 2, 2]))
    assert e.n == 3 and e.value == 2.5


@pytest.mark.parametrize(
    "call",
    [
        lambda: Estimate(0.5, 0.6, 0.7, 10),
        lambda: Estimate(0.5, 0.3, 0.4, 10),
        lambda: Estimate(math.nan, 0, 1, 10),
        lambda: Estimate(0.5, 0.0, math.inf, 10),
        lambda: Estimate("half", 0, 1, 10),
        lambda: Estimate(0.5, 0, 1, 0),
        lambda: Estimate(0.5, 0, 1, 2.5),
        lambda: Estimate(0.5, 0, 1, True),
        lambda: Estimate.proportion(3, 2),
        lambda: Estimate.proportion(0, 0),
        lambda: Estimate.proportion(0.5, 2),
        lambda: Estimate.mean([1.0]),
        lambda: Estimate.mean([1.0, math.nan]),
        lambda: Estimate.mean(["a", "b"]),
        lambda: Estimate.mean(3.0),
        lambda: bootstrap(np.mean),
        lambda: bootstrap(np.mean, []),
        lambda: bootstrap(np.mean, [1.0], [1.0, 2.0]),
        lambda: bootstrap(np.mean, [1.0, 2.0], groups=[1]),
        lambda: bootstrap(np.mean, [1.0, 2.0], level=95),
        lambda: bootstrap(lambda x: math.nan, [1.0, 2.0]),
    ],
)
def test_estimates_refuse_nonsense(call):
    with pytest.raises(ReportError) as caught:
        call()
    assert isinstance(caught.value, CourseError) and isinstance(caught.value, ValueError)


def test_estimate_forgives_rounding_and_prints():
    e = Estimate(0.3, 0.30000000000000004, 0.5, np.int64(10))
    assert e.low <= e.value and type(e.n) is int
    assert str(Estimate(0.9532, 0.94691, 0.9584, 4000)) == "0.953 [0.947, 0.958] (n=4000)"
    assert Estimate(0.9532, 0.94691, 0.9584, 4000).text(1) == "1.0 [0.9, 1.0] (n=4000)"
    assert str(Estimate.exact(2)) == "2.000" and str(Estimate.exact(2, 9)) == "2.000 (n=9)"
    assert Estimate(-0.0001, -0.0002, 0, 3).text() == "0.000 [0.000, 0.000] (n=3)"
    assert e.as_dict() == {"value": 0.3, "low": 0.3, "high": 0.5, "n": 10}
    assert set(Estimate.exact(1).as_dict()) == {"value", "low", "high", "n"}


# --- bootstrap -------------------------------------------------------------------------------


def test_bootstrap_agrees_with_theory_and_repeats():
    x = np.random.default_rng(2).normal(size=400)
    e = bootstrap(np.mean, x)
    width = 2 * 1.96 * x.std() / 20
    assert e.n == 400 and e.value == x.mean() and e.high - e.low == pytest.approx(width, rel=0.1)
    assert bootstrap(np.mean, x) == e != bootstrap(np.mean, x, seed=1)
    narrow = bootstrap(np.mean, x, level=0.5)
    assert e.low < narrow.low < narrow.high < e.high


def test_copies_fake_precision_unless_grouped():
    """A hundred copies of each of 20 values: the interval must be that of 20 values."""
    x = np.random.default_rng(3).normal(size=20)
    copies, groups = np.repeat(x, 100), np.repeat(np.arange(20), 100)
    order = np.random.default_rng(4).permutation(2000)  # groups need not lie together
    honest, fake = bootstrap(np.mean, x), bootstrap(np.mean, copies)
    grouped = bootstrap(np.mean, copies[order], groups=groups[order])
    assert grouped.n == 20 and grouped.value == pytest.approx(honest.value)
    assert grouped.high - grouped.low == pytest.approx(honest.high - honest.low, rel=1e-6)
    assert fake.high - fake.low < 0.2 * (grouped.high - grouped.low)
    size = bootstrap(len, np.arange(6.0), groups=[0, 1, 0, 1, 1, 0])
    assert (size.value, size.low, size.high) == (6, 6, 6)  # every member of a drawn group comes


def test_grouped_bootstrap_covers():
    rng = np.random.default_rng(5)
    hits = 0
    for seed in range(200):
        centres = rng.normal(size=25)
        x = np.repeat(centres, 4) + 0.1 * rng.normal(size=100)
        e = bootstrap(np.mean, x, groups=np.repeat(np.arange(25), 4), n_resamples=200, seed=seed)
        hits += e.low <= 0 <= e.high
    assert 0.88 <= hits / 200 <= 0.99  # the percentile interval is a little short at 25 groups


def test_paired_difference_keeps_the_pairs():
    rng = np.random.default_rng(6)
    easy = rng.normal(size=200) * 10
    a, b = easy + 0.5 + 0.1 * rng.normal(size=200), easy
    e = paired_difference(a, b)
    assert e.value == pytest.approx((a - b).mean()) and 0.4 < e.low < e.high < 0.6
    assert paired_difference(a, b, groups=np.arange(200) // 2).n == 100


# --- reports ---------------------------------------------------------------------------------


def test_no_number_alone():
    row = Row("program", Estimate.proportion(9, 10), "result")
    with pytest.raises(ReportError, match="baseline, null, ceiling or control"):
        _report(rows=[row])
    with pytest.raises(ReportError, match="no protocol"):
        _report(protocol={})
    with pytest.raises(ReportError, match="no rows"):
        _report(rows=[])


@pytest.mark.parametrize(
    "call",
    [
        lambda: Row("program", 0.95, "result"),
        lambda: Row("program", Estimate.exact(1), "winner"),
        lambda: Row("", Estimate.exact(1), "null"),
        lambda: _report(title=""),
        lambda: _report(protocol={"a": [1]}),
        lambda: _report(rows=[Row("x", Estimate.exact(1), r) for r in ("result", "null")]),
        lambda: _report()["programme"],
    ],
)
def test_reports_refuse_nonsense(call):
    with pytest.raises(ReportError):
        call()


def test_report_as_text():
    assert str(_report()) == (
        "Agreement\n"
        "row             role      value  interval           n  note\n"
        "--------------  --------  -----  --------------  ----  -------------\n"
        "program         result    0.953  [0.938, 0.964]  1000\n"
        "majority class  baseline  0.480  [0.449, 0.511]  1000  always <band>\n"
        "perfect         ceiling   1.000  exact              1\n"
        "Protocol: inputs: held-out digits & more; n: 1000; rate: 0.333.\n"
        "Intervals: Wilson 95 %.\n"
        "Note: measured once"
    )
    assert "0.95 " in str(_report(digits=2)) and "0.953" not in str(_report(digits=2))
    plain = [r for r in _report().rows if not r.note]
    assert "note" not in str(_report(rows=plain, notes=()))
    assert _report()["program"].value == 0.953 and len(_report()) == 3
    assert [row.role for row in _report()] == ["result", "baseline", "ceiling"]


def test_report_as_html():
    from html.parser import HTMLParser

    page = _report()._repr_html_()
    tags, text = [], []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, dict(attrs)))
    parser.handle_data = text.append
    parser.feed(page)
    assert sum(a.get("scope") == "col" for _, a in tags) == 6
    assert sum(a.get("scope") == "row" for _, a in tags) == 3
    assert "caption" in [tag for tag, _ in tags] and "always <band>" in text
    # Names read from the left; no colour of its own, so that it follows the notebook's theme.
    assert {a["style"] for _, a in tags if "style" in a} == {"text-align: left"}
    assert "color" not in page and "background" not in page and "band>" not in page


def test_report_as_html_leaves_out_a_column_of_notes_that_is_empty():
    plain = _report(rows=[row for row in _report().rows if not row.note])
    assert "note</th>" in _report()._repr_html_() and "note</th>" not in plain._repr_html_()


def test_a_notebook_stores_the_text_of_a_report_beside_its_html():
    assert repr(_report()) == str(_report())


def test_report_as_figure():
    report = _report()
    figure = report.figure()
    (axes,) = figure.axes
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "program",
        "majority class",
        "perfect",
    ]
    assert axes.get_xlim() == (0, 1)
    texts = [t.get_text() for t in axes.texts]
    assert texts == ["0.953 (result)", "0.480 (baseline)", "1.000 (ceiling)"]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    faces = [line.get_markerfacecolor() for line in dots]
    assert faces[0] == dots[0].get_color() and set(faces[1:]) == {"white"}
    figure.draw_without_rendering()
    right = [t.get_window_extent().x1 for t in axes.texts]
    assert max(right) <= figure.bbox.x1  # no label is cut off


def test_report_round_trip_and_damage(tmp_path):
    report = _report(digits=4)
    assert Report.from_json(report.to_json()) == report
    path = report.save(tmp_path / "r.json")
    assert Report.load(path) == report
    assert json.loads(path.read_text("utf-8"))["rows"][0]["estimate"]["n"] == 1000
    _report().save(path)
    assert Report.load(path) == _report() and [p.name for p in tmp_path.iterdir()] == ["r.json"]
    text = path.read_text("utf-8")
    for damaged in (text[:-40], "", "[]", "null", text.replace('"rows"', '"lines"'), "\udcff"):
        path.write_bytes(damaged.encode("utf-8", "surrogateescape"))
        with pytest.raises(ReportError, match=r"r\.json is damaged"):
            Report.load(path)
    with pytest.raises(ReportError, match="There is no report"):
        Report.load(tmp_path / "absent.json")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = _report().save(tmp_path / "r.json")
    before = path.read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        _report(title="New").save(path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_import_is_light():
    code = (
        "import sys, utils.reports;"
        "print([m for m in ('torch', 'numpy', 'scipy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
