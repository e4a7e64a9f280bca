"""Lesson 07: every check on its solution, its stub and plausible wrong answers."""

from __future__ import annotations

import pytest
import torch

from tests.lessons.machinery import CheckSuite, solved
from utils.data import brackets
from utils.lessons.checks import lesson_07
from utils.lessons.session import Lab
from utils.scrubbing import Hypothesis, Node

# --- 7.1 ---------------------------------------------------------------------------------------


def _told(feature, unimportant="shared", only=None):
    def vacuous(sites):
        nodes = [Node(s, feature, name=n) for n, s in sites.items() if only in (None, n)]
        return Hypothesis(tuple(nodes), unimportant)

    return vacuous


def _label_and_count(tokens):
    return torch.stack([brackets.is_balanced(tokens), brackets.count_test(tokens)], 1)


# --- 7.3 ---------------------------------------------------------------------------------------


def _sizes(values):
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    return counts[inverse].double(), counts.double()


def _strength(alone, moved):
    """alone, moved: functions of the size of each input's class and of the size of each class."""
    return lambda values: (alone(*_sizes(values)), moved(*_sizes(values)))


def _alone(size, counts):
    return (size == 1).double().mean()


def _moved(size, counts):
    return (1 - 1 / size).mean()


# --- 7.4 ---------------------------------------------------------------------------------------


def _worst(key, share=lambda s, o, b: (s - b) / (o - b), best=min):
    def worst_stratum(strata):
        name = best(strata, key=lambda k: key(*strata[k]))
        return name, share(*strata[name])

    return worst_stratum


def _share(s, o, b):
    return (s - b) / (o - b)


# --- 7.5, 7.6 ----------------------------------------------------------------------------------


def _right_share(a, b, c):
    return a**2 / (a**2 + b * c)


# --- 7.7 ---------------------------------------------------------------------------------------


def _pairs(receive, give, one=False, seeded=True):
    """receive, give: functions of (mine, other), the results of the two tests."""

    def other_failure(tests, column, generator):
        mine, other = tests[:, column], tests[:, 1 - column]
        receivers = receive(mine, other).nonzero()[:, 0]
        pool = give(mine, other).nonzero()[:, 0]
        generator = generator if seeded else torch.Generator().manual_seed(7)
        pick = torch.randint(len(pool), (len(receivers),), generator=generator)
        return receivers, pool[0 * pick if one else pick]

    return other_failure


def _only_mine(mine, other):
    return ~mine & other


def _only_other(mine, other):
    return mine & ~other


# --- 7.8 ---------------------------------------------------------------------------------------

RIGHT = {
    "A": "alone", "B": "none", "C": "loss, model", "D": "unimportant inputs", "E": "strata",
    "F": "none", "G": "agreement",
}  # fmt: skip

