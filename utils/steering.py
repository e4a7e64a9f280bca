"""Directions in activation space, used: added (steering) or taken away (directional ablation).

A direction that a probe reads need not be one the network uses. What happens when it is added, or
removed, beside the same done with random directions of the same length, tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from utils.reports import Estimate, Report, Row, bootstrap
from utils.selection import SiteError
from utils.sites import Site


def random_directions(width: int, count: int, *, seed: int = 0, norm: float = 1.0) -> Tensor:
    """`count` directions drawn evenly from the sphere of radius `norm`: [count, width] float32."""
    if width < 1 or count < 1 or not norm > 0 or not math.isfinite(norm):
        raise SiteError("Random directions need width >= 1, count >= 1 and a norm above 0.")
    draws = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return draws / draws.norm(dim=1, keepdim=True) * norm


def checked_direction(direction: Any) -> Tensor:
    """A direction as float32 [width]. SiteError for another shape, NaN, or length zero."""
    vector = torch.as_tensor(direction).detach().float()
    if vector.ndim != 1:
        raise SiteError(f"A direction has shape [width], got {list(vector.shape)}.")
    if not vector.isfinite().all() or not vector.norm() > 0:
        raise SiteError("A direction needs finite numbers and a length above zero.")
    return vector


def steer(
    model: nn.Module, inputs: Tensor, site: Site, direction: Any, dose: float = 1.0, **options: Any
) -> Any:
    """The model's output with `dose` times `direction` [width] added at `site`, everywhere in it.

    The direction's length counts: a dose of 1 adds the vector as it is. A dose of 0 is the clean
    run. `options` as for `Site.write`. Raises SiteError where the widths differ.
    """
    vector = checked_direction(direction)
    if not math.isfinite(dose):
        raise SiteError(f"A dose is a finite number, got {dose!r}.")
    if dose == 0:
        options["allow_unchanged"] = True
    length = float(vector.norm())
    # through the Site's own basis: it knows which axis holds the features (channels of a conv)
    line = along_direction(site, vector)
    return line.write(model, inputs, lambda old: old + dose * length, **options)


def along_direction(site: Site, direction: Any) -> Site:
    """The same place seen along one direction only: reading gives one coordinate, in its unit.

    Raises SiteError if the Site has a basis already.
    """
    if site.basis is not None:
        raise SiteError(f"{site} has a basis already; give the place without one.")
    vector = checked_direction(direction)
    return replace(site, basis=(vector / vector.norm())[:, None])


def ablate_direction(
    model: nn.Module,
    inputs: Tensor,
    site: Site,
    direction: Any,
    how: Literal["zero", "mean", "resample"] = "mean",
    **options: Any,
) -> Any:
    """The model's output with the component along `direction` taken away at `site`.

    zero, mean, resample: what takes its place; `options` (donors, seed, ...) as for `Site.ablate`.
    """
    return along_direction(site, direction).ablate(model, inputs, how, **options)


def dose_response(
    model: nn.Module,
    inputs: Tensor,
    site: Site,
    direction: Any,
    effect: Callable[[Any], Any],
    *,
    doses: Sequence[float] = (-1.0, 0.5, 1.0, 2.0),
    kept: Mapping[str, Callable[[Any], Any]] | None = None,
    draws: int = 5,
    seed: int = 0,
    what: str = "effect",
    digits: int = 3,
    **options: Any,
) -> Report:
    """What each dose of a direction does, beside random directions of the same length.

    effect: the model's output -> one number a row of `inputs` [n], such as a probability or whether
    the answer changed; rows show its mean. kept: names -> functions of the same kind, for what
    should not move. draws: random directions, the same ones for every dose; their row is the mean
    over them, and its note names the draw that went furthest from the clean run, for a mean over
    directions that push both ways says little. `options` as for `steer`.

    Raises SiteError for no dose, a dose of 0 (that row is there anyway), or an effect of a shape
    other than [n].
    """
    vector = checked_direction(direction)
    if not doses or any(dose == 0 for dose in doses) or len(set(doses)) < len(doses):
        raise SiteError("Give one dose or more, all different; 0 is measured anyway.")
    if draws < 1:
        raise SiteError(f"The null needs one random direction or more, got {draws}.")
    measures = {what: effect, **(kept or {})}
    if len(measures) < 1 + len(kept or {}):
        raise SiteError(f"{what!r} is the effect's own name; call what is kept otherwise.")
    others = random_directions(len(vector), draws, seed=seed, norm=float(vector.norm()))

    def measured(which: Tensor, dose: float) -> dict[str, Tensor]:
        output = steer(model, inputs, site, which, dose, **options)
        return {name: _per_row(f(output), len(inputs), name) for name, f in measures.items()}

    clean = measured(vector, 0.0)
    rows = [Row(f"{name}, dose 0", _mean(clean[name], seed), "baseline") for name in measures]
    for dose in doses:
        own = measured(vector, dose)
        null = [measured(other, dose) for other in others]
        for name in measures:
            label = f"{name}, dose {dose:g}"
            role: Literal["result", "control"] = "result" if name == what else "control"
            rows.append(Row(label, _mean(own[name], seed), role))
            drawn = torch.stack([one[name] for one in null])
            means = drawn.mean(1)
            far = float(means[(means - clean[name].mean()).abs().argmax()])
            note = f"furthest of {draws}: {far:.{digits}f}"
            rows.append(Row(f"{label}, random", _mean(drawn.mean(0), seed), "null", note))
    return Report(
        f"Steering at {site}: {what} by dose",
        rows,
        {
            "inputs": len(inputs),
            "length of the direction": float(vector.norm()),
            "random directions": f"{draws}, of the same length",
        },
        digits=digits,
    )


def _per_row(values: Any, n: int, name: str) -> Tensor:
    found = torch.as_tensor(values).detach().double()
    if found.shape != (n,):
        raise SiteError(f"{name} has shape {list(found.shape)}; it needs one number a row, [{n}].")
    return found


def _mean(values: Tensor, seed: int) -> Estimate:
    return bootstrap(lambda v: float(v.mean()), values, n_resamples=300, seed=seed)
