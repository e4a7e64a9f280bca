"""Many single-Site edits in few forwards: the sweep under every "patch each place in turn".

Import `sweep` from `utils.sites`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from utils.hooked import (
    Edit,
    check,
    chunks,
    eval_mode,
    forward,
    refuse_unchanged,
    rows_of,
    run,
)
from utils.selection import SiteError, Value

if TYPE_CHECKING:
    from utils.sites import Site


def sweep(
    model: nn.Module,
    inputs: Tensor,
    sites: Sequence[Site],
    values: Sequence[Value] | float | Callable[[Tensor], Tensor],
    *,
    metric: Callable[[Tensor], Tensor] | None = None,
    batch_size: int = 64,
    allow_unchanged: bool = False,
) -> Tensor:
    """Try many single-Site edits, each alone, as row blocks of few large forwards.

    `values`: one for each site, or one number or function for all of them. Each forward holds at
    most `batch_size` rows. On a native TransformerBridge the layers below a site are not computed
    again: its rows join the batch at its own block, with the clean residual stream, after a check
    on one row that this gives the model's own output.

    Returns [site, batch, ...]: the outputs, or whatever `metric(output)` makes of each site's
    [batch, ...] (it keeps memory small). No gradients. Raises as `run` does; `UnchangedError`
    names the sites that changed nothing.
    """
    sites = list(sites)
    if not sites:
        raise SiteError("A sweep needs at least one Site.")
    check(model, inputs, sites)
    if batch_size < 1:
        raise SiteError(f"batch_size must be 1 or more, got {batch_size}.")
    if callable(values) or isinstance(values, int | float):
        values = [values] * len(sites)
    if len(values) != len(sites):
        raise SiteError(f"A sweep over {len(sites)} sites was given {len(values)} values.")
    whole = [Edit(site, value) for site, value in zip(sites, values, strict=True)]
    blocks = list(chunks(len(inputs), batch_size))
    pieces: list[list[Tensor]] = [[] for _ in sites]
    rows_out: list[Tensor | None] = [None] * len(sites)
    with eval_mode(model):
        starts = _starts(model, inputs, sites, batch_size)
        layers = [_layer(site.hook) if _layer(site.hook) in starts else None for site in sites]
        late = sorted((i for i, at in enumerate(layers) if at is not None), key=layers.__getitem__)
        full = [i for i, at in enumerate(layers) if at is None]
        for members in (full, late):
            jobs = [(i, rows) for i in members for rows in blocks]
            for pack in _packs(jobs, batch_size):
                edits, first = [], 0
                entries: dict[int | None, list[Tensor]] = {}
                for i, rows in pack:
                    size = rows.stop - rows.start
                    value = rows_of(whole[i], rows, len(inputs))
                    edits.append(Edit(sites[i], value, slice(first, first + size)))
                    first += size
                    source = inputs if layers[i] is None else starts[layers[i]]
                    entries.setdefault(layers[i], []).append(source[rows])
                enter = {layer: torch.cat(parts) for layer, parts in entries.items()}
                given = enter.get(None, enter)  # a pack never mixes the two
                output = forward(model, given, edits, ()).output
                for (i, _), edit in zip(pack, edits, strict=True):
                    whole[i].changed |= edit.changed
                    pieces[i].append(output[edit.rows])
                    if len(pieces[i]) == len(blocks):
                        done = torch.cat(pieces[i])
                        # a metric may return a view, which would keep the whole output alive
                        rows_out[i] = metric(done).clone() if metric else done
                        pieces[i] = []
    if not allow_unchanged:
        refuse_unchanged(whole)
    return torch.stack(rows_out)  # type: ignore[arg-type]


def _layer(hook: str) -> int | None:
    parts = hook.split(".")
    return int(parts[1]) if parts[0] == "blocks" and len(parts) > 2 and parts[1].isdigit() else None


def _starts(
    model: nn.Module, inputs: Tensor, sites: Sequence[Site], batch_size: int
) -> dict[int, Tensor]:
    """The clean residual stream entering each block that some site lies in, where usable."""
    original = getattr(model, "original_model", None)
    layers = sorted({layer for s in sites if (layer := _layer(s.hook)) is not None})
    capped = getattr(original, "output_logits_soft_cap", 0) > 0  # applied after the unembedding
    if type(original).__name__ != "NativeModel" or capped:
        return {}
    from utils.sites import Site

    layers = [layer for layer in layers if layer < len(model.blocks)]
    entry = [Site(f"blocks.{layer}.hook_in") for layer in layers]
    clean = run(model, inputs, read=entry, batch_size=batch_size)
    starts = dict(zip(layers, clean.values, strict=True))
    if layers:
        # the model's own hooks, or a later TransformerLens, could make this untrue
        again = forward(model, {layer: h[:1] for layer, h in starts.items()}, (), ()).output
        if not torch.allclose(again, clean.output[:1].expand_as(again), rtol=1e-5, atol=1e-6):
            return {}
    return starts


def _packs(jobs: list[tuple[int, slice]], size: int) -> Iterator[list[tuple[int, slice]]]:
    pack: list[tuple[int, slice]] = []
    used = 0
    for job in jobs:
        rows = job[1].stop - job[1].start
        if pack and used + rows > size:
            yield pack
            pack, used = [], 0
        pack.append(job)
        used += rows
    if pack:
        yield pack
