"""Scores of how unlike the trusted rows a row's activations are, all behind one small interface.

`detector.fit(trusted, pool=None)` and then `detector.score(new)`: one number a row, higher is more
anomalous. A row may be given as values [n, d] alone, or as `Rows` where a detector also needs the
class that the network gives (class-conditional ones) or its logits (max softmax). `pool` are the
unlabelled rows to be judged; only the spectral signature looks at them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from utils.errors import CourseError
from utils.probing.rows import features

Shrinkage = float | Literal["ledoit-wolf"]


class AnomalyError(CourseError, ValueError):
    """Rows from which no anomaly could be told, or a question that a detector cannot answer."""


@dataclass(frozen=True, eq=False)
class Rows:
    """values: [n, d] float64. logits: [n, classes] float64, where the network's output counts."""

    values: np.ndarray
    logits: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: Any) -> Rows:
        logits = None if self.logits is None else self.logits[which]
        return Rows(self.values[which], logits)

    @property
    def classes(self) -> np.ndarray:
        """[n] int64, the class that the network gives each row."""
        if self.logits is None:
            raise AnomalyError(
                "This detector needs the class that the network gives each row: pass"
                " rows(values, logits) in place of the values alone."
            )
        return self.logits.argmax(1)


def rows(values: Any, logits: Any = None, *, name: str = "the rows") -> Rows:
    """Checked rows: values [n, d], logits [n, classes]; torch, numpy or lists.

    Raises AnomalyError for another rank, NaN or infinity, or unequal lengths.
    """
    if isinstance(values, Rows):
        return values
    x = _numbers(values, name)
    if logits is None:
        return Rows(x)
    y = _numbers(logits, f"the logits of {name}")
    if len(y) != len(x):
        raise AnomalyError(f"{name}: {len(x)} rows of values and {len(y)} of logits.")
    return Rows(x, y)


def _numbers(values: Any, name: str) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu().double()
    try:
        x = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise AnomalyError(f"{name}: not numbers of shape [rows, features].") from None
    if x.ndim != 2 or not x.size:
        raise AnomalyError(f"{name}: shape {list(x.shape)} where [rows, features] is needed.")
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).any(1).sum())
        raise AnomalyError(f"{name}: NaN or infinity in {bad} of {len(x)} rows.")
    return x


class Detector(ABC):
    """What all of them share: checks, and widths that must agree between fit and score."""

    name: str = ""
    reads: Literal["values", "logits"] = "values"
    width: int | None = None

    def fit(self, trusted: Any, pool: Any = None) -> Detector:
        """Learn what is normal from trusted rows; returns itself.

        Raises AnomalyError for fewer than two rows, NaN, or rows that are all the same.
        """
        known = rows(trusted, name="the trusted rows")
        if len(known) < 2:
            raise AnomalyError("One trusted row says nothing of what varies; give more.")
        if self.reads == "values":
            features(known.values, "the trusted activations")
        unseen = None if pool is None else rows(pool, name="the pool")
        self.width = known.values.shape[1]
        if unseen is not None:
            self._same_width(unseen)
        self._fit(known, unseen)
        return self

    def score(self, new: Any) -> np.ndarray:
        """[n], higher is more anomalous. AnomalyError before `fit`, or for another width."""
        if self.width is None:
            raise AnomalyError(f"{self.name} was not fitted to trusted rows yet: call fit first.")
        given = rows(new, name="the new rows")
        self._same_width(given)
        return self._score(given)

    def _same_width(self, other: Rows) -> None:
        if other.values.shape[1] != self.width:
            raise AnomalyError(
                f"{self.name} was fitted to {self.width} features a row and is asked about"
                f" {other.values.shape[1]}: read both from the same Site."
            )

    @abstractmethod
    def _fit(self, trusted: Rows, pool: Rows | None) -> None: ...

    @abstractmethod
    def _score(self, new: Rows) -> np.ndarray: ...


# --- covariance ------------------------------------------------------------------------------


def shrunk(covariance: np.ndarray, share: float) -> np.ndarray:
    """(1 - share) C + share * (trace(C) / d) I, with the same trace as C [d, d].

    The target holds the *mean* variance. With the trace itself there, which is d times as much,
    a share of .01 at d = 100 would drown the covariance in the identity.
    """
    if not 0 <= share <= 1:
        raise AnomalyError(f"Shrinkage is a share from 0 to 1, got {share}.")
    d = len(covariance)
    return (1 - share) * covariance + share * np.trace(covariance) / d * np.eye(d)


