"""A concept taken out of the weights: an eraser multiplied into the linear maps beside a Site.

    there = what_should_go                                    # [n] bool, one entry a row
    eraser = targeted(hidden, there, like=such_rows_without_it)
    edit = fold(model, Site("blocks.1.mlp.hook_post"), eraser, tokens)
    edit.model(tokens)                                        # an edited copy; `model` is as it was

An eraser is an affine map, and so is a linear layer: the two multiplied are again a linear layer.
Nothing is hooked afterwards; the change is in the file.
"""

from __future__ import annotations

import copy
import math
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from utils.probing.erasure import Eraser
from utils.probing.rows import ProbingError, features
from utils.selection import SiteError
from utils.sites import Site, run
from utils.steering import checked_direction


def along(direction: Any, centre: Any = None) -> Eraser:
    """The eraser that projects one direction [d] out, orthogonally ("directional ablation").

    centre [d]: a point that stays where it is, such as the mean of rows without the concept; the
    origin without it. Raises SiteError for NaN, length zero or another shape.
    """
    unit = checked_direction(direction).double()
    unit = unit / unit.norm()
    middle = torch.zeros_like(unit) if centre is None else torch.as_tensor(centre).double()
    if middle.shape != unit.shape:
        raise SiteError(f"The centre has shape {list(middle.shape)}, not [{len(unit)}].")
    return Eraser("direction", unit[:, None], unit[None], middle, 1, ())


def targeted(x: Any, there: Any, like: Any, *, ridge: float = 1e-3) -> Eraser:
    """An eraser that moves the rows `there` onto the rows `like`, and is told by the others where
    to do nothing.

    x [n, d]: activations from everywhere, those to be left alone too. there, like: [n] bool, two
    sets of rows without a row in common. What is taken off is the difference of their means. How
    much of it is taken off a row is read by the linear function that predicts in least squares
    whether a row is one of `there` (ridge regression, then scaled to be 1 on `there` and 0 on
    `like` in the mean). Rows of which x holds more are left alone more faithfully: choose x so.

    ridge: as a share of the mean variance of a feature.
    Raises ProbingError for sets that are empty, overlap or have another length, for NaN, and where
    the two sets have the same mean.
    """
    rows = features(x, "x")
    marks = {name: _marks(values, len(rows), name) for name, values in
             (("there", there), ("like", like))}  # fmt: skip
    if (marks["there"] & marks["like"]).any():
        raise ProbingError("Some rows are marked `there` and `like` at once.")
    if not ridge >= 0 or not math.isfinite(ridge):
        raise ProbingError(f"The ridge is a share of the variance, 0 or more; got {ridge}.")
    off = rows - rows.mean(0)
    spread = off.T @ off / len(rows)
    size = ridge * spread.diagonal().mean()
    cross = off.T @ (marks["there"] - marks["there"].mean()) / len(rows)
    reader = np.linalg.pinv(spread + size * np.eye(len(spread)), hermitian=True) @ cross
    centre = rows[marks["like"]].mean(0)
    difference = rows[marks["there"]].mean(0) - centre
    scale = float(reader @ difference)
    if not scale > 1e-12:
        raise ProbingError("Nothing linear tells the rows `there` from the rows `like`.")
    notes = []
    if rows.shape[1] >= len(rows):
        notes.append(f"{rows.shape[1]} features on {len(rows)} rows: the reading is not pinned.")
    return Eraser(
        "targeted", torch.as_tensor(difference)[:, None], torch.as_tensor(reader / scale)[None],
        torch.as_tensor(centre), len(rows), (False, True), tuple(notes),
    )  # fmt: skip


def _marks(values: Any, n: int, name: str) -> np.ndarray:
    marks = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    if marks.dtype != bool or marks.shape != (n,):
        raise ProbingError(f"{name} needs one true or false for each of the {n} rows.")
    if not marks.any():
        raise ProbingError(f"{name} marks no row.")
    return marks