WRONG = {
    "7.1": [
        _told("exact"),
        _told("any"),
        _told(brackets.endings_test),
        _told(_label_and_count),
        _told(brackets.is_balanced, only="m2"),
        _told(brackets.is_balanced, unimportant="exact"),
        lambda sites: list(sites),
    ],
    "7.2": [
        lambda score, nulls, ceiling: (score - max(nulls)) / (1 - max(nulls)),
        lambda score, nulls, ceiling: (score - min(nulls)) / (ceiling - min(nulls)),
        lambda score, nulls, ceiling: (
            (score - sum(nulls) / len(nulls)) / (ceiling - sum(nulls) / len(nulls))
        ),
        lambda score, nulls, ceiling: score - max(nulls),
        lambda score, nulls, ceiling: score / ceiling,
        lambda score, nulls, ceiling: min(
            max((score - max(nulls)) / (ceiling - max(nulls)), 0.0), 1.0
        ),
    ],
    "7.3": [
        _strength(lambda size, counts: (counts == 1).double().mean(), _moved),
        _strength(lambda size, counts: (counts == 1).sum(), _moved),
        _strength(_alone, lambda size, counts: 1 - _alone(size, counts)),
        _strength(_alone, lambda size, counts: 1 - 1 / len(counts)),
        _strength(_alone, lambda size, counts: (1 - 1 / counts).mean()),
        _strength(_alone, lambda size, counts: (1 / size).mean()),
        _strength(_moved, _alone),
        lambda values: _moved(*_sizes(values)),
    ],
    "7.4": [
        _worst(lambda s, o, b: s, best=max),
        _worst(lambda s, o, b: s - o, best=max),
        _worst(_share, best=max),
        _worst(_share, share=lambda s, o, b: (s - o) / (b - o)),
        _worst(_share, share=lambda s, o, b: max((s - b) / (o - b), 0.0)),
        lambda strata: min(_share(*row) for row in strata.values()),
    ],
    "7.5": [
        lambda a, b, c: a**2 / (a**2 + b**2),
        lambda a, b, c: min(_right_share(a, b, c), 1.0),
        lambda a, b, c: 1 - _right_share(a, b, c),
        lambda a, b, c: a**2 / (a**2 + c**2),
        lambda a, b, c: 1 - (b**2 + c**2) / (2 * a**2 + b**2 + c**2),
        lambda a, b, c: 1 / _right_share(a, b, c),
        lambda a, b, c: 1.0,
    ],
    "7.6": [
        lambda x: 2 * x[:, 0],
        lambda x: 2 * x[:, 0] - x[:, 1],
        lambda x: 2 * x[:, 0] + x[:, 1],
        lambda x: x[:, 1] * x[:, 2],
        lambda x: 2 * x[:, 0] + 0.1 * x[:, 1] * x[:, 2],
        lambda x: 2 * x[:, 0] * x[:, 2] + x[:, 1],
    ],
    "7.7": [
        _pairs(_only_mine, lambda mine, other: mine & other),
        _pairs(_only_mine, _only_mine),
        _pairs(_only_mine, lambda mine, other: ~(mine & other)),
        _pairs(lambda mine, other: ~mine, _only_other),
        _pairs(_only_other, _only_mine),
        _pairs(_only_mine, _only_other, one=True),
        _pairs(_only_mine, _only_other, seeded=False),
        lambda tests, column, generator: (~tests[:, column]).nonzero()[:, 0],
    ],
    "7.8": [
        dict.fromkeys(RIGHT, "none"),
        {**RIGHT, "C": "agreement"},
        {**RIGHT, "B": "agreement"},
        {**RIGHT, "E": "none"},
        {**RIGHT, "G": "none"},
        {**RIGHT, "A": "nothing"},
        {k: v for k, v in RIGHT.items() if k != "G"},
    ],
}


class TestChecks07(CheckSuite):
    lesson = "07"
    wrong = WRONG


def _message(exercise, answer):
    return TestChecks07().grade(exercise, answer).message


@pytest.mark.parametrize(
    ("exercise", "number", "words"),
    [
        ("7.1", 0, "claims no feature"),
        ("7.1", 2, "more than the label"),
        ("7.1", 3, "more than the label"),
        ("7.1", 4, "name all of them"),
        ("7.1", 5, "really taken from another string"),
        ("7.2", 0, "top of this scale"),
        ("7.2", 1, "this is the worst"),
        ("7.2", 2, "not their mean"),
        ("7.2", 5, "do not clip"),
        ("7.3", 0, "share of the *inputs*"),
        ("7.3", 1, "not a count"),
        ("7.3", 2, "not everything that is not alone"),
        ("7.3", 3, "not on how many"),
        ("7.3", 4, "mean over inputs"),
        ("7.3", 5, "that stay"),
        ("7.3", 6, "exchanged"),
        ("7.4", 0, "its own baseline"),
        ("7.4", 1, "its own baseline"),
        ("7.4", 2, "best stratum"),
        ("7.4", 3, "share that is lost"),
        ("7.4", 4, "do not clip"),
        ("7.5", 0, "forgets the label"),
        ("7.5", 1, "do not clip"),
        ("7.5", 2, "share that is lost"),
        ("7.5", 3, "coefficient b"),
        ("7.5", 4, "loss of the model itself"),
        ("7.5", 5, "upside down"),
        ("7.6", 0, "input by input"),
        ("7.6", 1, "recovers 133"),
        ("7.6", 2, "recovers 80"),
        ("7.6", 3, "nothing to recover"),
        ("7.6", 4, "input by input"),
        ("7.7", 0, "donor is balanced"),
        ("7.7", 1, "same test"),
        ("7.7", 3, "fails both"),
        ("7.7", 4, "exchanged"),
        ("7.7", 5, "draw one for each"),
        ("7.7", 6, "pass `generator`"),
        ("7.8", 1, "objects first"),
        ("7.8", 2, "keep their class"),
        ("7.8", 3, "one kind of string"),
        ("7.8", 4, "what happened to the outputs"),
    ],
)
def test_the_likely_slips_are_named(exercise, number, words):
    assert words in _message(exercise, WRONG[exercise][number])


