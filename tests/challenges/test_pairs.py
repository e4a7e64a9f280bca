"""The walk through Challenge 2: its verdict, and what must not get that verdict."""

import json
from dataclasses import replace

import pytest
import torch

from utils.__main__ import main
from utils.challenges import pairs, pairs_case, pairs_inside, pairs_reports
from utils.challenges.pairs_case import Case, half_right, neighbours
from utils.data import grid
from utils.estimates import Estimate
from utils.reports import Row


@pytest.fixture(scope="module")
def twin():
    torch.set_num_threads(1)
    return pairs.course_case("grid-twin")


@pytest.fixture(scope="module")
def case():
    return pairs.course_case()


@pytest.fixture(scope="module")
def solution(case, twin):
    return pairs.solve(case, twin)


# --- the right answer ----------------------------------------------------------------------------


def test_the_walk_ends_in_not_recoverable(solution):
    assert solution.verdict == "not recoverable (supported)"
    assert solution.judged.verdict == "program" and len(solution.reasons) == 4


def test_the_program_knows_the_labels_better_than_the_network_does(solution):
    report = solution.reports["agreement"]
    assert report["curves found in shuffled rows = network"].n == pairs_reports.ORDERS
    assert report["program = secret labels"].low > report["network = secret labels"].high
    shuffled = report["curves found in shuffled rows = network"]
    assert report["program = network"].low > shuffled.high


def test_in_the_gaps_the_network_does_not_know_where_the_curves_run(solution):
    report = solution.reports["gaps"]
    inside = report["network right, in the gaps"]
    assert inside.high < report["curves of the training half right, in the gaps"].low
    assert inside.low <= report["nearest training pair right, in the gaps"].high
    assert report["network right, elsewhere"].low > 0.97


def test_only_rows_that_change_have_errors(case):
    quiet = (case.labels[:, 1:] == case.labels[:, :-1]).all(1)
    assert not case.wrong[quiet].any() and case.wrong[~quiet].any()


def test_agreement_cannot_tell_the_curves_from_the_nearest_pair(solution):
    report = solution.reports["agreement"]
    ours = report["program = network"]
    assert ours.low < report["nearest training pair of the row = network"].value < ours.high


def test_rules_are_found_in_the_twin_alone(solution):
    assert pairs.found_rules(solution.reports["rules"]) == []
    assert pairs.found_rules(solution.reports["twin"]) == ["start", "flip 1", "flip 2", "flip 3"]


def test_the_twin_itself_is_a_program(solution, twin):
    """Its own reports where they decide; the others are those of the case."""
    reports = {**solution.reports, "rules": solution.reports["twin"]}
    assert pairs.decide(reports, solution.judged)[0] == "program"
    assert pairs.try_program(twin).verdict == "program"


def test_the_program_does_not_look_at_held_out_answers(case):
    blind = torch.where(case.seen, case.answers, 1 - case.answers)
    other = Case("blind", blind, case.labels, case.seen)
    assert other.fit.curves == case.fit.curves
    assert torch.equal(other.fit.pieces.bits, case.fit.pieces.bits)
    tokens = grid.tokens(grid.every_cell())
    said = pairs.explanation(other).labels(tokens)
    assert (said.view(113, 113) == case.fit.pieces.table()).double().mean() > 0.999


def test_the_judge_sees_held_out_pairs_alone(case):
    sample = pairs.challenge(case).draw(10**6, 0)
    a, b = sample.inputs[:, 0], sample.inputs[:, 1]
    assert len(sample) == 6385 and not case.seen[a, b].any()
    assert torch.equal(sample.groups, a)
    assert torch.equal(pairs.challenge(case).predict(sample.inputs[:50]), case.answers[a, b][:50])


def test_answers_alone_will_do(case):
    """As for the original, whose weights are not needed."""
    alone = pairs.challenge(replace(case, model=None))
    tokens = grid.tokens(grid.every_cell()[:300])
    assert torch.equal(alone.predict(tokens), case.answers.flatten()[:300])


# --- what must not get it ------------------------------------------------------------------------


def doctored(reports, key, name, value, margin=0.005):
    rows = [
        replace(row, estimate=Estimate(value, value - margin, value + margin, 100))
        if row.name == name else row
        for row in reports[key]
    ]  # fmt: skip
    assert any(row.name == name for row in reports[key])
    return {**reports, key: replace(reports[key], rows=rows)}


@pytest.mark.parametrize("key, name, value, verdict", [
    ("agreement", "program = network", 0.90, "labels only"),
    ("agreement", "curves found in shuffled rows = network", 0.98, "labels only"),
    ("agreement", "one bit a row, no curve = network", 0.98, "labels only"),
    ("rules", "start: best rule saves", 40.0, "program"),
    ("rows", "neighbouring rows agree", 0.8, "program"),
    ("twin", "flip 2: best rule saves", -3.0, "program"),
])  # fmt: skip
def test_each_part_of_the_evidence_can_turn_the_verdict(solution, key, name, value, verdict):
    reports = doctored(solution.reports, key, name, value)
    assert pairs.decide(reports, solution.judged)[0] == verdict


def test_a_program_that_the_general_judge_refuses_is_labels_only(solution):
    refused = replace(solution.judged, verdict="labels only")
    assert pairs.decide(solution.reports, refused)[0] == "labels only"