@dataclass
class WeightEdit:
    """An edited copy of a network. `undo` puts its old weights back, bit for bit.

    changed: the edited modules by name, each with the size of its change as a share of its weights
    (Frobenius norms). As a context manager it gives the copy and undoes the edit at the end.
    """

    model: nn.Module
    site: Site
    changed: dict[str, float]
    before: list[tuple[nn.Parameter, Tensor]] = field(repr=False)

    def undo(self) -> None:
        """Put the old weights back into the copy."""
        with torch.no_grad():
            for parameter, old in self.before:
                parameter.copy_(old)

    def __enter__(self) -> nn.Module:
        return self.model

    def __exit__(self, *_: object) -> None:
        self.undo()


def fold(
    model: nn.Module,
    site: Site,
    eraser: Eraser,
    inputs: Tensor,
    *,
    dose: float = 1.0,
    side: Literal["write", "read"] | None = None,
) -> WeightEdit:
    """A copy of the model whose weights do what the eraser would do at the Site.

    side "write": the maps whose output the activation is. Where one linear map ends ("hook_mlp_out"
    of a layer, "hook_fc1_pre" of the CNN) the result is that of writing `eraser.apply` there. In
    the residual stream it is all that wrote up to there, embeddings included; the concept is then
    gone there *and earlier*, so that layers on the way read a changed stream too. side "read": the
    linear maps that read the activation ("blocks.1.mlp.hook_post", "blocks.1.attn.hook_z" with the
    heads side by side); in the residual stream without a layer norm those that read it right there,
    while what goes past them stays. None: "write" if there is such a map, otherwise "read".
    dose: share of the eraser; 1 is all of it. inputs: any the model takes; one row is run.

    Raises SiteError for a Site with selectors or a basis, one of another model, one beside which
    there is no linear map, and for an eraser of another width.
    """
    if side not in (None, "write", "read") or not math.isfinite(dose):
        raise SiteError('side is "write", "read" or None, and a dose is a finite number.')
    edited = _copy(model, inputs)
    writers, readers = _beside(edited, site, inputs)
    chosen = writers if side == "write" or (side is None and writers) else readers
    if not chosen:
        raise SiteError(
            f"No linear map {'ends' if side == 'write' else 'begins'} at {site}, so there are no"
            ' weights to edit; "blocks.0.hook_mlp_out", "blocks.0.mlp.hook_post" or a hook of the'
            " residual stream have some."
        )
    taken = dose * eraser.left @ eraser.right  # x -> x - taken (x - mean)
    constant = taken @ eraser.mean

    def change(module: nn.Module, first: bool) -> None:
        weight = module.weight.double()
        if isinstance(module, nn.Embedding):
            module.weight.copy_(weight - weight @ taken.T + first * constant)
        elif chosen is readers:
            _bias(module, site).add_(module.weight.double() @ constant)
            module.weight.copy_(weight - weight @ taken)
        else:
            old = _bias(module, site).double()
            module.bias.copy_(old - taken @ old + first * constant)
            module.weight.copy_(weight - taken @ weight)

    for module in chosen.values():
        width = module.weight.shape[1 if chosen is readers else 0]
        if isinstance(module, nn.Embedding):
            width = module.weight.shape[1]
        if width != eraser.width:
            raise SiteError(
                f"The eraser was fitted on {eraser.width} features, but {site} holds {width}."
            )
    return _applied(edited, site, chosen, change)


def add_to_weights(
    model: nn.Module, site: Site, direction: Any, inputs: Tensor, *, dose: float = 1.0
) -> WeightEdit:
    """A copy of the model that adds `dose` times `direction` [width] at the Site, in every run.

    The vector goes into the bias of the last linear map that writes there, so that the result is
    that of `steer` at this Site; raises SiteError as `fold`.
    """
    vector = dose * checked_direction(direction).double()
    edited = _copy(model, inputs)
    writers, _ = _beside(edited, site, inputs)
    if not writers:
        raise SiteError(f"No linear map ends at {site}, so there is no bias to add to.")
    name, last = list(writers.items())[-1]
    width = last.weight.shape[1 if isinstance(last, nn.Embedding) else 0]
    if width != len(vector):
        raise SiteError(f"The direction has {len(vector)} entries, but {site} holds {width}.")

    def change(module: nn.Module, first: bool) -> None:
        target = module.weight if isinstance(module, nn.Embedding) else _bias(module, site)
        target.copy_(target.double() + vector)

    return _applied(edited, site, {name: last}, change)


