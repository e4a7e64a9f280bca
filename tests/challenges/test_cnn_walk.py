"""The walk through Challenge 1: its verdict, and what must not get that verdict."""

import json
from dataclasses import replace

import pytest
import torch

from utils.challenges import cnn
from utils.data import digits
from utils.data.programs import BandProgram, best_band, challenge_1
from utils.estimates import Estimate
from utils.models.cnn import ChallengeCNN, predict
from utils.reports import Row


@pytest.fixture(scope="module")
def case():
    torch.set_num_threads(1)
    return cnn.held_out_case(n=1440)


@pytest.fixture(scope="module")
def solution(case):
    return cnn.solve(case)


@pytest.fixture(scope="module")
def seen():
    """Images of training scans, to which explanations may be fitted."""
    return digits.make("train", 4311, seed=11).images


def of(case, **changes):
    """The same case with another explanation or network on trial."""
    fields = ("name", "model", "images", "groups", "program", "labels")
    return cnn.Case(**{**{name: getattr(case, name) for name in fields}, **changes})


# --- the right explanation -------------------------------------------------------------------


def test_the_walk_ends_in_program_and_mechanism(solution):
    assert solution.verdict == "program and mechanism"
    assert len(solution.reasons) == 4


def test_the_case_tests_on_held_out_scans_and_does_not_use_the_secret_band(case):
    assert torch.isin(case.groups, digits.split()[1]).all()
    secret = challenge_1()
    assert torch.equal(case.labels, secret.labels(case.images))
    assert (case.program.low, case.program.high) != (secret.low, secret.high)
    assert case.program.low == pytest.approx(secret.low, abs=1.5)
    assert case.program.high == pytest.approx(secret.high, abs=1.5)


def test_agreement(solution):
    report = solution.reports["agreement"]
    for row in ("program = network", "program = secret labels"):
        assert report[row].value >= 0.95 and report[row].n == digits.HELD_OUT
        assert 0 < report[row].high - report[row].low < 0.03
    best = max(row.estimate.high for row in report if row.role in ("control", "baseline"))
    assert report["program = network"].low > best
    # A network that errs errs by itself: the labelling program cannot foresee it.
    assert report["program = network, where it errs"].high < 0.5


def test_the_rotated_template_scores_over_80_percent(solution):
    rotated = solution.reports["agreement"]["template rotated by 180 degrees, best band"]
    assert 0.80 < rotated.value < 0.90


def test_scrubbing_recovers_more_than_every_null_and_less_than_the_ceiling(solution):
    report = solution.reports["sufficiency"]
    found = report["explanation: loss recovered"]
    for null in ("label-only null", "class-matched random null", "features swapped"):
        assert found.low > report[f"{null}: loss recovered"].high
        assert report["explanation: labels kept"].low > report[f"{null}: labels kept"].high
    assert found.value <= report["exact ceiling: loss recovered"].value + 0.01
    assert abs(report["class-matched random null: loss recovered"].value) < 0.1
    assert report["all random: labels kept"].value == pytest.approx(0.5, abs=0.03)
    assert all(0 <= row.estimate.value <= 1 for row in report if row.name.endswith("kept"))


def test_each_detector_serves_its_own_half(solution):
    report = solution.reports["ablation"]
    for detector, its, other in (("below", "unlike", "like"), ("above", "like", "unlike")):
        gone = report[f"{detector} detector off, {its} half"]
        assert gone.high < 0.65 and report[f"{detector} detector off, {other} half"].low > 0.9
        # Without its detector a half is called class 0 throughout.
        assert gone.value == pytest.approx(report[f"share of class 0, {its} half"].value, abs=0.03)


def test_the_wider_the_noise_the_fewer_labels_are_kept(solution):
    report = solution.reports["resampling"]
    for donors in ("same donor", "independent donors"):
        doses = ("within 0.01%", "within 1.00%", "within 10.00%", "at random")
        kept = [report[f"{donors} {dose}"] for dose in doses]
        assert kept[0].low > 0.95 and kept[3].value == pytest.approx(0.5, abs=0.03)
        assert all(near.low > far.high for near, far in zip(kept[1:], kept[2:], strict=False))


def test_swaps_follow_the_program_and_random_neurons_do_not(solution):
    report = solution.reports["necessity"]
    for step in ("below", "above", "either"):
        change = report[f"{step} swapped, should change"]
        assert change.low > 0.95 and report[f"{step} swapped, should stay"].low > 0.95
        assert change.low > report[f"{step} swapped, should change, random neurons instead"].high
        wrong_site = report[f"{step} swapped, should change, the other detector instead"]
        assert wrong_site.high < 0.1


def test_the_walk_repeats(case, solution):
    assert cnn.solve(of(case)).as_dict() == solution.as_dict()


# --- JSON ------------------------------------------------------------------------------------

SHAPE = {
    "agreement": {"model", "labels", "model_errors"},
    "sufficiency": {"recovered", "label_only_null", "class_matched_null", "ceiling"},
    "necessity": {"change", "stay", "random_site_null"},
}


def is_estimate(leaf):
    assert set(leaf) == {"value", "low", "high", "n"}
    assert leaf["low"] <= leaf["value"] <= leaf["high"] and leaf["n"] >= 1
    return True


