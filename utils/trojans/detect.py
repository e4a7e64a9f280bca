"""Detecting and rediscovering: which class has a trigger, what is it, and is it the planted one?

Three questions, from weak to strong, with an answer each: is a class reached by far less than the
others (`detect`); does what was found work on held-out images of this network and not on its clean
twin (`transfer`, which rejects natural adversaries); does it lie where the planted one does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from utils.reports import Estimate, Report, Row, bootstrap
from utils.trojans.plant import Sample, Trojan, predict
from utils.trojans.search import Blend, Search, anomaly_index, search
from utils.trojans.triggers import Patch, Trigger, TrojanError

FLAG = 0.6  # a class is flagged whose mask is smaller than this share of the median
WORKS, SPARED, IN_PLACE = 0.8, 0.2, 0.5  # attack success; on the twin; mask inside the footprint


def share_of_median(norms: Tensor) -> Tensor:
    """Each class's mask as a share of the median one, [classes].

    A steadier measure than the anomaly index, which divides by the spread of ten numbers: when
    nine of them happen to agree, a clean network's smallest class is many spreads away.
    """
    return norms.double() / norms.double().quantile(0.5)


@dataclass(frozen=True, eq=False)
class Detection:
    """What `detect` found. flagged: the class, None if no class or no majority of seeds.
    searches, twin_searches: one each seed. report: the numbers with the twin's."""

    flagged: int | None
    searches: tuple[Search, ...]
    twin_searches: tuple[Search, ...]
    report: Report

    def best(self, target: int) -> Blend:
        """The smallest trigger for that class over the seeds."""
        return smallest(self.searches, target)


def smallest(searches: Sequence[Search], target: int) -> Blend:
    """Of several searches the trigger for `target` with the smallest mask."""
    at = [s.final[s.classes.index(target)].item() for s in searches if target in s.classes]
    if len(at) < len(searches):
        raise TrojanError(f"Class {target} was not searched.")
    return searches[at.index(min(at))].blend(target)


def _flag(one: Search) -> int | None:
    share = share_of_median(one.norms)
    low = int(share.argmin())
    return one.classes[low] if share[low] < FLAG else None


def detect(
    model: nn.Module,
    images: Tensor,
    twin: nn.Module,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    **options: Any,
) -> Detection:
    """Which class, if any, is reached by a far smaller trigger than the others?

    images: clean ones, [n, 1, h, w]. twin: a clean network of the same kind: an index says little
    before the same was done to one without a trojan. options: as for `search`; with
    `compare_at=None` all classes run to the end, which takes longer and makes steadier indices.
    """
    if len(seeds) < 2:
        raise TrojanError("A detection needs two seeds or more: one search is an anecdote.")
    mine = tuple(search(model, images, seed=s, **options) for s in seeds)
    theirs = tuple(search(twin, images, seed=s, **options) for s in seeds)
    votes = Counter(_flag(one) for one in mine)
    flagged, count = votes.most_common(1)[0]
    if 2 * count <= len(seeds):
        flagged = None

    def over(searches: Sequence[Search], number: Any) -> Estimate:
        return Estimate.mean([float(number(one.norms)) for one in searches])

    smallest_share = lambda norms: share_of_median(norms).min()  # noqa: E731
    largest_index = lambda norms: anomaly_index(norms).max()  # noqa: E731
    flags = [sum(_flag(one) is not None for one in group) for group in (mine, theirs)]
    named = "none" if flagged is None else str(flagged)
    report = Report(
        f"Which class has a trigger? Flagged: {named}",
        [
            Row("smallest mask, share of the median", over(mine, smallest_share), "result"),
            Row("the same, clean twin", over(theirs, smallest_share), "control"),
            Row("largest anomaly index", over(mine, largest_index), "result"),
            Row("the same, clean twin ", over(theirs, largest_index), "control"),
            Row("seeds that flag a class", Estimate.proportion(flags[0], len(seeds)), "result"),
            Row("the same, clean twin  ", Estimate.proportion(flags[1], len(seeds)), "control"),
        ],
        {
            "seeds": len(seeds),
            "flagged when": f"the smallest mask is under {FLAG} of the median",
            "images": len(images),
            "forward passes, by image": sum(one.images for one in mine),
        },
        digits=2,
    )
    return Detection(flagged, mine, theirs, report)


def rediscover(
    model: nn.Module,
    images: Tensor,
    target: int,
    *,
    restarts: int = 5,
    seed: int = 0,
    **options: Any,
) -> Blend:
    """The smallest trigger for a class that is known to have one, over several restarts."""
    if restarts < 1:
        raise TrojanError("Rediscovery needs one restart or more.")
    found = [
        search(model, images, [target], compare_at=None, seed=seed + i, **options)
        for i in range(restarts)
    ]
    return smallest(found, target)


