"""Estimates: a number with its interval and the count behind it, and the ways to make one.

Import these from `utils.reports`. Only the standard library is loaded here; numpy and scipy come
in when they are needed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from utils.errors import CourseError

_Z95 = 1.959963984540054  # standard normal quantile at .975


class ReportError(CourseError, ValueError):
    """An estimate or report that would mislead, or a report file that cannot be read."""


@dataclass(frozen=True)
class Estimate:
    """A number, its interval and the count `n` it rests on; `method` says how it was made.

    Raises ReportError unless low <= value <= high (up to rounding), n >= 1 and all are finite.
    """

    value: float
    low: float
    high: float
    n: int
    method: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            try:
                number = float(getattr(self, name))
            except (TypeError, ValueError):
                number = math.nan
            if not math.isfinite(number):
                raise ReportError(f"The {name} of an estimate is {getattr(self, name)!r}.")
            object.__setattr__(self, name, number)
        if not hasattr(self.n, "__index__") or isinstance(self.n, bool) or self.n < 1:
            raise ReportError(f"An estimate needs n >= 1 observations, got n={self.n!r}.")
        object.__setattr__(self, "n", operator.index(self.n))
        slack = 1e-9 * max(1.0, abs(self.value))
        if not self.low - slack <= self.value <= self.high + slack:
            raise ReportError(
                f"The value {self.value} lies outside its interval [{self.low}, {self.high}]."
            )
        object.__setattr__(self, "low", min(self.low, self.value))
        object.__setattr__(self, "high", max(self.high, self.value))

    @classmethod
    def proportion(cls, successes: int, n: int) -> Estimate:
        """Share of successes with the Wilson score interval, 95 % (Wilson 1927)."""
        if n < 1 or int(successes) != successes or not 0 <= successes <= n:
            raise ReportError(f"A proportion needs 0 <= successes <= n, got {successes} of {n}.")
        p, z2 = successes / n, _Z95**2
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        # the exact ends at 0 and n successes, where rounding would miss them
        low = 0.0 if successes == 0 else middle - half
        high = 1.0 if successes == n else middle + half
        return cls(p, low, high, n, "Wilson 95 %")

    @classmethod
    def mean(cls, values: Any) -> Estimate:
        """Mean of independent values with Student's t interval, 95 %; needs two or more."""
        import numpy as np

        x = _array(values).ravel()
        if len(x) < 2:
            raise ReportError(f"A mean with an interval needs two values, got {len(x)}.")
        from scipy.stats import t

        half = float(t.ppf(0.975, len(x) - 1) * np.std(x, ddof=1) / math.sqrt(len(x)))
        middle = float(x.mean())
        return cls(middle, middle - half, middle + half, len(x), "Student t 95 %")

    @classmethod
    def exact(cls, value: float, n: int = 1) -> Estimate:
        """A number with no sampling behind it: low = high = value."""
        return cls(value, value, value, n, "exact")

    def as_dict(self) -> dict[str, float | int]:
        """Exactly {"value", "low", "high", "n"}, the form of every JSON of the course."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}

    def text(self, digits: int = 3) -> str:
        """E.g. `0.953 [0.947, 0.958] (n=4000)`; an exact number shows no interval."""
        v, low, high = (_number(x, digits) for x in (self.value, self.low, self.high))
        if self.method == "exact":
            return f"{v} (n={self.n})" if self.n > 1 else v
        return f"{v} [{low}, {high}] (n={self.n})"

    def __str__(self) -> str:
        return self.text()


def bootstrap(
    statistic: Callable[..., float],
    *arrays: Any,
    groups: Any = None,
    n_resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Percentile bootstrap (Efron & Tibshirani 1993, ch. 13) of `statistic(*arrays)`.

    Rows of all the arrays are drawn together. With `groups` (one label a row, e.g. the original
    image of an augmented copy) whole groups are drawn, so that copies do not fake precision, and
    `n` is the number of groups. The interval is widened where needed to hold the value itself.
    """
    import numpy as np

    if not arrays:
        raise ReportError("bootstrap needs at least one array.")
    if not 0 < level < 1 or n_resamples < 1:
        raise ReportError("bootstrap needs 0 < level < 1 and n_resamples >= 1.")
    data = [_array(a) for a in arrays]
    rows = len(data[0])
    if rows < 1 or any(len(a) != rows for a in data):
        raise ReportError(f"The arrays have {[len(a) for a in data]} rows; they must agree.")
    if groups is None:
        members = None
        units = rows
    else:
        labels = np.asarray(groups.tolist() if hasattr(groups, "tolist") else groups)
        if labels.shape != (rows,):
            raise ReportError(f"groups has shape {labels.shape}; it needs one label for each row.")
        _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
        units = len(members)
    value = float(statistic(*data))
    rng = np.random.default_rng(seed)
    draws = np.empty(n_resamples)
    for i in range(n_resamples):
        pick = rng.integers(units, size=units)
        index = pick if members is None else np.concatenate([members[g] for g in pick])
        draws[i] = statistic(*(a[index] for a in data))
    if not math.isfinite(value) or not np.isfinite(draws).all():
        raise ReportError("The statistic gave NaN or infinity on the data or on a resample.")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    what = f"{100 * level:g} %, {n_resamples} resamples" + ("" if members is None else " of groups")
    return Estimate(
        value,
        min(float(low), value),
        max(float(high), value),
        units,
        f"percentile bootstrap {what}",
    )


def jackknife(without: Callable[[int | None], float], groups: int, n: int) -> Estimate:
    """Delete-a-group jackknife with Student's t, 95 % (Shao & Tu 1995, "The Jackknife and
    Bootstrap", ch. 2).

    For statistics in which one input plays several parts, as reference and as donor of others:
    leave it out of all of them. without: group number -> the statistic without whatever has to do
    with that group; None -> the statistic itself. n: what the estimate rests on.
    """
    import numpy as np

    if groups < 2:
        raise ReportError(f"A jackknife needs two groups, got {groups}.")
    value = float(without(None))
    left = np.array([without(g) for g in range(groups)], dtype=float)
    if not math.isfinite(value) or not np.isfinite(left).all():
        raise ReportError("The statistic gave NaN or infinity on the data or without a group.")
    from scipy.stats import t

    error = math.sqrt((groups - 1) / groups * float(((left - left.mean()) ** 2).sum()))
    half = float(t.ppf(0.975, groups - 1)) * error
    return Estimate(value, value - half, value + half, n, f"jackknife 95 %, {groups} groups")


def paired_difference(a: Any, b: Any, **options: Any) -> Estimate:
    """Mean of a - b over the same inputs, with a bootstrap that keeps the pairs together.

    `options` as for `bootstrap` (groups, n_resamples, seed, level).
    """
    return bootstrap(lambda x, y: float((x - y).mean()), a, b, **options)


def _number(x: float, digits: int) -> str:
    """Fixed decimals, and never a minus sign before zero."""
    text = f"{x:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def _array(values: Any) -> Any:
    """A float array from numbers, numpy or torch; ReportError if it holds NaN."""
    import numpy as np

    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        x = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ReportError("These values are not numbers.") from None
    if x.ndim < 1:
        raise ReportError("Give an array of values, not one number.")
    if np.isnan(x).any():
        raise ReportError("The values contain NaN.")
    return x