def _copy(model: nn.Module, inputs: Tensor) -> nn.Module:
    """A deep copy. A bridge keeps tensors of its latest run, which cannot be copied while they hang
    on a graph: a run without one takes their place."""
    with torch.no_grad():
        model(inputs[:1])
    return copy.deepcopy(model)


def _applied(
    edited: nn.Module, site: Site, chosen: dict[str, nn.Module], change: Any
) -> WeightEdit:
    before = [(p, p.detach().clone()) for module in chosen.values() for p in module.parameters()]
    sizes = {}
    with torch.no_grad():
        for number, (name, module) in enumerate(chosen.items()):
            old = [p.detach().clone() for p in module.parameters()]
            change(module, number == 0)
            moved = sum(float((p - o).pow(2).sum()) for p, o in
                        zip(module.parameters(), old, strict=True))  # fmt: skip
            sizes[name] = math.sqrt(moved / max(sum(float(o.pow(2).sum()) for o in old), 1e-30))
    return WeightEdit(edited, site, sizes, before)


def _bias(module: nn.Module, site: Site) -> Tensor:
    if module.bias is None:
        raise SiteError(f"The linear map beside {site} has no bias to take the constant part.")
    return module.bias


# --- which weights are beside a Site ---------------------------------------------------------


def _beside(
    model: nn.Module, site: Site, inputs: Tensor
) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """Modules that write the activation at the Site, in order, and linear maps that read it."""
    if repr(site) != site.hook:
        raise SiteError(f"{site} is a part of its hook, but weights serve all of it: leave it out.")
    stream = _written_before(model, site.hook)
    hooks = [site.hook, *stream]
    ends: list[tuple[str, nn.Module, Tensor]] = []
    begins: list[tuple[str, nn.Module, Tensor]] = []
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                note = _noting(name, ends, begins)
                stack.callback(module.register_forward_hook(note).remove)
        values = run(model, inputs[:1], read=[Site(hook) for hook in hooks], grad=True).values
    writers: dict[str, nn.Module] = {}
    for hook, value in zip(hooks, values, strict=True):
        writers |= {name: m for name, m, out in ends if _same(out, value)}
        if hook != site.hook and not any(_same(out, value) for _, _, out in ends):
            raise SiteError(f"What writes {hook!r} into the stream is no linear map.")
    readers = {
        name: module for name, module, read in begins
        if isinstance(module, nn.Linear) and _same(read, values[0])
    }  # fmt: skip
    return writers, readers


def _noting(
    name: str, ends: list[tuple[str, nn.Module, Tensor]], begins: list[Any]
) -> Any:  # fmt: skip
    plain = ".".join(part for part in name.split(".") if part != "_original_component")

    def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        ends.append((plain, module, output))
        begins.append((plain, module, args[0]))

    return note


def _same(a: Tensor, b: Tensor) -> bool:
    """Equal numbers, whether or not the heads stand side by side or the batch is left out."""
    if a.numel() != b.numel() or not a.is_floating_point():
        return False
    return torch.equal(a.reshape(-1), b.reshape(-1))


def _written_before(model: nn.Module, hook: str) -> list[str]:
    """The hooks whose sum is the residual stream at `hook`, in order; none elsewhere."""
    parts = hook.split(".")
    if len(parts) != 3 or parts[0] != "blocks" or not parts[2].startswith("hook_resid_"):
        return []
    layer, place = int(parts[1]), parts[2].removeprefix("hook_resid_")
    names = ["hook_embed", "hook_pos_embed"]
    for earlier in range(layer + 1):
        done = {"pre": 0, "mid": 1, "post": 2}.get(place, 0) if earlier == layer else 2
        names += [f"blocks.{earlier}.hook_{part}" for part in ("attn_out", "mlp_out")[:done]]
    known: dict[str, Any] = getattr(model, "hook_dict", {})
    return [name for name in names if name in known]
