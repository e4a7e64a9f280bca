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
    return summary(family, [one(family, seed) for seed in range(seeds)])


def one(family: str, seed: int) -> dict[str, Any]:
    """Make, seal and reveal one challenge; the seconds are those from the seed to the folder."""
    from utils.challenges import seal
    from utils.challenges.make import make

    with tempfile.TemporaryDirectory() as place:
        spent, clock = time.process_time(), time.perf_counter()
        made = make(family, seed)
        key = seal.seal(made, seed, Path(place) / "challenge")
        spent, clock = time.process_time() - spent, time.perf_counter() - clock
        found = seal.reveal(Path(place) / "challenge", key)
    return {
        "seconds": spent,
        "wall": clock,
        "template": made.program.template,
        "accuracy": found.recorded,
        "difference": abs(found.accuracy - found.recorded),
        "shortcut": max(made.figures["shortcuts"].values()),
        "refusals": [entry["reason"] for entry in made.refused],
    }


def summary(family: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of the table from the runs of a family."""
    seconds = statistics.median(run["seconds"] for run in runs)
    first = sum(not run["refusals"] for run in runs)
    return {
        "what": f"{family}, {first} of {len(runs)} at the first draw",
        "ours": seconds,
        "peer": LIMITS[family],
        "ratio": LIMITS[family] / seconds,
        "unit": "s",
        "max_abs_diff": max(run["difference"] for run in runs),
        "runs": len(runs),
        "slowest": max(run["seconds"] for run in runs),
        "wall": statistics.median(run["wall"] for run in runs),
        "first_draw_passes": first,
        "lowest_accuracy": min(run["accuracy"] for run in runs),
        "median_accuracy": statistics.median(run["accuracy"] for run in runs),
        "best_shortcut": max(run["shortcut"] for run in runs),
        "templates": dict(sorted(Counter(run["template"] for run in runs).items())),
        "refusals": [reason for run in runs for reason in run["refusals"]],
    }
