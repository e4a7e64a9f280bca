"""Does a score on activations tell anomalous inputs from clean ones, and is it the mechanism?

A detector on a trojaned network may notice two things: that the network does something else on
these inputs, or that the inputs themselves are unlike any other. Only the first is about the
mechanism. So every result stands beside the same detector on the clean twin, which sees the same
inputs and lacks the mechanism, and beside the same detector on the raw input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from utils.anomaly.detectors import (
    AnomalyError,
    ClassMahalanobis,
    Detector,
    Mahalanobis,
    MaxSoftmax,
    Nearest,
    Norm,
    RelativeMahalanobis,
    Rows,
    rows,
)
from utils.ranking import auroc, threshold_at, tpr_at_fpr
from utils.reports import Estimate, Report, Row
from utils.sites import Site, run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOUND, NEAR = 0.95, 0.08  # what `reading` asks of AUROC, and of the twin's distance from one half
FEWEST = 20  # trusted rows: half of them for the fit, half for the threshold
MEASURES = ("AUROC", "caught at 1 % of clean", "caught", "false alarms")
_FAR = 4.5  # robust standard deviations; rows of the shipped networks stay below about 4.2
_LOG_NORMAL = (Mahalanobis.name, ClassMahalanobis.name)  # whose logarithm is nearly normal
RAW, OUTPUT, ALL = "raw input", "output", "all sites"


def standard() -> tuple[Detector, ...]:
    """Fresh copies of the detectors that `detect` runs unless told otherwise."""
    return (
        Mahalanobis(), ClassMahalanobis(), RelativeMahalanobis(), Nearest(), Norm(), MaxSoftmax(),
    )  # fmt: skip


class Inputs(NamedTuple):
    """Inputs [n, ...] and the unit each comes from [n] (scan, string), or None: each its own."""

    inputs: Tensor
    group: np.ndarray | None


@dataclass(frozen=True)
class Scored:
    """One detector at one place of one network: scores of the clean and the anomalous test rows.

    limit: the threshold, from trusted rows that the detector was not fitted to.
    """

    place: str
    detector: str
    who: str  # network, twin, or raw
    clean: np.ndarray
    anomalous: np.ndarray
    limit: float
    strange: int = 0  # trusted rows of the threshold that score as no trusted row should

    @property
    def all(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores [n] and whether anomalous [n] bool, as `utils.ranking` takes them."""
        truth = np.r_[np.zeros(len(self.clean), bool), np.ones(len(self.anomalous), bool)]
        return np.r_[self.clean, self.anomalous], truth


