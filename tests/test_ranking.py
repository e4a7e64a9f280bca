"""AUROC and the true positive rate at a false positive rate, with their intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from utils.ranking import auroc, threshold_at, tpr_at_fpr
from utils.reports import ReportError


def _draw(seed, shift=1.0, up=40, down=60):
    rng = np.random.default_rng(seed)
    scores = np.r_[rng.normal(shift, 1, up), rng.normal(0, 1, down)]
    return scores, np.r_[np.ones(up), np.zeros(down)]


def test_the_area_is_scikit_learns_ties_included():
    scores, positive = _draw(0)
    scores = scores.round(1)
    assert auroc(scores, positive).value == pytest.approx(roc_auc_score(positive, scores))
    assert auroc(torch.tensor(scores), torch.tensor(positive > 0)).n == 100
    assert auroc(np.zeros(10), [1] * 4 + [0] * 6).value == 0.5


@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_the_interval_covers_as_often_as_it_says(shift):
    from scipy.stats import norm

    truth = norm.cdf(shift / np.sqrt(2))
    found = [auroc(*_draw(seed, shift, 30, 30)) for seed in range(400)]
    covered = np.mean([e.low <= truth <= e.high for e in found])
    assert 0.92 <= covered <= 0.99


def test_perfect_separation_is_not_certainty():
    few = auroc([3, 4, 5, 0, 1, 2], [1, 1, 1, 0, 0, 0])
    many = auroc(np.arange(600), np.arange(600) >= 300)
    assert few.value == many.value == 1
    assert few.low < 0.75 and 0.98 < many.low < 1
    assert auroc(-np.arange(600), np.arange(600) >= 300).high > 0


def test_copies_of_a_row_do_not_fake_precision():
    scores, positive = _draw(1, 1.0, 20, 20)
    copies = [np.repeat(part, 25) for part in (scores, positive, np.arange(40))]
    naive = auroc(copies[0], copies[1])
    honest = auroc(copies[0], copies[1], groups=copies[2])
    assert honest.n == 40 and honest.high - honest.low > 3 * (naive.high - naive.low)
    apart = auroc(copies[1], copies[1], groups=copies[2])
    assert apart.value == 1 and apart.low < 0.9 and apart.n == 40


def test_the_threshold_lets_no_more_pass_than_asked():
    negatives = np.arange(1000.0)
    for rate in (0.0, 0.01, 0.05, 0.5):
        assert (negatives > threshold_at(negatives, rate)).mean() <= rate
    assert threshold_at(negatives, 0.01) == 989
    assert threshold_at([1.0, 2.0, 3.0], 0.01) == 3  # too few to allow even one
    with pytest.raises(ReportError, match=r"\[0, 1\)"):
        threshold_at(negatives, 1.0)


def test_true_positive_rate_at_one_percent():
    rng = np.random.default_rng(0)
    scores = np.r_[rng.normal(3, 1, 500), rng.normal(0, 1, 2000)]
    positive = np.r_[np.ones(500), np.zeros(2000)]
    found = tpr_at_fpr(scores, positive)
    assert found.low < 0.7497 < found.high  # 1 - Phi(2.326 - 3)
    null = tpr_at_fpr(rng.normal(0, 1, 2500), positive)
    assert null.low < 0.01 < null.high and null.value < 0.04
    assert tpr_at_fpr([5, 6, 0, 1], [1, 1, 0, 0]).low < 0.5


@pytest.mark.parametrize(
    "scores, positive, word",
    [
        ([1.0, 2.0], [1, 1], "one class"),
        ([1.0, np.nan], [1, 0], "NaN"),
        ([1.0, 2.0, 3.0], [1, 0], "shape"),
        ([1.0, 2.0], [1, 2], "true and false"),
        ([[1.0], [2.0]], [[1], [0]], "shape"),
    ],
)
def test_wrong_input_is_told(scores, positive, word):
    for measure in (auroc, tpr_at_fpr):
        with pytest.raises(ReportError, match=word):
            measure(scores, positive)
