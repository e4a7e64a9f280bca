"""Thirty honest mistakes in one real lesson, and what each learner is told.

Five notebooks with a mistake in every exercise, graded whole: what one mistake leaves behind is
what the next exercise starts from.
"""

from __future__ import annotations

import json

import pytest

from tests.grading.conftest import needs_sandbox
from utils.grading.referee import grade_notebook
from utils.grading.sandbox import Limits
from utils.lessons import places

pytestmark = needs_sandbox


def function(name, arguments, body):
    return f"def {name}({arguments}):\n    {body}\n\n\n"


def agreement(body):
    return function("agreement", "a, b", body) + 'lab.check("0.1", agreement)'


def guess(body):
    return function("first_guess", "digits", body) + 'lab.check("0.2", first_guess)'


def shares(body):
    return function("share_with_digit", "digits", body) + 'lab.check("0.3", share_with_digit)'


def program(body):
    return function("program", "digits", body) + 'lab.check("0.4", program)'


def differs(**answers):
    named = {name.replace("_", " "): value for name, value in answers.items()}
    return f'differs = {named}\nlab.check("0.5", differs)'


def look(body):
    return (
        function("say_when_looking_at", "network, rows, places", body)
        + 'lab.check("0.6", say_when_looking_at)'
    )


ALL = {"more_rows": False, "shuffle": False, "attention": True, "cut": False, "swap": True}
ONE_HOT = "pattern = torch.nn.functional.one_hot(places, 7).float()\n    "

# exercise -> (cell, status, words of what they are told)
NOTEBOOKS = [
    {
        "0.1": (agreement("return (a == b).sum().item()"), "failed", "number of rows that agree"),
        "0.2": (guess("return digits[:, -1]"), "failed", "misses 10 of the ten"),
        "0.3": (shares("return torch.bincount(digits.flatten(), minlength=10) / digits.numel()"),
                "failed", "shares of all the digits"),
        "0.4": (program("return digits.max(dim=1).values"), "failed", "still the largest digit"),
        "0.5": (differs(**{**ALL, "cut": True}), "failed", "Begin with `cut`"),
        "0.6": (look(ONE_HOT + "return where_it_looks.write(network, rows, pattern)"),
                "failed", "one digit per row: the argmax"),
    },
    {
        "0.1": (agreement("return torch.equal(a, b)"), "failed", "truth value False"),
        "0.2": (guess("return digits.argmax(dim=1)"), "failed", "your program 0"),
        "0.3": (shares("return 100 * torch.stack([(digits == d).any(1).double().mean()"
                       " for d in range(10)])"), "failed", "these are percentages"),
        "0.4": (program("return digits.masked_fill(digits == 7, 6).max(dim=1).values"),
                "failed", "hard rows"),
        "0.5": (differs(**{**ALL, "attention": False}), "failed", "Begin with `attention`"),
        "0.6": (look("return network(rows)[:, -1].argmax(-1)"), "failed", "was not written"),
    },
    {
        "0.1": (agreement("return (a - b).abs().double().mean().item()"), "failed", "5 of 8 rows"),
        "0.2": (guess("return digits.max(dim=1)"), "failed", "Take `.values`"),
        "0.3": (shares("return torch.stack([(digits == d).any(1).sum() for d in range(10)])"),
                "failed", "divide by how many rows"),
        "0.4": (program("return digits.masked_fill(digits == 8, -1).max(dim=1).values"),
                "failed", "of the rows. For"),
        "0.5": (differs(shuffle=False, attention=True), "failed", "has the keys"),
        "0.6": (look(ONE_HOT + "return where_it_looks.write(network, rows, pattern)[:, -1]"),
                "failed", "shape (500, 10)"),
    },
    {
        "0.1": (agreement("return (a == b).mean()"), "failed", "line 2 of your cell"),
        "0.2": (guess("return max(digits)"), "failed", "ambiguous"),
        "0.3": (shares("return torch.stack([(digits == d).any(0).double().mean()"
                       " for d in range(10)])"), "failed", "index 1"),
        "0.4": (program("print(digits[0])"), "failed", "returned None"),
        "0.5": (differs(**dict.fromkeys(ALL, True)), "failed", "3 of the five"),
        "0.6": (look("pattern = torch.zeros(len(rows), 7)\n    pattern[:, places] = 1\n    "
                     "return where_it_looks.write(network, rows, pattern)[:, -1].argmax(-1)"),
                "failed", "0 everywhere else"),
    },
    {
        "0.1": ("agreement = 0.9\nlab.check('0.1', agreement)", "failed", "expected a function"),
        "0.2": ("def first_guess(digits)\n    return digits\nlab.check('0.2', first_guess)",
                "error", "SyntaxError: expected ':', line 1"),
        "0.3": (shares("return shares_of(digits)"), "failed", "NameError"),
        "0.4": ("lab.check('0.4', prorgam)", "error", "'prorgam' is not defined"),
        "0.5": ('differs = {"more rows": ...}\nlab.check("0.5", differs)', "not attempted", ""),
        "0.6": ('def say_when_looking_at(network, rows, places):\n    """As asked."""\n'
                '    raise NotImplementedError("exercise 0.6")\n\n\n'
                'lab.check("0.6", say_when_looking_at)', "not attempted", ""),
    },
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(NOTEBOOKS)))
def test_each_mistake_gets_its_word(number):
    mistakes = NOTEBOOKS[number]
    path = next((places.PACKAGE_ROOT / places.NOTEBOOKS).glob("00_*.ipynb"))
    made = json.loads(path.read_text(encoding="utf-8"))
    for cell in made["cells"]:
        exercise = cell["metadata"].get("exercise")
        if exercise is not None:
            cell["source"] = mistakes[exercise][0]
    found = grade_notebook(made, "00", limits=Limits(), cell_seconds=60.0)
    told = {row.exercise: row for row in found.rows}
    for exercise, (_, status, words) in mistakes.items():
        row = told[exercise]
        assert (row.status, row.exercise) == (status, exercise), row
        assert words in row.message and bool(row.message) == (status != "not attempted"), row
        assert row.points < row.max_points
    assert found.restarts == 0
