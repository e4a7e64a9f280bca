"""`probe`: what can be read from activations, never without what could be read from nothing.

    report = probe(X, y, groups=sentence, types=word, random_init=X_of_an_untrained_twin)

One call, one Report: accuracy and AUROC on held-out rows, beside the majority, shuffled labels, a
control task, an untrained twin, types that were never fitted, the length of a code, probes of more
room, and, with `causal=`, whether the network uses what was read.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from utils.probing.causal import Causal, effects, means_direction, target_of, weights_direction
from utils.probing.classifiers import linear, mlp
from utils.probing.codelength import online_code
from utils.probing.controls import control_labels, shuffled_labels
from utils.probing.rows import Labelled, ProbingError, Split, codes, features, labelled, split
from utils.probing.scores import Tally
from utils.reports import Report, Role, Row

# the rows of one probe: name, role, and what it is in a few words
_ROWS: tuple[tuple[str, Role, str], ...] = (
    ("accuracy", "result", ""),
    ("AUROC", "result", ""),
    ("majority class", "baseline", ""),
    ("shuffled labels", "null", ""),
    ("control task", "control", "labels drawn for each type by lot"),
    ("selectivity", "result", "accuracy minus control task"),
    ("unseen types", "result", "whole types held out"),
    ("random-init twin", "baseline", "accuracy"),
    ("random-init twin, unseen types", "baseline", "whole types held out"),
    ("code length", "result", "share of the uniform code"),
    ("code length, control task", "control", "share of the uniform code"),
    ("code length, random-init twin", "baseline", "share of the uniform code"),
)


def probe(
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    types: Any = None,
    control: bool = True,
    random_init: Any = None,
    seeds: Sequence[int] = (0, 1),
    widths: Sequence[int] = (0,),
    code: bool = True,
    causal: Causal | None = None,
    split_by: Literal["group", "row"] | None = None,
    held_out: float = 0.3,
    n_resamples: int = 1000,
    title: str = "",
    digits: int = 3,
) -> Report:
    """Probe activations for labels; everything is measured on rows that the probe never saw.

    X: [n, d], or several of them by name (layers), rows in the same order. y: [n], of any kind.
    groups: [n], rows that belong together (sentence, scan): a split keeps them together, and
        intervals resample them. `split_by="row"` splits them up all the same, and says so.
    types: [n], what a probe could learn by heart (word type). Needed for the control task, and for
        accuracy on types that were not fitted.
    random_init: activations [n, d'] of the same rows in an untrained twin; by name where X is.
    seeds: one split, control task and probe each. All are averaged, none is chosen.
    widths: 0 is the linear probe, other numbers a hidden layer of so many neurons. The first is the
        one for code length, shuffled labels and the twin.
    code: the online code, in parts of the uniform one.
    causal: steer along the found direction; for one X and a linear probe.

    With m layers and widths together, intervals are at 1 - .05 / m (Bonferroni). Of several layers
    the row "chosen layer" takes, split by split, the one that is best on a part of the fitted rows.
    Raises ProbingError for rows on which nothing can be said, SiteError for a site of another
    model.
    """
    layers, single = _layers(X, "X")
    twins = _twins(random_init, layers)
    first = next(iter(layers.values()))
    data = labelled(first, y, groups)
    kinds = None if types is None else codes(types, len(data), "types")[0]
    seeds, widths = tuple(seeds), tuple(widths)
    if not seeds or not widths or any(w < 0 for w in widths) or len(set(widths)) < len(widths):
        raise ProbingError("probe needs one seed or more, and different widths of 0 or more.")
    if causal is not None and not (single and widths[0] == 0):
        raise ProbingError("causal= goes with one X and a linear probe (widths beginning with 0).")
    target = None if causal is None else target_of(causal, data.classes, first.shape[1])

    work = _Work(data, kinds, control, split_by, held_out, seeds)
    prefix = dict.fromkeys(layers, "") if single else {name: f"{name}: " for name in layers}
    for name, x in layers.items():
        for width in widths:
            lead = prefix[name] + ("" if width == widths[0] else f"{_called(width)}: ")
            work.measure(lead, x, width, twins.get(name), code, width == widths[0])
    if not single:
        work.choose(layers, widths[0], prefix)

    m = len(layers) * len(widths)
    level = 1 - 0.05 / m
    rows = work.rows(level, n_resamples)
    if causal is not None and target is not None:
        rows += _pushed(causal, work, first, target)
    return Report(
        title or f"Probing for {len(data.classes)} classes, {_called(widths[0])} probe",
        rows,
        work.protocol(len(layers), m, level),
        work.notes,
        digits=digits,
    )


def _layers(X: Any, name: str) -> tuple[dict[str, np.ndarray], bool]:
    if not isinstance(X, Mapping):
        return {"": features(X, name)}, True
    if not X:
        raise ProbingError(f"{name} names no layers.")
    layers = {str(key): features(x, f"{name}[{key!r}]") for key, x in X.items()}
    if len({len(x) for x in layers.values()}) > 1:
        raise ProbingError(f"The layers have {[len(x) for x in layers.values()]} rows; they must"
                           " be the same rows in the same order.")  # fmt: skip
    return layers, False


def _twins(random_init: Any, layers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if random_init is None:
        return {}
    twins, _ = _layers(random_init, "random_init")
    if set(twins) != set(layers):
        raise ProbingError("random_init must have the layers that X has, by the same names.")
    for name, twin in twins.items():
        if len(twin) != len(layers[name]):
            raise ProbingError(f"random_init has {len(twin)} rows for {len(layers[name])} of X.")
    return twins


def _called(width: int) -> str:
    return "linear" if width == 0 else f"MLP-{width}"


class _Work:
    """The splits, what was measured on them, and what there is to say about them."""

    def __init__(
        self,
        data: Labelled,
        kinds: np.ndarray | None,
        control: bool,
        split_by: str | None,
        held_out: float,
        seeds: tuple[int, ...],
    ) -> None:
        if split_by not in (None, "group", "row"):
            raise ProbingError(f'split_by is "group" or "row", got {split_by!r}.')
        if split_by == "group" and data.groups is None:
            raise ProbingError('split_by="group" needs groups, one for each row.')
        self.data, self.kinds, self.seeds, self.held_out = data, kinds, seeds, held_out
        y, n = data.y, len(data)
        together = None if split_by == "row" else data.groups
        self.splits = {
            s: split(n, held_out=held_out, seed=s, groups=together, labels=y) for s in seeds
        }
        self.by_type = {s: self._type_split(s) for s in seeds} if kinds is not None else {}
        self.notes = self._leaks(together)
        self.controls: dict[int, np.ndarray] = {}
        if control and kinds is None:
            self.notes.append(
                "No control task and no selectivity: they need types (what a probe could learn by"
                " heart, such as the word)."
            )
        elif control:
            self.controls = {s: control_labels(kinds, y, s) for s in seeds}
        self.shuffled = {s: shuffled_labels(y, s, together) for s in seeds}
        units = data.groups if data.groups is not None else kinds
        self.unit = "rows" if units is None else "groups" if data.groups is not None else "types"
        self.tally = Tally(np.arange(n) if units is None else units)
        # types are what was drawn where types are held out
        self.type_tally = Tally(np.arange(n) if kinds is None else kinds)
        self.order: list[tuple[str, Role, str]] = []
        self.probes: dict[tuple[str, int], Any] = {}
        self.stopped = 0
        self.chosen: Counter[str] = Counter()

    def _type_split(self, seed: int) -> Split | None:
        """By whole types; None when no draw has every class on both sides."""
        for again in range(20):
            try:
                return split(
                    len(self.data), held_out=self.held_out, seed=seed + 1000 * again,
                    groups=self.kinds, labels=self.data.y,
                )  # fmt: skip
            except ProbingError:
                continue
        return None

    def _leaks(self, together: np.ndarray | None) -> list[str]:
        notes = []
        fit, held = self.splits[self.seeds[0]]
        groups = self.data.groups
        if groups is not None and together is None:
            shared = float(np.isin(groups[held], groups[fit]).mean())
            notes.append(
                f"Warning: split by row, and {shared:.0%} of the held-out rows share a group with"
                " fitted rows. Accuracy may be remembered groups."
            )
        if groups is None and self.kinds is None:
            notes.append(
                "No groups and no types were given: if rows share a word, a sentence or an image,"
                " held-out rows are not new, and intervals are too narrow."
            )
        if self.kinds is not None:
            seen = float(np.isin(self.kinds[held], self.kinds[fit]).mean())
            if seen < 0.5:
                raise ProbingError(
                    "groups keep whole types apart, so that no probe could know the control labels"
                    " of held-out rows and selectivity would mean nothing. Give sentences (or"
                    " nothing) as groups; accuracy on unseen types is a row of its own."
                )
            notes.append(
                f"{seen:.0%} of the held-out rows are of a type that was fitted: only the row"
                ' "unseen types" cannot be had by heart.'
            )
        if any(s is None for s in self.by_type.values()):
            notes.append("No accuracy on unseen types: some class has too few types.")
            self.by_type = {}
        return notes

    # --- measuring ---------------------------------------------------------------------------

    def measure(
        self,
        lead: str,
        x: np.ndarray,
        width: int,
        twin: np.ndarray | None,
        code: bool,
        main: bool,
    ) -> None:
        """Everything about one probe at one layer, under names that begin with `lead`."""
        y, kinds = self.data.y, len(self.data.classes)
        self.order += [(lead + name, role, note) for name, role, note in _ROWS]
        for seed, (fit, held) in self.splits.items():
            fitted = self._fit(width, seed, x, y, fit)
            if main:
                self.probes[lead, seed] = fitted
            chance = fitted.predict_proba(x[held])
            right = (chance.argmax(1) == y[held]).astype(float)
            self.tally.add(lead + "accuracy", held, right)
            self.tally.add_auroc(lead + "AUROC", held, chance, y[held])
            if main:
                guess = np.bincount(y[fit]).argmax()
                self.tally.add(lead + "majority class", held, (y[held] == guess).astype(float))
                wrong = self.shuffled[seed]
                null = self._fit(width, seed, x, wrong, fit)
                self._add(lead + "shuffled labels", null, x, wrong, held)
                if x.shape[1] >= len(fit) and seed == self.seeds[0]:
                    by_chance = float((null.predict(x[fit]) == wrong[fit]).mean())
                    self.notes.append(
                        f"Warning: {lead or 'X: '}{x.shape[1]} dimensions for {len(fit)} fitted"
                        " rows, so any labels can be separated: shuffled ones are fitted with"
                        f" accuracy {by_chance:.2f}. Only held-out rows count."
                    )
            if self.controls:
                lot = self.controls[seed]
                memory = self._fit(width, seed, x, lot, fit)
                known = self._add(lead + "control task", memory, x, lot, held)
                self.tally.add(lead + "selectivity", held, right - known, "difference")
            for name, where in (("", x), ("random-init twin", twin)):
                if where is None or (name and not main):
                    continue
                if name:
                    untrained = self._fit(width, seed, where, y, fit)
                    self._add(lead + name, untrained, where, y, held)
                apart = self.by_type.get(seed)
                if apart is not None:
                    new = self._fit(width, seed, where, y, apart.fit)
                    label = f"{name}, unseen types" if name else "unseen types"
                    self._add(lead + label, new, where, y, apart.held, self.type_tally)
        if code and main:
            seed = self.seeds[0]
            jobs = [("code length", x, y), ("code length, random-init twin", twin, y)]
            if self.controls:
                jobs.append(("code length, control task", x, self.controls[seed]))
            for name, where, labels in jobs:
                if where is not None:
                    bits = self._quiet(
                        online_code, where, labels, partial(_make, width, seed), kinds=kinds,
                        seed=seed, groups=self.data.groups,
                    )  # fmt: skip
                    rows = np.arange(len(y))
                    self.tally.add(lead + name, rows, bits / np.log2(kinds), "mean")

    def choose(self, layers: dict[str, np.ndarray], width: int, prefix: dict[str, str]) -> None:
        """In each split, the layer that is best on a quarter of the fitted rows; then its held-out
        accuracy. Held-out rows have no say in the choice."""
        y = self.data.y
        for seed, (fit, held) in self.splits.items():
            groups = None if self.data.groups is None else self.data.groups[fit]
            inner = split(len(fit), held_out=0.25, seed=seed, groups=groups, labels=y[fit])
            learn, judge = fit[inner.fit], fit[inner.held]
            scores = {
                name: float((self._fit(width, seed, x, y, learn).predict(x[judge]) == y[judge])
                            .mean())
                for name, x in layers.items()
            }  # fmt: skip
            best = max(scores, key=lambda name: scores[name])
            self.chosen[best] += 1
            self._add(
                "chosen layer: accuracy", self.probes[prefix[best], seed], layers[best], y, held
            )
        picks = ", ".join(f"{name} in {times}" for name, times in self.chosen.most_common())
        note = f"chosen on fitted rows: {picks} of {len(self.seeds)} splits"
        self.order.append(("chosen layer: accuracy", "result", note))

    def _fit(self, width: int, seed: int, x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> Any:
        return self._quiet(_make(width, seed).fit, x[rows], y[rows])

    def _quiet(self, call: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """A fit that was stopped before it converged is counted and told, not shouted."""
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits

        # One thread: these matrices are small, and threads that wait for each other on a busy
        # machine made the same fit sixty times slower.
        with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = call(*args, **options)
        for warning in caught:
            if issubclass(warning.category, ConvergenceWarning):
                self.stopped += 1
            else:
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
        return result

    def _add(
        self,
        name: str,
        fitted: Any,
        x: np.ndarray,
        labels: np.ndarray,
        rows: np.ndarray,
        tally: Tally | None = None,
    ) -> np.ndarray:
        right = (fitted.predict(x[rows]) == labels[rows]).astype(float)
        (tally or self.tally).add(name, rows, right)
        return right

    # --- telling -----------------------------------------------------------------------------

    def rows(self, level: float, n_resamples: int) -> list[Row]:
        found = self.tally.estimates(level=level, n_resamples=n_resamples)
        found |= self.type_tally.estimates(level=level, n_resamples=n_resamples)
        if self.stopped:
            self.notes.append(f"Fits stopped before they converged: {self.stopped}.")
        return [Row(name, found[name], role, note) for name, role, note in self.order
                if name in found]  # fmt: skip

    def protocol(self, layers: int, m: int, level: float) -> dict[str, str | int | float]:
        fit, held = self.splits[self.seeds[0]]
        said: dict[str, str | int | float] = {
            "rows": f"{len(fit)} fitted, {len(held)} held out",
            "features": self.data.x.shape[1] if layers == 1 else f"{layers} layers",
            "splits": f"{len(self.seeds)}, averaged, none chosen",
            "intervals resample": self.unit,
        }
        if any("code length" in name for name in self.tally.names()):
            said["code"] = "online, all rows in random order, blocks up to 50 % of them fitted"
        if m > 1:
            said["correction"] = (
                f"Bonferroni: {m} probes compared, each interval at {100 * level:.4g} %"
            )
        return said


def _make(width: int, seed: int) -> Any:
    return linear(seed) if width == 0 else mlp(width, seed)


def _pushed(causal: Causal, work: _Work, x: np.ndarray, target: int) -> list[Row]:
    """Effects along the directions found on the fitted rows of the first split."""
    seed = work.seeds[0]
    fit = work.splits[seed].fit
    gap = means_direction(x[fit], work.data.y[fit] == target)
    found = {
        "the probe's weights": weights_direction(work.probes["", seed], target, gap),
        "the difference of means": gap,
    }
    lot = work.controls.get(seed)
    decoy = None
    if lot is not None and 0 < (lot[fit] == target).sum() < len(fit):
        decoy = means_direction(x[fit], lot[fit] == target)
    return effects(causal, found, decoy, str(work.data.classes[target]))
