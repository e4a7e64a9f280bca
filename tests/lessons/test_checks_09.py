"""Checks of lesson 09: wrong answers somebody would plausibly hand in."""

import torch

from tests.lessons.machinery import CheckSuite
from utils.data import truth

# --- 9.1 -----------------------------------------------------------------------------------------


def _loss(value):
    return lambda p, q: value(p, q).mean()


# --- 9.2 -----------------------------------------------------------------------------------------


def _own_means(fit_yes, fit_no, yes, no):
    return yes - yes.mean(0), no - no.mean(0)


def _one_mean(fit_yes, fit_no, yes, no):
    both = torch.cat([fit_yes, fit_no]).mean(0)
    return yes - both, no - both


def _exchanged(fit_yes, fit_no, yes, no):
    return yes - fit_no.mean(0), no - fit_yes.mean(0)


def _number(fit_yes, fit_no, yes, no):
    return yes - fit_yes.mean(), no - fit_no.mean()


def _scaled_too(fit_yes, fit_no, yes, no):
    return (yes - fit_yes.mean(0)) / fit_yes.std(0), (no - fit_no.mean(0)) / fit_no.std(0)


def _fitted_returned(fit_yes, fit_no, yes, no):
    return fit_yes - fit_yes.mean(0), fit_no - fit_no.mean(0)


# --- 9.3, 9.4 ------------------------------------------------------------------------------------


def _folded(fit_scores, fit_labels, scores, labels):
    right = ((scores > 0) == labels).double().mean()
    return torch.maximum(right, 1 - right)


def _no_sign(fit_scores, fit_labels, scores, labels):
    return ((scores > 0) == labels).double().mean()


def _fitted_pairs(fit_scores, fit_labels, scores, labels):
    right = ((fit_scores > 0) == fit_labels).double().mean()
    return torch.maximum(right, 1 - right)


def _half_as_threshold(fit_scores, fit_labels, scores, labels):
    turned = ((fit_scores > 0.5) == fit_labels).double().mean() < 0.5
    return (((scores > 0.5) ^ turned) == labels).double().mean()


def _random(said, told, fit_labels, labels, how):
    right = (told == labels[:, None]).double().mean(0)
    fitted = (said == fit_labels[:, None]).double().mean(0)
    if how == "folded":
        return torch.maximum(right, 1 - right)
    if how == "one sign":  # for all directions together
        return right if fitted.mean() >= 0.5 else 1 - right
    if how == "fitted":
        return torch.maximum(fitted, 1 - fitted)
    return right


def _directions(how):
    def accuracies(fit_differences, fit_labels, differences, labels, many):
        said, told = fit_differences @ many.T > 0, differences @ many.T > 0
        return _random(said, told, fit_labels, labels, how)

    return accuracies


def _mean_over_directions(fit_differences, fit_labels, differences, labels, many):
    said = fit_differences @ many.T > 0
    turned = (said == fit_labels[:, None]).double().mean(0) < 0.5
    return (((differences @ many.T > 0) ^ turned) == labels[:, None]).double().mean(1)


# --- 9.5 -----------------------------------------------------------------------------------------


def _opinion_right(prompts):
    return (prompts[:, 3] == truth.SAYS_TRUE) == truth.is_true(prompts)


# --- 9.6, 9.7 ------------------------------------------------------------------------------------


def _pattern(value):
    def pattern(differences, readout):
        said = differences @ readout > 0
        return value(differences, said, readout)

    return pattern


def _letters(last, first=1):
    def partner(strings):
        changed = strings.clone()
        part = changed[:, first : last + 1]
        changed[:, first : last + 1] = torch.where(part == 2, part, 1 - part)
        return changed

    return partner


def _start_moved(strings):
    return torch.cat([strings[:, 5:], strings[:, :5]], 1)


def _shuffled(strings):
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    return torch.cat([strings[:, :1], strings[:, 1:][:, order]], 1)


