"""Checks of lesson 08: wrong answers somebody would plausibly hand in."""

import numpy as np
import pytest

from tests.lessons.machinery import CheckSuite, solved
from utils.lessons.checks.lesson_08 import ANSWERS

# --- 8.1, 8.2 ------------------------------------------------------------------------------------


def _table(of, ask):
    def accuracy(word, label, fit, held):
        rows, asked = of(fit, held), ask(fit, held)
        counts = np.zeros((word.max() + 1, label.max() + 1))
        np.add.at(counts, (word[rows], label[rows]), 1)
        return (counts.argmax(1)[word[asked]] == label[asked]).mean()

    return accuracy


def _commonest(word, label, fit, held):
    return (label[held] == np.bincount(label[fit]).argmax()).mean()


def _last_seen(word, label, fit, held):
    table = np.zeros(word.max() + 1, int)
    table[word[fit]] = label[fit]
    return (table[word[held]] == label[held]).mean()


def _by_row(word, class_of_word, seed):
    return np.random.default_rng(seed).permutation(class_of_word[word])


def _renamed(word, class_of_word, seed):
    names = np.random.default_rng(seed).permutation(np.unique(class_of_word))
    return names[class_of_word][word]


def _drawn_evenly(word, class_of_word, seed):
    kinds = class_of_word.max() + 1
    return np.random.default_rng(seed).integers(kinds, size=len(class_of_word))[word]


def _no_seed(word, class_of_word, seed):
    return np.random.default_rng(0).permutation(class_of_word)[word]


def _global_luck(word, class_of_word, seed):
    return np.random.permutation(class_of_word)[word]


def _hangs_on_rows(word, class_of_word, seed):
    kinds, number = np.unique(word, return_inverse=True)
    return np.random.default_rng(seed).permutation(class_of_word[kinds])[number]


# --- 8.3, 8.4 ------------------------------------------------------------------------------------


def _score(make, x, label, rows, on, by=None):
    return make().fit(x[rows], label[rows]).score(x[on], (label if by is None else by)[on])


def _both(value):
    """A wrong selectivity beside the right accuracy on the task."""

    def selectivity(make, x, task, control, fit, held):
        everything = np.arange(len(x))
        first = _score(make, x, task, fit, held)
        return first, value(make, x, task, control, fit, held, everything, first)

    return selectivity


_one_probe = _both(lambda m, x, t, c, fit, held, rows, a: a - _score(m, x, t, fit, held, c))
_on_fitted = _both(
    lambda m, x, t, c, fit, held, rows, a: _score(m, x, t, fit, fit) - _score(m, x, c, fit, fit)
)
_everything_fitted = _both(
    lambda m, x, t, c, fit, held, rows, a: _score(m, x, t, rows, held) - _score(m, x, c, rows, held)
)
_turned = _both(lambda m, x, t, c, fit, held, rows, a: _score(m, x, c, fit, held) - a)
_task_only = _both(lambda m, x, t, c, fit, held, rows, a: a)
_control_only = _both(lambda m, x, t, c, fit, held, rows, a: _score(m, x, c, fit, held))


def _accuracy_on_fitted(make, x, task, control, fit, held):
    gain = _score(make, x, task, fit, held) - _score(make, x, control, fit, held)
    return _score(make, x, task, fit, fit), gain


def _one_number(make, x, task, control, fit, held):
    return _score(make, x, task, fit, held) - _score(make, x, control, fit, held)


def _rows_drawn(groups, share, seed):
    return np.random.default_rng(seed).random(len(groups)) < share


def _groups(choose, inverse=False):
    def hold_out(groups, share, seed):
        kinds = np.unique(groups)
        chosen = choose(kinds, round(share * len(kinds)), seed)
        return np.isin(groups, chosen) ^ inverse

    return hold_out


def _shuffled(kinds, n, seed):
    return np.random.default_rng(seed).permutation(kinds)[:n]


# --- 8.5 -----------------------------------------------------------------------------------------


def _code(base=np.log2, first=True, share=True, seen="before", rows="all"):
    def code_length(predict, x, y, ends, classes):
        bits = ends[0] * np.log2(classes) if first else 0.0
        for start, end in zip(ends, ends[1:], strict=False):
            part = {
                "before": slice(0, start), "with": slice(0, end), "all": slice(0, len(y)),
                "block": slice(max(0, start - 5), start),
            }[seen]  # fmt: skip
            chance = predict(x[part], y[part], x[start:end])
            bits -= base(chance[np.arange(end - start), y[start:end]]).sum()
        n = len(y) if rows == "all" else len(y) - ends[0]
        return bits / (n * np.log2(classes)) if share else bits

    return code_length


def _mean_of_chances(predict, x, y, ends, classes):
    bits = ends[0] * np.log2(classes)
    for start, end in zip(ends, ends[1:], strict=False):
        chance = predict(x[:start], y[:start], x[start:end])
        right = chance[np.arange(end - start), y[start:end]]
        bits -= (end - start) * np.log2(right.mean())
    return bits / (len(y) * np.log2(classes))


def _largest(predict, x, y, ends, classes):
    bits = ends[0] * np.log2(classes)
    for start, end in zip(ends, ends[1:], strict=False):
        bits -= np.log2(predict(x[:start], y[:start], x[start:end]).max(1)).sum()
    return bits / (len(y) * np.log2(classes)) - 0.001


