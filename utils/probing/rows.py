"""What probes, contrasts and erasers take: activations and labels, checked, and split by group.

Activations may be torch, numpy or lists, of any origin; labels of any kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from utils.errors import CourseError


class ProbingError(CourseError, ValueError):
    """Activations or labels on which no probe could say anything."""


@dataclass(frozen=True)
class Labelled:
    """Checked rows: x [n, d] float64, y [n] int64 in 0..k-1, the k classes by name, groups [n]."""

    x: np.ndarray
    y: np.ndarray
    classes: tuple[Any, ...]
    groups: np.ndarray | None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: np.ndarray) -> Labelled:
        """Some of the rows; the classes stay as they are."""
        groups = None if self.groups is None else self.groups[rows]
        return Labelled(self.x[rows], self.y[rows], self.classes, groups)


class Split(NamedTuple):
    """Row numbers to fit on and to hold out; disjoint, and no group in both where groups count."""

    fit: np.ndarray
    held: np.ndarray


def features(x: Any, name: str = "X") -> np.ndarray:
    """Activations as float64 [n, d]. ProbingError for another rank, NaN, or nothing that varies."""
    if hasattr(x, "detach"):
        x = x.detach().cpu().double()
    try:
        x = np.asarray(x, dtype=np.float64)
    except (TypeError, ValueError):
        raise ProbingError(f"{name} is not numbers of shape [rows, features].") from None
    if x.ndim != 2 or not x.shape[0] or not x.shape[1]:
        raise ProbingError(
            f"{name} has shape {list(x.shape)}; it needs [rows, features], so pick one position"
            " (or flatten positions into rows) before you probe."
        )
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).any(1).sum())
        raise ProbingError(f"{name} holds NaN or infinity in {bad} of {len(x)} rows.")
    if len(x) > 1 and (x == x[0]).all():
        raise ProbingError(
            f"{name} is the same in every row: is this a position or site that no input reaches?"
        )
    return x


def codes(labels: Any, rows: int, name: str = "y") -> tuple[np.ndarray, tuple[Any, ...]]:
    """Labels of any kind as numbers 0..k-1 and the k classes, sorted. ProbingError if unequal."""
    plain = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    if len(plain) != rows:
        raise ProbingError(f"{name} has {len(plain)} entries for {rows} rows; it needs one a row.")
    if any(isinstance(value, (list, tuple, dict, set)) for value in plain):
        raise ProbingError(f"{name} needs one label a row, not a list of them.")
    if any(value is None or value != value for value in plain):
        raise ProbingError(f"{name} has missing labels (None or NaN); leave those rows out.")
    try:
        classes = sorted(set(plain))
    except TypeError:  # mixed kinds
        classes = sorted(set(plain), key=repr)
    number = {label: i for i, label in enumerate(classes)}
    return np.array([number[value] for value in plain], dtype=np.int64), tuple(classes)


def labelled(x: Any, y: Any, groups: Any = None, *, name: str = "X") -> Labelled:
    """Checked rows: x [n, d], y [n] labels of any kind, groups [n] of any kind (which rows belong
    together: token type, sentence).

    Raises ProbingError as `features`; for one class only; for entries that do not match the rows.
    """
    checked = features(x, name)
    numbers, classes = codes(y, len(checked))
    if len(classes) < 2:
        raise ProbingError(
            f"All {len(checked)} labels are {classes[0]!r}; a probe needs two classes to tell."
        )
    together = None if groups is None else codes(groups, len(checked), "groups")[0]
    return Labelled(checked, numbers, classes, together)


def split(
    n: int,
    *,
    held_out: float = 0.3,
    seed: int = 0,
    groups: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> Split:
    """Rows to fit on and rows to hold out, at random; both sorted.

    groups [n]: whole groups go to one side (the share `held_out` is then of groups). Without groups
    the split keeps the balance of `labels` [n]. Raises ProbingError when a side would be empty, or
    when a class in `labels` is on one side only.
    """
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    if not 0 < held_out < 1:
        raise ProbingError(f"held_out is a share between 0 and 1, got {held_out}.")
    if groups is not None and len(np.unique(groups)) < 2:
        raise ProbingError("All rows are of one group, so none can be held out by group.")
    try:
        if groups is None:
            fit, held = train_test_split(
                np.arange(n), test_size=held_out, random_state=seed, stratify=labels
            )
        else:
            splitter = GroupShuffleSplit(1, test_size=held_out, random_state=seed)
            fit, held = next(splitter.split(np.arange(n), groups=groups))
    except ValueError as error:
        raise ProbingError(f"{n} rows cannot be split so: {error}") from None
    if labels is not None:
        for side, rows in (("fitted", fit), ("held-out", held)):
            missing = sorted(set(np.unique(labels)) - set(np.unique(labels[rows])))
            if missing:
                raise ProbingError(
                    f"The {side} rows hold no example of class number {missing[0]}: give more rows"
                    " or groups, fewer classes, or another seed."
                )
    return Split(np.sort(fit), np.sort(held))
