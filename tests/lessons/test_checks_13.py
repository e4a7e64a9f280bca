"""Lesson 13: every check on its solution, its stub and plausible wrong answers."""

from __future__ import annotations

import torch

from tests.lessons.machinery import CheckSuite
from utils.sites import Site


def _distance(
    root=False, own_mean=False, no_mean=False, uncentred=False, total=False, unit=False,
    swapped=False, diagonal=False, fixed=None, less=0, inverse=torch.linalg.inv,
):  # fmt: skip
    def mahalanobis(trusted, new, share=0.1):
        mean = trusted.mean(0)
        centred = trusted if uncentred else trusted - mean
        covariance = centred.T @ centred / (len(trusted) - less)
        if diagonal:
            covariance = covariance.diag().diag()
        variances = covariance.diagonal()
        size = 1.0 if unit else variances.sum() if total else variances.mean()
        share = share if fixed is None else fixed
        share = 1 - share if swapped else share
        mixed = (1 - share) * covariance + share * size * torch.eye(len(covariance)).double()
        away = new - (0 if no_mean else new.mean(0) if own_mean else mean)
        found = (away @ inverse(mixed) * away).sum(1)
        return found.sqrt() if root else found

    return mahalanobis


def _alarms(fit="first", held="second", level=lambda s, n, fpr: s[n - 1 - int(fpr * n)], at=False):
    """fit, held: which rows; level: sorted scores, their number, fpr -> threshold."""

    def alarms(score, trusted, new, fpr=0.01):
        half = len(trusted) // 2
        parts = {"first": trusted[:half], "second": trusted[half:], "all": trusted, "new": new}
        scores = score(parts[fit], parts[held]).sort().values
        threshold = level(scores, len(scores), fpr)
        found = score(parts[fit], new)
        return found >= threshold if at else found > threshold

    return alarms


def _random_half(score, trusted, new, fpr=0.01):
    order = torch.randperm(len(trusted))
    half = len(trusted) // 2
    fit, held = trusted[order[:half]], trusted[order[half:]]
    threshold = score(fit, held).quantile(1 - fpr)
    return score(fit, new) > threshold


def _caught(level, at=False, below=False):
    def caught_at(clean, odd, fpr=0.01):
        threshold = level(clean.sort().values, odd.sort().values, fpr)
        hit = odd >= threshold if at else odd < threshold if below else odd > threshold
        return hit.double().mean().item()

    return caught_at


def _right(clean, odd, fpr):
    return clean[len(clean) - 1 - int(fpr * len(clean))]


def _reading(one_sided=False, pixels_first=False, no_pixels=False, twin_first=False):
    def reading(network, twin, raw):
        noticed = (twin - 0.5 if one_sided else abs(twin - 0.5)) > 0.08
        if twin_first and noticed:
            return "novelty"
        if network < 0.95:
            return "not found"
        if pixels_first and raw >= 0.95:
            return "mechanism, but the input suffices"
        if noticed:
            return "novelty"
        return "mechanism, but the input suffices" if raw >= 0.95 and not no_pixels else "mechanism"

    return reading


JUDGED = {
    "a": "inputs differ",
    "b": "tuned on anomalies",
    "c": "too few trusted rows",
    "d": "dirty trusted set",
    "e": "stands",
    "f": "untested against an adversary",
}

