"""Many single-Site edits in few forwards: the sweep under every "patch each place in turn".

Import `sweep` from `utils.sites`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

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
    sites: Sequence[Site | Sequence[Site]],
    values: Sequence[Value | Sequence[Value]] | float | Callable[[Tensor], Tensor],
    *,
    metric: Callable[[Tensor], Tensor] | None = None,
    batch_size: int = 64,
    allow_unchanged: bool = False,
) -> Tensor:
    """Try many edits, each alone, as row blocks of few large forwards.

    `sites`: an entry that is a sequence of Sites is one edit at all of them together; its entry of
    `values` then holds one for each. `values` may also be one number or function for all.
    Each forward holds at most `batch_size` rows. On a native TransformerBridge the layers below a
    site are not computed again: its rows join the batch at its own block, with the clean residual
    stream, after a check on one row that this gives the model's own output. Edits of heads' z alone
    skip the block's attention too.

    Returns [site, batch, ...]: the outputs, or whatever `metric(output)` makes of each site's
    [batch, ...] (it keeps memory small). No gradients. Raises as `run` does; `UnchangedError`
    names the sites that changed nothing.
    """
    if not len(sites):
        raise SiteError("A sweep needs at least one Site.")
    if batch_size < 1:
        raise SiteError(f"batch_size must be 1 or more, got {batch_size}.")
    whole = _groups(sites, values)
    check(model, inputs, [edit.site for group in whole for edit in group])
    blocks = list(chunks(len(inputs), batch_size))
    pieces: list[list[Tensor]] = [[] for _ in sites]
    rows_out: list[Tensor | None] = [None] * len(sites)
    with eval_mode(model):
        starts = _starts(model, inputs, [e.site for g in whole for e in g], batch_size)
        layers = [_entry([_layer(edit.site.hook) for edit in group], starts) for group in whole]
        heads = _heads(model, inputs, [e.site for g in whole for e in g], starts, batch_size)
        behind = [_only_heads(group, heads) for group in whole]
        layers = [at if z is None else z + 1 for at, z in zip(layers, behind, strict=True)]
        late = sorted((i for i, at in enumerate(layers) if at is not None), key=layers.__getitem__)
        full = [i for i, at in enumerate(layers) if at is None]
        for members in (full, late):
            jobs = [(i, rows) for i in members for rows in blocks]
            for pack in _packs(jobs, batch_size):
                edits, spans, end = [], [], 0
                entries: dict[int | None, list[Tensor]] = {}
                written: dict[int, list[tuple[int, Tensor, Tensor]]] = {}
                for i, rows in pack:
                    span = slice(end, end + rows.stop - rows.start)
                    spans.append(span)
                    end = span.stop
                    at, z = entries.setdefault(layers[i], []), behind[i]
                    if z is not None:
                        held = heads[z][rows].clone()
                        for edit in whole[i]:
                            value = rows_of(edit, rows, len(inputs))
                            edit.changed |= edit.site.put_(held, value, _AXES_OF_Z)
                        written.setdefault(z, []).append((len(at), starts[z][rows], held))
                        at.append(held)  # its place; the stream behind the block comes below
                        continue
                    for edit in whole[i]:
                        value = rows_of(edit, rows, len(inputs))
                        edits.append((edit, Edit(edit.site, value, span)))
                    at.append((inputs if layers[i] is None else starts[layers[i]])[rows])
                for z, jobs_there in written.items():
                    places, streams, held = zip(*jobs_there, strict=True)
                    done = _behind(model, z, torch.cat(streams), torch.cat(held))
                    for place, part in zip(places, done.split([len(h) for h in held]), strict=True):
                        entries[z + 1][place] = part
                enter = {layer: torch.cat(parts) for layer, parts in entries.items()}
                given = enter.get(None, enter)  # a pack never mixes the two
                output = forward(model, given, [made for _, made in edits], ()).output
                for edit, made in edits:
                    edit.changed |= made.changed
                for (i, _), span in zip(pack, spans, strict=True):
                    pieces[i].append(output[span])
                    if len(pieces[i]) == len(blocks):
                        done = torch.cat(pieces[i])
                        # a metric may return a view, which would keep the whole output alive
                        rows_out[i] = metric(done).clone() if metric else done
                        pieces[i] = []
    if not allow_unchanged:
        refuse_unchanged([e for g in whole if not any(x.changed for x in g) for e in g])
    return torch.stack(rows_out)  # type: ignore[arg-type]


def _groups(sites: Sequence[Any], values: Any) -> list[list[Edit]]:
    """One list of edits for each entry of `sites`."""
    from utils.sites import Site

    if callable(values) or isinstance(values, int | float):
        values = [values if isinstance(site, Site) else [values] * len(site) for site in sites]
    if len(values) != len(sites):
        raise SiteError(f"A sweep over {len(sites)} sites was given {len(values)} values.")
    groups = []
    for site, value in zip(sites, values, strict=True):
        if isinstance(site, Site):
            groups.append([Edit(site, value)])
            continue
        if not len(site):
            raise SiteError("An entry of the sweep is empty: it holds no Site.")
        if isinstance(value, Tensor | int | float) or callable(value) or len(value) != len(site):
            raise SiteError(f"{len(site)} Sites changed together need as many values, in a list.")
        groups.append([Edit(s, v) for s, v in zip(site, value, strict=True)])
    return groups


def _entry(layers: list[int | None], starts: dict[int, Tensor]) -> int | None:
    """The block at which a group's rows may join: the lowest it touches; None is the input."""
    if any(layer is None or layer not in starts for layer in layers):
        return None
    return min(layer for layer in layers if layer is not None)


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