WRONG = {
    "9.1": [
        _loss(lambda p, q: (p + q - 1) ** 2),
        _loss(lambda p, q: torch.minimum(p, q) ** 2),
        _loss(lambda p, q: (p - q) ** 2 + torch.minimum(p, q) ** 2),
        _loss(lambda p, q: (p + q - 1) ** 2 + torch.maximum(p, q) ** 2),
        _loss(lambda p, q: (p + q - 1).abs() + torch.minimum(p, q)),
        lambda p, q: ((p + q - 1) ** 2 + torch.minimum(p, q) ** 2).sum(),
        lambda p, q: ((p + q - 1) ** 2 + torch.minimum(p, q) ** 2).mean().item(),
    ],
    "9.2": [_own_means, _one_mean, _exchanged, _number, _scaled_too, _fitted_returned],
    "9.3": [_folded, _no_sign, _fitted_pairs, _half_as_threshold],
    "9.4": [
        _directions("folded"),
        _directions("none"),
        _directions("one sign"),
        _directions("fitted"),
        _mean_over_directions,
    ],
    "9.5": [
        lambda prompts: torch.ones(len(prompts), dtype=torch.bool),
        _opinion_right,
        lambda prompts: ~_opinion_right(prompts),
        lambda prompts: truth.is_true(prompts),
        lambda prompts: prompts[:, 1] == truth.RELATION,
        lambda prompts: prompts[:, 0] < 12,
        lambda prompts: prompts[:, 3] == truth.SILENT,
        lambda prompts: (prompts[:, 3] == truth.SAYS_TRUE).nonzero()[:, 0],
    ],
    "9.6": [
        _pattern(lambda d, said, w: d[said].mean(0) - d[~said].mean(0)),
        _pattern(lambda d, said, w: (d[~said].mean(0) - d[said].mean(0)) / 2),
        _pattern(lambda d, said, w: d[said].mean(0)),
        _pattern(lambda d, said, w: d.mean(0)),
        _pattern(lambda d, said, w: w * (d @ w).abs().mean()),
        _pattern(lambda d, said, w: ((d @ w)[:, None] * d).mean(0)),
        _pattern(lambda d, said, w: torch.linalg.svd(d - d.mean(0))[2][0]),
    ],
    "9.7": [
        _letters(10),
        _letters(5),
        _letters(10, first=6),
        lambda strings: strings,
        lambda strings: strings.roll(1, 0),
        _start_moved,
        _shuffled,
        lambda strings: strings.flip(1),
    ],
}


class TestChecks09(CheckSuite):
    lesson = "09"
    wrong = WRONG


def _message(exercise, answer):
    return TestChecks09().grade(exercise, answer).message


def test_the_likely_slips_are_named():
    assert "no gradient" in _message("9.1", WRONG["9.1"][6])
    assert "decides nothing" in _message("9.1", WRONG["9.1"][0])
    assert "*their own* means" in _message("9.2", _own_means)
    assert "the word yes or no" in _message("9.2", _one_mean)
    assert "max(a, 1 - a)" in _message("9.3", _folded)
    assert "sign of a direction is arbitrary" in _message("9.3", _no_sign)
    assert "held-out labels" in _message("9.4", WRONG["9.4"][0])
    assert "Something else still contrasts" in _message("9.5", WRONG["9.5"][0])
    assert "are one contrast" in _message("9.5", _opinion_right)
    assert "chose by truth" in _message("9.5", WRONG["9.5"][3])
    assert "twice too long" in _message("9.6", WRONG["9.6"][0])
    assert "readout itself" in _message("9.6", WRONG["9.6"][4])
    assert "second contrast" in _message("9.7", _letters(5))
    assert "START" in _message("9.7", _start_moved)


def test_other_right_ways_pass():
    def by_matrix(differences, readout):
        said = (differences @ readout > 0).float()
        ours, theirs = said / said.sum(), (1 - said) / (1 - said).sum()
        return 0.5 * (ours - theirs) @ differences

    def turned_scores(fit_scores, fit_labels, scores, labels):
        sign = 1.0 if ((fit_scores > 0) == fit_labels).float().mean() >= 0.5 else -1.0
        return ((sign * scores > 0) == labels).float().mean().item()

    for exercise, answer in (
        ("9.3", turned_scores),
        ("9.5", lambda prompts: prompts[:, 3] == truth.SAYS_TRUE),
        ("9.6", by_matrix),
        ("9.7", lambda strings: torch.cat([strings[:, :1], strings[:, 1:].flip(1)], 1)),
    ):
        assert TestChecks09().grade(exercise, answer).status == "passed", _message(exercise, answer)
