"""Scores of rows, over one split or several, as estimates whose intervals resample whole units.

A unit is what was drawn independently: a sentence, a word type, a scan, or a row where nothing is
said. All intervals of a table come from the same resamples, in one matrix product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from utils.estimates import Estimate

_CHUNK = 4_000_000  # entries of the matrix of resampling weights that is held at once


@dataclass
class _Mean:
    """Sum and count of a score in each unit."""

    total: np.ndarray
    count: np.ndarray
    kind: str


@dataclass
class _Area:
    """One AUROC: its value, and for positives and negatives the sum of placements in each unit.

    A placement is the share of the other class that a row beats. Means of placements are the
    Hajek projection of the area, by which areas of clustered rows get their variance (Obuchowski
    1997, "Nonparametric Analysis of Clustered ROC Curve Data").
    """

    value: float
    parts: list[np.ndarray]  # sum and count of positives, sum and count of negatives


class Tally:
    """Collects scores under names; `estimates` turns all of them into intervals at once.

    units: [n] numbers 0..g-1 of the units that are resampled.
    """

    def __init__(self, units: np.ndarray) -> None:
        self.units, self.size = units, int(units.max()) + 1
        self._means: dict[str, _Mean] = {}
        self._areas: dict[str, list[_Area]] = {}

    def add(self, name: str, rows: np.ndarray, values: np.ndarray, kind: str = "share") -> None:
        """A score for each of some rows. Scores of more splits go under the same name: the
        estimate is the mean over everything. kind: "share" (scores 0 and 1), "difference" (of two
        such), or "mean" (any numbers)."""
        zero = np.zeros(self.size)
        entry = self._means.setdefault(name, _Mean(zero.copy(), zero.copy(), kind))
        entry.total += self._sum(rows, values)
        entry.count += self._sum(rows)

    def add_auroc(self, name: str, rows: np.ndarray, scores: np.ndarray, y: np.ndarray) -> None:
        """Scores [m, k] of some rows and their classes [m] in 0..k-1: one class against the rest,
        the mean over classes; over the second class alone where there are two."""
        kinds = scores.shape[1]
        for k in range(1 if kinds == 2 else 0, kinds):
            yes = y == k
            m, n = int(yes.sum()), int((~yes).sum())
            ranks, placed = rankdata(scores[:, k]), np.empty(len(y))
            placed[yes] = (ranks[yes] - rankdata(scores[yes, k])) / n
            placed[~yes] = 1 - (ranks[~yes] - rankdata(scores[~yes, k])) / m
            parts = []
            for side in (yes, ~yes):
                parts += [self._sum(rows[side], placed[side]), self._sum(rows[side])]
            self._areas.setdefault(name, []).append(_Area(float(placed[yes].mean()), parts))

    def names(self) -> list[str]:
        """What was added so far."""
        return [*self._means, *self._areas]

    def _sum(self, rows: np.ndarray, values: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(self.units[rows], values, self.size)

    def estimates(
        self, *, level: float = 0.95, n_resamples: int = 1000, seed: int = 0
    ) -> dict[str, Estimate]:
        """Percentile bootstrap of units. Where every resample gives the same share (all right, all
        wrong) it would claim certainty: Wilson's interval with units counted stands in, and about
        a difference that is the same everywhere the same margin on both sides."""
        columns: list[np.ndarray] = []
        for mean in self._means.values():
            columns += [mean.total, mean.count]
        for area in self._areas.values():
            for one in area:
                columns += one.parts
        if not columns:
            return {}
        sums = self._resample(np.stack(columns, 1), n_resamples, seed)
        found, place = {}, 0
        for name, mean in self._means.items():
            draws = _ratio(sums[:, place], sums[:, place + 1])
            place += 2
            units = int((mean.count > 0).sum())
            value = float(mean.total.sum() / mean.count.sum())
            found[name] = _interval(value, draws, units, level, mean.kind)
        for name, area in self._areas.items():
            draws, fewest = np.zeros(n_resamples), self.size
            for one in area:
                up = _ratio(sums[:, place], sums[:, place + 1])
                down = _ratio(sums[:, place + 2], sums[:, place + 3])
                draws += (up + down - one.value) / len(area)
                fewest = min(fewest, *(int((c > 0).sum()) for c in one.parts[1::2]))
                place += 4
            value = float(np.mean([one.value for one in area]))
            found[name] = _interval(value, draws, self._seen(area), level, "share", fewest)
        return found

    def _seen(self, areas: list[_Area]) -> int:
        return int((sum(one.parts[1] + one.parts[3] for one in areas) > 0).sum())

    def _resample(self, columns: np.ndarray, n_resamples: int, seed: int) -> np.ndarray:
        """Sums of the columns [g, c] over units drawn with repeats: [n_resamples, c]."""
        rng, g = np.random.default_rng(seed), self.size
        step, parts = max(1, _CHUNK // g), []
        for start in range(0, n_resamples, step):
            b = min(step, n_resamples - start)
            drawn = rng.integers(g, size=(b, g)) + g * np.arange(b)[:, None]
            parts.append(np.bincount(drawn.ravel(), minlength=b * g).reshape(b, g) @ columns)
        return np.concatenate(parts)


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """A resample without any row of the kind repeats the mean of the others."""
    some = count > 0
    result = np.divide(total, count, out=np.zeros_like(total), where=some)
    if not some.all():
        result[~some] = result[some].mean()
    return result


def _interval(
    value: float, draws: np.ndarray, n: int, level: float, kind: str, fewest: int | None = None
) -> Estimate:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    how = f"percentile bootstrap {100 * level:.4g} %, {len(draws)} resamples"
    if kind != "mean" and draws.max() - draws.min() < 1e-12:
        counted = n if fewest is None else fewest
        margin = wilson(0.0, counted, level)[1]
        low, high = (
            wilson(value, counted, level) if kind == "share" else (value - margin, value + margin)
        )
        how = f"Wilson {100 * level:.4g} %, units counted"
    return Estimate(value, min(float(low), value), max(float(high), value), n, how)


def wilson(share: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of n, at any level."""
    z2 = float(norm.ppf((1 + level) / 2)) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, middle - half), min(1.0, middle + half)
