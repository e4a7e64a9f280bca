"""Probes fitted to contrast pairs, with all that can fool their reader beside them.

A contrastive method finds whatever tells the two sides of a pair apart. Labels say afterwards
which of the concepts somebody thought of that was; they choose no restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from utils.probing.ccs import STEPS, Normaliser, fit_ccs
from utils.probing.classifiers import linear
from utils.probing.contrast_report import FIRST, FOUND, LOGISTIC, MASS, Restart, contrast_report
from utils.probing.rows import ProbingError, Split, codes, features, split
from utils.reports import Report
from utils.steering import random_directions

SHUFFLES = 10  # of the labels, for the null of logistic regression


@dataclass(frozen=True, repr=False)
class Contrast:
    """What `contrast` found.

    report: results with baselines, nulls and ceilings. restarts: every one, as it came.
    names, agreement [k, k]: restarts, other methods and known concepts, and the share of held-out
    pairs on which two of them say the same (up to a sign taken from the fitted pairs).
    readouts: by name, [d] float32, the unit vector that a method multiplies activations with.
    directions: by name, [d] float32, what moves in an activation as that method changes its mind:
    half the difference between the pairs it tells apart (the pattern of its weights: Haufe and
    others, "On the interpretation of weight vectors of linear models in multivariate neuroimaging",
    2014). Steer with these (`utils.steering`): a dose of 1 carries a mean row from one side to the
    other. A readout need not move anything: it also turns away from what would disturb it.
    Both point to where the concept asked for holds, by the fitted pairs.
    random: accuracy of each random direction on the concept asked for, [directions].
    rows: the pairs fitted on and held out.
    """

    report: Report
    restarts: tuple[Restart, ...]
    names: tuple[str, ...]
    agreement: np.ndarray
    readouts: dict[str, Tensor]
    directions: dict[str, Tensor]
    random: np.ndarray
    rows: Split

    def __repr__(self) -> str:
        return str(self.report)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()

    def table(self) -> list[dict[str, float | int]]:
        """One dict a restart: its number, loss, held-out loss, accuracy on each concept."""
        return [
            {"restart": i, "loss": r.loss, "held-out loss": r.held_out_loss, **r.accuracy}
            for i, r in enumerate(self.restarts, 1)
        ]

    def found(self, concept: str, at_least: float = FOUND) -> int:
        """How many restarts tell the concept on at least this share of the held-out pairs."""
        known = self.restarts[0].accuracy
        if concept not in known:
            raise ProbingError(f"No concept {concept!r} was given; known are {', '.join(known)}.")
        return sum(r.accuracy[concept] >= at_least for r in self.restarts)

    @property
    def lowest(self) -> int:
        """Index of the restart with the lowest loss on the fitted pairs."""
        return int(np.argmin([r.loss for r in self.restarts]))


def contrast(
    x_yes: Any,
    x_no: Any,
    labels: Any,
    *,
    name: str = "truth",
    known: Mapping[str, Any] | None = None,
    groups: Any = None,
    rows: Split | None = None,
    held_out: float = 0.5,
    restarts: int = 10,
    directions: int = 1000,
    steps: int = STEPS,
    seed: int = 0,
) -> Contrast:
    """Unsupervised and supervised probes on contrast pairs, from activations of any origin.

    x_yes, x_no: the two sides, [pairs, d] each, pair by pair. labels [pairs]: the concept asked
        for, of two classes: on which side it holds (True, or the later of the two when sorted: on
        the yes side). name: what to call it. known: other concepts by name, labelled likewise.
    groups [pairs]: which pairs belong together (the same fact); whole groups are held out.
    rows: a split of your own, e.g. to fit on a subset and hold out all kinds of pairs.

    Contrast-Consistent Search (Burns and others 2022), `restarts` times; the first principal
    component of the differences (CRC-TPC, ibid.); the difference of class means ("mass mean", Marks
    & Tegmark, "The Geometry of Truth", 2023) and logistic regression of the differences, which see
    labels; `directions` random directions as null. Each side loses its own mean, from the fitted
    pairs. Accuracies are on held-out pairs; a direction's sign is that of the fitted ones, so that
    no accuracy is folded up to max(a, 1 - a).

    Raises ProbingError for sides of unequal shape or that are the same, NaN, constant activations,
    labels of one class, or a split that leaves a class out.
    """
    yes, no = _sides(x_yes, x_no)
    concepts = _concepts(name, labels, known or {}, len(yes))
    wanted = concepts[name]
    if restarts < 1 or directions < 20 or steps < 1:
        raise ProbingError("contrast needs restarts >= 1, directions >= 20 and steps >= 1.")
    together = None if groups is None else codes(groups, len(yes), "groups")[0]
    if rows is None:
        rows = split(len(yes), held_out=held_out, seed=seed, groups=together, labels=wanted)
    fit, held = _checked(rows, concepts)

    normalise = Normaliser.fit(yes[fit], no[fit])
    pairs, others = normalise(yes[fit], no[fit]), normalise(yes[held], no[held])
    apart, aside = np.subtract(*pairs), np.subtract(*others)
    if np.sqrt((apart**2).mean()) < 1e-9:
        raise ProbingError(
            "All pairs differ by the same vector; when each side's mean is gone nothing contrasts."
        )
    ccs = fit_ccs(*pairs, restarts=restarts, steps=steps, seed=seed)
    read = {n: linear(seed).fit(apart, y[fit]) for n, y in concepts.items()}
    vectors = {f"CCS {i}": w.double().numpy() for i, w in enumerate(ccs.weights, 1)}
    vectors[FIRST] = np.linalg.svd(apart, full_matrices=False)[2][0]
    vectors[MASS] = apart[wanted[fit]].mean(0) - apart[~wanted[fit]].mean(0)
    scaler, regression = (step for _, step in read[name].steps)
    vectors[LOGISTIC] = regression.coef_[0] / scaler.scale_
    matrix = np.stack(list(vectors.values()))

    # what each direction says of the pairs fitted on and held out, [pairs, directions] bool
    said, told = apart @ matrix.T > 0, aside @ matrix.T > 0
    said[:, -1], told[:, -1] = read[name].predict(apart), read[name].predict(aside)  # intercept
    right = {n: _right(said, told, y[fit], y[held]) for n, y in concepts.items()}
    draws = random_directions(apart.shape[1], directions, seed=seed).double().numpy().T
    chance = _right(apart @ draws > 0, aside @ draws > 0, wanted[fit], wanted[held]).mean(0)
    runs = tuple(
        Restart(loss, other, {n: float(hits[:, i].mean()) for n, hits in right.items()})
        for i, (loss, other) in enumerate(
            zip(ccs.loss.tolist(), ccs.losses(*others).tolist(), strict=True)
        )
    )

    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(fit)) for _ in range(SHUFFLES)]
    nothing = np.array([
        linear(seed).fit(apart, wanted[fit][order]).score(aside, wanted[held]) for order in orders
    ])  # fmt: skip
    broken = fit_ccs(pairs[0], pairs[1][orders[0]], restarts=restarts, steps=steps, seed=seed).loss
    members = None if together is None else together[held]
    ceilings = {n: read[n].predict(aside) == y[held] for n, y in concepts.items()}
    truths = [np.column_stack([y[part] for y in concepts.values()]) for part in (fit, held)]
    facing = np.where(_agree(said, wanted[fit]) < 0.5, -1.0, 1.0)[:, None]
    units = facing * matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    patterns = facing * _patterns(said, apart) * normalise.scale
    return Contrast(
        contrast_report(name, runs, right[name], chance, ceilings, nothing, broken.numpy(),
                        wanted[held], members, rows, apart.shape[1], seed),
        runs,
        (*vectors, *concepts),
        _matrix(np.column_stack([said, truths[0]]), np.column_stack([told, truths[1]])),
        dict(zip(vectors, torch.tensor(units, dtype=torch.float32), strict=True)),
        dict(zip(vectors, torch.tensor(patterns, dtype=torch.float32), strict=True)),
        chance,
        Split(fit, held),
    )  # fmt: skip


# --- what comes in -------------------------------------------------------------------------------


def _sides(x_yes: Any, x_no: Any) -> tuple[np.ndarray, np.ndarray]:
    yes, no = features(x_yes, "x_yes"), features(x_no, "x_no")
    if yes.shape != no.shape:
        raise ProbingError(
            f"x_yes has shape {list(yes.shape)} and x_no {list(no.shape)}; a pair needs both of its"
            " sides, in the same row and of the same width."
        )
    if np.array_equal(yes, no):
        raise ProbingError(
            "Both sides are the same in every pair: were they read before the place where the"
            " inputs differ?"
        )
    return yes, no


def _concepts(name: str, labels: Any, known: Mapping[str, Any], n: int) -> dict[str, np.ndarray]:
    """Each concept as [n] bool, the one asked for first."""
    if name in known:
        raise ProbingError(f"Two concepts are called {name!r}; give the labels another name.")
    found = {}
    for concept, values in {name: labels, **known}.items():
        numbers, classes = codes(values, n, concept)
        if len(classes) == 1:
            raise ProbingError(
                f"{concept!r} is {classes[0]!r} in all {n} pairs. Taking away each side's mean"
                " would take such a concept away too: it must hold on the yes side of some and on"
                " the no side of other pairs."
            )
        if len(classes) > 2:
            raise ProbingError(f"{concept!r} has {len(classes)} classes; a pair has two sides.")
        found[concept] = numbers == 1
    return found


def _checked(rows: Split, concepts: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Fitted and held-out row numbers. ProbingError unless disjoint, with both classes in each."""
    n = len(next(iter(concepts.values())))
    fit, held = (np.asarray(part, dtype=np.int64) for part in rows)
    together = np.concatenate([fit, held])
    if not len(fit) or not len(held) or together.min() < 0 or together.max() >= n:
        raise ProbingError(f"rows holds row numbers below {n}, some to fit on and some held out.")
    if len(set(fit.tolist()) & set(held.tolist())):
        raise ProbingError("Some pairs are both fitted on and held out.")
    for concept, values in concepts.items():
        for side, part in (("fitted", fit), ("held-out", held)):
            if values[part].all() or not values[part].any():
                raise ProbingError(f"{concept!r} is the same in all {side} pairs.")
    return fit, held


# --- what is said of it ---------------------------------------------------------------------------


def _agree(said: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Share of pairs on which each column says what `values` [pairs] says."""
    return (said == values[:, None]).mean(0)


def _right(said: np.ndarray, told: np.ndarray, fitted: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Where each column of `told` is right on held-out pairs, turned round if fitted pairs say."""
    flip = _agree(said, fitted) < 0.5
    return (told ^ flip) == held[:, None]


def _matrix(said: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Agreement of all columns with all others on held-out pairs, signs by the fitted ones."""
    return np.stack([_right(said, told, s, t).mean(0) for s, t in zip(said.T, told.T, strict=True)])


def _patterns(said: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Half of the mean difference between the pairs each column tells apart: [columns, d]."""
    ours = said / np.maximum(said.sum(0), 1)
    theirs = ~said / np.maximum((~said).sum(0), 1)
    return ((ours - theirs).T @ apart) / 2
