"""Submitted explanations: judged as on the command line, with a sandbox around the file."""

from __future__ import annotations

import pytest

from tests.grading.conftest import needs_sandbox
from utils.challenges import seal
from utils.grading.explanations import EXERCISE, POINTS, grade_explanation
from utils.grading.job import Job, Options, run
from utils.grading.sandbox import Limits

pytestmark = needs_sandbox

HEAD = """
import torch
from utils.challenges.explanation import Explanation, Step
"""
LABELS = HEAD + 'explanation = Explanation([Step("label", lambda x: x.flatten(1)[:, 0] > 0)])\n'

ATTACKS = {
    "endless loop": ("while True: pass\n" + LABELS, "timeout", "stopped"),
    "loop in a step": (
        HEAD + "def f(x):\n    while True: pass\n\n"
        'explanation = Explanation([Step("label", f)])\n', "timeout", "stopped",
    ),
    "memory bomb": (HEAD + "torch.ones(2**40)\n", "out of memory", "memory"),
    "leaves": ("__import__('os')._exit(0)\n" + LABELS, "error", "ended by itself"),
    "imports what it may not": ("import os\n" + LABELS, "error", "imports os"),
    "no explanation": ("x = 3\n", "error", "must end with"),
    "empty": ("", "error", "empty"),
    "no Python": ("explanation =", "error", "no valid Python"),
    "forged answer": (
        "s = __import__('sys')\ns.__stdout__.write('{\"verdict\": \"program and mechanism\"}\\n')\n"
        "s.__stdout__.flush()\n" + LABELS, "tampered", "no sense",
    ),
    "another file named": (
        "s = __import__('sys')\n"
        "s.__stdout__.write('{\"steps\": [{\"name\": \"label\", \"inputs\": [],"
        ' "via": null, "site": {"hook": "h", "basis": "/etc/passwd"}}], "unrecoverable": false,'
        ' "unimportant": "shared", "name": "x"}\\n\')\n'
        "s.__stdout__.flush()\n" + LABELS, "tampered", "not its own",
    ),
    "looks for keys": (
        "o = __import__('os')\nfound = [f for _, _, fs in o.walk('/course') for f in fs]\n"
        "found = [f for f in found if 'key' in f and f != 'practice.key.json']\n"
        "assert not found and not o.path.exists('/course/solutions')\n"
        "raise ValueError('nothing there')\n", "error", "nothing there",
    ),
}  # fmt: skip


def _graded(tmp_path, text, **options):
    path = tmp_path / "explanation.py"
    path.write_text(text)
    limits = Limits(memory_mb=4096, scratch_mb=64)
    return grade_explanation(path, seal.practice()[0], limits=limits, **options).rows[0]


@pytest.mark.parametrize("name", ATTACKS)
def test_whatever_is_wrong_is_in_the_row(name, tmp_path, monkeypatch):
    import utils.challenges.submission as submission

    source, status, word = ATTACKS[name]
    # the minute more that loading has is for slow machines; an endless loop need not wait for it
    original = submission._Worker.answer
    monkeypatch.setattr(
        submission._Worker, "answer",
        lambda self, who="The file", extra=0.0: original(self, who, min(extra, 12.0)),
    )  # fmt: skip
    row = _graded(tmp_path, source, seconds=4.0)
    assert (row.exercise, row.status, row.points) == (EXERCISE, status, 0), row
    assert word in row.message, row


def test_it_is_the_judges_verdict(tmp_path):
    from utils.challenges.judge import judge
    from utils.challenges.submission import submitted

    row = _graded(tmp_path, LABELS)
    with submitted(tmp_path / "explanation.py", seal.load(seal.practice()[0]).given) as mine:
        verdict = judge(seal.load(seal.practice()[0]), mine)
    assert row.message.startswith(verdict.verdict) and row.points < POINTS


def test_a_learner_without_a_challenge_is_told(tmp_path):
    (tmp_path / "challenges").mkdir()
    job = Job("k", "anna", "anna/explanation.py", LABELS.encode(), None, "explanation")
    found = run(job, Options(challenges=str(tmp_path / "challenges")))
    assert found["rows"][0]["status"] == "error" and "no challenge" in found["rows"][0]["message"]