WRONG = {
    "13.1": [
        _distance(root=True),
        _distance(own_mean=True),
        _distance(no_mean=True),
        _distance(uncentred=True),
        _distance(total=True),
        _distance(unit=True),
        _distance(swapped=True),
        _distance(diagonal=True),
        _distance(fixed=0.0),
        _distance(fixed=1.0),
        _distance(fixed=0.3),
        lambda trusted, new, share=0.1: ((new - trusted.mean(0)) ** 2).sum(1),
    ],
    "13.2": [
        _alarms(held="first"),
        _alarms(fit="all"),
        _alarms(fit="all", held="all"),
        _alarms(held="new"),
        _alarms(fit="new", held="second"),
        _alarms(level=lambda s, n, fpr: s[int(fpr * n)]),
        _alarms(level=lambda s, n, fpr: s[-1]),
        _alarms(level=lambda s, n, fpr: s[n - int(fpr * n) if fpr * n >= 1 else n - 1]),
        _alarms(level=lambda s, n, fpr: s[n - 2 - int(fpr * n)]),
        _alarms(at=True),
    ],
    "13.3": [
        _caught(lambda clean, odd, fpr: clean[-1]),
        _caught(lambda clean, odd, fpr: clean[int(fpr * len(clean))]),
        _caught(lambda clean, odd, fpr: odd[len(odd) - 1 - int(fpr * len(odd))]),
        _caught(lambda clean, odd, fpr: torch.cat([clean, odd]).quantile(1 - fpr)),
        _caught(_right, at=True),
        _caught(_right, below=True),
        _caught(lambda clean, odd, fpr: clean[len(clean) - 3]),
    ],
    "13.4": [
        _reading(one_sided=True),
        _reading(pixels_first=True),
        _reading(no_pixels=True),
        _reading(twin_first=True),
        lambda network, twin, raw: "mechanism",
    ],
    "13.5": [
        lambda n, fpr=0.01: fpr,
        lambda n, fpr=0.01: int(fpr * n) / n,
        lambda n, fpr=0.01: 1 / (n + 1),
        lambda n, fpr=0.01: (int(fpr * n) + 1) / n,
        lambda n, fpr=0.01: (fpr * n + 1) / (n + 1),
        lambda n, fpr=0.01: max(fpr, 1 / (n + 1)),
    ],
    "13.6": [
        lambda dirty, fpr=0.01: fpr / max(dirty, 1e-9),
        lambda dirty, fpr=0.01: 1 - dirty,
        lambda dirty, fpr=0.01: max(0.0, 1 - fpr / max(dirty, fpr)),
        lambda dirty, fpr=0.01: min(1.0, 0.01 / max(dirty, 0.01)),
        lambda dirty, fpr=0.01: 1.0,
    ],
    "13.7": [
        Site("hook_fc1"),
        Site("hook_input"),
        Site("hook_logits"),
        Site("hook_conv1"),
        Site("hook_nowhere"),
        "hook_pool2",
    ],
    "13.8": [
        JUDGED | {"f": "stands"},
        JUDGED | {"b": "dirty trusted set", "d": "tuned on anomalies"},
        dict.fromkeys(JUDGED, "stands"),
        {key: JUDGED[key] for key in "abcde"},
    ],
}


class TestChecks13(CheckSuite):
    lesson = "13"
    wrong = WRONG


def _message(exercise, answer):
    return TestChecks13().grade(exercise, answer).message


def test_the_likely_slips_are_named():
    assert "*squared*" in _message("13.1", _distance(root=True))
    assert "d times too much" in _message("13.1", _distance(total=True))
    assert "one at a time" in _message("13.1", _distance(own_mean=True))
    assert "set with rows of the fit" in _message("13.2", _alarms(held="first"))
    assert "set with the new rows" in _message("13.2", _alarms(held="new"))
    assert "wrong end" in _message("13.2", WRONG["13.2"][5])
    assert "too high" in _message("13.2", _alarms(level=lambda s, n, fpr: s[-1]))
    assert "too low" in _message("13.2", WRONG["13.2"][8])
    assert "largest clean score" in _message("13.3", WRONG["13.3"][0])
    assert "far *below* one half" in _message("13.4", _reading(one_sided=True))
    assert "own place" in _message("13.5", lambda n, fpr=0.01: int(fpr * n) / (n + 1))
    assert "*missed*" in _message("13.6", WRONG["13.6"][2])
    assert "trained against" in _message("13.7", Site("hook_fc1"))
    assert "an attacker who did not try" in _message("13.8", JUDGED | {"f": "stands"})


def test_other_right_ways_pass():
    def solved(matrix):
        return torch.cholesky_inverse(torch.linalg.cholesky(matrix))

    for exercise, answer in (
        ("13.1", _distance(less=1)),
        ("13.1", _distance(inverse=solved)),
        ("13.2", _random_half),
        ("13.2", _alarms(fit="second", held="first")),
        ("13.3", _caught(lambda c, o, fpr: c.quantile(1 - fpr))),
        ("13.6", lambda dirty, fpr=0.01: min(1.0, fpr / max(dirty, 1e-9))),
        ("13.7", Site("hook_fc1_pre")),
    ):
        assert TestChecks13().grade(exercise, answer).status == "passed", _message(exercise, answer)
