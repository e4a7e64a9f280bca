"""Submitted files: run in a process of their own; every way to go wrong is one clear message."""

import textwrap

import pytest
import torch

from tests.challenges.test_judge import QUICK, toy
from utils.challenges.bits import program_bits
from utils.challenges.explanation import ExplanationError, StepError, UnknownStepError
from utils.challenges.judge import judge
from utils.challenges.submission import SubmissionError, submitted, text_bits, written
from utils.challenges.verdicts import MECHANISM
from utils.scrubbing import UnknownComponentError
from utils.sites import Site

HEAD = """
import torch
from utils.challenges.explanation import Explanation, Step
from utils.sites import Site
"""
GOOD = (
    HEAD
    + """
def similarity(x):
    return x[:, 0, 0, 0] - x[:, 0, 0, 1]


explanation = Explanation(
    [
        Step("below", lambda x: similarity(x) <= -0.3, site=Site("hook_fc1", neuron=0)),
        Step("above", lambda x: similarity(x) >= 0.3, site=Site("hook_fc1", neuron=1)),
        Step("label", lambda a, b: a | b, ("below", "above")),
    ]
)
"""
)
X = torch.rand(30, 1, 28, 28)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "mine.py"
        path.write_text(textwrap.dedent(text))
        return path

    return write


def test_a_good_file_is_judged_like_the_same_in_a_notebook(file):
    with submitted(file(GOOD)) as explanation:
        verdict = judge(toy(), explanation, **QUICK)
        assert verdict.verdict == MECHANISM, verdict
        assert program_bits(explanation)[0] == text_bits(GOOD)[0]


def test_what_was_handed_out_is_there(file):
    text = HEAD + 'explanation = Explanation([Step("y", lambda x: x[:, 0, 0, 0] > given["t"])])'
    with submitted(file(text), {"t": torch.tensor(0.5)}) as explanation:
        assert torch.equal(explanation.labels(X), (X[:, 0, 0, 0] > 0.5).long())


def one(body):
    return HEAD + f'explanation = Explanation([Step("y", lambda x: {body})])\n'


BROKEN = {
    "empty": ("", "empty"),
    "syntax": ("explanation = (", "no valid Python"),
    "nothing defined": ("import torch\nx = 3", "there is none"),
    "another thing": ("explanation = 3", "it is a int"),
    "another import": ("import os\n", "imports os"),
    "the course's networks": ("from utils.models import zoo\n", "imports utils.models"),
    "fails at once": ("explanation = 1 / 0", "ZeroDivisionError"),
    "leaves": ("import torch\nraise SystemExit(0)", "SystemExit"),
    "reads a file": ("open('/etc/hostname').read()\nexplanation = 3", "opened the file"),
    "missing step": (
        HEAD + 'explanation = Explanation([Step("y", lambda a: a, ("nothing",))])',
        "nothing",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_clear_message(file, name):
    text, word = BROKEN[name]
    with pytest.raises(SubmissionError, match=word) as error, submitted(file(text)):
        pass
    assert "\n" not in str(error.value)


def test_no_file(tmp_path):
    with pytest.raises(SubmissionError, match="no file"), submitted(tmp_path / "absent.py"):
        pass
    binary = tmp_path / "binary.py"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SubmissionError, match="UTF-8"), submitted(binary):
        pass


LIMITS = {
    "an endless loop": ("[1 for _ in iter(int, 1)]", "loop"),
    "twenty gigabytes": ("torch.ones(5 * 2**30)[: len(x)] > 0", "memory"),
    "the wrong type": ("'yes'", "not numbers"),
    "the wrong length": ("x[:3, 0, 0, 0]", "shape"),
    "an exception": ("x[:, 9]", "IndexError"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_a_step_over_a_limit_is_one_clear_message(file, name):
    body, word = LIMITS[name]
    with (
        pytest.raises(ExplanationError, match=word) as error,
        submitted(file(one(body)), seconds=3) as explanation,
    ):
        explanation.labels(X)
    assert "\n" not in str(error.value)


def test_errors_of_meaning_keep_their_names(file):
    with submitted(file(one("x[:, 0, 0, 0]"))) as explanation, pytest.raises(StepError):
        explanation.labels(X)
    elsewhere = GOOD.replace("hook_fc1", "blocks.0.attn.hook_z")
    with submitted(file(elsewhere)) as explanation, pytest.raises(UnknownComponentError):
        judge(toy(), explanation, **QUICK)
    assert issubclass(UnknownStepError, ExplanationError)


def test_places_names_and_imports_cost_nothing():
    bits, digest = text_bits(GOOD)
    moved = GOOD.replace("neuron=0", "neuron=[3, 4, 5, 6]").replace('"below"', '"far below it"')
    assert text_bits(moved)[0] == bits and text_bits(moved)[1] != digest
    assert text_bits(GOOD + "\n# a comment\n") == (bits, digest)
    assert text_bits(GOOD.replace("0.3", "0.3125"))[0] > bits
    table = f"TABLE = {[i * 7919 % 2 for i in range(500)]}\n"
    assert text_bits(GOOD + table)[0] > bits + 500


@pytest.mark.parametrize(
    "site",
    [
        Site("hook_fc1", neuron=[4, 7]),
        Site("blocks.0.attn.hook_z", head=3, position=-1),
        Site("blocks.1.hook_attn_out", position=slice(0, 4, 2)),
        Site("hook_pool1", channel=0, row=2, column=slice(1, None)),
    ],
    ids=str,
)
def test_a_site_as_text_is_the_same_site(site):
    assert eval(written(site), {"Site": Site, "torch": torch}) == site


def test_a_basis_as_text_spans_the_same_subspace():
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(64, 3, generator=generator)).Q
    site = Site("blocks.0.hook_attn_out", position=2, basis=basis)
    again = eval(written(site), {"Site": Site, "torch": torch})
    assert (again.hook, again.position) == (site.hook, site.position)
    both = [b @ b.T for b in (basis, again.basis)]  # projections do not know of signs
    assert (both[0] - both[1]).abs().max() < 5e-3
    assert (both[0] - both[1]).abs().max() > 0  # it was rounded
    assert "-0.0]" not in written(site, 1) and "-0.0," not in written(site, 1)
