"""How a detector's figures depend on what nobody controls: trusted rows, their purity, the pool.

Each sweep reads the activations once and then draws rows again and again, because one draw of 30
trusted rows says little about the next. Every point is a mean over draws with their whole range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from utils.anomaly.detection import _inputs, _read, join
from utils.anomaly.detectors import (
    AnomalyError,
    ClassMahalanobis,
    Detector,
    Mahalanobis,
    Nearest,
    Rows,
    Spectral,
)
from utils.ranking import _area, threshold_at
from utils.reports import Estimate, Report, Role, Row
from utils.sites import Site

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Interactive

Curves = dict[str, tuple[Role, list[list[float]]]]  # name -> role, and for each point its draws


@dataclass(frozen=True, repr=False)
class Sweep(Report):
    """A report of curves over one axis. Its rows are named "curve, 30 trusted rows".

    Prints with one line a point. points: as text. curves: names.
    """

    axis: str = field(default="", kw_only=True)
    points: Sequence[str] = field(default=(), kw_only=True)
    curves: Sequence[str] = field(default=(), kw_only=True)

    def at(self, curve: str, point: Any) -> Estimate:
        """One point of one curve."""
        return self[f"{curve}, {point} {self.axis}"]

    def _table(self) -> list[list[str]]:
        d = self.digits

        def cell(e: Estimate) -> str:
            return f"{e.value:.{d}f} [{e.low:.{d}f}, {e.high:.{d}f}]"

        table = [[self.axis, *self.curves]]
        table += [[p, *(cell(self.at(c, p)) for c in self.curves)] for p in self.points]
        return table

    def __str__(self) -> str:
        columns = list(zip(*self._table(), strict=True))
        widths = [max(map(len, column)) for column in columns]
        lines = [
            "  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)).rstrip()
            for r in zip(*columns, strict=True)
        ]
        return "\n".join([self.title, *lines, *self._below()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        import html

        head, *body = self._table()
        top = "".join(f'<th scope="col">{html.escape(h)}</th>' for h in head)
        below = "".join(
            f'<tr><th scope="row">{html.escape(r[0])}</th>'
            + "".join(f"<td>{html.escape(c)}</td>" for c in r[1:]) + "</tr>"
            for r in body
        )  # fmt: skip
        return (
            f'<table><caption style="text-align: left">{html.escape(self.title)}</caption>'
            f"<thead><tr>{top}</tr></thead><tbody>{below}</tbody></table>"
            + "".join(f"<p>{html.escape(line)}</p>" for line in self._below())
        )

    def figure(self, curves: Sequence[str] | None = None) -> Figure:
        """Means over the points in even steps, with the range of the draws; `curves`: which."""
        figure = self.explore({curve: curve for curve in curves or self.curves})[1]
        figure.axes[0].set_title(self.title, loc="left")
        return figure

    def explore(self, curves: Mapping[str, str]) -> tuple[Interactive, Figure]:
        """The same for `lab.figure`: interactive, and its still twin. curves: name -> label."""
        from utils.charts import curves as draw

        found = {label: [self.at(c, p) for p in self.points] for c, label in curves.items()}
        return draw(
            {label: [e.value for e in line] for label, line in found.items()},
            [str(point) for point in self.points],
            x=self.axis,
            y="share, or AUROC",
            ranges={
                label: ([e.low for e in line], [e.high for e in line])
                for label, line in found.items()
            },
        )


def sample_sizes(
    model: nn.Module,
    site: Site,
    *,
    trusted: Any,
    test: Any,
    anomalous: Any,
    twin: nn.Module,
    sizes: Sequence[int] = (10, 30, 100, 300, 1000),
    draws: int = 20,
    detectors: Sequence[Detector] | None = None,
    fpr: float = 0.01,
    seed: int = 0,
    digits: int = 2,
) -> Sweep:
    """How many trusted rows does it take? Inputs as for `detect`; rows are drawn without groups.

    Of `n` trusted rows half fit the detector and half set the threshold, in each of `draws` draws.
    Raises AnomalyError for a size below 10 or above the trusted rows there are.
    """
    chosen = list(detectors or (Mahalanobis(), Nearest()))
    bad = [n for n in sizes if n < 10]
    reads = _reads(model, twin, site, (trusted, test, anomalous))
    there = len(reads["network"][0])
    if bad or max(sizes) > there:
        raise AnomalyError(
            f"Sizes must lie between 10 and the {there} trusted rows there are, got"
            f" {(bad or [max(sizes)])[0]}."
        )

    def trusted_rows(known: Rows, size: int, rng: np.random.Generator) -> Rows:
        return known[rng.permutation(len(known))[:size]]

    curves = _curves(reads, chosen, sizes, draws, fpr, seed, trusted_rows)
    protocol = {
        "site": str(site),
        "trusted": "drawn anew each time; half to fit, half for the threshold",
        "test": f"{len(reads['network'][1])} clean, {len(reads['network'][2])} anomalous",
        "threshold": f"{fpr:.0%} of the trusted rows not fitted to",
    }
    names = [str(n) for n in sizes]
    return _sweep("How many trusted rows?", "trusted rows", names, curves, protocol, draws, digits)


def contamination(
    model: nn.Module,
    site: Site,
    *,
    trusted: Any,
    mixed: Any,
    test: Any,
    anomalous: Any,
    twin: nn.Module,
    shares: Sequence[float] = (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
    draws: int = 5,
    detectors: Sequence[Detector] | None = None,
    fpr: float = 0.01,
    seed: int = 0,
    digits: int = 2,
) -> Sweep:
    """What is left when a share of the trusted rows hold the anomaly themselves?

    mixed: anomalous inputs that replace trusted rows; let them come from other scans than
    `anomalous`. Raises AnomalyError for a share outside [0, 1) or more than `mixed` can fill.
    """
    chosen = list(detectors or (Mahalanobis(), Nearest()))
    reads = _reads(model, twin, site, (trusted, test, anomalous, mixed))
    n, supply = len(reads["network"][0]), len(reads["network"][3])
    for share in shares:
        if not 0 <= share < 1 or round(share * n) > supply:
            raise AnomalyError(
                f"A share of {share} of {n} trusted rows cannot be taken from {supply} anomalous"
                " ones; shares lie in [0, 1)."
            )
    extra = {id(part[0]): part[3] for part in reads.values()}

    def trusted_rows(known: Rows, share: float, rng: np.random.Generator) -> Rows:
        bad = round(share * n)
        odd = extra[id(known)]
        both = join(known[rng.permutation(n)[: n - bad]], odd[rng.permutation(supply)[:bad]])
        return both[rng.permutation(n)]

    curves = _curves(reads, chosen, shares, draws, fpr, seed, trusted_rows)
    protocol = {
        "site": str(site),
        "trusted": f"{n} rows, of which that share hold the anomaly; half to fit, half for the"
        " threshold",
        "test": f"{len(reads['network'][1])} clean, {len(reads['network'][2])} anomalous",
    }
    names = [_percent(share) for share in shares]
    return _sweep(
        "A trusted set that holds the anomaly", "of the trusted rows are anomalous", names, curves,
        protocol, draws, digits,
    )  # fmt: skip


def pool_shares(
    model: nn.Module,
    site: Site,
    *,
    trusted: Any,
    ordinary: Any,
    anomalous: Any,
    mislabelled: Any,
    twin: nn.Module,
    label: int,
    shares: Sequence[float] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6),
    size: int = 500,
    draws: int = 5,
    detectors: Sequence[Detector] | None = None,
    seed: int = 0,
    digits: int = 2,
) -> Sweep:
    """Spectral signatures inside one class of a poisoned training set, by the share of poison.

    A pool holds `size` rows that are *labelled* `label`: a share of `anomalous` ones, the others
    `ordinary`. AUROC of each detector within the pool. Two controls tell what it found: the same
    pools in the clean twin, and pools in which the anomalous rows are replaced by `mislabelled`
    ones, which bear the wrong label and have no trigger.
    """
    chosen = list(detectors or (Spectral(), Spectral(whiten=True), ClassMahalanobis()))
    reads = _reads(model, twin, site, (trusted, ordinary, anomalous, mislabelled))
    most, least = max(shares), min(shares)
    own, odd, wrong = (len(part) for part in reads["network"][1:])
    if not 0 < least <= most < 1 or round(most * size) > min(odd, wrong) or own < size:
        raise AnomalyError(
            f"Pools of {size} rows with shares {least} to {most} need {size} ordinary rows and"
            f" {round(most * size)} of each other kind; there are {own}, {odd} and {wrong}."
        )
    cases: tuple[tuple[str, str, int, Role], ...] = (
        ("", "network", 2, "result"),
        (", clean twin", "twin", 2, "control"),
        (", no trigger", "network", 3, "control"),
    )
    curves: Curves = {}
    for suffix, who, kind, role in cases:
        known, usual, *rest = reads[who]
        supply = rest[kind - 2]
        rng = np.random.default_rng(seed)
        for share in shares:
            bad = max(1, round(share * size))
            found: dict[str, list[float]] = {}
            for _ in range(draws):
                part = join(
                    usual[rng.permutation(own)[: size - bad]],
                    supply[rng.permutation(len(supply))[:bad]],
                )
                given = np.zeros((size, part.logits.shape[1]))
                given[:, label] = 1  # the label is what the training set says
                pool = Rows(part.values, given)
                truth = np.arange(size) >= size - bad
                for detector in chosen:
                    score = detector.fit(known, pool).score(pool)
                    found.setdefault(detector.name, []).append(_area(score, truth))
            for name, values in found.items():
                curves.setdefault(name + suffix, (role, []))[1].append(values)
    protocol = {
        "site": str(site),
        "pool": f"{size} rows labelled {label}",
        "value": "AUROC within the pool",
        "no trigger": "as many rows of other classes, mislabelled",
    }
    names = [_percent(share) for share in shares]
    return _sweep(
        "Spectral signatures by the share of poison", "of the class is poison", names, curves,
        protocol, draws, digits,
    )  # fmt: skip


# --- what they share -------------------------------------------------------------------------


def _reads(
    model: nn.Module, twin: nn.Module, site: Site, given: Iterable[Any]
) -> dict[str, list[Rows]]:
    names = ("trusted", "test", "anomalous", "mixed")
    parts = [_inputs(x, name).inputs for x, name in zip(given, names, strict=False)]
    return {
        who: [_read(network, [site], part)[0] for part in parts]
        for who, network in (("network", model), ("twin", twin))
    }


def _curves(
    reads: dict[str, list[Rows]],
    detectors: Sequence[Detector],
    points: Sequence[Any],
    draws: int,
    fpr: float,
    seed: int,
    trusted_rows: Callable[[Rows, Any, np.random.Generator], Rows],
) -> Curves:
    """AUROC, share caught and false alarms at the trusted threshold; the twin's AUROC."""
    curves: Curves = {}
    for who, (known, test, odd, *_) in reads.items():
        rng = np.random.default_rng(seed)
        pool, truth = join(test, odd), np.arange(len(test) + len(odd)) >= len(test)
        for point in points:
            found: dict[str, list[float]] = {}
            for _ in range(draws):
                drawn = trusted_rows(known, point, rng)
                half = len(drawn) // 2
                for detector in detectors:
                    score = detector.fit(drawn[:half], pool).score(pool)
                    limit = threshold_at(detector.score(drawn[half:]), fpr)
                    name = detector.name
                    found.setdefault(f"AUROC, {name}", []).append(_area(score, truth))
                    found.setdefault(f"caught, {name}", []).append((score[truth] > limit).mean())
                    found.setdefault(f"false alarms, {name}", []).append(
                        (score[~truth] > limit).mean()
                    )
            for name, values in found.items():
                if who == "network":
                    curves.setdefault(name, ("result", []))[1].append(values)
                elif name.startswith("AUROC"):
                    curves.setdefault(f"{name}, clean twin", ("control", []))[1].append(values)
    return curves


def _sweep(
    title: str, axis: str, points: Sequence[str], curves: Curves,
    protocol: dict[str, str | int | float], draws: int, digits: int,
) -> Sweep:  # fmt: skip
    table = []
    for name, (role, by_point) in curves.items():
        for point, values in zip(points, by_point, strict=True):
            e = Estimate(
                float(np.mean(values)), min(values), max(values), draws, "range of the draws"
            )
            table.append(Row(f"{name}, {point} {axis}", e, role))
    return Sweep(
        title, table, {**protocol, "draws": draws}, digits=digits,
        axis=axis, points=tuple(points), curves=tuple(curves),
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
