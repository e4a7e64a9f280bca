"""The walk through Challenge 1: its verdict, and what must not get that verdict."""

import json
from dataclasses import replace

import pytest
import torch

from utils.challenges import cnn
from utils.data import digits
from utils.data.programs import BandProgram, best_band, challenge_1
from utils.models.cnn import ChallengeCNN, predict


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
    assert len(solution.reasons) >= 4 and not any("Not met" in r for r in solution.reasons)


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
    "sufficiency": {
        "recovered",
        "label_only_null",
        "class_matched_null",
        "random_site_null",
        "ceiling",
    },
    "necessity": {"change", "stay", "random_site_null"},
    "strength": {"variance", "entropy"},
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
    assert set(result["bits"]) == {"program", "exceptions", "table"}
    assert result["bits"]["program"] + result["bits"]["exceptions"] < result["bits"]["table"]
    assert set(result["rows"]) == set(solution.reports)
    for key, report in solution.reports.items():
        assert list(result["rows"][key]) == [row.name for row in report]
        assert all(is_estimate(leaf) for leaf in result["rows"][key].values())


def test_the_walk_and_the_judge_measure_alike(solution):
    """Two pieces of code, other images of the same scans, one network."""
    walk, judged = solution.reports, solution.judged
    for name in ("program = network", "program = secret labels", "network = secret labels"):
        assert judged.program[name].value == pytest.approx(walk["agreement"][name].value, abs=0.015)
    change = judged.necessity["any step, should change"]
    found = walk["necessity"]["either swapped, should change"]
    assert change.value == pytest.approx(found.value, abs=0.02)
    null = judged.necessity["any step, should change, random site"]
    assert null.high < change.low
    recovered = judged.sufficiency.recovered
    assert recovered.low > judged.sufficiency["recovered, label only"].high
    assert recovered.low > judged.sufficiency["recovered, random classes"].high


def test_without_secret_labels_their_rows_are_null(case):
    unlabelled = of(case, labels=None)
    verdict = cnn.judge(cnn.challenge_of(unlabelled), cnn.explanation(unlabelled), inputs=600)
    agreement = verdict.as_dict()["agreement"]
    assert agreement["labels"] is None and agreement["model_errors"] is None
    assert is_estimate(agreement["model"])


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


@pytest.mark.parametrize("low, high", [(12.0, 47.0), (29.0, -5.0), (-40.0, -5.3)])
def test_a_band_at_another_place_or_inside_out_is_labels_only(case, low, high):
    wrong = cnn.solve(of(case, program=replace(case.program, low=low, high=high)))
    assert wrong.verdict == "labels only"


def test_an_untrained_network_gets_no_verdict_of_mechanism(case, seen):
    torch.manual_seed(0)
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
