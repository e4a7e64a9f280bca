"""The three calls of lessons 08 to 10 on a Hugging Face model; a tiny random one stands in."""

from __future__ import annotations

import json

import pytest

from tests.models.tiny import save_tiny_gpt2
from utils.__main__ import main
from utils.challenges import text
from utils.data import statements
from utils.errors import CourseError
from utils.reports import Report

MADE = statements.make()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    texts = (*MADE.answered(True), *MADE.answered(False))  # both words become one token each
    return save_tiny_gpt2(tmp_path_factory.mktemp("tiny"), texts)


@pytest.fixture(scope="module")
def found(folder):
    return text.reports(text.case(folder))


def test_a_model_that_knows_nothing_is_found_to_know_nothing(found):
    """Random weights: every result lies among its nulls, whatever the machinery might leak."""
    probed = found["probe"]
    assert probed["accuracy"].value < probed["majority class"].high
    assert probed["accuracy"].value < 0.6 and probed["random-init twin"].value < 0.6
    assert found["contrast"]["CCS restarts that found: truth"].value == 0
    assert found["erase"]["is true, linear probe, before"].value < 0.6
    before, after = (found["erase"][name] for name in ("says so, before", "says so"))
    assert before.low <= after.value <= before.high


def test_what_is_plain_is_read(found):
    assert found["contrast"]["logistic regression, negated"].value > 0.8
    assert found["erase"]["negated, linear probe"].value > 0.8


def test_one_json_object(folder, capsys):
    assert main(["solve", "text", "--model", str(folder), "--layer", "0", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["site"] == "blocks.0.hook_resid_post[position=-1]" and told["statements"] == 256
    assert set(told["reports"]) == {"probe", "contrast", "erase"}
    for report in told["reports"].values():
        assert Report.from_json(json.dumps(report)).rows


@pytest.mark.parametrize(
    "arguments, word",
    [
        ([], "add --model"),
        (["--model", "no/such"], "on this machine"),
        (["--data", "/x", "--model", "y"], "belong to `solve cnn`"),
    ],
)
def test_mistakes_end_in_one_line(capsys, arguments, word):
    assert main(["solve", "text", *arguments]) == 2
    err = capsys.readouterr().err
    assert word in err and "Traceback" not in err


def test_other_mistakes(folder, capsys):
    assert main(["solve", "cnn", "--model", "x"]) == 2
    assert "belong to `solve text`" in capsys.readouterr().err
    with pytest.raises(CourseError, match="layers 0 to 1"):
        text.case(folder, layer=7)