@dataclass(frozen=True, repr=False)
class Detection(Report):
    """The report of `detect`: all measures of all detectors, and their scores.

    Rows are named "AUROC, hook_fc1, Mahalanobis"; for the twin and the raw input
    "AUROC, hook_fc1, Mahalanobis, clean twin" and "AUROC, raw input, Mahalanobis". Prints as a
    table with one line for each detector and place.
    """

    scores: Sequence[Scored] = field(default=(), kw_only=True)

    def only(self, measure: str) -> Report:
        """The rows of one measure (see MEASURES) as a report of their own."""
        chosen = [
            Row(row.name.removeprefix(f"{measure}, "), row.estimate, row.role, row.note)
            for row in self.rows
            if row.name.startswith(f"{measure}, ")
        ]
        if not chosen:
            raise AnomalyError(f"No measure {measure!r}; there are: {', '.join(MEASURES)}.")
        title = f"{self.title}: {measure}"
        return Report(title, chosen, self.protocol, self.notes, digits=self.digits)

    def lines(self) -> list[dict[str, Any]]:
        """One mapping a detector and place: place, detector, estimates by column."""
        found = []
        for place, name in dict.fromkeys((s.place, s.detector) for s in self.scores):
            own = f"{place}, {name}"
            line = {"place": place, "detector": name, "AUROC": self[f"AUROC, {own}"]}
            if place != RAW:
                line["twin"] = self[f"AUROC, {own}, clean twin"]
            line |= {measure: self[f"{measure}, {own}"] for measure in MEASURES[1:]}
            found.append(line)
        return found

    def reading(self, place: str, detector: str) -> str:
        """What the AUROC of a detector at a place says, in one of three words.

        "mechanism": at least .95 on the network, and within .08 of one half on the clean twin,
        which is given the same inputs. "novelty": at least .95, and the twin notices too, so the
        inputs are odd by themselves and the score may know no more than that. "not found": less.
        """
        own = f"AUROC, {place}, {detector}"
        if self[own].value < FOUND:
            return "not found"
        if place == RAW:
            return "novelty"
        return "mechanism" if abs(self[f"{own}, clean twin"].value - 0.5) <= NEAR else "novelty"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        head = ["place", "detector", "AUROC", "its clean twin", "caught at 1 % of clean",
                "caught", "false alarms"]  # fmt: skip
        body = []
        for line in self.lines():

            def cell(key: str, line: dict[str, Any] = line) -> str:
                e = line.get(key)
                if e is None:
                    return "-"
                d = self.digits
                return f"{e.value:.{d}f} [{e.low:.{d}f}, {e.high:.{d}f}]"

            body.append(
                [line["place"], line["detector"], cell("AUROC"), cell("twin"),
                 *(cell(m) for m in MEASURES[1:])]
            )  # fmt: skip
        return head, body

    def __str__(self) -> str:
        head, body = self._table()
        widths = [max(len(r[i]) for r in [head, *body]) for i in range(len(head))]
        lines = [
            "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip()
            for r in [head, ["-" * w for w in widths], *body]
        ]
        return "\n".join([self.title, *lines, *self._below()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        import html

        left = 'style="text-align: left"'
        head, body = self._table()
        top = "".join(f'<th scope="col" {left}>{html.escape(h)}</th>' for h in head)
        below = "".join(
            f'<tr><th scope="row" {left}>{html.escape(r[0])}</th>'
            + "".join(f"<td {left}>{html.escape(c)}</td>" for c in r[1:]) + "</tr>"
            for r in body
        )  # fmt: skip
        return (
            f"<table><caption {left}>{html.escape(self.title)}</caption>"
            f"<thead><tr>{top}</tr></thead><tbody>{below}</tbody></table>"
            + "".join(f"<p>{html.escape(line)}</p>" for line in self._below())
        )

    def figure(self) -> Figure:
        """AUROC of network and twin, one line a detector and place; the raw input below."""
        from matplotlib.figure import Figure

        from utils.plots import BLUE, GREY, VERMILION

        lines = self.lines()
        figure = Figure(figsize=(7.0, 1.3 + 0.3 * len(lines)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0.5, color=GREY, linewidth=1, linestyle=":")
        for y, line in enumerate(lines):
            own = line["AUROC"]
            raw = line["place"] == RAW
            parts = [(own, VERMILION if raw else BLUE, "^" if raw else "o", True)]
            if "twin" in line:
                parts.append((line["twin"], VERMILION, "s", False))
            for e, colour, mark, full in parts:
                axes.plot([e.low, e.high], [y, y], color=colour, linewidth=2)
                axes.plot(e.value, y, mark, markersize=7, color=colour,
                          markerfacecolor=colour if full else "white", clip_on=False)  # fmt: skip
        axes.set_yticks(range(len(lines)), [f"{x['place']}, {x['detector']}" for x in lines])
        axes.set_ylim(len(lines) - 0.5, -0.5)
        axes.set(xlim=(0, 1), xlabel="AUROC, with 95 % interval")
        for colour, mark, name, full in (
            (BLUE, "o", "the network", True),
            (VERMILION, "s", "its clean twin", False),
            (VERMILION, "^", "no network", True),
        ):
            face = colour if full else "white"
            axes.plot([], [], mark, color=colour, markerfacecolor=face, label=name)
        axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, frameon=False)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0, pad=10)
        return figure


def detect(
    model: nn.Module,
    sites: Site | Sequence[Site],
    *,
    trusted: Any,
    test: Any,
    anomalous: Any,
    twin: nn.Module,
    detectors: Sequence[Detector] | None = None,
    raw: Callable[[Tensor], Tensor] | None = None,
    fpr: float = 0.01,
    seed: int = 0,
    title: str = "Anomaly detection",
    digits: int = 3,
) -> Detection:
    """Detectors at Sites, fitted to trusted inputs and asked to tell anomalous from clean ones.

    trusted, test, anomalous: tensors [n, ...], or anything with `inputs` and `group` [n] (as the
        samples of `utils.trojans`); a group (scan) then stays together wherever rows are split or
        resampled. test: clean inputs not trusted. Let them hold the classes that `anomalous` holds:
        a detector notices a class that is missing, too, and the twin's row shows it.
    twin: the same architecture trained without the anomaly.
    detectors: unfitted; `standard()` if none are given. Those that read the output alone run once.
    raw: inputs -> [n, features] for the rows without a network. Pixels as they are and tokens
        one-hot at their places if not given. Mahalanobis and nearest neighbours run on it.
    fpr: share of trusted rows that may pass the threshold.

    Half of the trusted rows, at random, fit the detectors; the other half set the threshold.
    Measures, each with a 95 % interval: AUROC; share of anomalies caught at the threshold that
    1 % of the clean test rows exceed, which nobody knows beforehand; share caught at the trusted
    threshold; share of clean test rows that raise a false alarm there. Several Sites are also
    combined: each Site's scores, less the mean and divided by the standard deviation they have on
    the trusted rows of the threshold, are averaged.

    Raises AnomalyError (too few trusted rows, NaN, a class never seen, a twin of other widths) and
    SiteError (Sites that are not in the model).
    """
    sites = [sites] if isinstance(sites, Site) else list(sites)
    if not sites:
        raise AnomalyError("Name one Site or more to read activations from.")
    if twin is model:
        raise AnomalyError("The twin is the network itself; give one trained without the anomaly.")
    if not 0 < fpr < 1:
        raise AnomalyError(f"fpr is a share of trusted rows between 0 and 1, got {fpr}.")
    parts = [_inputs(x, n) for x, n in
             ((trusted, "trusted"), (test, "test"), (anomalous, "anomalous"))]  # fmt: skip
    known = parts[0]
    if len(known.inputs) < FEWEST:
        raise AnomalyError(
            f"{len(known.inputs)} trusted rows cannot give both a fit and a threshold: {FEWEST} are"
            f" the fewest, and {round(2 / fpr)} the fewest for {fpr:.0%} of them to mean anything."
        )
    fit, held = _halves(known, seed)
    chosen = list(standard() if detectors is None else detectors)
    if not chosen:
        raise AnomalyError("Give one detector or more.")

    scored: list[Scored] = []
    widths: dict[str, list[int]] = {}
    for who, network in (("network", model), ("twin", twin)):
        read = [_read(network, sites, part.inputs) for part in parts]
        for n, site in enumerate(sites):
            widths.setdefault(str(site), []).append(read[0][n].values.shape[1])
            if len(set(widths[str(site)])) > 1:
                raise AnomalyError(
                    f"At {site} the network has {widths[str(site)][0]} features and the twin"
                    f" {widths[str(site)][1]}: a twin has the same architecture."
                )
        places = [str(site) for site in sites]
        scored += _score(chosen, places, read, fit, held, fpr, who)
    vocabulary = max(int(part.inputs.max()) for part in parts) + 1
    encode = (lambda inputs: _raw(inputs, vocabulary)) if raw is None else raw
    plain = [[rows(encode(part.inputs).flatten(1), name="the raw inputs")] for part in parts]
    scored += _score([Mahalanobis(), Nearest()], [RAW], plain, fit, held, fpr, "raw")

    groups = None
    if parts[1].group is not None and parts[2].group is not None:
        groups = np.r_[parts[1].group, parts[2].group]
    table = []
    for one in sorted(scored, key=lambda s: s.who == "twin"):
        table += _rows_of(one, groups)
    protocol = {
        "trusted": f"{len(fit)} rows to fit, {len(held)} for the threshold, seed {seed}",
        "test": f"{len(parts[1].inputs)} clean, {len(parts[2].inputs)} anomalous",
        "threshold": f"exceeded by at most {fpr:.0%} of trusted rows not fitted to",
        "resampled": "rows" if groups is None else "groups of rows (AUROC), rows (others)",
    }
    if len(sites) > 1:
        protocol[ALL] = "mean of scores, each less its mean and over its deviation on trusted rows"
    return Detection(
        title, table, protocol, _notes(scored, parts, held, fpr),
        digits=digits, scores=tuple(scored),
    )  # fmt: skip


# --- inputs ----------------------------------------------------------------------------------


def _inputs(given: Any, name: str) -> Inputs:
    inputs, group = (given, None) if isinstance(given, Tensor) else (
        getattr(given, "inputs", None), getattr(given, "group", None))  # fmt: skip
    if not isinstance(inputs, Tensor) or inputs.ndim < 2 or not len(inputs):
        raise AnomalyError(
            f"{name}: give a tensor of inputs [n, ...] with n >= 1, or a sample that has `inputs`."
        )
    if inputs.is_floating_point() and not inputs.isfinite().all():
        raise AnomalyError(f"{name}: NaN or infinity among the inputs.")
    return Inputs(inputs, None if group is None else np.asarray(group))


def _halves(known: Inputs, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to fit on and to set the threshold with; groups stay together."""
    n = len(known.inputs)
    labels = np.arange(n) if known.group is None else known.group
    names = np.unique(labels)
    if len(names) < 2:
        raise AnomalyError("All trusted rows are of one group, so none can be held out.")
    chosen = np.random.default_rng(seed).permutation(names)[: (len(names) + 1) // 2]
    inside = np.isin(labels, chosen)
    return np.flatnonzero(inside), np.flatnonzero(~inside)


def _raw(inputs: Tensor, vocabulary: int) -> Tensor:
    """Pixels as they are; tokens one-hot at their places."""
    if inputs.is_floating_point():
        return inputs
    return torch.nn.functional.one_hot(inputs, vocabulary)


def _read(model: nn.Module, sites: Sequence[Site], inputs: Tensor) -> list[Rows]:
    """Activations at each Site, flattened, with the network's logits (at the last position)."""
    found = run(model, inputs, read=sites, batch_size=2000)
    logits = found.output[:, -1] if found.output.ndim == 3 else found.output
    return [
        rows(value.reshape(len(inputs), -1), logits, name=f"the activations at {site}")
        for site, value in zip(sites, found.values, strict=True)
    ]


# --- scores ----------------------------------------------------------------------------------


def _score(
    detectors: Sequence[Detector],
    places: Sequence[str],
    read: Sequence[Sequence[Rows]],
    fit: np.ndarray,
    held: np.ndarray,
    fpr: float,
    who: str,
) -> list[Scored]:
    """read: trusted, test and anomalous rows, each a list over places."""
    found = []
    for detector in detectors:
        output = detector.reads == "logits"
        each = []
        for n in range(1 if output else len(places)):
            trusted, test, odd = (part[n] for part in read)
            pool = join(test, odd)
            detector.fit(trusted[fit], pool)
            limits, judged = detector.score(trusted[held]), detector.score(pool)
            place = OUTPUT if output else places[n]
            each.append((limits, judged))
            found.append(_scored(place, detector.name, who, limits, judged, len(test), fpr))
        if len(each) > 1:
            scales = [(x.mean(), max(float(x.std()), 1e-12)) for x, _ in each]
            limits, judged = (
                np.mean([(pair[i] - m) / s for pair, (m, s) in zip(each, scales, strict=True)], 0)
                for i in (0, 1)
            )
            found.append(_scored(ALL, detector.name, who, limits, judged, len(read[1][0]), fpr))
    return found


def join(a: Rows, b: Rows) -> Rows:
    """The rows of both, `a` first."""
    logits = None if a.logits is None or b.logits is None else np.r_[a.logits, b.logits]
    if a.values.shape[1] != b.values.shape[1]:
        raise AnomalyError(
            f"Rows of {a.values.shape[1]} and of {b.values.shape[1]} features cannot be judged"
            " together: read both from the same Site."
        )
    return Rows(np.r_[a.values, b.values], logits)


def _scored(
    place: str, name: str, who: str, limits: np.ndarray, judged: np.ndarray, clean: int, fpr: float
) -> Scored:
    limit = threshold_at(limits, fpr)
    strange = 0
    if name in _LOG_NORMAL and place != ALL and (limits > 0).all():
        logs = np.log(limits)
        middle = np.median(logs)
        deviation = 1.4826 * np.median(np.abs(logs - middle))
        strange = int((logs > middle + _FAR * max(float(deviation), 1e-12)).sum())
    return Scored(place, name, who, judged[:clean], judged[clean:], limit, strange)


def _rows_of(one: Scored, groups: np.ndarray | None) -> list[Row]:
    role = {"network": "result", "twin": "control", "raw": "baseline"}[one.who]
    if one.place == OUTPUT and role == "result":
        role = "baseline"
    name = f"{one.place}, {one.detector}" + (", clean twin" if one.who == "twin" else "")
    values, truth = one.all
    measured = [auroc(values, truth, groups=groups, n_resamples=300)]
    measured.append(tpr_at_fpr(values, truth, n_resamples=300))
    measured += [
        Estimate.proportion(int((part > one.limit).sum()), len(part))
        for part in (one.anomalous, one.clean)
    ]
    return [Row(f"{m}, {name}", e, role) for m, e in zip(MEASURES, measured, strict=True)]


# --- notes -----------------------------------------------------------------------------------


def _notes(
    scored: Sequence[Scored],
    parts: Sequence[Inputs],
    held: np.ndarray,
    fpr: float,
) -> list[str]:
    notes = []
    strange = max((s.strange for s in scored if s.who == "network"), default=0)
    if strange >= 2:
        notes.append(
            f"{strange} trusted rows score far outside what the others do ({_FAR:g} robust"
            " deviations of the logarithm). Look at them: the trusted set may hold the anomaly."
        )
    if len(held) < 1 / fpr:
        notes.append(
            f"The threshold is the largest score of {len(held)} trusted rows: they are too few to"
            f" say what {fpr:.0%} of rows exceed, so expect more false alarms than that."
        )
    if len(parts[1].inputs) < 100:
        notes.append(
            f"{len(parts[1].inputs)} clean test rows are too few for a threshold at 1 % of them."
        )
    known = {row.tobytes() for row in parts[0].inputs.detach().cpu().numpy()}
    twice = sum(row.tobytes() in known for row in parts[2].inputs.detach().cpu().numpy())
    if twice:
        notes.append(
            f"{twice} of the anomalous inputs stand among the trusted ones too: the trusted set"
            " holds the anomaly."
        )
    return notes
