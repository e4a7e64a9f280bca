"""What a Site accepts: selectors, bases and values, each checked with a plain message."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from utils.errors import CourseError

Selector = int | Sequence[int] | slice | None
"""What may pick along an axis; an int drops the axis on reading, None takes all of it."""
Value = Tensor | float | Callable[[Tensor], Tensor]
"""What may be written: a tensor, a number, or a function from the old value to the new one."""


class SiteError(CourseError):
    """A Site that does not fit the model, the activation or the value written to it."""


class UnchangedError(SiteError):
    """A write that left every number at its Site as it was: the experiment did not happen."""


def selector_of(name: str, selector: Any) -> Selector:
    """An int, a tuple of ints, a slice or None; SiteError for anything else."""
    if selector is None or isinstance(selector, slice):
        return selector
    if isinstance(selector, Tensor) or type(selector).__module__ == "numpy":
        selector = selector.tolist()
    try:
        if isinstance(selector, bool):
            raise TypeError
        if hasattr(selector, "__index__"):
            return operator.index(selector)
        many = tuple(selector)
        if isinstance(selector, str) or any(isinstance(i, bool) for i in many):
            raise TypeError
        many = tuple(operator.index(i) for i in many)
    except TypeError:
        raise SiteError(
            f"{name} takes an int, several ints, a slice or None, got {selector!r}."
        ) from None
    if not many:
        raise SiteError(f"{name} selects nothing: the list of indices is empty.")
    return many


def orthonormal(basis: Any) -> Tensor:
    if not isinstance(basis, Tensor) or basis.ndim != 2 or not basis.is_floating_point():
        raise SiteError("A basis is a floating-point tensor of shape [width, k].")
    width, k = basis.shape
    if not 1 <= k <= width:
        raise SiteError(f"A basis of shape [{width}, {k}] cannot be k independent columns.")
    if basis.requires_grad:
        basis = basis.detach()
    off = (basis.T.double() @ basis.double() - torch.eye(k, device=basis.device)).abs().max()
    if not off <= 1e-4:
        raise SiteError(
            f"The columns of the basis are not orthonormal (off by {off:.2g}); use"
            " torch.linalg.qr(basis).Q."
        )
    return basis


def index_of(
    site: Any, selectors: Mapping[str, Selector], shape: Mapping[str, int]
) -> tuple[tuple[Any, ...], list[int]]:
    """An index that keeps every axis, and the axes that int selectors drop after a read.

    `shape`: the size of each named axis. Raises SiteError naming the axes when one is missing,
    an index is out of range or repeated, or nothing is selected.
    """

    def refuse(problem: str) -> SiteError:
        there = ", ".join(f"{axis} {size}" for axis, size in shape.items())
        return SiteError(f"{site} {problem}; the axes there are [{there}].")

    for name in selectors:
        if name not in shape:
            raise refuse(f"selects by {name}, which the hook has not")
    index: list[Any] = []
    drop: list[int] = []
    for axis, (name, size) in enumerate(shape.items()):
        selector = selectors.get(name)
        if selector is None:
            index.append(slice(None))
        elif isinstance(selector, slice):
            span = range(*selector.indices(size))
            if not span:
                raise refuse(f"selects no {name}")
            # torch takes no negative steps in a slice
            index.append(selector if span.step > 0 else list(span))
        else:
            many = selector if isinstance(selector, tuple) else (selector,)
            if any(not -size <= i < size for i in many):
                raise refuse(f"has a {name} out of range")
            places = [i % size for i in many]
            if len(set(places)) < len(places):
                raise refuse(f"names one {name} twice")
            if isinstance(selector, tuple):
                index.append(places)
            else:
                index.append(slice(places[0], places[0] + 1))
                drop.append(axis)
    if sum(isinstance(i, list) for i in index) > 1:  # several index sets: their outer product
        grids = [torch.arange(n)[i] for n, i in zip(shape.values(), index, strict=True)]
        index = list(torch.meshgrid(*grids, indexing="ij"))
    return tuple(index), drop


def along(x: Tensor, axis: int, matrix: Tensor) -> Tensor:
    """Multiply one axis, of width w, by a matrix [w, k]."""
    return (x.movedim(axis, -1) @ matrix).movedim(-1, axis)


def checked(value: Value, old: Tensor, site: Any) -> Tensor:
    """The value as a tensor just like `old`; SiteError says what does not fit."""
    new = value(old.clone()) if callable(value) else value
    if not isinstance(new, Tensor):
        if isinstance(new, bool) or not isinstance(new, int | float):
            raise SiteError(
                f"{site} was given {type(new).__name__}; write a tensor, a number, or a function"
                " that returns one."
            )
        new = torch.as_tensor(new, device=old.device)
    if new.ndim:
        fits = new.ndim == old.ndim and all(
            a in (1, b) for a, b in zip(new.shape, old.shape, strict=True)
        )
        if not fits:
            raise SiteError(
                f"The value for {site} has shape {list(new.shape)}, but the shape there is"
                f" {list(old.shape)} (an axis may be 1 to repeat it)."
            )
    if not torch.can_cast(new.dtype, old.dtype):
        raise SiteError(
            f"A value of {new.dtype} cannot be written at {site}, which is {old.dtype}."
        )
    new = new.to(old.device, old.dtype).expand_as(old)
    if new.isnan().any():
        raise SiteError(f"The value for {site} contains NaN.")
    return new
