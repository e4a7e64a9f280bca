"""Searching for a trigger: the smallest blend that sends every image to a class.

Neural Cleanse (Wang et al., "Neural Cleanse: Identifying and Mitigating Backdoor Attacks in Neural
Networks", 2019): for each class a mask and a pattern are fitted so that images blended with them
go to that class, and the mask is made as small as that allows. A class with a planted trigger needs
far less mask than the others. Here all classes are fitted in one batch, and those that cannot win
are given up on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.trojans.plant import logits, predict
from utils.trojans.triggers import Trigger, TrojanError


@dataclass(frozen=True, eq=False)
class Blend:
    """A trigger as searches find it: `(1 - mask) * image + mask * pattern`.

    mask, pattern: [h, w] in [0, 1]. Raises TrojanError when they are not.
    """

    mask: Tensor
    pattern: Tensor

    def __post_init__(self) -> None:
        if self.mask.ndim != 2 or self.mask.shape != self.pattern.shape:
            raise TrojanError(
                "A blend needs a mask and a pattern of the image's size [h, w], got"
                f" {list(self.mask.shape)} and {list(self.pattern.shape)}."
            )
        for name in ("mask", "pattern"):
            values = getattr(self, name)
            if not ((values >= 0) & (values <= 1)).all():
                raise TrojanError(f"The {name} of a blend must lie in 0 to 1.")

    def apply(self, inputs: Tensor) -> Tensor:
        """[n, 1, h, w] -> the same shape."""
        if inputs.ndim != 4 or inputs.shape[-2:] != self.mask.shape:
            raise TrojanError(
                f"This blend is for images of {list(self.mask.shape)}, got {list(inputs.shape)}."
            )
        return (1 - self.mask) * inputs + self.mask * self.pattern

    def footprint(self) -> Tensor:
        """[h, w] bool: where the mask is at least one half."""
        return self.mask >= 0.5


@dataclass(frozen=True, eq=False)
class Search:
    """What a search found for each class.

    classes: which classes. masks, patterns: [classes, h, w]. norms: [classes], the sum of each
    mask when all classes had had the same number of steps. reached: [classes] bool, whether `aim`
    was met by then. final: [classes], the sum of each mask at the end, for those not given up.
    steps: [classes], how many steps each was given. images: forward passes in all, by image.
    """

    classes: tuple[int, ...]
    masks: Tensor
    patterns: Tensor
    norms: Tensor
    final: Tensor
    steps: Tensor
    images: int

    def blend(self, target: int) -> Blend:
        """The trigger found for that class."""
        if target not in self.classes:
            raise TrojanError(f"Class {target} was not searched, only {list(self.classes)}.")
        i = self.classes.index(target)
        return Blend(self.masks[i], self.patterns[i])


def search(
    model: nn.Module,
    images: Tensor,
    classes: Sequence[int] = tuple(range(10)),
    *,
    steps: int = 240,
    compare_at: int | None = 100,
    keep: float = 0.7,
    batch: int = 24,
    aim: float = 0.95,
    rate: float = 0.1,
    cost: float = 0.005,
    seed: int = 0,
) -> Search:
    """The smallest trigger for each class, all classes in one batch.

    images: [n, 1, h, w] clean images of all classes; they need no labels. `batch` of them are drawn
        at each step, the same for every class.
    compare_at: the step at which classes are compared. Those whose mask is then larger than `keep`
        times the median are given up: a class far below the others is what is looked for, and they
        cannot be it. None: no class is given up, and they are compared at the end.
    aim: share of the images that must go to the class. The weight of the mask in the loss rises
        while that is met and falls while it is not, from `cost`.
    """
    classes = tuple(int(c) for c in classes)
    if not classes or images.ndim != 4 or len(images) < 2:
        raise TrojanError("A search needs at least one class and two images [n, 1, h, w].")
    width = logits(model, images[:1]).shape[-1]
    if len(set(classes)) < len(classes) or not all(0 <= c < width for c in classes):
        raise TrojanError(f"The classes to search are some of 0 to {width - 1}, got {classes}.")
    if not 1 <= (compare_at or steps) <= steps or not 0 < aim <= 1 or keep <= 0:
        raise TrojanError("A search needs 1 <= compare_at <= steps, 0 < aim <= 1 and keep > 0.")
    generator = torch.Generator().manual_seed(seed)
    height, across = images.shape[-2:]
    count = len(classes)
    # one start for all classes: a class must not win by its start
    start = 0.1 * torch.randn(2, 1, 1, height, across, generator=generator)
    free = start.repeat(1, count, 1, 1, 1)
    free[0] -= 1.0  # masks begin at about .27
    free.requires_grad_()
    optimizer = torch.optim.Adam([free], lr=rate, betas=(0.5, 0.9))
    weight = torch.full((count,), cost)
    mean = torch.zeros(count)  # running share of images that go to the class
    best = torch.full((count,), float("inf"))
    masks, patterns = torch.ones(count, height, across), torch.zeros(count, height, across)
    norms = torch.zeros(count)
    given = torch.zeros(count, dtype=torch.long)
    alive, whole = torch.arange(count), float(height * across)
    wanted = torch.tensor(classes)
    used = 0
    for step in range(steps):
        drawn = images[torch.randint(len(images), (batch,), generator=generator)]
        m, p = free[:, alive].sigmoid()  # [alive, 1, h, w] each
        blended = (1 - m[:, None]) * drawn[None] + m[:, None] * p[:, None]
        found = logits(model, blended.flatten(0, 1)).view(len(alive), batch, -1)
        target = wanted[alive, None].expand(-1, batch)
        loss = functional.cross_entropy(found.flatten(0, 1), target.flatten(), reduction="none")
        size = m.sum((1, 2, 3))
        total = loss.view(len(alive), batch).mean(1) + weight[alive] * size
        optimizer.zero_grad()
        total.sum().backward()
        optimizer.step()
        used += batch * len(alive)
        given[alive] += 1
        with torch.no_grad():
            hit = (found.argmax(-1) == target).double().mean(1).float()
            mean[alive] = 0.8 * mean[alive] + 0.2 * hit
            met = mean[alive] >= aim
            weight[alive] *= torch.where(met, 1.08, 1 / 1.12)
            smaller = met & (size < best[alive])
            rows = alive[smaller]
            best[rows] = size[smaller]
            masks[rows], patterns[rows] = m[smaller, 0], p[smaller, 0]
            if step + 1 == (compare_at or steps):
                norms = torch.where(best.isfinite(), best, whole)
                if compare_at is not None and count > 1:
                    alive = (norms <= keep * norms.quantile(0.5)).nonzero()[:, 0]
                    if not len(alive):
                        break
    final = torch.where(best.isfinite(), best, whole)
    return Search(classes, masks, patterns, norms, final, given, used)


def anomaly_index(norms: Tensor) -> Tensor:
    """How far below the median each class's mask is, in robust standard deviations: [classes].

    (median - norm) / (1.4826 * median absolute deviation), positive for masks that are too small;
    Wang et al. flag a class above 2. With ten classes a clean network comes near that too.
    """
    if norms.ndim != 1 or len(norms) < 3 or not norms.isfinite().all():
        raise TrojanError("An anomaly index needs the norms of three classes or more.")
    middle = norms.double().quantile(0.5)
    spread = (norms.double() - middle).abs().quantile(0.5)
    return (middle - norms.double()) / (1.4826 * spread).clamp(min=1e-9)


def hits(model: nn.Module, trigger: Trigger, images: Tensor, target: int) -> float:
    """Share of the images that go to the class with the trigger on them."""
    return (predict(model, trigger.apply(images)) == target).double().mean().item()
