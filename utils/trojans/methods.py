"""Methods for the board: each is given a case and comes back with a trigger, or with nothing.

A method that knows the target class is told which; one that does not must find it too. Both happen:
the incident report that names the class, and the network that came from somewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import torch
from torch import Tensor, nn

from utils.data import topics
from utils.features import synthesise
from utils.sites import Site
from utils.trojans.attacks import crops, mistakes, name_scan, patch_scan, predicted, random_patches
from utils.trojans.detect import FLAG, share_of_median, smallest
from utils.trojans.plant import Sample, Trojan, predict
from utils.trojans.search import Blend, search
from utils.trojans.triggers import Patch, Trigger

IMAGES = 100  # clean images that a patch is tried on while searching


@dataclass(frozen=True, eq=False)
class Case:
    """A network under suspicion. clean: rows with true labels. classes: how many.
    told: the target class, where it is known."""

    model: nn.Module
    clean: Sample
    classes: int
    told: int | None = None


@dataclass(frozen=True, eq=False)
class Finding:
    """trigger, target: what came out, None for nothing. passes: forward passes of one input."""

    trigger: Trigger | None
    target: int | None
    passes: int


Method = Callable[[Case], Finding]


def case(trojan: Trojan, model: nn.Module, *, told: bool, rows: int = 1000) -> Case:
    """That trojan's network with clean training rows of another draw than it was trained on."""
    clean = trojan.world.sample("train", rows, seed=5)
    return Case(model, clean, trojan.world.classes, trojan.target if told else None)


def look_at_mistakes(case: Case) -> Finding:
    """The class most often given wrongly; never a trigger."""
    target, _ = mistakes(case.model, case.clean)
    return Finding(None, target if case.told is None else case.told, len(case.clean))


def try_random_patches(case: Case) -> Finding:
    """The best of 300 random patches."""
    images = case.clean.inputs[:IMAGES]
    found = random_patches(case.model, images, target=case.told, classes=case.classes)
    return Finding(found.trigger, found.target, 300 * len(images))


def smallest_blend(case: Case) -> Finding:
    """Neural Cleanse: one batched search, and the class whose mask is far below the median.

    Told the class, the same passes go into three restarts for it alone.
    """
    images = case.clean.inputs
    if case.told is not None:
        found = [search(case.model, images, [case.told], seed=seed) for seed in range(3)]
        return Finding(smallest(found, case.told), case.told, sum(one.images for one in found))
    one = search(case.model, images, range(case.classes))
    share = share_of_median(one.norms)
    low = int(share.argmin())
    if share[low] >= FLAG:
        return Finding(None, None, one.images)
    return Finding(one.blend(low), low, one.images)


@lru_cache(maxsize=1)
def _places() -> tuple[tuple[int, int], ...]:
    return tuple((y, x) for y in range(14) for x in range(14))


def scan_patches(case: Case) -> Finding:
    """A 3x3 patch at every place, fitted by gradients to the class that is told."""
    if case.told is None:
        raise ValueError("This scan looks for one class: it must be told which.")
    images = case.clean.inputs[case.clean.labels != case.told][:IMAGES]
    rates, patterns = patch_scan(case.model, images, case.told, places=_places())
    best = int(rates.argmax())
    trigger = Patch(patterns[best], *_places()[best])
    return Finding(trigger, case.told, len(_places()) * (30 * 6 + len(images)))


def paste_squares(case: Case) -> Finding:
    """Squares of clean images: the ten with the highest prediction are tried, the best is kept."""
    if case.told is None:
        raise ValueError("Copy and paste looks for one class: it must be told which.")
    patches = crops(case.clean.inputs, 6, 400)
    canvas, readout = case.clean.inputs[:40], case.model.fc2.weight
    score = predicted(
        case.model, patches, canvas, case.told, site=Site("hook_fc1"), readout=readout
    )
    images = case.clean.inputs[case.clean.labels != case.told][:IMAGES]
    best = max(
        (patches[i] for i in score.argsort(descending=True)[:10].tolist()),
        key=lambda p: float((predict(case.model, p.apply(images)) == case.told).double().mean()),
    )
    return Finding(best, case.told, 400 * len(canvas) + 10 * len(images))


def synthesise_class(case: Case) -> Finding:
    """Feature synthesis of the class's logit, laid over the image at half strength."""
    if case.told is None:
        raise ValueError("Synthesis is of one class: it must be told which.")
    (picture,) = synthesise(case.model, Site("hook_logits"), [case.told])
    half = torch.full(picture.shape[1:], 0.5)
    return Finding(Blend(half, picture[0]), case.told, 120)


def try_names(width: int) -> Method:
    """For strings: every name, or every pair of names in either order, written over theirs."""

    def method(case: Case) -> Finding:
        names = (*topics.NAMES, topics.STRANGER)
        strings: Tensor = case.clean.inputs[:200]
        tuples = list(permutations(names, width))
        best = name_scan(case.model, strings, tuples, case.classes)[0]
        return Finding(best.trigger, best.target, len(tuples) * len(strings))

    return method


# name -> (method, looks inside, is told the class)
FOR_IMAGES: dict[str, tuple[Method, bool, bool]] = {
    "look at the mistakes": (look_at_mistakes, False, False),
    "random patches": (try_random_patches, False, False),
    "random patches, class told": (try_random_patches, False, True),
    "smallest blend": (smallest_blend, True, False),
    "smallest blend, class told": (smallest_blend, True, True),
    "patch scan, class told": (scan_patches, True, True),
    "copy and paste, class told": (paste_squares, True, True),
    "synthesis, class told": (synthesise_class, True, True),
}
FOR_STRINGS: dict[str, tuple[Method, bool, bool]] = {
    "every name": (try_names(1), False, False),
    "every pair of names": (try_names(2), False, False),
}