def test_the_json_has_the_promised_shape(solution):
    result = json.loads(json.dumps(solution.as_dict(), allow_nan=False))
    assert result["name"] == "cnn" and result["verdict"] == solution.verdict
    assert result["reasons"] == solution.reasons
    for part, keys in SHAPE.items():
        assert set(result[part]) == keys
        assert all(is_estimate(leaf) for leaf in result[part].values())
    assert set(result["rows"]) == set(solution.reports)
    for key, report in solution.reports.items():
        assert list(result["rows"][key]) == [row.name for row in report]
        assert all(is_estimate(leaf) for leaf in result["rows"][key].values())


def test_the_leaves_of_the_json_are_the_rows_they_stand_for(solution):
    result, rows = solution.as_dict(), solution.as_dict()["rows"]
    assert result["agreement"]["model"] == rows["agreement"]["program = network"]
    assert result["agreement"]["labels"] == rows["agreement"]["program = secret labels"]
    null = rows["sufficiency"]["class-matched random null: loss recovered"]
    assert result["sufficiency"]["class_matched_null"] == null
    assert result["necessity"]["stay"] == rows["necessity"]["either swapped, should stay"]


def test_without_secret_labels_their_rows_are_null(case):
    reports = {"agreement": cnn.agreement_report(of(case, labels=None))}
    for key in ("sufficiency", "necessity"):
        reports[key] = getattr(cnn, f"{key}_report")(of(case, labels=None))
    agreement = cnn.Solution("cnn", reports, "program", []).as_dict()["agreement"]
    assert agreement["labels"] is None and agreement["model_errors"] is None
    assert is_estimate(agreement["model"])


# --- the judge -------------------------------------------------------------------------------


def doctored(solution, report, **values):
    """The reports with the named rows set to other numbers."""
    reports = dict(solution.reports)
    rows = {row.name: row for row in reports[report]}
    for name, value in values.items():
        assert name in rows
        estimate = Estimate(value, value - 0.01, value + 0.01, 360)
        rows[name] = Row(name, estimate, rows[name].role)
    reports[report] = replace(reports[report], rows=list(rows.values()))
    return reports


def test_the_judge_accepts_the_reports_as_they_are(solution):
    assert cnn.judge(solution.reports) == (solution.verdict, solution.reasons)


@pytest.mark.parametrize(
    "row, value",
    [
        ("program = network", 0.84),  # no better than the rotated template
        ("amount of ink, best band", 0.97),  # a rival as good
    ],
)
def test_no_program_without_beating_every_control(solution, row, value):
    verdict, reasons = cnn.judge(doctored(solution, "agreement", **{row: value}))
    assert verdict == "labels only"
    assert f"{value:.1%}" in reasons[0]


@pytest.mark.parametrize(
    "report, row, value",
    [
        ("sufficiency", "explanation: loss recovered", 0.83),
        ("sufficiency", "label-only null: loss recovered", 0.985),
        ("sufficiency", "class-matched random null: loss recovered", 0.985),
        ("sufficiency", "features swapped: loss recovered", 0.985),
        ("necessity", "below swapped, should change", 0.05),
        ("necessity", "above swapped, should change", 0.3),
        ("necessity", "above swapped, should change, random neurons instead", 0.98),
        ("necessity", "below swapped, should stay", 0.4),
        ("necessity", "above swapped, should stay", 0.4),
    ],
)
def test_no_mechanism_without_beating_every_null(solution, report, row, value):
    assert cnn.judge(doctored(solution, report, **{row: value}))[0] == "program"


# --- wrong explanations ----------------------------------------------------------------------


def fitted(template, model, images):
    rule = BandProgram(template, 0.0, 0.0)
    low, high, _ = best_band(rule.similarity(images), predict(model, images))
    return replace(rule, low=low, high=high)


def test_the_rotated_template_with_its_best_band_is_labels_only(case, seen):
    program = fitted(digits.clue().rot90(2), case.model, seen)
    wrong = cnn.solve(of(case, program=program))
    assert wrong.reports["agreement"]["program = network"].value > 0.8
    assert wrong.verdict == "labels only"


@pytest.mark.parametrize(
    "low, high", [(12.0, 47.0), (-22.0, 12.0), (29.0, -5.0), (29.6, 64.0), (-40.0, -5.3)]
)
def test_a_band_at_another_place_or_inside_out_is_labels_only(case, low, high):
    wrong = cnn.solve(of(case, program=replace(case.program, low=low, high=high)))
    assert wrong.verdict == "labels only"


@pytest.mark.parametrize("seed", [0, 1])
def test_an_untrained_network_gets_no_verdict_of_mechanism(case, seen, seed):
    torch.manual_seed(seed)
    untrained = ChallengeCNN().eval()
    assert cnn.solve(of(case, model=untrained)).verdict == "labels only"
    program = fitted(digits.clue(), untrained, seen)  # given every advantage
    best = cnn.solve(of(case, model=untrained, program=program))
    assert best.verdict != "program and mechanism"


def test_detectors_that_the_output_does_not_follow_are_not_an_explanation(case):
    """All of the shipped network but its last layer, which is random: the detectors are there."""
    deaf = ChallengeCNN().eval()
    deaf.load_state_dict(case.model.state_dict())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        deaf.fc2.weight.copy_(torch.randn(2, 200, generator=generator))
    assert torch.equal(of(case, model=deaf).cut.activations, case.cut.activations)
    assert cnn.solve(of(case, model=deaf)).verdict == "labels only"
