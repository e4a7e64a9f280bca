"""What `probe` costs beside the scikit-learn fits it makes."""

from __future__ import annotations

import time
import warnings
from typing import Any
from unittest import mock

OVERHEAD = 1.5  # at most so many times the bare fits


def timed(what: str, n: int, widths: tuple[int, ...], limit: float | None, runs: int) -> dict:
    """A row: `probe` on [n, 64] from the end of the words' network, beside its fits made again
    without anything around them. Medians of `runs` interleaved runs.

    Seconds of the processor: one thread is used, and other work on the machine does not count.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    from utils.data import words
    from utils.models import zoo
    from utils.probing import classifiers, probes
    from utils.sites import Site

    tokens = words.make(-(-n // 15), seed=5)
    row = words.rows(tokens)
    x = Site("blocks.1.hook_resid_post").read(zoo.load("words"), tokens)[:, 1:]
    x = x.reshape(-1, x.shape[-1])[:n]
    given = {"groups": row.sentence[:n], "types": row.type[:n], "widths": widths}
    fits: list[tuple[int, int, Any, np.ndarray, np.ndarray]] = []
    make = probes._make

    def noting(width: int, seed: int) -> Any:
        fresh = make(width, seed)
        fit = fresh.fit

        def noted(rows: np.ndarray, labels: np.ndarray) -> Any:
            fits.append((width, seed, fresh, rows, labels))
            return fit(rows, labels)

        fresh.fit = noted
        return fresh

    def ours() -> None:
        probes.probe(x, row.cls[:n], **given)

    def bare() -> list[Any]:
        again = []
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for width, seed, _, rows, labels in fits:
                model = classifiers.linear(seed) if width == 0 else classifiers.mlp(width, seed)
                again.append(model.fit(rows, labels))
        return again

    with mock.patch.object(probes, "_make", noting):
        ours()
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    models: list[Any] = []
    for _ in range(runs):
        for side, run in (("ours", ours), ("peer", bare)):
            start = time.process_time()
            models = run() or models
            seconds[side].append(time.process_time() - start)
    ours_s, peer_s = (sorted(seconds[side])[runs // 2] for side in ("ours", "peer"))
    apart = max(
        float(np.abs(model.predict_proba(rows) - first.predict_proba(rows)).max())
        for model, (_, _, first, rows, _) in zip(models, fits, strict=True)
    )
    overhead = ours_s / peer_s
    in_time = limit is None or ours_s <= limit
    return {
        "kind": "time", "what": f"{what}, {n:,} x {x.shape[1]}, {len(fits)} fits", "unit": "s",
        "ours": ours_s, "peer": peer_s, "ratio": peer_s / ours_s, "overhead": overhead,
        "limit": limit, "met": in_time and overhead <= OVERHEAD,
        "max_abs_diff": apart,
    }  # fmt: skip
