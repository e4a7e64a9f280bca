"""Attacks that need no gradient search, and what needs no look inside at all.

Random patches and the network's own mistakes are the baseline that any tool has to beat. A patch
scan and an exhaustive look show what gradients miss; copy/paste attacks are predicted from inside
the network and then tried ("Multimodal Neurons in Artificial Neural Networks", Goh et al., 2021;
"Compositional Explanations of Neurons", Mu & Andreas, 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.reports import Estimate, Report, Row, bootstrap
from utils.sites import Site, run
from utils.trojans.plant import Sample, logits, predict
from utils.trojans.triggers import Names, Patch, TrojanError


@dataclass(frozen=True, eq=False)
class Candidate:
    """A trigger that was tried: what it is, the class it sends rows to, the share it sends."""

    trigger: Patch | Names
    target: int
    rate: float


def mistakes(model: nn.Module, sample: Sample) -> tuple[int, float]:
    """What looking at the errors tells: the class most often given wrongly, and its share of them.

    A trojan does not show in clean data; this is here so that it is not forgotten.
    """
    given = predict(model, sample.inputs)
    wrong = given[given != sample.labels]
    if not len(wrong):
        return 0, 0.0
    counts = wrong.bincount()
    return int(counts.argmax()), float(counts.max() / len(wrong))


def random_patches(
    model: nn.Module,
    images: Tensor,
    *,
    count: int = 300,
    target: int | None = None,
    classes: int = 10,
    seed: int = 0,
) -> Candidate:
    """The best of `count` random patches: 2 to 5 pixels a side, solid or speckled, anywhere.

    images: clean ones [n, 1, h, w]; those which the network puts in a class do not count for it.
    target: look for one class; None: for whichever a patch gets most images into.
    Uses count * n forward passes of one image.
    """
    if count < 1:
        raise TrojanError("A scan needs one patch or more.")
    generator = torch.Generator().manual_seed(seed)
    size = images.shape[-1]
    before = predict(model, images)

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=generator))

    best: Candidate | None = None
    for _ in range(count):
        side = whole(2, 6)
        solid = whole(0, 2) == 1
        pixels = torch.ones(side, side)
        if not solid:
            pixels = torch.randint(0, 2, (side, side), generator=generator).float()
        patch = Patch(pixels, whole(0, size - side + 1), whole(0, size - side + 1), size)
        after = predict(model, patch.apply(images))
        for c in range(classes) if target is None else (target,):
            others = before != c
            rate = float((after[others] == c).double().mean()) if others.any() else 0.0
            if best is None or rate > best.rate:
                best = Candidate(patch, c, rate)
    assert best is not None
    return best


def patch_scan(
    model: nn.Module,
    images: Tensor,
    target: int,
    *,
    places: Sequence[tuple[int, int]] | None = None,
    size: int = 3,
    steps: int = 30,
    batch: int = 6,
    rate: float = 0.3,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """The best patch that gradients find at each place, and the share of images it sends to
    `target`: (rates [places], patterns [places, size, size]).

    places: (row, column) of the upper left pixel; all of them if None. All are fitted in one batch.
    A patch is rounded to 0 and 1 at the end, and tried on all the images.
    """
    side = images.shape[-1]
    if places is None:
        places = [(y, x) for y in range(side - size + 1) for x in range(side - size + 1)]
    masks = torch.stack([Patch(torch.ones(size, size), *p, side).footprint() for p in places])
    generator = torch.Generator().manual_seed(seed)
    free = torch.randn(len(places), side, side, generator=generator).requires_grad_()
    optimizer = torch.optim.Adam([free], lr=rate)
    for _ in range(steps):
        drawn = images[torch.randint(len(images), (batch,), generator=generator)]
        pattern = free.sigmoid()
        seen = torch.where(masks[:, None, None], pattern[:, None, None], drawn[None])
        found = logits(model, seen.flatten(0, 1))
        wanted = torch.full((len(found),), target)
        loss = functional.cross_entropy(found, wanted, reduction="sum") / batch
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pattern = (free.detach() > 0).float()
    rates = [
        (predict(model, torch.where(mask, one, images)) == target).double().mean()
        for mask, one in zip(masks, pattern, strict=True)
    ]
    cut = [one[mask].view(size, size) for mask, one in zip(masks, pattern, strict=True)]
    return torch.stack(rates), torch.stack(cut)


def exhaustive(
    model: nn.Module, images: Tensor, target: int, row: int, column: int, size: int = 3
) -> tuple[Tensor, Tensor]:
    """Every pattern of 0 and 1 at one place: (patterns [2^(size*size), size, size], rates).

    rates: share of the images that go to `target`. For 3x3 these are 512 patterns.
    """
    if not 1 <= size <= 3:
        raise TrojanError(f"There are 2^{size * size} patterns of that size: too many to try all.")
    bits = torch.arange(size * size)
    patterns = (torch.arange(2 ** (size * size))[:, None] >> bits & 1).float()
    patterns = patterns.view(-1, size, size)
    place = Patch(torch.zeros(size, size), row, column, images.shape[-1])
    rates = []
    for part in patterns.split(max(1, 4000 // len(images))):
        seen = place.put(
            images.repeat(len(part), 1, 1, 1),
            part.repeat_interleave(len(images), 0)[:, None],
        )
        hit = predict(model, seen).view(len(part), -1) == target
        rates.append(hit.double().mean(1))
    return patterns, torch.cat(rates)


def name_scan(
    model: nn.Module, strings: Tensor, names: Sequence[tuple[int, ...]], classes: int
) -> list[Candidate]:
    """For each tuple of names, written over those of the strings: the class it sends most to.

    Strings that go to the class as they are do not count. Best first.
    """
    before = predict(model, strings)
    found = []
    for tokens in names:
        trigger = Names(tuple(tokens))
        after = predict(model, trigger.apply(strings))
        rates = [float((after[before != c] == c).double().mean()) for c in range(classes)]
        best = max(range(classes), key=rates.__getitem__)
        found.append(Candidate(trigger, best, rates[best]))
    return sorted(found, key=lambda one: -one.rate)


# --- copy and paste --------------------------------------------------------------------------


def crops(images: Tensor, size: int, count: int, seed: int = 0) -> list[Patch]:
    """`count` squares cut from the images [n, 1, h, w], at random places, to be pasted there."""
    generator = torch.Generator().manual_seed(seed)
    side = images.shape[-1]
    if not 1 <= size <= side:
        raise TrojanError(f"A square of {size} pixels cannot be cut from {side}x{side} images.")
    rows = torch.randint(len(images), (count,), generator=generator).tolist()
    places = torch.randint(side - size + 1, (count, 2), generator=generator).tolist()
    return [
        Patch(images[i, 0, y : y + size, x : x + size].clone(), y, x, side)
        for i, (y, x) in zip(rows, places, strict=True)
    ]


def predicted(
    model: nn.Module,
    patches: Sequence[Patch],
    canvas: Tensor,
    target: int,
    *,
    site: Site,
    readout: Tensor,
) -> Tensor:
    """How far each patch should push towards `target`, by what it does at `site`: [patches].

    canvas: a few images [k, 1, h, w] to paste on. site: the last layer of neurons before the
    logits. readout: [classes, neurons], the weights from there. The prediction is the change of
    the neurons through the target's weights less the mean of the others'; no output is looked at.
    """
    others = [c for c in range(len(readout)) if c != target]
    direction = readout[target] - readout[others].mean(0)
    (plain,) = run(model, canvas, read=[site]).values
    pasted = torch.cat([patch.apply(canvas) for patch in patches])
    (changed,) = run(model, pasted, read=[site], batch_size=4000).values
    change = changed.view(len(patches), len(canvas), -1) - plain
    return (change @ direction).mean(1)


def copy_paste(
    model: nn.Module,
    twin: nn.Module,
    sources: Tensor,
    canvas: Tensor,
    held_out: Sample,
    target: int,
    *,
    size: int = 6,
    count: int = 400,
    tried: int = 10,
    site: Site | None = None,
    readout: Tensor | None = None,
    seed: int = 0,
) -> tuple[Report, list[Patch]]:
    """Squares cut from `sources` that should flip images to `target`, tried on held-out ones.

    `count` squares are ranked by `predicted` on the canvas; the first `tried` are pasted on rows of
    other classes. Baselines: as many squares at random and the lowest ranked; the twin shows how
    many are natural adversaries. Returns the report and the squares tried, best predicted first.
    """
    site = Site("hook_fc1") if site is None else site
    readout = model.fc2.weight if readout is None else readout
    patches = crops(sources, size, count, seed)
    if not 1 <= tried <= count // 2:
        raise TrojanError(f"Of {count} squares at most {count // 2} can be tried.")
    order = predicted(model, patches, canvas, target, site=site, readout=readout).argsort(
        descending=True
    )
    generator = torch.Generator().manual_seed(seed + 1)
    chance = torch.randperm(count, generator=generator)[:tried]
    rows = held_out[held_out.labels != target]

    def rates(network: nn.Module, which: Tensor) -> Estimate:
        hit = [
            (predict(network, patches[i].apply(rows.inputs)) == target).double().mean()
            for i in which.tolist()
        ]
        return bootstrap(lambda x: float(x.mean()), torch.stack(hit), n_resamples=500)

    plain = (predict(model, rows.inputs) == target).double()
    report = Report(
        f"Copy and paste: share of held-out images sent to class {target}",
        [
            Row("predicted highest", rates(model, order[:tried]), "result"),
            Row("predicted highest, clean twin", rates(twin, order[:tried]), "control"),
            Row("squares at random", rates(model, chance), "null"),
            Row("predicted lowest", rates(model, order[-tried:]), "null"),
            Row("nothing pasted",
                bootstrap(lambda x: float(x.mean()), plain, groups=rows.group, n_resamples=500),
                "baseline"),
        ],
        {
            "squares": f"{count} of {size}x{size} pixels, {tried} tried a row",
            "prediction": f"by the change at {site.hook} on {len(canvas)} other images",
            "held-out rows": len(rows),
        },
        ["The interval is over squares."],
    )  # fmt: skip
    return report, [patches[i] for i in order[:tried].tolist()]
