"""Path patching: the effect of one site on others along direct paths only. Import from patching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from utils.errors import CourseError
from utils.sites import Site, UnchangedError, run


class PathError(CourseError, ValueError):
    """A path that the model does not have."""


def patch_path(
    model: nn.Module,
    clean: Tensor,
    corrupted: Tensor,
    sender: Site,
    receivers: Sequence[Site] | None = None,
    *,
    direction: Literal["denoise", "noise"],
    frozen: Sequence[Site] | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """The output when `sender` changes, but only as the `receivers` see it directly: [batch, ...].

    Exact ("Localizing model behavior with path patching", Goldowsky-Dill, MacLeod, Sato & Arora
    2023). In a first run the sender takes its value from the other run and everything in `frozen`
    keeps this run's own, so that nothing between can react; what the receivers then hold is written
    into a second run, in which all else is free. Layer norms on the way are computed, not frozen.

    receivers: Sites such as the q, k or v of heads or an MLP's hook_pre; None is the output.
    frozen: what may not react. None takes all heads and MLPs of a TransformerBridge; other models
        name their Sites. "denoise" runs on the corrupted inputs, "noise" on the clean ones.

    Raises PathError when no frozen Sites are known, and UnchangedError when the sender does not
    differ between the runs or does not reach the receivers directly.
    """
    if direction not in ("denoise", "noise"):
        raise PathError(f'direction must be "denoise" or "noise", got {direction!r}.')
    if clean.shape != corrupted.shape:
        raise PathError(
            f"The clean inputs have shape {list(clean.shape)}, the corrupted ones"
            f" {list(corrupted.shape)}: they must be pairs, row by row."
        )
    base, source = (corrupted, clean) if direction == "denoise" else (clean, corrupted)
    kept = _components(model) if frozen is None else list(frozen)
    receivers = [] if receivers is None else list(receivers)
    for site in receivers:
        if any(site.hook == other.hook for other in kept):
            raise PathError(
                f"{site} is frozen, so it cannot receive: name what it reads (hook_q, hook_k,"
                " hook_v, mlp.hook_pre) instead of what it gives."
            )
    own = run(model, base, read=kept, batch_size=batch_size).values
    value = run(model, source, read=[sender], batch_size=batch_size).values[0]
    before = run(model, base, read=[sender], batch_size=batch_size).values[0]
    if torch.equal(value, before):
        raise UnchangedError(f"{sender} holds the same in both runs, so there is nothing to send.")
    edits: list[tuple[Site, Any]] = list(zip(kept, own, strict=True))
    edits.append((sender, value))  # after the frozen ones: at one hook the later edit wins
    first = run(
        model, base, edits=edits, read=receivers, allow_unchanged=True, batch_size=batch_size
    )
    if not receivers:
        return first.output
    # all receivers at once; the guard speaks up when the sender reached none of them
    arrived = list(zip(receivers, first.values, strict=True))
    second = run(model, base, edits=arrived, allow_unchanged=True, batch_size=batch_size)
    held = run(model, base, read=receivers, batch_size=batch_size).values
    if all(torch.equal(a, b) for a, b in zip(first.values, held, strict=True)):
        raise UnchangedError(
            f"{sender} does not reach {', '.join(map(str, receivers))} directly: they hold the same"
            " as without it. A receiver must lie behind the sender."
        )
    return second.output


def _components(model: nn.Module) -> list[Site]:
    """Every attention layer's z and every MLP's output of a TransformerBridge."""
    hooks = getattr(model, "hook_dict", None) or {}
    blocks = getattr(model, "blocks", None)
    if blocks is None:
        raise PathError(
            f"What lies between sender and receivers is not known for {type(model).__name__}: name"
            " the Sites that must not react in frozen=[...] ([] if nothing does)."
        )
    names = [
        name
        for layer in range(len(blocks))
        for name in (f"blocks.{layer}.attn.hook_z", f"blocks.{layer}.hook_mlp_out")
    ]
    return [Site(name) for name in names if name in hooks]
