"""Erasing a concept from activations, and what that did and did not do.

    eraser = erase(x_fit, is_true)                       # LEACE
    print(eraser.report(x_held, is_true_held, kept={"agrees": agrees_held}))
    run(model, tokens, edits=[eraser.as_edit(site)])     # the network with the concept erased there

A guard against linear probes of one concept is no guard against others: the report shows the linear
probe beside a non-linear one, the concepts that should stay, the network's behaviour, and the same
for erasers of random labels and of random directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from utils.probing.classifiers import fitted, linear, mlp
from utils.probing.rows import ProbingError, codes, features
from utils.reports import Estimate, Report, Row, bootstrap
from utils.selection import SiteError
from utils.sites import Site

Method = Literal["leace", "mean", "inlp"]
Behaviour = Callable[[Callable[[Tensor], Tensor] | None], Any]
"""Takes what is to be written in place of the activations (None: nothing) and returns one number a
row, e.g. whether the network's output still shows the concept."""

TOLERANCE = 1e-6
"""Directions whose correlation with the concept is below this are left in. The authors' package has
0.01, an absolute cut: a concept that weak stays in without a word."""


@dataclass(frozen=True, repr=False)
class Eraser:
    """x -> x - left right (x - mean), an affine map of rank `rank`.

    left [d, rank], right [rank, d], mean [d], float64. For an orthogonal projection right is left
    transposed; LEACE's is oblique, which moves the rows least (Belrose and others, "LEACE: Perfect
    linear concept erasure in closed form", 2023). rows, classes: what it was fitted on.
    """

    method: str
    left: Tensor
    right: Tensor
    mean: Tensor
    rows: int
    classes: tuple[Any, ...]
    notes: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """How many dimensions were taken out."""
        return self.left.shape[1]

    @property
    def width(self) -> int:
        """The number of features, d."""
        return len(self.mean)

    def __repr__(self) -> str:
        return f"Eraser({self.method}, rank {self.rank} of {self.width}, {self.rows} rows)"

    def apply(self, x: Any) -> Any:
        """The rows [..., d] with the concept erased; torch stays torch, all else becomes numpy.

        Raises ProbingError where the width differs.
        """
        given = x if isinstance(x, Tensor) else torch.as_tensor(np.asarray(x, dtype=np.float64))
        if given.shape[-1] != self.width:
            raise ProbingError(
                f"This eraser was fitted on {self.width} features; here are {given.shape[-1]}."
            )
        left, right, mean = (
            part.to(given.device, given.dtype) for part in (self.left, self.right, self.mean)
        )
        out = given - ((given - mean) @ right.T) @ left.T
        return out if isinstance(x, Tensor) else out.numpy()

    def as_edit(self, site: Site) -> tuple[Site, Callable[[Tensor], Tensor]]:
        """(site, function) for `run(edits=[...])`; every position in the site is erased.

        The features must be the site's last axis (residual stream, heads, MLP, fully connected).
        Running raises SiteError where the width differs.
        """

        def erased(old: Tensor) -> Tensor:
            if old.shape[-1] != self.width:
                raise SiteError(
                    f"The eraser was fitted on {self.width} features, but {site} holds"
                    f" {old.shape[-1]}."
                )
            return self.apply(old)

        return site, erased

    def as_hook(self, site: Site) -> tuple[str, Callable[..., Tensor]]:
        """(name, function) for TransformerLens' `run_with_hooks(fwd_hooks=[...])`.

        Raises SiteError for a site with selectors: such a hook sees the whole activation, so use
        `as_edit`.
        """
        if repr(site) != site.hook:
            raise SiteError(f"{site} is a part of its hook; use as_edit, which knows about parts.")

        def hook(activation: Tensor, hook: Any = None) -> Tensor:
            return self.apply(activation)

        return site.hook, hook

    def report(
        self,
        x: Any,
        z: Any,
        *,
        kept: Mapping[str, Any] | None = None,
        behaviour: Mapping[str, Behaviour] | None = None,
        concept: str = "the concept",
        width: int = 64,
        draws: int = 5,
        seed: int = 0,
    ) -> Report:
        """What erasing did to rows x [n, d] with labels z [n] that it was not fitted on.

        Each probe is fitted on one half of these rows, erased, and judged on the other, both ways,
        so that what it says is news to it. kept: names -> labels that should stay readable.
        behaviour: names -> functions, see `Behaviour`. width: of the non-linear probe's hidden
        layer. draws: of random labels and of random directions, for the twins.

        Raises ProbingError as `erase`, and when x are the very rows the eraser was fitted on.
        """
        rows = features(x, "x")
        if rows.shape[1] != self.width:
            raise ProbingError(
                f"This eraser was fitted on {self.width} features; here are {rows.shape[1]}."
            )
        labels, classes = codes(z, len(rows), "z")
        self._refuse_own_rows(rows)
        if len(classes) < 2:
            raise ProbingError(f"All {len(rows)} held-out labels are {classes[0]!r}.")
        named = {concept: labels}
        for name, values in (kept or {}).items():
            named[name] = codes(values, len(rows), name)[0]
        twins = {
            "random labels": [
                _fitted(self.method, rows, rng.permutation(labels), self.rank, 0)
                for rng in map(np.random.default_rng, range(seed, seed + draws))
            ],
            "random directions": [
                _random(rows, self.rank, s) for s in range(seed + draws, seed + 2 * draws)
            ],
        }
        out: list[Row] = []
        chance = np.bincount(labels).max() / len(labels)
        for name, values in named.items():
            probes = {"linear": linear(seed), "non-linear": mlp(width, seed)}
            if name != concept:
                probes.pop("non-linear")
            for kind, probe in probes.items():
                what = f"{name}, {kind} probe"
                out.append(Row(what, _told(probe, self.apply(rows), values, seed), "result"))
                out.append(Row(f"{what}, before", _told(probe, rows, values, seed), "baseline"))
                if kind == "linear":
                    for twin, erasers in twins.items():
                        shares = np.mean(
                            [_scored(probe, e.apply(rows), values, seed) for e in erasers], 0
                        )
                        out.append(
                            Row(f"{what}, {twin}", Estimate.mean(shares), "null", f"{draws} draws")
                        )
            most = np.bincount(values).max()
            out.append(
                Row(f"{name}, always the commonest", Estimate.proportion(int(most), len(values)),
                    "baseline")
            )  # fmt: skip
        for name, measure in (behaviour or {}).items():
            out += _behaviour_rows(name, measure, self, twins)
        moved = ((rows - self.apply(rows)) ** 2).sum(1)
        spread = ((rows - rows.mean(0)) ** 2).sum(1)
        out.append(Row("share of the variance moved", _ratio(moved, spread, seed), "result"))
        for twin, erasers in twins.items():
            other = np.mean([((rows - e.apply(rows)) ** 2).sum(1) for e in erasers], 0)
            out.append(
                Row(f"share of the variance moved, {twin}", _ratio(other, spread, seed), "null")
            )
        return Report(
            f"Erasing {concept} ({self.method}, rank {self.rank} of {self.width})",
            out,
            {
                "fitted on": f"{self.rows} other rows",
                "held-out rows": len(rows),
                "probes": "fitted on one half of the held-out rows, judged on the other, both ways",
                "twins": f"{draws} erasers of shuffled labels, {draws} of random directions of the"
                " same rank",
                "commonest class": f"{chance:.3f}",
            },
            [*self.notes, "The guard is for linear probes of this concept at this place only."],
        )

    def _refuse_own_rows(self, rows: np.ndarray) -> None:
        centre = self.mean.numpy()
        if len(rows) == self.rows and np.allclose(rows.mean(0), centre, rtol=0, atol=1e-12):
            raise ProbingError(
                "These are the rows the eraser was fitted on; there its guard holds by"
                " construction. Give rows it has not seen."
            )


