"""Features by example and by synthesis: which images excite a unit, and which image would most.

Synthesised images stay images: values in 0 to 1 by construction. Optimisation finds adversarial
noise unless it is held back, so there are two regularisers (total variation, ink) and every step
sees the image moved, turned and scaled a little (Olah, Mordvintsev & Schubert, "Feature
Visualization", 2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.features.attribution import FeatureError
from utils.sites import Site, run


def activations(model: nn.Module, images: Tensor, site: Site, *, grad: bool = False) -> Tensor:
    """How strongly each unit at `site` is active, [n, units]; a conv channel by its mean."""
    (values,) = run(model, images, read=[site], grad=grad, batch_size=None if grad else 2000).values
    if values.ndim not in (2, 4):
        raise FeatureError(
            f"{site} gives shape {list(values.shape)}; name a fully connected or conv activation"
            " without dropping its feature axis."
        )
    return values.mean((2, 3)) if values.ndim == 4 else values


def exemplars(
    model: nn.Module, images: Tensor, site: Site, unit: int, count: int = 9, *, lowest: bool = False
) -> Tensor:
    """Which `count` of the images excite that unit most (or least), strongest first: [count]."""
    if not 1 <= count <= len(images):
        raise FeatureError(f"From {len(images)} images {count} exemplars cannot be chosen.")
    values = activations(model, images, site)
    if not 0 <= unit < values.shape[1]:
        raise FeatureError(f"{site} has units 0 to {values.shape[1] - 1}, not {unit}.")
    return values[:, unit].argsort(descending=not lowest, stable=True)[:count]


def moved(images: Tensor, generator: torch.Generator, amount: float = 1.0) -> Tensor:
    """Each image shifted by up to 2 pixels, turned by up to 10 degrees and scaled by up to 10 %,
    times `amount`; what comes in at the edge is 0."""
    n = len(images)
    u = amount * (2 * torch.rand(4, n, generator=generator) - 1)
    angle, scale = u[0] * torch.pi / 18, 1 + 0.1 * u[1]
    cos, sin = angle.cos() * scale, angle.sin() * scale
    shift = u[2:] * 4 / torch.tensor([[images.shape[-1]], [images.shape[-2]]])
    rows = torch.stack([cos, -sin, shift[0], sin, cos, shift[1]], 1).view(n, 2, 3)
    grid = functional.affine_grid(rows, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def synthesise(
    model: nn.Module,
    site: Site,
    units: Sequence[int],
    *,
    shape: Sequence[int] = (1, 16, 16),
    lowest: bool = False,
    steps: int = 120,
    rate: float = 0.1,
    variation: float = 0.02,
    ink: float = 0.01,
    amount: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """An image for each of the units that excites it most (or least): [len(units), *shape].

    All are optimised at once, each from its own start. variation, ink: weights of total variation
    and of mean brightness, in units of the unit's standard deviation over noise images. amount:
    how far the images are moved at each step, 0 not at all. A unit named twice gets two images.
    """
    units = torch.as_tensor(list(units))
    generator = torch.Generator().manual_seed(seed)
    probe = activations(model, torch.rand(64, *shape, generator=generator), site)
    if (
        units.ndim != 1
        or not len(units)
        or not 0 <= int(units.min()) <= int(units.max()) < (probe.shape[1])
    ):
        raise FeatureError(f"{site} has units 0 to {probe.shape[1] - 1}; got {units.tolist()}.")
    scale = probe.std(0)[units].clamp(min=1e-3)
    if lowest:
        scale = -scale
    free = 0.3 * torch.randn(len(units), *shape, generator=generator) - 1.0
    free.requires_grad_()
    optimizer = torch.optim.Adam([free], lr=rate)
    for _ in range(steps):
        images = free.sigmoid()
        seen = moved(images, generator, amount) if amount else images
        excited = activations(model, seen, site, grad=True).gather(1, units[:, None])[:, 0] / scale
        rough = (images.diff(dim=-1).abs().sum((1, 2, 3))) + images.diff(dim=-2).abs().sum(
            (1, 2, 3)
        )
        loss = (-excited + variation * rough + ink * images.sum((1, 2, 3))).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return free.detach().sigmoid()
