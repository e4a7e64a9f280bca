"""Site: one name for one piece of activation, in any hooked model.

    Site("blocks.0.attn.hook_z", head=3, position=-1).read(model, tokens)
    Site("hook_fc1", neuron=[4, 7]).ablate(cnn, images, "resample")

The same three calls (read, write, ablate) work on a TransformerBridge and on a CNN built on
HookedRootModule. `run` makes several edits and readings in one forward; `sweep` tries many
single edits, each alone, in few large forwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from utils.hooked import Run, hook_shapes, run
from utils.selection import (
    Selector,
    SiteError,
    UnchangedError,
    Value,
    along,
    checked,
    index_of,
    orthonormal,
    selector_of,
)
from utils.sweeps import sweep

__all__ = [
    "Run",
    "Site",
    "SiteError",
    "UnchangedError",
    "Value",
    "donor_rows",
    "hook_shapes",
    "random_cycle",
    "run",
    "sweep",
]

_SELECTORS = ("position", "head", "channel", "row", "column", "neuron", "key")


@dataclass(frozen=True, eq=False, repr=False)
class Site:
    """A piece of the activation at one hook.

    Axes, by hook: residual stream and MLP [batch, position, neuron]; q, k, v, z, result
    [batch, position, head, neuron]; pattern [batch, head, position (the query), key]; conv
    [batch, channel, row, column]; fully connected [batch, neuron]. A model may name its own in
    `hook_axes: dict[str, tuple[str, ...]]`. Every selector takes an int (which drops the axis when
    read, as in numpy), ints, a slice, or None for all; several combine as an outer product.

    `basis`: [width, k] with orthonormal columns, along the feature axis (neuron, or channel of a
    conv) after the selectors. Reading then gives k coordinates in place of that axis; writing
    changes only the component inside the subspace.

    Raises SiteError at once for a selector or basis that could fit no activation.
    """

    hook: str
    _: KW_ONLY
    position: Selector = None
    head: Selector = None
    channel: Selector = None
    row: Selector = None
    column: Selector = None
    neuron: Selector = None
    key: Selector = None
    basis: Tensor | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.hook, str) or not self.hook:
            raise SiteError(f"A Site needs the name of a hook, got {self.hook!r}.")
        for name in _SELECTORS:
            object.__setattr__(self, name, selector_of(name, getattr(self, name)))
        if self.basis is not None:
            object.__setattr__(self, "basis", orthonormal(self.basis))

    # --- identity ----------------------------------------------------------------------------

    def _key(self) -> tuple[Any, ...]:
        def plain(s: Any) -> Any:  # slices cannot be hashed before Python 3.12
            return ("slice", s.start, s.stop, s.step) if isinstance(s, slice) else s

        return (self.hook, *(plain(getattr(self, n)) for n in _SELECTORS), id(self.basis))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Site) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        parts = []
        for name in _SELECTORS:
            s = getattr(self, name)
            if isinstance(s, slice):
                ends = ["" if e is None else str(e) for e in (s.start, s.stop)]
                parts.append(f"{name}={':'.join(ends)}" + (f":{s.step}" if s.step else ""))
            elif s is not None:
                text = str(list(s)) if isinstance(s, tuple) else str(s)
                short = f"{len(s)} of them" if len(text) > 40 else text
                parts.append(f"{name}={short}")
        if self.basis is not None:
            parts.append(f"basis={'x'.join(map(str, self.basis.shape))}")
        return self.hook + (f"[{', '.join(parts)}]" if parts else "")

    # --- on an activation --------------------------------------------------------------------

    def get(self, activation: Tensor, axes: Sequence[str]) -> Tensor:
        """The values at this Site in an activation whose axes are named `axes`; may be a view."""
        index, drop = self._index(activation, axes)
        # taking all of it must give the tensor itself: gradients are asked of it
        everything = all(getattr(self, name) is None for name in _SELECTORS)
        part = activation if everything else activation[index]
        if self.basis is not None:
            part = along(part, self._feature(axes), self._matrix(part, axes))
        for axis in reversed(drop):
            part = part.squeeze(axis)
        return part

    def set(self, activation: Tensor, value: Value, axes: Sequence[str]) -> Tensor:
        """A copy of the activation with `value` at this Site, everything else the same."""
        activation = activation.clone()
        self.put_(activation, value, axes)
        return activation

    def put_(self, activation: Tensor, value: Value, axes: Sequence[str]) -> bool:
        """Like `set`, but in place; says whether any number changed."""
        index, drop = self._index(activation, axes)
        old = self.get(activation, axes).clone()
        new = checked(value, old, self)
        changed = not torch.equal(new, old)
        if not changed and not new.requires_grad:
            return False
        if self.basis is not None:
            new = new - old
        for axis in drop:
            new = new.unsqueeze(axis)
        if self.basis is not None:
            # add the difference: the complement of the subspace is not touched
            part = activation[index]
            new = part + along(new, self._feature(axes), self._matrix(part, axes).T)
        activation[index] = new
        return changed

    def _index(self, activation: Tensor, axes: Sequence[str]) -> tuple[tuple[Any, ...], list[int]]:
        if len(axes) != activation.ndim:
            raise SiteError(
                f"An activation of shape {list(activation.shape)} has not the axes {list(axes)}."
            )
        selectors = {n: s for n in _SELECTORS if (s := getattr(self, n)) is not None}
        return index_of(self, selectors, dict(zip(axes, activation.shape, strict=True)))

    def _feature(self, axes: Sequence[str]) -> int:
        for name in ("neuron", "channel"):
            if name in axes:
                if isinstance(getattr(self, name), int):
                    raise SiteError(f"{self} takes one {name} only, so a basis has no axis there.")
                return list(axes).index(name)
        raise SiteError(f"{self} has a basis, but the axes at its hook are {list(axes)}.")

    def _matrix(self, part: Tensor, axes: Sequence[str]) -> Tensor:
        assert self.basis is not None
        width = part.shape[self._feature(axes)]
        if len(self.basis) != width:
            raise SiteError(
                f"The basis of {self} has {len(self.basis)} rows, but {width} features are there."
            )
        return self.basis.to(part.device, part.dtype)

    # --- on a model --------------------------------------------------------------------------

    def read(
        self,
        model: nn.Module,
        inputs: Tensor,
        *,
        batch_size: int | None = None,
        grad: bool = False,
    ) -> Tensor:
        """The values at this Site when the model runs on `inputs` [batch, ...]; see `run`."""
        return run(model, inputs, read=[self], batch_size=batch_size, grad=grad).values[0]

    def write(
        self,
        model: nn.Module,
        inputs: Tensor,
        value: Value,
        *,
        read: Sequence[Site] = (),
        allow_unchanged: bool = False,
        batch_size: int | None = None,
        grad: bool = False,
    ) -> Any:
        """The model's output with `value` at this Site (activation patching, if a tensor).

        `value`: a tensor of the Site's shape (an axis may be 1 to repeat it), a number, or a
        function of the old values. With `read`, a Run (output, values of those Sites after the
        write). Raises SiteError, or UnchangedError unless `allow_unchanged`; see `run`.
        """
        result = run(
            model,
            inputs,
            edits=[(self, value)],
            read=read,
            allow_unchanged=allow_unchanged,
            batch_size=batch_size,
            grad=grad,
        )
        return result if read else result.output

    def ablate(
        self,
        model: nn.Module,
        inputs: Tensor,
        how: Literal["zero", "mean", "resample"] = "zero",
        *,
        donors: Tensor | None = None,
        seed: int | torch.Generator = 0,
        **options: Any,
    ) -> Any:
        """The model's output with this Site's own values taken away; `options` as for `write`.

        zero: 0. mean: the mean over the donor inputs, position by position, the same for every
        row. resample: each row gets the values of a random donor: without repeats while the
        donors last, otherwise drawn with repeats. Without `donors` the inputs themselves are the
        donors; resampling then never gives a row its own values.
        """
        if how == "zero":
            return self.write(model, inputs, 0.0, **options)
        if how not in ("mean", "resample"):
            raise SiteError(f'how must be "zero", "mean" or "resample", got {how!r}.')
        source = inputs if donors is None else donors
        values = self.read(model, source, batch_size=options.get("batch_size"))
        if how == "mean":
            return self.write(model, inputs, values.mean(0, keepdim=True), **options)
        rows = donor_rows(len(inputs), len(source), donors is None, seed)
        return self.write(model, inputs, values[rows], **options)

    def project(
        self,
        model: nn.Module,
        inputs: Tensor,
        *,
        rest: Literal["zero", "mean"] = "zero",
        donors: Tensor | None = None,
        **options: Any,
    ) -> Any:
        """The model's output when only the part inside the basis is kept.

        The rest becomes zero, or its mean over the donors (over the inputs, if there are none).
        `options` as for `write`. Raises SiteError if the Site has no basis.
        """
        if rest not in ("zero", "mean"):
            raise SiteError(f'rest must be "zero" or "mean", got {rest!r}.')
        return self.complement.ablate(model, inputs, rest, donors=donors, **options)

    @property
    def complement(self) -> Site:
        """The same place with the orthogonal complement as its basis. SiteError without a basis."""
        if self.basis is None:
            raise SiteError(f"{self} has no basis, so there is no complement of it.")
        width, k = self.basis.shape
        if k == width:
            raise SiteError(f"The basis of {self} spans everything; its complement is empty.")
        return replace(self, basis=torch.linalg.qr(self.basis, mode="complete").Q[:, k:])


def random_cycle(n: int, generator: torch.Generator) -> Tensor:
    """Each of n rows another row, as one random cycle through all of them: [n]."""
    order = torch.randperm(n, generator=generator)
    rows = torch.empty_like(order)
    rows[order] = order.roll(1)
    return rows


def donor_rows(n: int, donors: int, own: bool, seed: int | torch.Generator) -> Tensor:
    """Which of `donors` rows stands in for each of n; `own`: the rows are each other's donors."""
    generator = seed
    if not isinstance(generator, torch.Generator):
        generator = torch.Generator().manual_seed(generator)
    if own:
        if n < 2:
            raise SiteError("Resampling needs at least two inputs, or donors.")
        return random_cycle(n, generator)  # nobody receives their own values
    if donors >= n:
        return torch.randperm(donors, generator=generator)[:n]
    return torch.randint(donors, (n,), generator=generator)
