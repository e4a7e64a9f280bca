"""What a claim about a place must beat: the same claim about a random place of the same size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from utils.sites import Site


def random_sites(
    model: nn.Module, sites: Sequence[Site], inputs: Tensor, generator: torch.Generator
) -> list[Site]:
    """For each Site another of the same size at the same hook and position; none overlap.

    Neurons and channels: as many others that vary over the inputs, outside the claimed ones while
    these last. A basis: as many random directions. A whole head: as many random directions of what
    its layer writes. A Site that is all there is at its place stays: there is no other like it, so
    a claim about it cannot do better than its null.
    """
    found: dict[int, Site] = {}
    by_hook: dict[str, list[int]] = {}
    for i, site in enumerate(sites):
        by_hook.setdefault(site.hook, []).append(i)
    for hook, members in by_hook.items():
        here = [sites[i] for i in members]
        values = Site(hook).read(model, inputs[:500])
        if all(site.basis is None and _axis(site) is not None for site in here):
            new = _units(here, values, generator)
        elif all(site.basis is not None for site in here):
            new = _directions(here, generator)
        elif hook.endswith("hook_z") and all(_whole_head(site) for site in here):
            new = _of_the_layer(here, values.shape[-1], model, inputs, generator)
        else:
            new = list(here)
        found.update(zip(members, new, strict=True))
    return [found[i] for i in range(len(sites))]


def _axis(site: Site) -> str | None:
    """The axis along which a Site takes units of a layer."""
    for name in ("neuron", "channel"):
        if getattr(site, name) is not None:
            return name
    return None


def _whole_head(site: Site) -> bool:
    return isinstance(site.head, int) and site.neuron is None and site.basis is None


def _numbers(site: Site, size: int) -> list[int]:
    chosen = getattr(site, _axis(site) or "neuron")
    if isinstance(chosen, slice):
        return list(range(*chosen.indices(size)))
    return [chosen % size] if isinstance(chosen, int) else [c % size for c in chosen]


def _units(sites: list[Site], values: Tensor, generator: torch.Generator) -> list[Site]:
    name = _axis(sites[0])
    assert name is not None
    at = 1 if name == "channel" else values.ndim - 1
    size = values.shape[at]
    flat = values.transpose(at, -1).reshape(-1, size).double()
    live = (flat.std(0) > 1e-6).nonzero()[:, 0].tolist()
    claimed = {n for site in sites for n in _numbers(site, size)}
    order = torch.randperm(len(live), generator=generator).tolist()
    pool = [live[i] for i in order if live[i] not in claimed]
    pool += [live[i] for i in order if live[i] in claimed]
    pool += [n for n in range(size) if n not in set(live)]
    out = []
    for site in sites:
        count = len(_numbers(site, size))
        out.append(replace(site, **{name: sorted(pool[:count])}))
        pool = pool[count:]
    return out


def _directions(sites: list[Site], generator: torch.Generator) -> list[Site]:
    widths = {len(site.basis) for site in sites}  # type: ignore[arg-type]
    sizes = [site.basis.shape[1] for site in sites]  # type: ignore[union-attr]
    apart = len(widths) == 1 and sum(sizes) <= min(widths)
    if apart:
        bases = torch.linalg.qr(
            torch.randn(min(widths), sum(sizes), generator=generator, dtype=torch.double)
        ).Q.split(sizes, 1)
    else:  # at different places, so they need not be orthogonal to each other
        bases = tuple(
            torch.linalg.qr(
                torch.randn(*site.basis.shape, generator=generator, dtype=torch.double)  # type: ignore[union-attr]
            ).Q
            for site in sites
        )
    return [
        replace(site, basis=basis.to(site.basis.dtype))  # type: ignore[union-attr]
        for site, basis in zip(sites, bases, strict=True)
    ]


def _of_the_layer(
    sites: list[Site], width: int, model: nn.Module, inputs: Tensor, generator: torch.Generator
) -> list[Site]:
    """Heads: random directions of what the layer writes into the residual stream."""
    hook = sites[0].hook.removesuffix("attn.hook_z") + "hook_attn_out"
    size = Site(hook).read(model, inputs[:2]).shape[-1]
    if len(sites) * width >= size:
        return list(sites)
    blank = torch.eye(size)[:, :width]
    return _directions([Site(hook, position=s.position, basis=blank) for s in sites], generator)