# --- 8.6 -----------------------------------------------------------------------------------------


def _effects(effect, draws):
    return np.array([effect(d) for d in draws])


def _as_they_came(effect, direction, draws):
    return effect(direction) / _effects(effect, draws).mean()


def _all_units(effect, direction, draws):
    unit = draws / draws.norm(dim=1, keepdim=True)
    return effect(direction / direction.norm()) / _effects(effect, unit).mean()


def _scaled_after(effect, direction, draws):
    unit = draws / draws.norm(dim=1, keepdim=True)
    return effect(direction) / (_effects(effect, unit).mean() * direction.norm())


def _one_norm_for_all(effect, direction, draws):
    return effect(direction) / _effects(effect, draws / draws.norm() * direction.norm()).mean()


def _of_matched(value):
    def ratio(effect, direction, draws):
        unit = draws / draws.norm(dim=1, keepdim=True)
        return value(effect(direction), _effects(effect, unit * direction.norm()))

    return ratio


WRONG = {
    "8.1": [
        _table(lambda fit, held: fit, lambda fit, held: fit),
        _table(lambda fit, held: np.concatenate([fit, held]), lambda fit, held: held),
        _table(lambda fit, held: held, lambda fit, held: held),
        _commonest,
        _last_seen,
        lambda word, label, fit, held: 1.0,
    ],
    "8.2": [
        _by_row,
        _renamed,
        _drawn_evenly,
        _no_seed,
        _global_luck,
        _hangs_on_rows,
        lambda word, class_of_word, seed: class_of_word[word],
        lambda word, class_of_word, seed: np.roll(class_of_word, seed + 1)[word] * 0,
    ],
    "8.3": [
        _one_probe,
        _on_fitted,
        _everything_fitted,
        _turned,
        _task_only,
        _control_only,
        _accuracy_on_fitted,
        _one_number,
    ],
    "8.4": [
        _rows_drawn,
        _groups(_shuffled, inverse=True),
        _groups(lambda kinds, n, seed: kinds[:n]),
        _groups(lambda kinds, n, seed: kinds[seed % 2 :: 2][:n]),
        _groups(lambda kinds, n, seed: np.random.default_rng(seed).choice(kinds, n)),
        _groups(lambda kinds, n, seed: kinds[np.random.default_rng(seed).random(40) < n / 40]),
    ],
    "8.5": [
        _code(base=np.log),
        _code(first=False),
        _code(share=False),
        _code(seen="with"),
        _code(seen="all"),
        _code(seen="block"),
        _code(rows="rest"),
        _mean_of_chances,
        _largest,
    ],
    "8.6": [
        _as_they_came,
        _all_units,
        _scaled_after,
        _one_norm_for_all,
        _of_matched(lambda one, many: many.mean() / one),
        _of_matched(lambda one, many: (one / many).mean()),
        _of_matched(lambda one, many: one / many.max()),
        _of_matched(lambda one, many: one - many.mean()),
    ],
    "8.7": [
        {**ANSWERS, "A": "there and used"},
        {**ANSWERS, "B": "there and used", "C": "there, not used"},
        dict.fromkeys(ANSWERS, "there and used"),
        {**ANSWERS, "D": "learned by heart"},
        {k: v for k, v in ANSWERS.items() if k != "D"},
        {**ANSWERS, "A": "memorised"},
    ],
}


class TestChecks08(CheckSuite):
    lesson = "08"
    wrong = WRONG


def _message(exercise, answer):
    return TestChecks08().grade(exercise, answer).message


def test_the_likely_slips_are_named():
    assert "seen the answers" in _message("8.1", WRONG["8.1"][1])
    assert "entry of its own" in _message("8.1", _commonest)
    assert "different labels in different rows" in _message("8.2", _by_row)
    assert "renamed" in _message("8.2", _renamed)
    assert "two different lots" in _message("8.2", _hangs_on_rows)
    assert "fit another" in _message("8.3", _one_probe)
    assert "fitted rows" in _message("8.3", _on_fitted)
    assert "both sides" in _message("8.4", _rows_drawn)
    assert "not those to fit on" in _message("8.4", WRONG["8.4"][1])
    assert "sent twice" in _message("8.5", WRONG["8.5"][3])
    assert "natural logarithm" in _message("8.5", WRONG["8.5"][0])
    assert "compares lengths" in _message("8.6", _as_they_came)
    assert "in proportion" in _message("8.6", _scaled_after)
    assert "random ones" in _message("8.7", WRONG["8.7"][1])


@pytest.mark.parametrize(
    "exercise, answer",
    [
        ("8.2", lambda w, c, seed: c[np.random.RandomState(seed).permutation(len(c))[w]]),
        ("8.5", lambda *a: float(_code()(*a))),
        ("8.6", _of_matched(lambda one, many: float(one / many.mean()))),
        ("8.7", {k: f" {v.upper()} " for k, v in ANSWERS.items()}),
    ],
)
def test_other_right_ways_pass(exercise, answer):
    assert TestChecks08().grade(exercise, answer).status == "passed", _message(exercise, answer)


def test_a_split_by_words_leaves_no_word_on_both_sides():
    lab, answers = (found := solved("08", TestChecks08.root)).lab, found.answers
    out = answers["8.4"](lab.data.word, 0.3, 5)
    assert not np.intersect1d(lab.data.word[out], lab.data.word[~out]).size