_AXES_OF_Z = ("batch", "position", "head", "neuron")


def _heads(
    model: nn.Module,
    inputs: Tensor,
    sites: Sequence[Site],
    starts: dict[int, Tensor],
    batch_size: int,
) -> dict[int, Tensor]:
    """The clean z of each layer in which heads are edited, where the block can be finished from it.

    Finished from the clean z it must give the stream that the next block finds.
    """
    from utils.sites import Site

    named = {_layer(site.hook) for site in sites if site.hook.endswith(".attn.hook_z")}
    layers = sorted(named & set(starts))
    if not layers:
        return {}
    last = len(model.blocks) - 1  # type: ignore[arg-type]
    z = [Site(f"blocks.{layer}.attn.hook_z") for layer in layers]
    after = [
        Site("ln_final.hook_in" if layer == last else f"blocks.{layer + 1}.hook_in")
        for layer in layers
    ]
    found = {}
    try:
        values = run(model, inputs, read=[*z, *after], batch_size=batch_size).values
        for layer, held, stream in zip(layers, values, values[len(layers) :], strict=False):
            finished = _behind(model, layer, starts[layer][:1], held[:1])
            if torch.allclose(finished, stream[:1], rtol=1e-5, atol=1e-6):
                found[layer] = held
    except (AttributeError, RuntimeError, SiteError):
        return {}  # another kind of block: its attention is computed again
    return found


def _only_heads(group: list[Edit], heads: dict[int, Tensor]) -> int | None:
    """The layer of a group that edits the z of one layer and nothing else."""
    layers = {_layer(edit.site.hook) for edit in group}
    if len(layers) != 1 or not all(e.site.hook.endswith(".attn.hook_z") for e in group):
        return None
    layer = layers.pop()
    return layer if layer in heads else None


@torch.no_grad()
def _behind(model: nn.Module, layer: int, stream: Tensor, z: Tensor) -> Tensor:
    """The residual stream behind a native block, from the one before it and the heads' z."""
    block: Any = model.blocks[layer]  # type: ignore[index]
    stream = stream + block.attn.original_component.o(z.flatten(-2))
    if "mlp" in dict(block.named_children()):
        hidden = block.ln2.original_component(stream)
        stream = stream + block.mlp.original_component(hidden)
    return stream


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
