"""Labels that mean nothing: what a probe gets on them, it would get without any knowledge inside.

A shuffled label can only be guessed. A control label belongs to a type, so a probe with enough room
learns it by heart, type by type: what a probe gets on the true labels beyond that is *selectivity*
(Hewitt & Liang, 2019, "Designing and Interpreting Probes with Control Tasks").
"""

from __future__ import annotations

from typing import Any

import numpy as np

from utils.probing.rows import ProbingError, codes


def control_labels(types: Any, y: Any, seed: int = 0) -> np.ndarray:
    """A label for each type by lot, from the labels as often as they occur in `y`: [n].

    types [n], y [n]: of any kind. All rows of a type get the same label; the result holds numbers
    of the sorted classes of `y`, at least two different ones. Raises ProbingError for unequal
    lengths, or fewer than two types.
    """
    label, _ = codes(y, len(y))
    kind, names = codes(types, len(label), "types")
    if len(names) < 2:
        raise ProbingError("A control task needs two types or more; here all rows are of one type.")
    rng = np.random.default_rng([seed, len(names)])
    while True:
        lot = label[rng.integers(len(label), size=len(names))]
        if (lot != lot[0]).any() or (label == label[0]).all():
            return lot[kind]


def shuffled_labels(y: np.ndarray, seed: int = 0, groups: np.ndarray | None = None) -> np.ndarray:
    """The labels [n] in random order. Where each of `groups` [n] has one label, groups exchange
    theirs as wholes: rows of a group are then as much alike as before."""
    rng = np.random.default_rng([seed, len(y)])
    if groups is not None:
        number = np.unique(groups, return_inverse=True)[1]
        first = np.zeros(number.max() + 1, dtype=y.dtype)
        first[number] = y
        if (first[number] == y).all():
            return rng.permutation(first)[number]
    return rng.permutation(y)
