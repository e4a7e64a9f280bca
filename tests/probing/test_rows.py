"""What probes take: activations, labels and groups, checked and split."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from utils.probing.classifiers import linear, mlp
from utils.probing.rows import ProbingError, features, labelled, split


def test_anything_with_rows_is_taken():
    for x in ([[1, 2], [3, 4]], np.eye(2), torch.eye(2, requires_grad=True), torch.eye(2).half()):
        assert features(x).dtype == np.float64 and features(x).shape == (2, 2)
    found = labelled(np.eye(4), ["true", "false", "true", "true"], groups=["a", "a", "b", "c"])
    assert found.classes == ("false", "true") and found.y.tolist() == [1, 0, 1, 1]
    assert found.groups.tolist() == [0, 0, 1, 2] and len(found.take(np.array([0, 3]))) == 2
    assert labelled(np.eye(3), torch.tensor([True, False, True])).classes == (False, True)
    assert labelled(np.eye(3), [1, "one", 1]).y.max() == 1


@pytest.mark.parametrize(
    "x, y, groups, word",
    [
        (np.eye(3), [1, 1, 1], None, "two classes"),
        (np.ones((3, 2)), [0, 1, 0], None, "same in every row"),
        (np.array([[1.0, np.nan], [0, 1]]), [0, 1], None, "NaN or infinity in 1 of 2"),
        (np.eye(3), [0, 1], None, "2 entries for 3 rows"),
        (np.eye(3), [0, 1, None], None, "missing"),
        (np.eye(3), [0, 1, float("nan")], None, "missing"),
        (np.eye(3), [[0], [1], [0]], None, "one label a row"),
        (np.eye(3), [0, 1, 0], [1, 2], "groups has 2"),
        (np.zeros((2, 3, 4)), [0, 1], None, "pick one position"),
        ([["a", "b"], ["c", "d"]], [0, 1], None, "not numbers"),
        (np.zeros((0, 4)), [], None, "shape"),
    ],
)
def test_wrong_input_is_told(x, y, groups, word):
    with pytest.raises(ProbingError, match=word):
        labelled(x, y, groups)


def test_groups_never_stand_on_both_sides():
    groups = np.repeat(np.arange(20), 5)
    labels = np.tile([0, 1], 50)
    fit, held = split(100, groups=groups, labels=labels, held_out=0.25)
    assert not set(groups[fit]) & set(groups[held]) and len(held) == 25
    assert sorted([*fit, *held]) == list(range(100))
    assert (split(100, groups=groups, seed=1).held != split(100, groups=groups).held).any()


def test_without_groups_the_balance_is_kept():
    labels = np.r_[np.zeros(90), np.ones(10)].astype(int)
    fit, held = split(100, labels=labels, held_out=0.3)
    assert labels[held].sum() == 3 and len(held) == 30 and len(fit) == 70


@pytest.mark.parametrize(
    "options, word",
    [
        ({"held_out": 0.0}, "between 0 and 1"),
        ({"groups": np.zeros(10, int)}, "one group"),
        ({"labels": np.r_[np.zeros(9), 1].astype(int)}, "cannot be split"),
        (
            {"groups": np.arange(10) // 5, "labels": np.arange(10) // 5, "held_out": 0.5},
            "no example of class",
        ),
    ],
)
def test_splits_that_cannot_be(options, word):
    with pytest.raises(ProbingError, match=word):
        split(10, **options)


def test_scaling_is_part_of_the_probe():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 8)) * np.logspace(-4, 4, 8)
    y = (x[:, 0] * 1e4 + x[:, 7] / 1e4 > 0).astype(int)
    for model in (linear(), mlp(32)):
        assert model.fit(x[:400], y[:400]).score(x[400:], y[400:]) > 0.93
