"""Running a hooked model once, with edits at some places and readings at others.

This is the engine under `utils.sites`; import `run` and `hook_shapes` from there. It works on any
model with a `hook_dict` of HookPoints: a TransformerBridge, or a network built on
HookedRootModule. Hooks are plain torch forward hooks, removed again even when the forward raises.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from utils.selection import SiteError, UnchangedError, Value

if TYPE_CHECKING:
    from utils.sites import Site


class Run(NamedTuple):
    """What `run` returns: the model's output, and one tensor for each Site that was read."""

    output: Tensor
    values: list[Tensor]


@dataclass
class Edit:
    site: Site
    value: Value
    rows: slice | None = None  # which rows of the batch; None is all of them
    changed: bool = False


@dataclass
class Reading:
    site: Site
    value: Tensor | None = None


def run(
    model: nn.Module,
    inputs: Tensor,
    *,
    edits: Sequence[tuple[Site, Value]] = (),
    read: Sequence[Site] = (),
    allow_unchanged: bool = False,
    batch_size: int | None = None,
    grad: bool = False,
) -> Run:
    """Run `model(inputs)` with every edit in place, and read values on the way.

    `inputs`: [batch, ...]. `edits`: pairs (site, value); several at one hook compose in the order
    given. Reads see the values after the edits. The model runs in eval mode and is put back.
    `batch_size`: at most so many rows a forward; a function given as value then sees one chunk at
    a time. `grad=True` keeps the graph (a whole-hook Site then reads the tensor that flows on, so
    that `torch.autograd.grad(loss, value)` works; cut the gradient with `site.get`).

    Raises SiteError (unknown or silent hook, wrong axis, index, shape, dtype, or NaN written) and
    UnchangedError where an edit changed nothing, unless `allow_unchanged`.
    """
    plan = [Edit(site, value) for site, value in edits]
    check(model, inputs, [site for site, _ in edits] + list(read))
    if batch_size is None:
        with eval_mode(model):
            result = forward(model, inputs, plan, read, grad=grad)
    else:
        if batch_size < 1:
            raise SiteError(f"batch_size must be 1 or more, got {batch_size}.")
        parts = []
        with eval_mode(model):
            for rows in chunks(len(inputs), batch_size):
                part = [Edit(e.site, rows_of(e, rows, len(inputs))) for e in plan]
                parts.append(forward(model, inputs[rows], part, read, grad=grad))
                for whole, piece in zip(plan, part, strict=True):
                    whole.changed |= piece.changed
        values = [torch.cat(v) for v in zip(*(p.values for p in parts), strict=True)]
        result = Run(torch.cat([p.output for p in parts]), values)
    if not allow_unchanged:
        refuse_unchanged(plan)
    return result


def hook_shapes(model: nn.Module, inputs: Tensor) -> dict[str, tuple[int, ...]]:
    """The hooks that fire on `inputs`, each with the shape found there, in order of firing."""
    check(model, inputs, [])
    with eval_mode(model):
        return _shapes(model, inputs, list(_points(model)))


# --- one forward -----------------------------------------------------------------------------


def forward(
    model: nn.Module,
    inputs: Tensor | dict[int, Tensor],
    edits: Sequence[Edit],
    read: Sequence[Site],
    *,
    grad: bool = False,
) -> Run:
    """One forward, from the model's inputs or from rows that enter at a block (see `_resume`)."""
    points = _points(model)
    reads = [Reading(site) for site in read]
    groups: dict[tuple[int, bool], list[Edit | Reading]] = {}
    found: dict[tuple[int, bool], nn.Module] = {}
    for item in (*edits, *reads):
        point = points[item.site.hook]
        key = (id(point), _is_residual_mid(item.site.hook, point))
        groups.setdefault(key, []).append(item)
        found[key] = point
    fired: set[tuple[int, bool]] = set()
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(grad))
        # TransformerLens only warns when it throws an edit away; here that is a mistake.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("error", message=".*The edit is discarded")
        for key, items in groups.items():
            hook = _make_hook(model, found[key], items, key, fired, grad)
            handle = found[key].register_forward_hook(hook, prepend=key[1])
            stack.callback(handle.remove)
        try:
            output = _resume(model, inputs) if isinstance(inputs, dict) else model(inputs)
        except UserWarning as discarded:
            raise SiteError(f"This model cannot be edited there: {discarded}") from None
    for key, items in groups.items():
        if key not in fired:
            hook = items[0].site.hook
            raise SiteError(
                f"The hook {hook!r} exists but did not fire in this model, so there is nothing to"
                " read or write there; list the hooks that fire with hook_shapes(model, inputs)."
            )
    return Run(output, [r.value for r in reads])  # type: ignore[misc]


