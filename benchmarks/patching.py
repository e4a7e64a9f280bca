"""Patching every head at every position: one sweep, against transformer-lens' own loop.

The peer is `transformer_lens.patching.get_act_patch_attn_head_out_by_pos`, which runs the model
once for each layer, position and head. Both sides read the clean activations inside the timing.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

from benchmarks import side_by_side


def rows(quick: bool = False) -> list[dict[str, Any]]:
    """The induction model and the bracket checker, 1 and 8 pairs each. `quick`: fewer runs."""
    import torch

    from utils.data import brackets, sequences

    torch.set_num_threads(1)
    cases = [
        ("induction", lambda n, seed: sequences.repeats(n, seed)[0]),
        ("brackets", lambda n, seed: brackets.make(n, seed).tokens),
    ]
    return [
        _row(name, data(batch, 1), data(batch, 2), 3 if quick else 5)
        for name, data in cases
        for batch in (1, 8)
    ]


def _row(name: str, clean: Any, corrupted: Any, runs: int) -> dict[str, Any]:
    import torch
    from transformer_lens.patching import get_act_patch_attn_head_out_by_pos

    from utils.models import zoo
    from utils.patching import patch
    from utils.sites import Site

    model = zoo.load(name)
    layers, heads, positions = len(model.blocks), model.cfg.n_heads, clean.shape[1]
    sites = [
        Site(f"blocks.{layer}.attn.hook_z", head=head, position=position)
        for layer in range(layers)
        for position in range(positions)
        for head in range(heads)
    ]

    def ours() -> Any:
        found = patch(
            model, clean, corrupted, sites, direction="denoise",
            metric=lambda output: output[:, -1, 0], allow_unchanged=True,
        )  # fmt: skip
        return found.mean(1).reshape(layers, positions, heads)

    def peer() -> Any:
        # its progress bar goes where nobody reads it, which costs it nothing
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):
            _, cache = model.run_with_cache(clean)
            return get_act_patch_attn_head_out_by_pos(
                model, corrupted, cache, lambda output: output[:, -1, 0].mean()
            )

    what = f"{name}: {len(sites)} heads x positions, batch {len(clean)}"
    return side_by_side(what, ours, peer, runs=runs, sites=len(sites), batch=len(clean))