def test_other_right_ways_pass():
    def by_loop(values):
        sizes = [int((values == v).sum()) for v in values]
        return [
            sum(s == 1 for s in sizes) / len(sizes),
            sum(1 - 1 / s for s in sizes) / len(sizes),
        ]

    def shuffled(tests, column, generator):
        receivers, donors = _pairs(_only_mine, _only_other)(tests, column, generator)
        return receivers.flip(0), donors

    def five_parts(sites):
        names = ("m2", "a2.h0", "m0", "a0.h1", "a1.h0", "a2.h1")
        nodes = [Node(sites[n], brackets.is_balanced, name=n) for n in names]
        return Hypothesis(tuple(nodes), "shared")

    for exercise, answer in (
        ("7.1", five_parts),
        ("7.3", by_loop),
        ("7.5", _right_share),
        ("7.6", lambda x: 2 * x[:, 0] + x[:, 2]),  # noise that x1 agrees with half of the time
        ("7.6", lambda x: 2 * x[:, 0] - x[:, 0] * x[:, 1]),
        ("7.7", shuffled),
    ):
        assert TestChecks07().grade(exercise, answer).status == "passed", _message(exercise, answer)


def test_the_anonymous_reports_give_the_verdicts_that_are_asked_for():
    assert lesson_07.ANSWERS == RIGHT

    def first_objection(lines):
        off = lines.get("mean |output - the model's|", 0.0)
        for line, objects in (
            ("unimportant inputs", lines["unimportant inputs"] != "shared"),
            ("alone", lines["alone"] > 0.5),
            ("loss, model", lines["loss, scrubbed"] < lines["loss, model"] - 0.1),
            ("strata", lines.get("worst stratum recovers", 1.0) < 0.5),
            ("agreement", off > 0.5 or lines.get("agreement", 1.0) < 0.9),
        ):
            if objects:
                return line
        return "none"

    found = {
        letter: first_objection(lines)
        for letter, lines in lesson_07.load_data().anonymous().items()
    }
    assert found == RIGHT


def test_a_variant_gives_the_same_reports_other_letters():
    right = solved("07").answers["7.8"]
    reports = lesson_07.load_data().anonymous()
    own = lesson_07.load_data().anonymous(12345)
    common = {letter: next(k for k in reports if reports[k] == own[letter]) for letter in own}
    assert sorted(common.values()) == sorted(reports) and common != {k: k for k in reports}
    lab = Lab("07", seeds={"7.8": 12345})
    assert lab.grade("7.8", right).status != "passed"
    mine = {letter: right[known] for letter, known in common.items()}
    assert lab.grade("7.8", mine).status == "passed"
    assert Lab("07", seeds={}).grade("7.8", mine).status != "passed"


def test_the_data_have_few_strings_whose_endings_alone_fail():
    data = lesson_07.load_data()
    masks = lesson_07.strata(data.few_endings.tokens)
    assert 20 <= int(masks["only endings fail"].sum()) <= 80
    assert len(data.few_endings.tokens) == 3000
    values = data.nonsense(30)(data.data.tokens)
    assert values.min() >= 0 and values.max() < 30