def erase(x: Any, z: Any, method: Method = "leace", *, steps: int = 1, seed: int = 0) -> Eraser:
    """An eraser of the concept z from rows x [n, d], fitted on them.

    z: one label a row of any kind (several classes are erased together), or numbers [n, k], one
    column for each of k concepts; `joint` makes one label of several.
    method: "leace" leaves every linear predictor at chance and moves the rows least. "mean"
    projects out the differences between the classes' means. "inlp" projects out the weights of
    `steps` logistic regressions, each fitted on what the ones before left (Ravfogel and others,
    "Null it out", 2020).

    Raises ProbingError for NaN, rows that do not vary, one class only, or unequal lengths.
    """
    if method not in ("leace", "mean", "inlp"):
        raise ProbingError(f'method is "leace", "mean" or "inlp", got {method!r}.')
    if steps < 1:
        raise ProbingError(f"INLP needs one step or more, got {steps}.")
    return _fitted(method, features(x, "x"), z, steps, seed)


def joint(*labels: Any) -> list[tuple[Any, ...]]:
    """One label out of several, so that their combinations are erased too, not each for itself.

    After the marginal erasure of "is true" the network can still read "is true, given that it
    agrees"; after the joint one it cannot.
    """
    if len(labels) < 2:
        raise ProbingError("joint takes two sets of labels or more.")
    plain = [one.tolist() if hasattr(one, "tolist") else list(one) for one in labels]
    if len({len(one) for one in plain}) > 1:
        raise ProbingError(f"The labels have {[len(one) for one in plain]} entries; give equal.")
    return list(zip(*plain, strict=True))


def _fitted(method: str, x: np.ndarray, z: Any, steps: int, seed: int) -> Eraser:
    columns, classes = _columns(z, len(x))
    notes: list[str] = []
    if x.shape[1] >= len(x):
        notes.append(
            f"{x.shape[1]} features on {len(x)} rows: directions without variance are left alone."
        )
    mean = torch.as_tensor(x.mean(0))
    if method == "leace":
        left, right, weak = _leace(torch.as_tensor(x), torch.as_tensor(columns))
        if weak:
            notes.append(f"{weak} directions correlate less than {TOLERANCE:g} and stay.")
    elif method == "mean":
        offsets = columns - columns.mean(0)
        left = _basis((x - x.mean(0)).T @ offsets @ np.linalg.pinv(offsets.T @ offsets))
        right = left.T
    else:
        left = _inlp(x, columns, classes, steps, seed)
        right = left.T
    if left.shape[1] == 0:
        notes.append("Nothing linear was found, so nothing was taken out.")
    return Eraser(method, left, right, mean, len(x), classes, tuple(notes))


