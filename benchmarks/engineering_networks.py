"""Trojaned networks and their clean twins of several seeds, each trained once in a process."""

from __future__ import annotations

from functools import cache
from typing import Any

SEEDS = (0, 1, 2)  # 0 is the shipped pair; the others draw other images, poison and first weights


def pair(trojan: str, seed: int) -> tuple[Any, Any]:
    """The network with that trojan and its clean twin; twins are shared as the shipped ones are."""
    from utils.trojans import known

    plan = known(trojan)
    return _trojaned(trojan, seed), _twin(plan.world.name, trojan, seed)


@cache
def _trojaned(trojan: str, seed: int) -> Any:
    from utils.models import zoo
    from utils.trojans import known, plant

    plan = known(trojan)
    if seed == SEEDS[0]:
        return zoo.load(plan.network)
    return plant.train(plan.world, plan.training(seed), seed).eval()


_twins: dict[tuple[str, int], Any] = {}


def _twin(world: str, trojan: str, seed: int) -> Any:
    from utils.models import zoo
    from utils.trojans import known, plant

    plan = known(trojan)
    if seed == SEEDS[0]:
        return zoo.load(plan.twin)
    if (world, seed) not in _twins:
        rows = plan.training(seed, poisoned=False)
        _twins[world, seed] = plant.train(plan.world, rows, seed).eval()
    return _twins[world, seed]
