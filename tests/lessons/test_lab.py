"""What a notebook talks to: results, hints, reference data, predictions, figures, progress."""

import json

import pytest
import torch

import utils.lessons
from utils.errors import CourseError
from utils.lessons import places
from utils.lessons.materials import check_module
from utils.lessons.session import Lab


@pytest.fixture
def lab(course):
    return Lab("07")


def said(capsys):
    return capsys.readouterr().out.strip()


def centre(x):
    return x - x.mean(dim=0)


def in_cell(source):
    """Functions as a notebook's cell defines them: in `__main__`."""
    names = {"__name__": "__main__", "torch": torch}
    exec(compile(source, "<cell>", "exec"), names)
    return names


def test_unknown_lesson_and_unknown_exercise(course, lab):
    assert Lab(7).lesson == Lab("7").lesson == "07"
    with pytest.raises(CourseError, match="no lesson '99'. Lessons: 07"):
        utils.lessons.lab("99")
    with pytest.raises(CourseError, match="no exercise '7.11'. Nearest: 7.1"):
        lab.check("7.11", 1)
    with pytest.raises(CourseError, match="no exercise 'x'. Nearest: 7.1, 7.2"):
        lab.hint("x")
    with pytest.raises(CourseError, match="no prediction '7.Q'. Nearest: 7.P"):
        lab.predict("7.Q", "?", 0.5)


def test_checks_of_a_course_elsewhere_may_hold_dataclasses(tmp_path):
    file = tmp_path / places.CHECKS / "lesson_99.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n"
        "@dataclass\nclass Given:\n    x: int\n"
    )
    assert check_module("99", tmp_path).Given(1).x == 1


def test_a_lesson_repeats_bit_for_bit_on_a_machine(lab):
    first = torch.rand(1).item()
    Lab("07")
    assert torch.rand(1).item() == first and torch.get_num_threads() == 1
    # warned of and not refused: some of torch's functions have no such kernel
    assert torch.get_deterministic_debug_mode() == 1


def test_a_lesson_without_a_model_says_so(lab):
    with pytest.raises(CourseError, match="Lesson 07 declares no model"):
        _ = lab.model
    assert lab.data["x"].shape == (4, 3)


def test_the_three_lines_of_a_check(lab, capsys):
    assert lab.check("7.1", centre) is None
    assert said(capsys) == "7.1 passed: 4 of 4 points."
    lab.check("7.2", 4)
    assert said(capsys) == "7.2 passed: 1 of 1 point. Rows come first."
    lab.check("7.2", 3)
    assert said(capsys) == "7.2 failed: that is the number of columns."
    lab.check("7.1", lambda x: x - x.mean(dim=1, keepdim=True))
    assert said(capsys).startswith("7.1 partly right: 2 of 4 points; these are rows")
    lab.check("7.1", ...)
    assert said(capsys) == "7.1 not attempted"


CELL = """
def stub(x):
    raise NotImplementedError("exercise 7.1")

def half_stub(x):
    y = x + 1
    return ...

def raises(x):
    rows = x.shape[0]
    raise ValueError("rows are " + str(rows))

def inside_torch(x):
    return x @ x

def no_kernel(x):
    return x.to("meta").cpu()

def endless(x):
    return endless(x)

def leaves(x):
    raise SystemExit(3)

def nothing(x):
    x.zero_()
"""


@pytest.mark.parametrize(
    "name, status, message",
    [
        ("stub", "not attempted", ""),
        ("half_stub", "not attempted", ""),
        ("raises", "failed", "your function raised ValueError: rows are 4 (line 11 of your cell"),
        ("inside_torch", "failed", "(line 14 of your cell"),
        ("no_kernel", "failed", "(line 17 of your cell"),
        ("endless", "failed", "calls itself without end (line 20 of your cell"),
        ("leaves", "failed", "raised SystemExit: 3 (line 23 of your cell"),
        ("nothing", "failed", "returned None; does it end with a return"),
    ],
)
def test_what_a_learners_function_may_do(lab, name, status, message):
    result = lab.grade("7.1", in_cell(CELL)[name])
    assert result.status == status
    assert message in result.message


def test_a_missing_kernel_of_torch_is_no_stub(lab):
    def missing(x):
        return x.to("meta").cpu()

    with pytest.raises(NotImplementedError):  # torch's own, raised from C
        missing(torch.ones(3))
    result = lab.grade("7.1", missing)
    assert result.status == "failed" and "NotImplementedError" in result.message


@pytest.mark.parametrize("answer", [None, ..., (1, ...), {"a": ...}, [...]])
def test_blank_answers_are_not_attempted(lab, answer):
    assert lab.grade("7.2", answer).status == "not attempted"


@pytest.mark.parametrize(
    "answer, words",
    [
        ("four", ["the text 'four'", "expected a number"]),
        (float("nan"), ["NaN"]),
        (torch.ones(2, 2), ["a float32 tensor of shape (2, 2)", "expected a number"]),
        (True, ["the truth value True", "expected a number"]),
        (object(), ["an object of type object", "expected a number"]),
    ],
)
def test_a_failure_names_what_came_and_what_was_expected(lab, answer, words):
    result = lab.grade("7.2", answer)
    assert result.status == "failed"
    assert all(word in result.message for word in words), result.message


def test_an_answer_that_chokes_the_check_fails_with_words(course):
    checks = course / places.CHECKS / "lesson_07.py"
    text = checks.read_text(encoding="utf-8").replace(
        "    rows = lab.data", "    answer.strip()\n    rows = lab.data"
    )
    checks.write_text(text, encoding="utf-8")
    result = Lab("07").grade("7.2", 4)
    assert result.status == "failed"
    assert (
        "got the number 4; expected a whole number; the check stopped at AttributeError"
        in result.message
    )


