"""Judging attributions: against a planted footprint, against the image itself, and by destroying
the network.

An attribution map that is no better than the raw image, or that stays as it is when the weights are
replaced by noise, does not show what the network does (Adebayo et al., "Sanity Checks for Saliency
Maps", 2018). A planted trigger gives the pixels that a good map must point at.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.features.attribution import (
    FeatureError,
    gradient,
    gradient_x_input,
    integrated_gradients,
    occlusion,
    smooth_gradient,
)
from utils.reports import Estimate, Report, Row, bootstrap

Method = Callable[[nn.Module, Tensor, "int | Tensor"], Tensor]
METHODS: dict[str, Method] = {
    "occlusion 3x3": occlusion,
    "SmoothGrad": smooth_gradient,
    "gradient": gradient,
    "gradient x input": gradient_x_input,
    "integrated gradients": integrated_gradients,
}


def edges(images: Tensor) -> Tensor:
    """Length of the Sobel gradient of each image, [n, c, h, w]: an edge detector knows no model."""
    sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], dtype=images.dtype)
    n, channels, height, width = images.shape
    flat = functional.pad(images.reshape(-1, 1, height, width), (1, 1, 1, 1), mode="replicate")
    across = functional.conv2d(flat, sobel[None, None])
    down = functional.conv2d(flat, sobel.T[None, None])
    return (across**2 + down**2).sqrt().view(n, channels, height, width)


def random_map(images: Tensor, seed: int = 0) -> Tensor:
    """Noise of the images' shape."""
    return torch.rand(images.shape, generator=torch.Generator().manual_seed(seed))


def weighted_layers(model: nn.Module) -> list[str]:
    """The names of the layers that hold weights, from input to output."""
    return [name for name, part in model.named_modules() if list(part.parameters(recurse=False))]


def randomised(model: nn.Module, layers: int | None = None, seed: int = 0) -> nn.Module:
    """A copy whose last `layers` layers (all, if None) have other weights of the same numbers.

    Each weight tensor is shuffled, so that its size and scale stay and only what it computes goes.
    """
    names = weighted_layers(model)
    if layers is not None and not 1 <= layers <= len(names):
        raise FeatureError(f"This network has {len(names)} layers with weights, not {layers}.")
    other, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    parts = dict(other.named_modules())
    with torch.no_grad():
        for name in names if layers is None else names[-layers:]:
            for values in parts[name].parameters(recurse=False):
                order = torch.randperm(values.numel(), generator=generator)
                values.copy_(values.flatten()[order].view_as(values))
    return other


def _ranks(maps: Tensor) -> Tensor:
    """Each map's values as ranks from 1, ties sharing their mean rank: [n, ...] -> [n, pixels]."""
    from scipy.stats import rankdata

    return torch.from_numpy(rankdata(maps.detach().abs().flatten(1).numpy(), axis=1))


def footprint_auroc(maps: Tensor, footprint: Tensor) -> Tensor:
    """Chance that a pixel of the footprint has a larger absolute value than one outside, [n].

    maps: [n, 1, h, w]. footprint: [h, w] bool. Ties count one half: .5 is chance.
    """
    inside = _inside(maps, footprint)
    k = int(inside.sum())
    excess = _ranks(maps)[:, inside].sum(1) - k * (k + 1) / 2
    return excess / (k * (len(inside) - k))


def top_precision(maps: Tensor, footprint: Tensor) -> Tensor:
    """Of the k largest absolute values, k the size of the footprint: the share inside it, [n].

    Ties at the edge are broken by the order of the pixels from the upper left, which favours no
    corner trigger.
    """
    inside = _inside(maps, footprint)
    size = maps.detach().abs().flatten(1)
    order = size.argsort(dim=1, descending=True, stable=True)[:, : int(inside.sum())]
    return inside[order].double().mean(1)


def _inside(maps: Tensor, footprint: Tensor) -> Tensor:
    if footprint.dtype != torch.bool or footprint.shape != maps.shape[-2:]:
        raise FeatureError(
            f"The footprint is [{maps.shape[-2]}, {maps.shape[-1]}] bool, got"
            f" {list(footprint.shape)} of {footprint.dtype}."
        )
    inside = footprint.expand(maps.shape[1:]).flatten()
    if not inside.any() or inside.all():
        raise FeatureError("A footprint is some of the pixels, neither none nor all of them.")
    return inside


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of the absolute values of two maps, row by row, [n].

    A constant map correlates with nothing: 0.
    """
    x, y = (r - r.mean(1, keepdim=True) for r in (_ranks(a), _ranks(b)))
    scale = (x.square().sum(1) * y.square().sum(1)).sqrt()
    return torch.where(scale > 0, (x * y).sum(1) / scale.clamp(min=1e-12), 0.0)


def judge(
    model: nn.Module,
    images: Tensor,
    target: int | Tensor,
    footprint: Tensor,
    *,
    methods: Mapping[str, Method] | None = None,
    groups: Tensor | None = None,
    seeds: int = 3,
) -> dict[str, Report]:
    """Every method on images with a planted trigger, beside three that know no model.

    images: [n, 1, h, w] with the trigger, target: its class. footprint: [h, w] bool. Returns
    reports "footprint" (AUROC), "precision" (of the top k), "last layers" and "all layers" (rank
    correlation with the map of a network whose last two, or all, layers have shuffled weights; the
    mean over `seeds` shuffles; near 1 means that the map does not depend on them).
    """
    methods = METHODS if methods is None else dict(methods)
    maps = {name: method(model, images, target) for name, method in methods.items()}
    plain = {"the image itself": images, "edges": edges(images), "random": random_map(images)}
    role = {"the image itself": "baseline", "edges": "baseline", "random": "null"}

    def estimate(values: Tensor) -> Estimate:
        return bootstrap(lambda x: float(x.mean()), values, groups=groups, n_resamples=500)

    def report(title: str, score: Callable[[str, Tensor], Tensor], note: str) -> Report:
        rows = [
            Row(name, estimate(score(name, found)), role.get(name, "result"))
            for name, found in {**maps, **plain}.items()
        ]
        protocol = {"images": f"{len(images)} with the trigger", "score": note}
        return Report(title, rows, protocol, digits=2)

    def after(layers: int | None) -> Callable[[str, Tensor], Tensor]:
        others = [randomised(model, layers, seed) for seed in range(seeds)]

        def score(name: str, found: Tensor) -> Tensor:
            if name in methods:
                again = [methods[name](other, images, target) for other in others]
            elif name == "random":
                again = [random_map(images, seed + 1) for seed in range(seeds)]
            else:
                again = [found]
            return torch.stack([rank_correlation(found, one) for one in again]).mean(0)

        return score

    k = int(footprint.sum())
    how = f"rank correlation with the map after shuffling the weights, mean of {seeds} shuffles"
    return {
        "footprint": report(
            "AUROC of the map for the trigger's pixels",
            lambda _, found: footprint_auroc(found, footprint),
            f"absolute values; {k} of {footprint.numel()} pixels are the trigger's; mean of images",
        ),
        "precision": report(
            f"Share of the {k} largest values that lie on the trigger",
            lambda _, found: top_precision(found, footprint),
            f"chance is {k / footprint.numel():.3f}",
        ),
        "last layers": report("How much stays when the last two layers are noise", after(2), how),
        "all layers": report("How much stays when all layers are noise", after(None), how),
    }
