"""Directions in activation space, used: added (steering) or taken away (directional ablation).

A direction that a probe reads need not be one the network uses. What happens when it is added, or
removed, beside the same done with random directions of the same length, tells.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

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
