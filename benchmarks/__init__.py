"""Side by side with peers: `python -m benchmarks NAME [--json] [--quick]`.

A benchmark is a module here with a docstring and `rows(quick: bool) -> list[dict]`. Each row
says what was done, the median seconds of ours and of the peer, their ratio (above 1: ours is
faster) and the largest difference between the two results, because a fast wrong answer is none.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

NAMES = (
    "challenges", "engineering", "grading", "judge", "patching", "probing", "scrubbing", "site",
    "sites",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """Where the figures were taken."""
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformer_lens": version("transformer-lens"),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }


def side_by_side(
    what: str, ours: Callable[[], Any], peer: Callable[[], Any], *, runs: int, **more: Any
) -> dict[str, Any]:
    """Medians of `runs` interleaved runs after one warm-up each, and the largest difference.

    Interleaving keeps a slow minute of the machine from falling on one side only.
    """
    a, b = ours(), peer()
    if a.shape != b.shape:
        raise ValueError(f"{what}: results of shape {tuple(a.shape)} and {tuple(b.shape)}")
    difference = float((a - b).abs().max())
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(runs):
        for name, call in (("ours", ours), ("peer", peer)):
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    mine, theirs = (statistics.median(seconds[name]) for name in ("ours", "peer"))
    return {
        "what": what,
        "ours": mine,
        "peer": theirs,
        "ratio": theirs / mine,
        "unit": "s",
        "max_abs_diff": difference,
        "runs": runs,
        **more,
    }
