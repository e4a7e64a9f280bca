"""How well a score tells two classes apart, with intervals that hold at the ends too.

The area under the ROC curve (AUROC) is the chance that a positive row scores above a negative one;
ties count one half. Where all positives lie above all negatives a bootstrap has no width at all,
which would claim certainty from ten rows; the interval here (Newcombe 2006) keeps one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from utils.estimates import _Z95, Estimate, ReportError, _array, bootstrap


def auroc(
    scores: Any, positive: Any, *, groups: Any = None, n_resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Area under the ROC curve of `scores` [n] for `positive` [n] (true or 1), 95 %.

    Without `groups`: Newcombe's interval ("Confidence intervals for an effect size measure based on
    the Mann-Whitney statistic, part 2", 2006, method 5). With one label a row (sentence, scan):
    a percentile bootstrap of whole groups, and Newcombe's with groups counted where every resample
    agrees. Raises ReportError for NaN, unequal lengths, or one class only.
    """
    import numpy as np

    x, yes = _scored(scores, positive)
    value = _area(x, yes)
    rows = len(x)
    if groups is None:
        low, high = _newcombe(value, int(yes.sum()), int((~yes).sum()))
        return Estimate(value, low, high, rows, "Newcombe 95 %")
    labels = np.asarray(groups.tolist() if hasattr(groups, "tolist") else groups)
    # a resample that holds one class only has no area: it repeats the value, which widens nothing
    found = bootstrap(
        lambda s, p: _area(s, p > 0.5) if 0 < p.sum() < len(p) else value,
        x, yes.astype(float), groups=labels, n_resamples=n_resamples, seed=seed,
    )  # fmt: skip
    if found.low < found.high:
        return found
    low, high = _newcombe(value, len(np.unique(labels[yes])), len(np.unique(labels[~yes])))
    return Estimate(value, low, high, found.n, "Newcombe 95 %, groups counted")


def threshold_at(negatives: Any, fpr: float = 0.01) -> float:
    """The smallest of the negatives' scores [n] that at most a share `fpr` of them exceeds."""
    import numpy as np

    if not 0 <= fpr < 1:
        raise ReportError(f"A false positive rate lies in [0, 1), got {fpr}.")
    x = np.sort(_array(negatives))
    return float(x[len(x) - 1 - math.floor(fpr * len(x) + 1e-9)])


def tpr_at_fpr(
    scores: Any, positive: Any, fpr: float = 0.01, *, n_resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Share of positives above the threshold that at most `fpr` of the negatives exceed.

    The threshold is part of the statistic: positives and negatives are resampled each for
    themselves (percentile bootstrap, 95 %), and the interval holds Wilson's for the threshold as
    it was found, so that 0 and 1 are never certain. Needs 1 / fpr negatives or more to mean it.
    Raises ReportError for NaN, unequal lengths, or one class only.
    """
    import numpy as np

    x, yes = _scored(scores, positive)
    up, down = x[yes], x[~yes]
    caught = int((up > threshold_at(down, fpr)).sum())
    wilson = Estimate.proportion(caught, len(up))
    rng = np.random.default_rng(seed)
    draws = [
        (rng.choice(up, len(up)) > threshold_at(rng.choice(down, len(down)), fpr)).mean()
        for _ in range(n_resamples)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(
        wilson.value,
        min(float(low), wilson.low),
        max(float(high), wilson.high),
        len(x),
        f"percentile bootstrap 95 %, {n_resamples} resamples, with Wilson",
    )


def _scored(scores: Any, positive: Any) -> tuple[Any, Any]:
    x, yes = _array(scores), _array(positive)
    if x.ndim != 1 or x.shape != yes.shape:
        raise ReportError(
            f"scores has shape {x.shape} and positive {yes.shape}; both need one entry a row."
        )
    if not set(yes.tolist()) <= {0.0, 1.0}:
        raise ReportError("positive takes true and false (or 1 and 0), nothing else.")
    yes = yes > 0.5
    if yes.all() or not yes.any():
        raise ReportError("Telling two classes apart needs rows of both; here is one class only.")
    return x, yes


def _area(x: Any, yes: Any) -> float:
    from scipy.stats import rankdata

    m = int(yes.sum())
    return float((rankdata(x)[yes].sum() - m * (m + 1) / 2) / (m * (len(x) - m)))


def _newcombe(value: float, m: int, n: int) -> tuple[float, float]:
    """The values of the area that lie within 1.96 of their own standard errors of `value`."""
    half = (m + n) / 2 - 1

    def far(area: float) -> float:
        tails = half * (1 - area) / (2 - area) + half * area / (1 + area)
        return abs(value - area) - _Z95 * math.sqrt(area * (1 - area) * (1 + tails) / (m * n))

    return (
        0.0 if value == 0 else _root(far, 0.0, value),
        1.0 if value == 1 else _root(far, 1.0, value),
    )


def _root(far: Callable[[float], float], outside: float, inside: float) -> float:
    """Where `far` changes sign; it is >= 0 at `outside` and <= 0 at `inside`."""
    for _ in range(60):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if far(middle) > 0 else (outside, middle)
    return (outside + inside) / 2
