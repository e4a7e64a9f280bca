"""Is a direction that a probe found one that the network uses? Steer along it and look.

A probe may read what nothing downstream reads. So the found direction is added at its site, and
beside it random directions of exactly the same length: a distribution of them, not one draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.estimates import Estimate, bootstrap
from utils.probing.rows import ProbingError
from utils.reports import Row

if TYPE_CHECKING:
    from torch import Tensor, nn

    from utils.sites import Site


@dataclass(frozen=True, eq=False)
class Causal:
    """Where a probe's activations came from, and what to watch while they are pushed.

    site: the place in `model` at which the probed activations were read, without a basis.
    inputs: [n, ...], best others than those the probe is fitted on.
    measure: output -> [n], one number an input; the effect is its change, so a measure of distance
        from the clean output works as well as a probability.
    target: the class to push towards. With two classes the second, if left out.
    dose: how far, in distances between the mean of the target and that of the rest.
    directions: how many random directions stand beside.
    """

    model: nn.Module
    inputs: Tensor
    site: Site
    measure: Callable[[Any], Tensor]
    target: Any = None
    dose: float = 1.0
    directions: int = 30


def means_direction(x: np.ndarray, is_target: np.ndarray) -> np.ndarray:
    """From the mean of the other rows to that of the target's: [d]. x [n, d], is_target [n] bool.

    Adding it moves the average other row to where the average target row is.
    """
    return x[is_target].mean(0) - x[~is_target].mean(0)


def weights_direction(pipeline: Any, column: int, gap: np.ndarray) -> np.ndarray:
    """The direction that a fitted linear probe weighs for a class, in units of the activations.

    As long as the part of `gap` (see `means_direction`) along it, so that one dose moves the
    average row exactly as far as the classes are apart there. A probe reads along its weights; it
    does not follow that the classes differ along them, or that the network writes there.
    """
    scaler, model = pipeline[0], pipeline[-1]
    weights = model.coef_
    towards = weights[0] * (1 if column else -1) if len(weights) == 1 else weights[column]
    direction = towards / scaler.scale_
    direction = direction / np.linalg.norm(direction)
    return direction * abs(direction @ gap)


def target_of(causal: Causal, classes: tuple[Any, ...], width: int) -> int:
    """The number of the class to push towards, after the site was tried.

    Raises ProbingError if it is not named or unknown, or if the probed rows are not as wide as the
    site; SiteError for a site that is not in this model.
    """
    if causal.target is None and len(classes) > 2:
        raise ProbingError(f"Causal needs a target, one of the {len(classes)} classes.")
    if causal.target is not None and causal.target not in classes:
        raise ProbingError(f"Causal target {causal.target!r} is none of the classes {classes}.")
    if causal.directions < 2:
        raise ProbingError("Causal needs two random directions or more, or there is no null.")
    there = causal.site.read(causal.model, causal.inputs[:1])
    if width not in there.shape[1:]:
        raise ProbingError(
            f"X has {width} features, but activations at {causal.site} have the shape"
            f" {list(there.shape)}: was X read at this site?"
        )
    return 1 if causal.target is None else classes.index(causal.target)


def effects(
    causal: Causal, directions: dict[str, np.ndarray], control: np.ndarray | None, name: str
) -> list[Row]:
    """A row for each of the named directions [d], each followed by its null; and one for the
    control's direction, made as long as the last of them."""
    import torch

    from utils.steering import random_directions, steer

    with torch.no_grad():
        clean = _checked(causal, causal.measure(causal.model(causal.inputs)))

    def effect(direction: Any) -> np.ndarray:
        with torch.no_grad():
            pushed = steer(causal.model, causal.inputs, causal.site, direction, causal.dose)
            return _checked(causal, causal.measure(pushed)) - clean

    rows = []
    for kind, direction in directions.items():
        length = float(np.linalg.norm(direction))
        if length == 0:
            raise ProbingError(f"The classes do not differ along the {kind}; nothing to push.")
        found = effect(direction)
        width = len(direction)
        draws = np.array(
            [
                effect(d).mean()
                for d in random_directions(width, causal.directions, seed=1, norm=length)
            ]
        )
        as_strong = int((np.abs(draws) >= abs(found.mean())).sum())
        p = (1 + as_strong) / (1 + len(draws))
        rows += [
            Row(
                f"effect along {kind}",
                bootstrap(lambda v: float(v.mean()), found, seed=0),
                "result",
                f"towards {name}; {as_strong} of {len(draws)} random directions do as much"
                f" (p = {p:.2f})",
            ),
            Row(
                f"random directions, as long as {kind}",
                Estimate(
                    float(draws.mean()),
                    float(draws.min()),
                    float(draws.max()),
                    len(draws),
                    "range of the draws",
                ),
                "null",
            ),
        ]
    if control is not None and np.linalg.norm(control) > 0:
        same = control / np.linalg.norm(control) * length
        what = bootstrap(lambda v: float(v.mean()), effect(same), seed=0)
        rows.append(Row(f"control task's means, as long as {kind}", what, "control"))
    return rows


def _checked(causal: Causal, values: Any) -> np.ndarray:
    found = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)
    if found.shape != (len(causal.inputs),) or not np.isfinite(found).all():
        raise ProbingError(
            f"measure gave shape {list(found.shape)} or numbers that are not finite; it must give"
            f" one finite number for each of the {len(causal.inputs)} inputs."
        )
    return found
