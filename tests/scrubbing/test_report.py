"""The report: its numbers against definitions, its nulls against cases made for them."""

import math

import pytest
import torch

from tests.scrubbing import trees
from tests.scrubbing.toys import claim, column, signs, squared, two_parts
from utils.reports import Report, ReportError
from utils.scrubbing import (
    Component,
    FunctionGraph,
    HypothesisError,
    Node,
    cross_entropy,
    save_html,
    save_png,
    scrub,
    text_tree,
    tree,
)
from utils.scrubbing.report import _spread


def two_features(n=2000, seed=0):
    """Two coins, a classifier that ANDs them with two parts, and its labels."""
    x = torch.randint(0, 2, (n, 3), generator=torch.Generator().manual_seed(seed)).float()

    def logits(a, b):
        score = 8 * (a + b - 1.5)
        return torch.stack([torch.zeros_like(score), score], 1)

    graph = two_parts(column(0), column(1), logits)
    return graph, x, (x[:, 0] * x[:, 1]).long()


RIGHT = claim(Node("A", column(0)), Node("B", column(1)))


def test_the_ends_of_the_scale():
    graph, x, y = two_features()
    all_exact = scrub(graph, claim(Node("A", "exact"), Node("B", "exact")), x, y)
    assert all_exact.recovered.value == pytest.approx(1.0) and all_exact.spread[1] == 0
    assert all_exact["agreement with the model"].value == 1.0
    nothing = scrub(graph, claim(), x, y)
    assert nothing.recovered.low <= 0 <= nothing.recovered.high
    assert nothing["agreement with the model"].value < 0.9


@pytest.mark.parametrize("scale, shift", [(3.0, 0.0), (0.5, 7.0)])
def test_recovered_does_not_care_for_the_unit_of_the_loss(scale, shift):
    graph, x, y = two_features()
    hypothesis = claim(Node("A", column(0)))
    a = scrub(graph, hypothesis, x, y).recovered

    def loss(output, target):
        return scale * cross_entropy(output, target) + shift

    b = scrub(graph, hypothesis, x, y, loss=loss).recovered
    assert b.value == pytest.approx(a.value, abs=1e-5)


def test_recovered_is_not_clipped():
    x = signs(2).repeat(100, 1) * torch.tensor([2.0, 1.0])
    graph = two_parts(column(0), column(1))
    over = scrub(graph, claim(Node("A", column(0))), x, x[:, 0] - x[:, 1], loss=squared)
    assert over.recovered.low > 1.2
    under = scrub(
        graph, claim(Node("B", lambda x: x[:, 1])), x, 2 * x[:, 0] + 3 * x[:, 1], loss=squared
    )
    flip = two_parts(lambda x: -x[:, 0], column(1))
    negative = scrub(flip, claim(Node("B", column(0))), x, x[:, 0] + 3 * x[:, 1], loss=squared)
    assert under.recovered.value < 1 and negative.recovered.value < under.recovered.value


def test_right_features_stand_above_every_null_and_wrong_ones_do_not():
    graph, x, y = two_features()
    right = scrub(graph, RIGHT, x, y)
    assert right.recovered.value == pytest.approx(1.0)
    assert right["recovered, random classes"].high < 0.4
    wrong = scrub(graph, claim(Node("A", column(2)), Node("B", column(2))), x, y)
    null = wrong["recovered, random classes"]
    assert wrong.recovered.low <= null.high and null.low <= wrong.recovered.high
    swapped = scrub(graph, claim(Node("A", column(1)), Node("B", column(0))), x, y)
    assert swapped.recovered.high < 0.5


def test_a_hypothesis_that_says_the_label_everywhere_is_its_own_null():
    graph, x, y = two_features()
    vacuous = claim(*(Node(s, lambda x: x[:, 0] * x[:, 1]) for s in "AB"))
    report = scrub(graph, vacuous, x, y)
    assert report["recovered, label only"].value == report.recovered.value
    right = scrub(graph, RIGHT, x, y)
    assert right["recovered, label only"].value == pytest.approx(report.recovered.value)
    given = scrub(graph, RIGHT, x, y, label=x[:, 2])
    assert given["recovered, label only"].value < report.recovered.value - 0.2
    with pytest.raises(ReportError, match="label only"):
        scrub(two_parts(column(0), column(1)), claim(Node("A", column(0))), x, x.sum(1),
              loss=squared)["recovered, label only"]  # fmt: skip