def _make_hook(
    model: nn.Module,
    point: nn.Module,
    items: Sequence[Edit | Reading],
    key: tuple[int, bool],
    fired: set[tuple[int, bool]],
    grad: bool,
) -> Callable[..., Tensor | None]:
    edits = [item for item in items if isinstance(item, Edit)]
    reads = [item for item in items if isinstance(item, Reading)]
    in_place = key[1]

    def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        name = items[0].site.hook
        if key in fired:
            raise SiteError(
                f"The hook {name!r} fired twice in one forward, so a Site there is ambiguous;"
                " give each use in the model its own HookPoint."
            )
        fired.add(key)
        # TransformerLens shows q, k, v and z by head and passes them on flat.
        conversion = getattr(point, "hook_conversion", None)
        if output.ndim == 3 and not getattr(conversion, "splits_attention_heads", False):
            conversion = None
        shown = output if conversion is None else conversion.convert(output)
        axes = axes_of(model, name, shown.ndim)
        _refuse_false_scores(name, shown)
        if edits:
            shown = shown.clone()
            for edit in edits:
                block = shown if edit.rows is None else shown[edit.rows]
                edit.changed |= edit.site.put_(block, edit.value, axes)
        for item in reads:
            value = item.site.get(shown, axes)
            # later layers may work in place (ReLU(inplace=True)): keep a copy, not a view
            item.value = value if grad else value.clone()
        if in_place:
            if edits:
                args[0].copy_(shown)
            return None
        if not edits and not grad:
            return None
        return shown if conversion is None else conversion.revert(shown)

    return hook


def _is_residual_mid(hook: str, point: nn.Module) -> bool:
    """Whether a write must reach the path that skips the MLP as well.

    A TransformerBridge has no HookPoint for `hook_resid_mid`: the name is an alias of the input
    of ln2, so replacing the tensor there would leave the skip path as it was. The tensor that
    arrives there is the one the skip path adds, so the new value is copied into it.
    """
    return hook.endswith(".hook_resid_mid") and getattr(point, "name", hook) != hook


def _refuse_false_scores(hook: str, activation: Tensor) -> None:
    """TransformerLens fires `hook_attn_scores` of a native bridge with the softmaxed pattern."""
    if not hook.endswith("hook_attn_scores"):
        return
    rows = activation.sum(-1)
    if activation.min() >= 0 and torch.allclose(rows, torch.ones_like(rows), atol=1e-4):
        raise SiteError(
            f"{hook!r} holds the attention pattern in this model, not the scores before the"
            " softmax, and a write there is thrown away; use hook_pattern, or hook_q and hook_k."
        )


def axes_of(model: nn.Module, hook: str, ndim: int) -> tuple[str, ...]:
    """The names of an activation's axes; a model's own `hook_axes` comes first."""
    declared = getattr(model, "hook_axes", None) or {}
    if hook in declared:
        axes = tuple(declared[hook])
    elif ndim == 4 and hook.endswith(("hook_pattern", "hook_attn_scores")):
        axes = ("batch", "head", "position", "key")
    elif ndim == 4 and hasattr(model, "blocks"):
        axes = ("batch", "position", "head", "neuron")
    elif ndim == 2 and hook in ("embed.hook_in", "pos_embed.hook_in"):
        axes = ("batch", "position")  # token numbers
    else:
        by_ndim = {
            1: ("batch",),
            2: ("batch", "neuron"),
            3: ("batch", "position", "neuron"),
            4: ("batch", "channel", "row", "column"),
        }
        axes = by_ndim.get(ndim, ())
    if len(axes) != ndim or axes[0] != "batch":
        raise SiteError(
            f"The activation at {hook!r} has {ndim} axes, but its axes are given as {axes}; set"
            " hook_axes on the model, e.g. {'" + hook + "': ('batch', 'channel', 'neuron')}."
        )
    return axes


