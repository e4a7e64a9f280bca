"""Detectors against closed forms, planted outliers and wrong inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import EmpiricalCovariance, LedoitWolf

from utils.anomaly import (
    AnomalyError,
    ClassMahalanobis,
    Mahalanobis,
    MaxSoftmax,
    Nearest,
    Norm,
    RelativeMahalanobis,
    Rows,
    Spectral,
    rows,
    shrunk,
    whitener,
)
from utils.ranking import auroc, threshold_at

RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(6, 6))


def correlated(n, seed=1, classes=3, shift=0.0):
    """Rows of three classes with their own means and one covariance; logits name the class."""
    rng = np.random.default_rng(seed)
    label = rng.integers(classes, size=n)
    means = 5 * np.eye(classes, 6)
    values = rng.normal(size=(n, 6)) @ MIX + means[label] + shift
    return Rows(values, 4.0 * np.eye(classes)[label])


def all_detectors():
    return [
        Mahalanobis(), ClassMahalanobis(), RelativeMahalanobis(), Nearest(), Spectral(),
        Spectral(whiten=True), Norm(), MaxSoftmax(),
    ]  # fmt: skip


def area(detector, clean, odd):
    score = detector.score(Rows(np.r_[clean.values, odd.values], np.r_[clean.logits, odd.logits]))
    return auroc(score, np.arange(len(score)) >= len(clean))


# --- closed forms ------------------------------------------------------------------------------


def test_mahalanobis_is_that_of_scikit_learn():
    known, new = correlated(200).values, correlated(50, seed=2).values
    ours = Mahalanobis(shrinkage=0).fit(known).score(new)
    assert np.allclose(ours, EmpiricalCovariance().fit(known).mahalanobis(new), rtol=1e-8)
    ours = Mahalanobis().fit(known).score(new)
    assert np.allclose(ours, LedoitWolf().fit(known).mahalanobis(new), rtol=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 30))
def test_plain_mahalanobis_does_not_depend_on_units(seed, scale):
    rng = np.random.default_rng(seed)
    known, new = rng.normal(size=(60, 5)), rng.normal(size=(7, 5))
    change = rng.normal(size=(5, 5)) + 3 * np.eye(5)
    if np.linalg.cond(change) > 1e3:
        return
    before = Mahalanobis(shrinkage=0).fit(known).score(new)
    after = Mahalanobis(shrinkage=0).fit(scale * known @ change).score(scale * new @ change)
    assert np.allclose(before, after, rtol=1e-5)


def test_the_mean_distance_of_the_rows_it_was_fitted_to_is_their_number_of_features():
    known = correlated(300).values
    assert Mahalanobis(shrinkage=0).fit(known).score(known).mean() == pytest.approx(6)


def test_shrinking_keeps_the_trace():
    """The trap: a target of trace(C) I, without the division by d, is d times too big."""
    covariance = np.cov(correlated(100).values.T)
    for share in (0.0, 0.3, 1.0):
        assert np.trace(shrunk(covariance, share)) == pytest.approx(np.trace(covariance))
    assert np.allclose(shrunk(covariance, 1), np.trace(covariance) / 6 * np.eye(6))
    with pytest.raises(AnomalyError, match="0 to 1"):
        shrunk(covariance, 1.5)


def test_whitened_rows_have_covariance_one():
    centred = correlated(500).values
    centred = centred - centred.mean(0)
    white = centred @ whitener(centred, 0)
    assert np.allclose(white.T @ white / 500, np.eye(6))


def test_class_mahalanobis_is_plain_mahalanobis_of_the_rows_less_their_class_means():
    known, new = correlated(300), correlated(40, seed=2)
    means = np.stack([known.values[known.classes == c].mean(0) for c in range(3)])
    inside = known.values - means[known.classes]
    wanted = EmpiricalCovariance(assume_centered=True).fit(inside)
    wanted = wanted.mahalanobis(new.values - means[new.classes])
    assert np.allclose(ClassMahalanobis(0).fit(known).score(new), wanted)
    plain = Mahalanobis(0).fit(known).score(new)
    assert np.allclose(RelativeMahalanobis(0).fit(known).score(new), wanted - plain)


def test_nearest_is_the_kth_distance():
    known, new = correlated(50).values, correlated(9, seed=2).values
    wanted = np.sort(np.linalg.norm(new[:, None] - known[None], axis=2), 1)
    for k in (1, 5):
        assert np.allclose(Nearest(k).fit(known).score(new), wanted[:, k - 1])


def test_norm_and_max_softmax():
    known = np.array([[3.0, 4.0], [6.0, 8.0], [9.0, 12.0]])  # lengths 5, 10, 15
    deviation = np.std([5, 10, 15])
    assert np.allclose(Norm().fit(known).score([[0.0, 10.0], [0.0, 20.0]]), [0, 10 / deviation])
    sure = rows(np.ones((3, 1)), [[9.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    score = MaxSoftmax().fit(sure).score(sure)
    assert score[0] < score[1] < score[2] == pytest.approx(0)  # log odds
    far = rows(np.ones((2, 1)), [[60.0, 0.0], [80.0, 0.0]])  # 1 - p is 0 for both in float64
    assert np.diff(MaxSoftmax().fit(far).score(far)) < 0


def test_spectral_finds_the_direction_of_a_minority():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(400, 6))
    odd = np.arange(400) >= 360
    values[odd] += 6 * np.eye(6)[2]
    pool = Rows(values, np.zeros((400, 2)))
    known = Rows(rng.normal(size=(300, 6)), np.zeros((300, 2)))
    for whiten in (False, True):
        detector = Spectral(whiten).fit(known, pool)
        assert abs(detector.directions[0][2]) > 0.95
        assert auroc(detector.score(pool), odd).value > 0.97
    # an uninformative direction of large variance misleads it, and does not once it is whitened
    wide = np.diag([10.0, 1, 1, 1, 1, 1])
    pool, known = Rows(values @ wide, pool.logits), Rows(known.values @ wide, known.logits)
    assert auroc(Spectral().fit(known, pool).score(pool), odd).value < 0.7
    assert auroc(Spectral(whiten=True).fit(known, pool).score(pool), odd).value > 0.97


# --- nulls and planted outliers ----------------------------------------------------------------


@pytest.mark.parametrize("detector", all_detectors(), ids=lambda d: d.name)
def test_equal_distributions_have_area_one_half(detector):
    known, clean, same = (correlated(n, seed) for seed, n in ((1, 400), (2, 500), (3, 500)))
    detector.fit(known, Rows(np.r_[clean.values, same.values], np.r_[clean.logits, same.logits]))
    found = area(detector, clean, same)
    assert found.low <= 0.5 <= found.high and found.high - found.low < 0.1


@pytest.mark.parametrize("detector", all_detectors()[:6], ids=lambda d: d.name)
def test_a_shift_that_no_trusted_row_has_is_seen(detector):
    known, clean = correlated(400), correlated(300, seed=2)
    odd = correlated(60, seed=3, shift=12 * MIX[0])  # twelve standard deviations along one axis
    detector.fit(known, Rows(np.r_[clean.values, odd.values], np.r_[clean.logits, odd.logits]))
    assert area(detector, clean, odd).value > 0.95


def test_a_threshold_lets_at_most_one_per_cent_of_trusted_rows_pass():
    known, held, new = correlated(300), correlated(1000, seed=2), correlated(4000, seed=4)
    for detector in (Mahalanobis(), ClassMahalanobis(), Nearest(), Norm()):
        detector.fit(known)
        limit = threshold_at(detector.score(held), 0.01)
        assert (detector.score(held) > limit).mean() <= 0.01
        assert (detector.score(new) > limit).mean() < 0.025
        # of the rows it was fitted to the threshold promises too much
    few = correlated(30)
    detector = Mahalanobis(shrinkage=0).fit(few)
    limit = threshold_at(detector.score(few), 0.01)
    assert (detector.score(new) > limit).mean() > 0.05


def test_torch_numpy_and_lists_give_the_same_scores():
    known, new = correlated(60).values, correlated(5, seed=2).values
    wanted = Mahalanobis().fit(known).score(new)
    torched = Mahalanobis().fit(torch.tensor(known)).score(torch.tensor(new))
    assert np.allclose(torched, wanted)
    assert np.allclose(Mahalanobis().fit(known.tolist()).score(new.tolist()), wanted)


# --- wrong inputs ------------------------------------------------------------------------------


def test_a_class_that_was_never_trusted():
    known = correlated(100)
    few = known[known.classes != 2]
    for detector in (ClassMahalanobis(), RelativeMahalanobis(), Spectral(whiten=True)):
        with pytest.raises(AnomalyError, match="never saw class 2"):
            detector.fit(few, known)
            detector.score(known)


def test_wrong_rows_are_refused_in_one_sentence():
    known = correlated(50)
    bad = known.values.copy()
    bad[3, 1] = np.nan
    cases = {
        "NaN or infinity in 1 of 50": lambda: Mahalanobis().fit(bad),
        "fitted to 6 features a row and is asked about 4": lambda: (
            Mahalanobis().fit(known).score(known.values[:, :4])
        ),
        "call fit first": lambda: Nearest().score(known),
        "One trusted row": lambda: Norm().fit(known.values[:1]),
        r"shape \[50\]": lambda: Mahalanobis().fit(known.values[:, 0]),
        "not numbers": lambda: Mahalanobis().fit("abc"),
        "needs 5 trusted rows": lambda: Nearest().fit(known.values[:4]),
        "singular": lambda: Mahalanobis(shrinkage=0).fit(known.values[:5]),
        "ledoit-wolf": lambda: Mahalanobis(shrinkage="oas").fit(known),
        "the class that the network gives": lambda: ClassMahalanobis().fit(known.values),
        "as pool=": lambda: Spectral().fit(known),
        "50 rows of values and 49 of logits": lambda: rows(known.values, known.logits[:49]),
        "k is 1 or more": lambda: Nearest(0),
    }
    for words, call in cases.items():
        with pytest.raises(AnomalyError, match=words):
            call()


def test_few_rows_are_enough_once_the_covariance_is_shrunk():
    few = correlated(5).values
    assert np.isfinite(Mahalanobis().fit(few).score(correlated(9, seed=2).values)).all()


def test_a_feature_that_is_dead_on_trusted_rows_and_wakes_up_is_seen():
    known = np.c_[correlated(200).values, np.zeros(200)]
    new = np.c_[correlated(20, seed=2).values, np.zeros(20)]
    woken = new.copy()
    woken[:, -1] = 50
    detector = Mahalanobis().fit(known)
    assert detector.score(woken).min() > detector.score(new).max()