def test_the_ceiling_keeps_the_named_parts_and_nothing_else():
    graph, x, y = two_features()
    report = scrub(graph, claim(Node("A", column(2))), x, y)
    only_a = scrub(graph, claim(Node("A", "exact")), x, y)
    assert report["recovered, named parts exact"].value == only_a.recovered.value
    assert report.recovered.high < only_a.recovered.low < 0.9


def test_marginals_tell_which_claim_costs():
    graph, x, y = two_features()
    report = scrub(graph, claim(Node("A", column(0)), Node("B", column(2))), x, y, marginals=True)
    (a_exact, a_free), (b_exact, b_free) = (report.marginals[p] for p in "AB")
    assert a_exact.value == pytest.approx(report.recovered.value)  # nothing is lost at A
    assert b_exact.value == pytest.approx(1.0)  # all of it at B
    assert a_free.high < report.recovered.low
    assert b_free.low <= report.recovered.high and report.recovered.low <= b_free.high


def test_strata_show_what_the_mean_hides():
    graph, x, y = two_features()
    strata = {"on": y == 1, "off": y == 0}
    report = scrub(graph, claim(Node("A", column(0)), Node("B", column(2))), x, y, strata=strata)
    on, off = (report.strata[k][0].value for k in ("on", "off"))
    share = (y[report.refs] == 1).double().mean().item()
    assert share * on + (1 - share) * off == pytest.approx(report["loss, scrubbed"].value)
    assert on > 2 * off
    with pytest.raises(HypothesisError, match="'none'"):
        scrub(graph, RIGHT, x, y, strata={"none": y > 1})


def test_variance_is_split_between_references_and_resampling():
    generator = torch.Generator().manual_seed(0)
    between = torch.randn(1, 4000, generator=generator) * 3
    within = torch.randn(5, 4000, generator=generator) * 2
    refs, resampling = _spread((between + within).double())
    assert refs == pytest.approx(3 / math.sqrt(4000), rel=0.05)
    assert resampling == pytest.approx(2 / math.sqrt(5 * 4000), rel=0.05)


def test_intervals_hold_the_truth():
    """T4 recovers .5 exactly: of 40 runs about 2 intervals of 95 % may miss it."""
    x = signs(3).repeat(20, 1)
    graph = two_parts(lambda x: x[:, 0] + x[:, 2], lambda x: x[:, 1] - x[:, 2])
    hypothesis, y = claim(Node("A", column(0)), Node("B", column(1))), x[:, 0] + x[:, 1]
    missed = 0
    for seed in range(40):
        found = scrub(graph, hypothesis, x, y, loss=squared, seed=seed, nulls=0, refs=150,
                      resamples=3).recovered  # fmt: skip
        missed += not found.low <= 0.5 <= found.high
    assert missed <= 7


def test_classes_of_one_member_are_called_out():
    graph, x, y = two_features(400)
    x = torch.cat([x, torch.arange(400.0)[:, None]], 1)
    report = scrub(graph, claim(Node("A", column(3)), Node("B", column(1))), x, y)
    assert report.strength["A"].alone == 1 and report.strength["A"].moved == 0
    assert "alone in their class" in str(report) and report.recovered.value == 1
    assert "alone in their class" not in str(scrub(graph, RIGHT, x, y))


@pytest.mark.parametrize("engine", ["gather", "prefix", "naive"])
def test_every_engine_gives_the_same_report(engine):
    graph, data = trees.network("causal"), trees.tokens(60)
    hypothesis = trees.random_hypothesis("causal", 11)
    options = {"refs": 30, "resamples": 2, "nulls": 1}
    a = scrub(graph, hypothesis, data, data[:, 0] % 3, engine="gather", **options)
    b = scrub(graph, hypothesis, data, data[:, 0] % 3, engine=engine, **options)
    assert torch.allclose(a.losses, b.losses, atol=1e-4)
    assert b.report.protocol["engine"] == engine