# --- the model -------------------------------------------------------------------------------


def _points(model: nn.Module) -> dict[str, nn.Module]:
    points = getattr(model, "hook_dict", None)
    if not points:
        raise SiteError(
            f"{type(model).__name__} has no hooks: build it on HookedRootModule, put HookPoints"
            " after its layers and call self.setup() at the end of __init__."
        )
    return points


def check(model: nn.Module, inputs: Tensor, sites: Sequence[Site]) -> None:
    """SiteError when there are no inputs, or for a hook that the model has not."""
    points = _points(model)
    if isinstance(inputs, Tensor) and (inputs.ndim < 1 or len(inputs) < 1):
        raise SiteError(f"The inputs have shape {list(inputs.shape)}: there is no row to run.")
    for site in sites:
        if site.hook in points:
            continue
        near = difflib.get_close_matches(site.hook, points, n=4, cutoff=0.5) or sorted(points)[:4]
        with eval_mode(model):
            shapes = _shapes(model, inputs[:1], near)
        found = [f"{n} {list(shapes[n]) if n in shapes else '(does not fire)'}" for n in near]
        raise SiteError(
            f"No hook is called {site.hook!r}; the nearest, with the shape for one input:"
            f" {', '.join(found)}."
        )


def _shapes(model: nn.Module, inputs: Tensor, names: list[str]) -> dict[str, tuple[int, ...]]:
    points, shapes = _points(model), {}
    by_point: dict[nn.Module, list[str]] = {}
    for name in names:
        by_point.setdefault(points[name], []).append(name)

    def note(point: nn.Module, _args: Any, output: Tensor) -> None:
        conversion = getattr(point, "hook_conversion", None)
        shown = output
        if getattr(conversion, "splits_attention_heads", False):
            shown = conversion.convert(output)
        for name in by_point[point]:
            shapes[name] = tuple(shown.shape)

    with ExitStack() as stack, torch.no_grad():
        for point in by_point:
            stack.callback(point.register_forward_hook(note).remove)
        model(inputs)
    return shapes


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _resume(model: nn.Module, entering: dict[int, Tensor]) -> Tensor:
    """A native TransformerBridge from the residual stream on: {block: rows that enter there}.

    Rows join the batch at their block, after those that are already on their way.
    """
    hidden = None
    for layer, block in enumerate(model.blocks):
        if layer in entering:
            new = entering[layer]
            hidden = new if hidden is None else torch.cat([hidden, new])
        if hidden is not None:
            positions = torch.arange(hidden.shape[1], device=hidden.device)
            hidden = block(hidden, position_ids=positions.expand(len(hidden), -1))
            hidden = hidden[0] if isinstance(hidden, tuple) else hidden
    if len(model.blocks) in entering:  # rows that need the read-out only
        new = entering[len(model.blocks)]
        hidden = new if hidden is None else torch.cat([hidden, new])
    return model.unembed(model.ln_final(hidden))


def chunks(n: int, size: int) -> Iterator[slice]:
    return (slice(i, min(i + size, n)) for i in range(0, n, size))


def rows_of(edit: Edit, rows: slice, total: int) -> Value:
    """The part of a tensor value that belongs to some rows of the batch."""
    value = edit.value
    if not isinstance(value, Tensor) or value.ndim == 0 or len(value) == 1:
        return value
    if len(value) != total:
        raise SiteError(
            f"The value for {edit.site} has shape {list(value.shape)}, but the batch has {total}"
            " rows: its first axis must be the batch, or 1."
        )
    return value[rows]


def refuse_unchanged(edits: Sequence[Edit]) -> None:
    same = [str(edit.site) for edit in edits if not edit.changed]
    if same:
        more = f" and {len(same) - 4} more" if len(same) > 4 else ""
        raise UnchangedError(
            f"The write changed nothing at {', '.join(same[:4])}{more}: the new value equals the"
            " old one. Pass allow_unchanged=True if that is what you want."
        )