def as_blend(found: Trigger) -> Blend | None:
    """A patch as a blend with a mask of 0 and 1; None for what is neither."""
    if isinstance(found, Patch):
        mask = found.footprint()[None, None].float()
        return Blend(mask[0, 0], found.apply(torch.zeros_like(mask))[0, 0])
    return found if isinstance(found, Blend) else None


def mass_inside(found: Blend, footprint: Tensor) -> float:
    """Share of the mask that lies on the planted footprint [h, w] bool."""
    return float(found.mask[footprint].sum() / found.mask.sum())


def overlap(found: Blend, footprint: Tensor) -> float:
    """Intersection over union of the footprint and as many of the mask's largest pixels."""
    order = found.mask.flatten().argsort(descending=True, stable=True)
    top = torch.zeros(found.mask.numel(), dtype=torch.bool)
    top[order[: int(footprint.sum())]] = True
    inside = footprint.flatten()
    return float((top & inside).sum() / (top | inside).sum())


def elsewhere(found: Blend, seed: int) -> Blend:
    """The same mask and pattern, moved round the image by a random shift: a null of equal size."""
    generator = torch.Generator().manual_seed(seed)
    height, width = found.mask.shape
    down = int(torch.randint(1, height, (1,), generator=generator))
    right = int(torch.randint(1, width, (1,), generator=generator))
    return Blend(*(x.roll((down, right), (0, 1)) for x in (found.mask, found.pattern)))


def transfer(
    found: Trigger, target: int, trojan: Trojan, model: nn.Module, twin: nn.Module,
    *, sample: Sample | None = None,
) -> Report:  # fmt: skip
    """Put what was found on held-out rows: does it work, and on the twin too?

    target: the class it was found for, which need not be the planted one. sample: clean rows, by
    default 600 held out. Nulls: the rows as they are and, for a blend, the same blend elsewhere.
    """
    sample = trojan.held_out(600) if sample is None else sample
    rows = sample[sample.labels != target]

    def rate(network: nn.Module, inputs: Tensor) -> Estimate:
        hit = (predict(network, inputs) == target).double()
        return bootstrap(lambda x: float(x.mean()), hit, groups=rows.group, n_resamples=500)

    lines = [
        Row("attack success", rate(model, found.apply(rows.inputs)), "result"),
        Row("attack success, clean twin", rate(twin, found.apply(rows.inputs)), "control"),
        Row("without any trigger", rate(model, rows.inputs), "null"),
    ]
    if isinstance(found, Blend):
        moved = [elsewhere(found, seed) for seed in range(5)]
        each = [(predict(model, m.apply(rows.inputs)) == target).double().mean() for m in moved]
        lines.append(Row("the same blend elsewhere", Estimate.mean(each), "null", "5 places"))
    planted = trojan.trigger.apply(rows.inputs)
    lines.append(Row("the planted trigger", rate(model, planted), "ceiling"))
    footprint = trojan.trigger.footprint()
    mask = as_blend(found)
    if footprint is not None and mask is not None:
        area = float(footprint.double().mean())
        lines += [
            Row("mask inside the planted place", Estimate.exact(mass_inside(mask, footprint)),
                "result"),
            Row("mask inside, if spread evenly", Estimate.exact(area), "baseline"),
            Row("overlap (IoU) with the planted place", Estimate.exact(overlap(mask, footprint)),
                "result"),
        ]  # fmt: skip
    return Report(
        f"Does it work, and only here? Trigger for class {target}",
        lines,
        {"rows": f"{len(rows)} held out, of other classes", "planted": trojan.title},
        [f"Verdict: {_verdict(lines, target == trojan.target)}."],
        digits=2,
    )


VERDICTS = (
    "rediscovered: it works, spares the twin and lies in the planted place",
    "works and spares the twin, but is not the planted trigger",
    "works and spares the twin; the planted trigger has no place to compare",
    "natural adversary: it works on the clean twin too",
    "does not work on held-out rows",
    "another class than the planted one",
)


def _verdict(rows: Sequence[Row], right_class: bool) -> str:
    value = {row.name: row.estimate.value for row in rows}
    if value["attack success"] < WORKS:
        return VERDICTS[4]
    if value["attack success, clean twin"] > SPARED:
        return VERDICTS[3]
    if not right_class:
        return VERDICTS[5]
    if "mask inside the planted place" not in value:
        return VERDICTS[2]
    return VERDICTS[0 if value["mask inside the planted place"] >= IN_PLACE else 1]


def verdict(report: Report) -> str:
    """The sentence that `transfer` ended in, one of VERDICTS."""
    return report.notes[0].removeprefix("Verdict: ").removesuffix(".")
