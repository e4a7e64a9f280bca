"""How many bits the labels take when a probe predicts them while it learns.

Accuracy at the end says what a probe can learn from many rows; a short code says that it learned it
from few (Voita & Titov, 2020, "Information-Theoretic Probing with Minimum Description Length", the
online code). Where two probes are both right in the end, the code still tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

# the paper's blocks end at these shares of the rows
PORTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)


def online_code(
    x: np.ndarray,
    y: np.ndarray,
    make: Callable[[], Any],
    *,
    kinds: int,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Bits that each row's label costs: [n], in the order of the rows.

    x [n, d], y [n] in 0..kinds-1. make: gives an unfitted classifier. Rows come in random order,
    whole `groups` [n] together. The first block is sent at log2(kinds) bits a label; each next one
    by the classifier fitted to all before it. So that no label is impossible, one part in t + 1 of
    its prediction is spread evenly over all classes, t being the rows it has seen; that is a code
    like any other, and hardly longer.
    """
    order, ends = _blocks(len(y), seed, groups)
    bits = np.full(len(y), math.log2(kinds))
    for start, end in zip(ends, ends[1:], strict=False):
        seen, new = order[:start], order[start:end]
        chance = np.full((len(new), kinds), 1 / kinds / (start + 1))
        present = np.unique(y[seen])
        if len(present) == 1:  # nothing to fit: the one class is all there was
            chance[:, present[0]] += start / (start + 1)
        else:
            fitted = make().fit(x[seen], y[seen])
            chance[:, fitted.classes_] += fitted.predict_proba(x[new]) * start / (start + 1)
        bits[new] = -np.log2(chance[np.arange(len(new)), y[new]])
    return bits


def _blocks(n: int, seed: int, groups: np.ndarray | None) -> tuple[np.ndarray, list[int]]:
    """The order of the rows and where blocks end; a block ends where a group does."""
    rng = np.random.default_rng([seed, n])
    if groups is None:
        order, edges = rng.permutation(n), np.arange(1, n + 1)
    else:
        number = np.unique(groups, return_inverse=True)[1]
        rank = rng.permutation(number.max() + 1)[number]
        order = np.argsort(rank, kind="stable")
        edges = np.append(np.flatnonzero(np.diff(rank[order])) + 1, n)
    wanted = [max(1, math.ceil(share * n)) for share in PORTIONS]
    return order, sorted({int(edges[np.searchsorted(edges, end)]) for end in wanted})