def test_auto_says_why_it_does_not_gather():
    graph, data = trees.network("causal"), trees.tokens(500)
    hypothesis = claim(Node("a1.h0", trees.first))
    few = scrub(graph, hypothesis, data, data[:, 0] % 3, refs=2, resamples=1, nulls=0)
    many = scrub(graph, hypothesis, data, data[:, 0] % 3, refs=400)
    assert few.engine == "prefix" and "engine prefix" in str(few)
    assert many.engine == "gather" and "engine prefix" not in str(many)


def test_a_tight_memory_bound_changes_no_number():
    graph, data = trees.network("bidirectional"), trees.tokens(3000)
    hypothesis = trees.random_hypothesis("bidirectional", 3)
    options = {"refs": 40, "resamples": 2, "nulls": 1, "engine": "gather"}
    a = scrub(graph, hypothesis, data, data[:, 0] % 3, **options)
    b = scrub(graph, hypothesis, data, data[:, 0] % 3, memory_mb=0.25, **options)
    assert torch.allclose(a.losses, b.losses, atol=1e-5)
    assert "over the bound" in str(b) and "over the bound" not in str(a)


def test_the_same_seed_gives_the_same_report_and_progress_arrives():
    graph, x, y = two_features(300)
    seen = []
    hypothesis = claim(Node("A", column(0)))
    state = torch.get_rng_state()
    a = scrub(graph, hypothesis, x, y, progress=lambda *call: seen.append(call))
    b = scrub(graph, hypothesis, x, y)
    c = scrub(graph, hypothesis, x, y, seed=1)
    assert str(a) == str(b) != str(c)
    assert torch.equal(state, torch.get_rng_state())
    assert {what for what, _, _ in seen} >= {"scrubbing", "label-only null", "exact ceiling"}
    assert all(0 < done <= total for _, done, total in seen) and seen[-1][1] == seen[-1][2]


def test_it_prints_draws_and_saves(tmp_path):
    graph, x, y = two_features(300)
    inner = FunctionGraph(
        [
            Component("M", column(0), ("input",)),
            Component("A", lambda m: m, ("M",)),
            Component("B", column(1), ("input",)),
            Component("output", lambda a, b: torch.stack([0 * a, 8 * (a + b) - 12], 1), ("A", "B")),
        ]
    )
    deep = claim(Node("A", column(0), (Node("M", column(0)),), together="t"), Node("B", "any"))
    report = scrub(inner, deep, x, y, marginals=True, strata={"on": y == 1}, digits=2)
    text, page = str(report), report._repr_html_()
    for words in ("unimportant inputs: shared", "random classes", "label only", "  M", "on "):
        assert words in text
    assert page.count("<table>") == 3 and "resamples of each" in page
    assert Report.from_json(report.report.to_json()) == report.report
    lines = text_tree(deep, report).splitlines()
    assert len(lines) == len(deep) and "together: t" in lines[1] and "any" in lines[3]
    figure = tree(deep, report)
    shown = " ".join(str(a.text) for a in figure.layout.annotations)
    assert all(name in shown for name in ("output", "A", "B", "M", "x0"))
    markers = sum(len(t.x) for t in figure.data if t.mode == "markers")
    assert markers == len(deep)
    save_png(deep, str(tmp_path / "tree.png"), report)
    save_html(deep, str(tmp_path / "tree.html"), report)
    assert (tmp_path / "tree.png").read_bytes()[:4] == b"\x89PNG"
    saved = (tmp_path / "tree.html").read_text(encoding="utf-8")
    assert "└─ B" in saved and 'src="http' not in saved


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": torch.zeros(5)}, "5 targets"),
        ({"resamples": 0}, "resamples"),
        ({"refs": 1}, "no interval"),
        ({"refs": torch.tensor([5000])}, "from 0 to 1999"),
        ({"refs": torch.tensor([], dtype=torch.int64)}, "refs must be rows"),
        ({"engine": "fast"}, '"naive"'),
        ({"loss": lambda o, t: cross_entropy(o, t).mean()}, "one number a row"),
        ({"loss": lambda o, t: cross_entropy(o, t) * torch.nan}, "NaN"),
        ({"loss": lambda o, t: torch.ones(len(o))}, "no loss to recover"),
    ],
)
def test_what_is_refused(change, words):
    graph, x, y = two_features()
    options = {"targets": y, **change}
    targets = options.pop("targets")
    with pytest.raises(HypothesisError, match=words):
        scrub(graph, RIGHT, x, targets, **options)
