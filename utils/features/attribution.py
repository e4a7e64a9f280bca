"""Attributions: how much each part of an input, or of an activation, has to do with one logit.

All take `target`, the logit asked about: a class, or one class for each row. All give one number
for each entry, signed. With `site` the entries are those of an activation of a hooked network (say
the embedding of tokens, which have no gradient themselves), otherwise those of the inputs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.errors import CourseError
from utils.hooked import eval_mode
from utils.sites import Site, run


class FeatureError(CourseError, ValueError):
    """An attribution or a synthesis that cannot be made as asked."""


Forward = Callable[[Tensor, Tensor], Tensor]  # values [m, ...], which rows they belong to -> logits


def _entry(model: nn.Module, inputs: Tensor, site: Site | None) -> tuple[Tensor, Forward]:
    """Where attribution starts: the values there, and the network from there on."""
    if site is None:
        if not inputs.is_floating_point():
            raise FeatureError(
                "Tokens have no gradient: name the Site of their embedding, e.g."
                ' site=Site("hook_embed").'
            )
        return inputs.detach(), lambda values, rows: _answer(model(values))

    def forward(values: Tensor, rows: Tensor) -> Tensor:
        edits = [(site, values)]
        return _answer(
            run(model, inputs[rows], edits=edits, allow_unchanged=True, grad=True).output
        )

    return site.read(model, inputs), forward


def _answer(logits: Tensor) -> Tensor:
    return logits[:, -1] if logits.ndim == 3 else logits


def _targets(target: int | Tensor, n: int) -> Tensor:
    target = torch.as_tensor(target)
    if target.ndim > 1 or target.is_floating_point() or (target.ndim == 1 and len(target) != n):
        raise FeatureError(
            f"target is a class, or one class for each of {n} rows; got shape"
            f" {list(target.shape)} of {target.dtype}."
        )
    return target.expand(n)


def _scores(logits: Tensor, target: Tensor) -> Tensor:
    if not 0 <= int(target.min()) <= int(target.max()) < logits.shape[1]:
        raise FeatureError(
            f"There is no class {int(target.max())}: the logits are 0 to {logits.shape[1] - 1}."
        )
    return logits.gather(1, target[:, None])[:, 0]


def _gradient(
    model: nn.Module, forward: Forward, values: Tensor, rows: Tensor, target: Tensor, size: int
) -> Tensor:
    """d logit[target] / d values, `size` rows at a time."""
    found = []
    with torch.enable_grad(), eval_mode(model):
        for part, where, wanted in zip(
            values.split(size), rows.split(size), target.split(size), strict=True
        ):
            leaf = part.detach().requires_grad_()
            score = _scores(forward(leaf, where), wanted).sum()
            found.append(torch.autograd.grad(score, leaf)[0])
    return torch.cat(found)


def gradient(
    model: nn.Module,
    inputs: Tensor,
    target: int | Tensor,
    *,
    site: Site | None = None,
    batch_size: int = 1000,
) -> Tensor:
    """The gradient of the logit (Simonyan, Vedaldi & Zisserman, "Deep Inside Convolutional
    Networks", 2013): the shape of `inputs`, or of the activation at `site`."""
    values, forward = _entry(model, inputs, site)
    target = _targets(target, len(inputs))
    return _gradient(model, forward, values, torch.arange(len(inputs)), target, batch_size)


def gradient_x_input(
    model: nn.Module,
    inputs: Tensor,
    target: int | Tensor,
    *,
    site: Site | None = None,
    batch_size: int = 1000,
) -> Tensor:
    """Gradient times value: a first-order guess at what setting each entry to 0 would do."""
    values, _ = _entry(model, inputs, site)
    return values * gradient(model, inputs, target, site=site, batch_size=batch_size)


def smooth_gradient(
    model: nn.Module,
    inputs: Tensor,
    target: int | Tensor,
    *,
    draws: int = 25,
    noise: float = 0.15,
    seed: int | None = 0,
    site: Site | None = None,
    batch_size: int = 1000,
) -> Tensor:
    """The mean gradient over `draws` copies with Gaussian noise of that standard deviation
    (Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017).

    seed: None draws from torch's global generator.
    """
    if draws < 1 or noise < 0:
        raise FeatureError(f"SmoothGrad needs draws >= 1 and noise >= 0, got {draws}, {noise}.")
    values, forward = _entry(model, inputs, site)
    target = _targets(target, len(inputs))
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    rows = torch.arange(len(inputs)).repeat_interleave(draws)
    many = values.repeat_interleave(draws, 0)
    many = many + noise * torch.randn(many.shape, generator=generator)
    found = _gradient(model, forward, many, rows, target[rows], batch_size)
    return found.view(len(values), draws, *values.shape[1:]).mean(1)


def integrated_gradients(
    model: nn.Module,
    inputs: Tensor,
    target: int | Tensor,
    *,
    baseline: float | Tensor = 0.0,
    steps: int = 50,
    site: Site | None = None,
    batch_size: int = 1000,
) -> Tensor:
    """The gradient along the straight line from `baseline`, times the difference from it
    (Sundararajan, Taly & Yan, "Axiomatic Attribution for Deep Networks", 2017).

    Complete: the entries of a row sum to logit(input) - logit(baseline), up to the error of the
    integral, which is by Gauss-Legendre quadrature with `steps` points.
    baseline: a number, or values of one row or of every row.
    """
    import numpy as np

    if steps < 1:
        raise FeatureError(f"Integrated gradients needs steps >= 1, got {steps}.")
    values, forward = _entry(model, inputs, site)
    target = _targets(target, len(inputs))
    start = torch.as_tensor(baseline, dtype=values.dtype)
    try:
        start = start.expand_as(values)
    except RuntimeError:
        raise FeatureError(
            f"A baseline of shape {list(start.shape)} does not fit values of {list(values.shape)}."
        ) from None
    points, weights = np.polynomial.legendre.leggauss(steps)
    alphas = torch.tensor((1 + points) / 2, dtype=values.dtype)
    shares = torch.tensor(weights / 2, dtype=values.dtype)
    difference = values - start
    total = torch.zeros_like(values)
    rows, per = torch.arange(len(values)), max(1, batch_size // len(values))
    shape = (-1, *[1] * values.ndim)
    for alpha, share in zip(alphas.split(per), shares.split(per), strict=True):
        path = (start + alpha.view(shape) * difference).flatten(0, 1)
        found = _gradient(
            model, forward, path, rows.repeat(len(alpha)), target.repeat(len(alpha)), batch_size
        )
        total += (share.view(shape) * found.view(len(alpha), *values.shape)).sum(0)
    return total * difference


def occlusion(
    model: nn.Module,
    inputs: Tensor,
    target: int | Tensor,
    *,
    window: int = 3,
    value: float = 0.0,
    batch_size: int = 4000,
) -> Tensor:
    """How far the logit falls when a square is covered (Zeiler & Fergus, "Visualizing and
    Understanding Convolutional Networks", 2013): [n, c, h, w], the mean over the squares of
    `window` pixels a side that cover each pixel.
    """
    if inputs.ndim != 4:
        raise FeatureError(f"Occlusion is for images [n, c, h, w], got {list(inputs.shape)}.")
    n, channels, height, width = inputs.shape
    if not 1 <= window <= min(height, width):
        raise FeatureError(f"A window of {window} pixels does not fit into {height}x{width}.")
    target = _targets(target, n)
    down, across = height - window + 1, width - window + 1
    covers = torch.zeros(down * across, height, width, dtype=torch.bool)
    for i in range(down * across):
        y, x = divmod(i, across)
        covers[i, y : y + window, x : x + window] = True
    squares = torch.arange(len(covers)).repeat(n)
    rows = torch.arange(n).repeat_interleave(len(covers))
    with torch.no_grad(), eval_mode(model):
        before = _scores(_answer(model(inputs)), target)
        after = [
            _scores(_answer(model(inputs[r].masked_fill(covers[s][:, None], value))), target[r])
            for r, s in zip(rows.split(batch_size), squares.split(batch_size), strict=True)
        ]
    fall = before[:, None] - torch.cat(after).view(n, -1)
    # back to the pixels: the sum over the squares on each, by how many they are
    folded = functional.fold(
        fall[:, None].expand(n, window**2, -1), (height, width), window
    ) / functional.fold(torch.ones(1, window**2, len(covers)), (height, width), window)
    return folded.expand(n, channels, height, width).clone()