def test_a_network_that_knows_the_curves_is_told_so(solution):
    reports = doctored(solution.reports, "gaps", "network right, in the gaps", 0.95)
    assert "knows where the curves run" in pairs.decide(reports, solution.judged)[1][1]
    assert "it interpolates" in solution.reasons[1]


def test_a_rule_that_saves_no_bits_is_no_rule(solution):
    """Even if it saves more than in every random order."""
    reports = doctored(solution.reports, "rules", "start: best rule saves", -0.5)
    reports = doctored(reports, "rules", "start: saved by chance", -9.0)
    assert pairs.found_rules(reports["rules"]) == []


# --- the parts -----------------------------------------------------------------------------------


def test_neighbours_of_a_row():
    labels = torch.tensor([[0, 1, 1, 0, 1, 0, 0]])
    seen = torch.tensor([[True, False, False, True, False, True, False]])
    near = neighbours(labels, seen)
    assert near.left.tolist() == [[-1, 0, 0, 0, 0, 0, 0]]
    assert near.right.tolist() == [[0, 0, 0, 0, 0, -1, -1]]
    assert not near.gap.any()
    other = neighbours(torch.tensor([[0, 1, 1, 1, 1, 0, 0]]), seen)
    assert other.gap.tolist() == [[False, True, True, False, True, False, False]]
    assert other.nearest.tolist() == [[1, 0, 1, 0, 0.5, 1, 0]]


def test_nearest_is_undecided_only_between_two_that_differ():
    labels = torch.tensor([[1, 0, 1]])
    seen = torch.tensor([[True, False, True]])
    assert neighbours(labels, seen).nearest[0, 1] == 1


def test_half_right():
    said, truth = torch.tensor([0, 1, 0.5, 1]), torch.tensor([0, 0, 1, 1])
    assert half_right(said, truth).tolist() == [1, 0, 0.5, 1]


def test_agreeing_neighbours_are_training_cells_with_the_same_label():
    labels, seen = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 1]]), torch.ones(3, 3).bool()
    small = Case("small", labels, labels, seen)
    row = pairs_reports._agreeing(small, [(0, -1), (0, 1)])
    assert row.tolist() == [[1, 1, 0], [0, 1, 1], [1, 2, 1]]
    column = pairs_reports._agreeing(small, [(-1, 0), (1, 0)])
    assert column.tolist() == [[1, 0, 1], [1, 1, 2], [0, 1, 1]]
    none = Case("small", labels, labels, torch.zeros(3, 3).bool())
    assert not pairs_reports._agreeing(none, [(0, 1)]).any()


def test_bits(solution):
    report = solution.reports["bits"]
    assert report["table"].value == 113**2
    program = report["curves"].value + report["row bits"].value
    assert program + report["exceptions: the labels"].value < 0.05 * report["table"].value
    assert report["exceptions: the network"].value > program


def test_inside(solution):
    report = solution.reports["inside"]
    assert report["4 principal dimensions kept"].low > 0.98
    assert report["2 principal dimensions kept"].high < 0.9
    for k in (2, 3, 4):
        assert (
            report[f"{k} random dimensions kept"].high
            < report[f"{k} principal dimensions kept"].low
        )
    assert report["attention held at its mean"].high < 0.95
    swapped = report["first token's value swapped, answer follows"]
    assert swapped.low > report["first token's key swapped, answer follows"].high


def test_principal_directions():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(500, 3, generator=generator) * torch.tensor([1.0, 5.0, 2.0]) + 10
    directions, shares = pairs_inside.principal(values)
    assert shares.sum() == pytest.approx(1) and shares[0] > 0.7
    assert abs(directions[1, 0]) > 0.99 and abs(directions[2, 1]) > 0.99


def test_the_json_has_the_promised_shape(solution):
    result = json.loads(json.dumps(solution.as_dict(), allow_nan=False))
    assert result["name"] == "grid" and result["verdict"] == solution.verdict
    assert result["program_verdict"] == "program" and result["reasons"] == solution.reasons
    assert set(result["agreement"]) == {"model", "labels", "model_errors"}
    for leaf in result["agreement"].values():
        assert set(leaf) == {"value", "low", "high", "n"}
    assert set(result["bits"]) == {"program", "exceptions", "table"}
    assert all(leaf is None for leaf in result["necessity"].values())
    assert set(result["rows"]) == set(solution.reports)


def test_an_unknown_case_is_the_secret_one():
    assert pairs_case.course_case().name == "grid"
    assert not torch.equal(pairs.course_case().labels, pairs.course_case("grid-twin").labels)


def test_rows_are_the_groups_of_an_interval(case):
    estimate = case.share(~case.wrong, ~case.seen)
    assert estimate.n == 113 and isinstance(Row("x", estimate, "result"), Row)


def test_the_command_prints_it(solution, monkeypatch, capsys):
    monkeypatch.setattr(pairs, "solve", lambda case, progress: solution)
    assert main(["solve", "pairs", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == "" and "published" not in found
    assert found["name"] == "grid" and found["verdict"] == "not recoverable (supported)"
    assert main(["solve", "pairs"]) == 0
    out, err = capsys.readouterr()
    assert "VERDICT: not recoverable (supported)" in out and "Bits that a rule saves" in out
    assert out.splitlines()[-1].endswith("notebooks/03_challenge_transformer.ipynb")
    assert err and all(line.startswith("... ") for line in err.splitlines())