def whitener(centred: np.ndarray, shrinkage: Shrinkage = "ledoit-wolf") -> np.ndarray:
    """[d, d] matrix W with |x W|^2 the squared Mahalanobis distance of x from 0.

    centred: [n, d] rows around 0. shrinkage: that of Ledoit & Wolf, "A well-conditioned estimator
    for large-dimensional covariance matrices" (2004), or a share as in `shrunk`; 0 is the plain
    maximum-likelihood covariance. Raises AnomalyError where it is singular.
    """
    from scipy.linalg import cholesky, solve_triangular

    if shrinkage == "ledoit-wolf":
        from sklearn.covariance import ledoit_wolf

        matrix = ledoit_wolf(centred, assume_centered=True)[0]
    elif isinstance(shrinkage, int | float):
        matrix = shrunk(centred.T @ centred / len(centred), float(shrinkage))
    else:
        raise AnomalyError(f'shrinkage is "ledoit-wolf" or a share, got {shrinkage!r}.')
    d = len(matrix)
    try:
        if shrinkage == 0:  # rounding lets a singular matrix pass as a regular one
            scale = np.sqrt(np.diag(matrix))
            # relative to each feature's own size: units must not decide what counts as singular
            if not scale.all() or np.linalg.eigvalsh(matrix / np.outer(scale, scale))[0] < 1e-10:
                raise np.linalg.LinAlgError
        lower = cholesky(matrix, lower=True)
    except np.linalg.LinAlgError:
        raise AnomalyError(
            f"The covariance of {len(centred)} rows of {d} features is singular: give more rows,"
            ' or shrink it (shrinkage="ledoit-wolf").'
        ) from None
    return solve_triangular(lower, np.eye(d), lower=True).T


def _squared(x: np.ndarray) -> np.ndarray:
    return np.einsum("nd,nd->n", x, x)


def _class_means(trusted: Rows) -> dict[int, np.ndarray]:
    return {
        int(c): trusted.values[trusted.classes == c].mean(0) for c in np.unique(trusted.classes)
    }


def _own_means(means: dict[int, np.ndarray], given: Rows, who: str) -> np.ndarray:
    """The mean of each row's class, [n, d]. AnomalyError for a class that was never trusted."""
    classes = given.classes
    unseen = sorted(set(classes.tolist()) - set(means))
    if unseen:
        count = int((classes == unseen[0]).sum())
        raise AnomalyError(
            f"{who} never saw class {unseen[0]} among the trusted rows, but the network gives it to"
            f" {count} of the rows to judge: trust rows of every class, or use plain Mahalanobis."
        )
    return np.stack([means[c] for c in sorted(means)])[np.searchsorted(sorted(means), classes)]


# --- detectors -------------------------------------------------------------------------------


class Mahalanobis(Detector):
    """Squared Mahalanobis distance from the trusted mean ("On the generalized distance in
    statistics", 1936), with the covariance shrunk as in `whitener`."""

    name = "Mahalanobis"

    def __init__(self, shrinkage: Shrinkage = "ledoit-wolf") -> None:
        self.shrinkage = shrinkage

    def _fit(self, trusted: Rows, pool: Rows | None) -> None:
        self.mean = trusted.values.mean(0)
        self.whiten = whitener(trusted.values - self.mean, self.shrinkage)

    def _score(self, new: Rows) -> np.ndarray:
        return _squared((new.values - self.mean) @ self.whiten)


class ClassMahalanobis(Mahalanobis):
    """Squared distance from the mean of the class that the network gives, with one covariance of
    what is left within classes (Lee and others, "A Simple Unified Framework for Detecting
    Out-of-Distribution Samples and Adversarial Attacks", 2018, who take the nearest class)."""

    name = "class Mahalanobis"

    def _fit(self, trusted: Rows, pool: Rows | None) -> None:
        self.means = _class_means(trusted)
        within = trusted.values - _own_means(self.means, trusted, self.name)
        self.whiten = whitener(within, self.shrinkage)

    def _score(self, new: Rows) -> np.ndarray:
        return _squared((new.values - _own_means(self.means, new, self.name)) @ self.whiten)


class RelativeMahalanobis(Detector):
    """Class-conditional distance less the plain one: what is odd for its class and not odd in
    general (Ren and others, "A Simple Fix to Mahalanobis Distance for Improving Near-OOD
    Detection", 2021, who take the nearest class)."""

    name = "relative Mahalanobis"

    def __init__(self, shrinkage: Shrinkage = "ledoit-wolf") -> None:
        self.parts = (ClassMahalanobis(shrinkage), Mahalanobis(shrinkage))

    def _fit(self, trusted: Rows, pool: Rows | None) -> None:
        for part in self.parts:
            part.fit(trusted)

    def _score(self, new: Rows) -> np.ndarray:
        within, whole = (part.score(new) for part in self.parts)
        return within - whole


