"""Sealed challenges: from a seed to a sealed folder, and how often the first draw was good enough.

There is no peer to set beside it; `ours` is held against the limit that each family was given
(60 s for cnn and pairs, 120 s for sequence), in the processor seconds of the one thread that works,
which are wall seconds where nothing else runs.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

LIMITS = {"cnn": 60.0, "pairs": 60.0, "sequence": 120.0}  # s
SEEDS = 10


def rows(
    quick: bool = False, seeds: int | None = None, families: tuple[str, ...] = tuple(LIMITS)
) -> list[dict[str, Any]]:
    """One row a family, medians over seeds 0, 1 ... `quick`: one seed of `pairs` and no more.

    max_abs_diff is that of the accuracy when sealed and the one `reveal` finds.
    """
    import torch

    from utils.models.transformer import build_transformer

    torch.set_num_threads(1)
    build_transformer(n_layers=1, d_model=8, d_head=8, n_heads=1, n_ctx=3, d_vocab=3, d_mlp=8)
    if quick:
        seeds, families = seeds or 1, ("pairs",)
    return [_row(family, seeds or SEEDS) for family in families]


def _row(family: str, seeds: int) -> dict[str, Any]:
    from utils.challenges import seal
    from utils.challenges.make import make

    spent, wall, differences, accuracies = [], [], [0.0], []
    first = 0
    reasons: list[str] = []
    templates: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        for seed in range(seeds):
            began, clock = time.process_time(), time.perf_counter()
            made = make(family, seed)
            key = seal.seal(made, seed, Path(place) / f"{family}-{seed}")
            spent.append(time.process_time() - began)
            wall.append(time.perf_counter() - clock)
            found = seal.reveal(Path(place) / f"{family}-{seed}", key)
            differences.append(abs(found.accuracy - found.recorded))
            accuracies.append(found.recorded)
            templates[made.program.template] += 1
            first += not made.refused
            reasons += [entry["reason"] for entry in made.refused]
    seconds = statistics.median(spent)
    return {
        "what": f"{family}, {first} of {seeds} at the first draw",
        "ours": seconds,
        "peer": LIMITS[family],
        "ratio": LIMITS[family] / seconds,
        "unit": "s",
        "max_abs_diff": max(differences),
        "runs": seeds,
        "slowest": max(spent),
        "wall": statistics.median(wall),
        "first_draw_passes": first,
        "lowest_accuracy": min(accuracies),
        "median_accuracy": statistics.median(accuracies),
        "templates": dict(sorted(templates.items())),
        "refusals": reasons,
    }