def test_answers_cannot_reach_the_data_of_the_check(lab):
    def spoil(x):
        x.zero_()
        return x

    assert lab.grade("7.1", spoil).status == "failed"
    lab.data["x"].fill_(7)
    assert lab.grade("7.1", centre).status == "passed"
    assert Lab("07").data["x"][1, 1] == 16


def test_a_check_leaves_the_notebooks_randomness_alone(lab):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    lab.grade("7.1", lambda x: x + torch.rand(x.shape))
    assert torch.equal(torch.rand(3), expected)


def test_hints_come_one_by_one_and_are_kept(lab, capsys, tmp_path):
    for _ in range(4):
        lab.hint("7.1")
    lines = said(capsys).splitlines()
    assert lines[0] == "Hint 1 of 3 for 7.1: A mean goes along one dimension."
    assert lines[2] == lines[3] == "Hint 3 of 3 for 7.1: Subtract `x.mean(0)`."
    assert json.loads(progress_file(tmp_path))["exercises"]["7.1"]["hints"] == 3


def progress_file(tmp_path):
    return (tmp_path / "learner" / "progress.json").read_text(encoding="utf-8")


def test_use_takes_the_learners_own_or_the_reference(lab, capsys):
    x = lab.data["x"]
    reference = lab.use("7.1", lambda x: x, x)
    assert said(capsys) == "7.1 is not passed yet: the reference data stand in for it."
    assert torch.allclose(reference, centre(x))
    lab.check("7.1", centre)
    said(capsys)
    assert torch.equal(lab.use("7.1", centre, 2 * x), centre(2 * x)) and said(capsys) == ""
    assert torch.equal(lab.use("7.1", lambda x: x / "no", x), reference)
    assert "7.1 raised TypeError" in said(capsys)
    with pytest.raises(CourseError, match="needs the function's arguments too"):
        lab.use("7.1", centre)
    with pytest.raises(CourseError, match="no reference data for 7.2#other"):
        lab.use("7.2", ..., name="other")


def test_a_prediction_is_scored(lab, capsys, tmp_path):
    lab.predict("7.P", "does it?", ...)
    assert said(capsys) == "7.P not attempted: write a probability from 0 to 1"
    for wrong in (1.2, -0.1, "0.5", float("nan"), True, [0.5]):
        lab.predict("7.P", "does it?", wrong)
        assert "7.P failed: a probability is a number from 0 to 1; got" in said(capsys)
    lab.predict("7.P", "does it?", 0.9)
    lab.predict("7.P", "does it?", torch.tensor(0.8))
    assert said(capsys).endswith("7.P predicted: 80 % for “does it?”")
    lab.outcome("7.P", torch.tensor(False))
    assert "did not happen; you said 80 %. Brier score 0.64" in said(capsys)
    lab.predict("7.P", "does it?", 0.01)
    assert "7.P late: 1 % was said after the result was shown" in said(capsys)
    entry = json.loads(progress_file(tmp_path))["predictions"]["7.P"]
    assert (entry["probability"], entry["brier"], entry["late"]) == (0.8, 0.64, 0.01)
    again = Lab("07")  # a new session knows
    again.predict("7.P", "does it?", 0.02)
    assert "late" in said(capsys)
    with pytest.raises(CourseError, match="needs True or False, got the number 1"):
        lab.outcome("7.P", 1)


def test_without_a_prediction_nothing_is_scored(lab, capsys, tmp_path):
    lab.outcome("7.P", True)
    assert (
        said(capsys)
        == "7.P outcome: it happened; nothing was predicted before, so nothing is scored."
    )
    lab.predict("7.P", "does it?", 1.0)
    assert "late" in said(capsys)
    lab.outcome("7.P", True)
    assert "nothing is scored" in said(capsys)
    assert "brier" not in json.loads(progress_file(tmp_path))["predictions"]["7.P"]


def test_progress_shows_the_best_of_each(lab, capsys):
    lab.hint("7.1")
    lab.check("7.2", 4)
    lab.check("7.2", 3)
    said(capsys)
    lab.progress()
    lines = said(capsys).splitlines()
    assert lines[0] == "Lesson 07: 1 of 5 points"
    assert lines[2].split() == [
        "7.1",
        "centre",
        "the",
        "columns",
        "not",
        "attempted",
        "0",
        "of",
        "4",
        "1",
    ]
    assert lines[3].split()[-5:] == ["passed", "1", "of", "1", "0"]
    Lab("07").progress()
    assert "1 of 5 points" in said(capsys)


def test_progress_of_all_lessons_says_what_comes_next(lab, capsys):
    lab.hint("7.1")
    lab.check("7.2", 4)
    said(capsys)
    lab.progress(all_lessons=True)
    lines = said(capsys).splitlines()
    assert lines[0] == "The whole course"
    assert lines[2].startswith("07 ") and lines[2].endswith("1 of 2  1 of 5      1  just now")
    assert lines[-1].startswith("Next: exercise 7.1, ")


def test_progress_lies_in_the_folder_the_notebook_started_in(course, tmp_path, monkeypatch):
    lab = Lab("07")
    monkeypatch.chdir(tmp_path)
    lab.check("7.2", 4)
    assert "7.2" in json.loads(progress_file(tmp_path))["exercises"]
    assert not (tmp_path / "progress.json").exists()