def _leace(x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, int]:
    """The map of the authors' package, as (left, right, how many directions it left in)."""
    from concept_erasure import LeaceFitter

    fitter = LeaceFitter(
        x.shape[1], z.shape[1], dtype=torch.float64, svd_tol=TOLERANCE, shrinkage=False
    )
    fitter.update(x, z)
    eraser = fitter.eraser
    kept = eraser.proj_left.norm(dim=0) > 0  # the package sets what it leaves in to zero
    rank = int(torch.linalg.matrix_rank(z - z.mean(0)))
    weak = max(0, min(rank, x.shape[1]) - int(kept.sum()))
    return eraser.proj_left[:, kept], eraser.proj_right[kept], weak


def _inlp(
    x: np.ndarray, columns: np.ndarray, classes: tuple[Any, ...], steps: int, seed: int
) -> Tensor:
    if not classes:
        raise ProbingError("INLP needs one label a row, not columns of numbers; use joint.")
    labels = columns.argmax(1)
    left = np.zeros((x.shape[1], 0))
    for _ in range(steps):
        kept = x - (x - x.mean(0)) @ left @ left.T
        if np.ptp(kept, axis=0).max() < 1e-9:
            break
        probe = fitted(linear(seed), kept, labels)
        scale = probe[0].scale_
        weights = (probe[1].coef_ / scale).T  # back in the units of x
        left = _basis(np.hstack([left, weights])).numpy()
    return torch.as_tensor(left)


def _random(x: np.ndarray, rank: int, seed: int) -> Eraser:
    draws = np.random.default_rng(seed).normal(size=(x.shape[1], max(rank, 1)))
    left = _basis(draws)
    return Eraser("random", left, left.T, torch.as_tensor(x.mean(0)), len(x), ())


def _basis(columns: np.ndarray) -> Tensor:
    """An orthonormal basis of the columns' span; those that add nothing are dropped."""
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    keep = s > 1e-10 * max(float(s.max(initial=0.0)), 1e-300)
    return torch.as_tensor(u[:, keep])


def _columns(z: Any, n: int) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Labels as indicator columns [n, classes], or columns of numbers as they are."""
    shape = getattr(z, "shape", None)
    if shape is not None and len(shape) == 2:
        values = features(z, "z")
        if len(values) != n:
            raise ProbingError(f"z has {len(values)} rows and x has {n}; they must agree.")
        return values, ()
    numbers, classes = codes(_hashable(z), n, "z")
    if len(classes) < 2:
        raise ProbingError(f"All {n} labels are {classes[0]!r}: there is nothing to erase.")
    return np.eye(len(classes))[numbers], classes


def _hashable(z: Any) -> Any:
    """Labels made by `joint` are tuples, which `codes` takes for lists of labels."""
    plain = z.tolist() if hasattr(z, "tolist") else list(z)
    return [repr(one) if isinstance(one, tuple) else one for one in plain]


# --- measuring -------------------------------------------------------------------------------


def _scored(probe: Any, x: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Whether a probe fitted on the other half is right, for each row: [n] of 0 and 1."""
    from sklearn.base import clone
    from sklearn.model_selection import StratifiedKFold

    if np.bincount(labels).min() < 2:
        raise ProbingError("A class has fewer than two held-out rows: no probe can be judged.")
    right = np.zeros(len(x))
    for fit, held in StratifiedKFold(2, shuffle=True, random_state=seed).split(x, labels):
        right[held] = fitted(clone(probe), x[fit], labels[fit]).predict(x[held]) == labels[held]
    return right


def _told(probe: Any, x: np.ndarray, labels: np.ndarray, seed: int) -> Estimate:
    right = _scored(probe, x, labels, seed)
    return Estimate.proportion(int(right.sum()), len(right))


def _ratio(top: np.ndarray, bottom: np.ndarray, seed: int) -> Estimate:
    return bootstrap(lambda a, b: float(a.mean() / b.mean()), top, bottom, seed=seed)


def _behaviour_rows(
    name: str, measure: Behaviour, eraser: Eraser, twins: Mapping[str, Sequence[Eraser]]
) -> list[Row]:
    def rows_of(write: Callable[[Tensor], Tensor] | None) -> np.ndarray:
        values = measure(write)
        values = values.detach().cpu() if isinstance(values, Tensor) else values
        return np.asarray(values, dtype=float)

    out = [
        Row(name, bootstrap(lambda v: float(v.mean()), rows_of(eraser.apply)), "result"),
        Row(f"{name}, before", bootstrap(lambda v: float(v.mean()), rows_of(None)), "baseline"),
    ]
    for twin, erasers in twins.items():
        values = np.mean([rows_of(one.apply) for one in erasers[:2]], 0)
        out.append(
            Row(f"{name}, {twin}", bootstrap(lambda v: float(v.mean()), values), "null", "2 draws")
        )
    return out
