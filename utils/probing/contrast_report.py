"""How results on contrast pairs are told: every restart, then nulls, ceilings and baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from utils.estimates import bootstrap
from utils.probing.rows import Split
from utils.reports import Estimate, Report, Row

FOUND = 0.95  # accuracy from which a restart is said to have found a concept
FIRST, MASS, LOGISTIC = "first component", "mass mean", "logistic regression"


@dataclass(frozen=True)
class Restart:
    """One restart of CCS: its loss on fitted and on held-out pairs, and for each known concept the
    held-out accuracy (sign from the fitted pairs)."""

    loss: float
    held_out_loss: float
    accuracy: dict[str, float]


def _share(hits: np.ndarray, groups: np.ndarray | None) -> Estimate:
    """Share of hits [pairs]: Wilson's interval, or a bootstrap of whole groups.

    Where every group is right (or none) a bootstrap has no width: Wilson's with groups counted.
    """
    if groups is None:
        return Estimate.proportion(int(hits.sum()), len(hits))
    _, member = np.unique(groups, return_inverse=True)
    good, all_of = np.bincount(member, hits.astype(float)), np.bincount(member).astype(float)
    if 0 < hits.sum() < len(hits):
        return bootstrap(lambda a, b: float(a.sum() / b.sum()), good, all_of)
    return Estimate.proportion(len(good) if hits.all() else 0, len(good))


def _spread(values: np.ndarray, how: str, level: float = 1.0) -> Estimate:
    """Mean of many draws; the interval is where the middle `level` of them lies."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    mean = float(values.mean())
    return Estimate(mean, min(float(low), mean), max(float(high), mean), len(values), how)


def contrast_report(
    name: str,
    runs: tuple[Restart, ...],
    right: np.ndarray,
    chance: np.ndarray,
    ceilings: Mapping[str, np.ndarray],
    nothing: np.ndarray,
    broken: np.ndarray,
    held: np.ndarray,
    groups: np.ndarray | None,
    rows: Split,
    width: int,
    seed: int,
) -> Report:
    """The report of `contrast`.

    right [held-out pairs, restarts + 3]: where each restart, the first component, the mass mean and
    logistic regression are right. chance [directions]: accuracies of random ones. ceilings
    [held-out pairs]: where regression is right on each concept. nothing [shuffles]: its accuracy
    after the labels were shuffled. broken [restarts]: losses when pairs are broken up. held
    [held-out pairs]: the labels.
    """
    many, lowest = len(runs), int(np.argmin([r.loss for r in runs]))
    losses = np.array([r.loss for r in runs])
    best = runs[lowest].accuracy[name]
    lines = [
        Row(f"CCS, {name}: all restarts", _spread(right[:, :many].mean(0), "range of the restarts"),
            "result"),
        Row(f"CCS, {name}: restart of lowest loss", _share(right[:, lowest], groups), "result"),
    ]  # fmt: skip
    for concept in runs[0].accuracy:
        count = sum(r.accuracy[concept] >= FOUND for r in runs)
        role = "result" if concept == name else "control"
        lines.append(
            Row(f"CCS restarts that found: {concept}", Estimate.proportion(count, many), role)
        )
    lines += [
        Row(f"{FIRST}, {name}", _share(right[:, many], groups), "result"),
        Row(f"{MASS}, {name}", _share(right[:, many + 1], groups), "ceiling", "sees labels"),
        *(
            Row(f"{LOGISTIC}, {concept}", _share(hits, groups), "ceiling", "sees labels")
            for concept, hits in ceilings.items()
        ),
        Row(f"{LOGISTIC}, shuffled labels", _spread(nothing, "range of the shuffles"), "null"),
        Row("random directions", _spread(chance, "middle 95 % of the draws", 0.95), "null",
            f"best of {len(chance)}: {chance.max():.2f}"),
        Row("random directions as good as the restart of lowest loss",
            Estimate.proportion(int((chance >= best).sum()), len(chance)), "null"),
        Row("majority", _share(held == (held.mean() >= 0.5), None), "baseline"),
        Row("CCS loss", _spread(losses, "range of the restarts"), "result"),
        Row("CCS loss, pairs broken up", _spread(broken, "range of the restarts"), "null",
            "each side with another pair's other side"),
        Row("CCS loss of a probe that always says .5", Estimate.exact(0.25), "baseline"),
    ]  # fmt: skip
    protocol: dict[str, str | int | float] = {
        "fitted pairs": len(rows.fit),
        "held-out pairs": len(rows.held),
        "split": "by the rows given" if groups is None else "whole groups",
        "features": width,
        "restarts": f"{many}, all shown, none chosen by label",
        "found": f"right on {FOUND:.2f} or more of the held-out pairs",
        "normalised": "each side by its own mean over the fitted pairs, one scale for all",
        "sign": "by the labels of the fitted pairs, for every direction, the random ones too",
        "seed": seed,
    }
    notes = []
    if len(rows.fit) <= width:
        notes.append(
            f"{len(rows.fit)} pairs in {width} dimensions: any labelling of them can be separated,"
            " so losses and fits on the fitted pairs mean nothing."
        )
    return Report(f"Contrast pairs: {name}", lines, protocol, notes, digits=3)