class Nearest(Detector):
    """Euclidean distance to the k-th nearest trusted row (Sun and others, "Out-of-Distribution
    Detection with Deep Nearest Neighbors", 2022, who first scale rows to length one)."""

    def __init__(self, k: int = 5) -> None:
        if k < 1:
            raise AnomalyError(f"There is no {k}-th nearest row; k is 1 or more.")
        self.k = k
        self.name = f"nearest, k={k}"

    def _fit(self, trusted: Rows, pool: Rows | None) -> None:
        from sklearn.neighbors import NearestNeighbors

        if len(trusted) < self.k:
            raise AnomalyError(f"{self.name} needs {self.k} trusted rows, got {len(trusted)}.")
        self.index = NearestNeighbors(n_neighbors=self.k, algorithm="brute").fit(trusted.values)

    def _score(self, new: Rows) -> np.ndarray:
        return self.index.kneighbors(new.values)[0][:, -1]


class Spectral(Detector):
    """Spectral signature: within each class that the network gives, the squared projection on the
    direction along which the rows of the *pool* vary most (Tran and others, "Spectral Signatures in
    Backdoor Attacks", 2018). It needs no trusted rows, and a share of anomalies in the pool that is
    large enough to make such a direction.

    whiten=True: measured in units of what trusted rows vary within classes, around their means, as
    SPECTRE does with robust estimates (Hayase and others, "SPECTRE: Defending Against Backdoor
    Attacks Using Robust Statistics", 2021).
    """

    def __init__(self, whiten: bool = False, shrinkage: Shrinkage = "ledoit-wolf") -> None:
        self.whitens, self.shrinkage = whiten, shrinkage
        self.name = "spectral, whitened" if whiten else "spectral"

    def _fit(self, trusted: Rows, pool: Rows | None) -> None:
        if pool is None:
            raise AnomalyError(
                "A spectral signature is that of the rows to judge: pass them as pool=."
            )
        if self.whitens:
            self.means = _class_means(trusted)
            within = trusted.values - _own_means(self.means, trusted, self.name)
            self.whiten = whitener(within, self.shrinkage)
        else:
            self.means, self.whiten = _class_means(pool), None
        centred, classes = self._centred(pool), pool.classes
        self.directions = {}
        for c in np.unique(classes):
            own = centred[classes == c]
            self.directions[int(c)] = np.linalg.eigh(own.T @ own)[1][:, -1]

    def _centred(self, given: Rows) -> np.ndarray:
        centred = given.values - _own_means(self.means, given, self.name)
        return centred if self.whiten is None else centred @ self.whiten

    def _score(self, new: Rows) -> np.ndarray:
        centred, classes = self._centred(new), new.classes
        result = np.zeros(len(new))
        for c in np.unique(classes):
            here = classes == c
            # a class that the pool lacks has no direction; nothing there is to be judged
            direction = self.directions.get(int(c), np.zeros(centred.shape[1]))
            result[here] = (centred[here] @ direction) ** 2
        return result


class Norm(Detector):
    """Length of the activation, in standard deviations of the trusted lengths from their mean, in
    either direction."""

    name = "norm"

    def _fit(self, trusted: Rows, pool: Rows | None) -> None:
        lengths = np.sqrt(_squared(trusted.values))
        self.mean, self.spread = lengths.mean(), max(float(lengths.std()), 1e-12)

    def _score(self, new: Rows) -> np.ndarray:
        return np.abs(np.sqrt(_squared(new.values)) - self.mean) / self.spread


class MaxSoftmax(Detector):
    """One less the largest probability of the network's answer (Hendrycks & Gimpel, "A Baseline for
    Detecting Misclassified and Out-of-Distribution Examples in Neural Networks", 2017). Looks at
    the output alone, so it is the baseline without interpretability."""

    name = "max softmax"
    reads = "logits"

    def _fit(self, trusted: Rows, pool: Rows | None) -> None:
        self._score(trusted)

    def _score(self, new: Rows) -> np.ndarray:
        from scipy.special import logsumexp

        if new.logits is None or new.logits.shape[1] < 2:
            raise AnomalyError("Max softmax reads logits of two classes or more: rows(x, logits).")
        ranked = np.sort(new.logits, axis=1)
        # the log odds of all other answers: the order of 1 - p, which is 0 in float64 for p near 1
        return logsumexp(ranked[:, :-1], axis=1) - ranked[:, -1]
