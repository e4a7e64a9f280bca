"""The linear map behind a Site, its keys, and the covariance of its keys."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from utils.errors import CourseError
from utils.sites import Site, run


class EditingError(CourseError, ValueError):
    """An edit that cannot be made, or that would mean nothing."""


@dataclass(frozen=True)
class LinearMap:
    """The `nn.Linear` whose output is the activation at `site`, and the name of the module."""

    site: Site
    module: nn.Linear
    name: str

    @property
    def weight(self) -> nn.Parameter:
        """[out, in]; an edit adds a rank-one matrix to it, in place."""
        return self.module.weight


def linear_behind(model: nn.Module, site: Site, inputs: Tensor) -> LinearMap:
    """Which `nn.Linear` of the model writes the activation at `site`.

    inputs: [n, ...], any the model takes; one row is run. It works on any hooked model:
    "hook_fc1_pre" of the course's CNN, "blocks.0.hook_mlp_out" of a transformer.

    Raises EditingError for a Site at which no linear map ends (after a ReLU, in the residual
    stream, after a convolution), for one that takes part of the activation or several positions,
    and SiteError for a hook that the model has not.
    """
    for name in ("head", "channel", "row", "column", "neuron", "key", "basis"):
        if getattr(site, name) is not None:
            raise EditingError(
                f"{site} takes part of the activation, but an edit changes a whole linear map:"
                f" leave out {name}=."
            )
    if isinstance(site.position, tuple | slice):
        raise EditingError(
            f"{site} takes several positions, but a key is read at one. For a subject of several"
            " tokens name the last of them, where the network has read the whole of it."
        )
    outputs: list[tuple[str, nn.Linear, Tensor]] = []
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                note = _noting(outputs, name)
                stack.callback(module.register_forward_hook(note).remove)
        whole = run(model, inputs[:1], read=[Site(site.hook)], grad=True).values[0]
    for name, module, output in outputs:
        if output.shape == whole.shape and torch.equal(output, whole):
            if whole.ndim == 3 and site.position is None:
                raise EditingError(
                    f"{site} has a value at each of {whole.shape[1]} positions: say with position="
                    " at which one the key is read."
                )
            return LinearMap(site, module, _plain(name))
    raise EditingError(
        f"No linear map ends at {site.hook!r}, so there are no weights to edit behind it. Take the"
        ' output of one, such as "blocks.0.hook_mlp_out" of a transformer or "hook_fc1_pre" of the'
        " course's CNN (before its ReLU)."
    )


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part and part != "_original_component")


def _noting(
    outputs: list[tuple[str, nn.Linear, Tensor]], name: str
) -> Callable[[nn.Linear, Any, Tensor], None]:
    def note(module: nn.Linear, args: Any, output: Tensor) -> None:
        outputs.append((name, module, output))

    return note


def keys(model: nn.Module, at: LinearMap, inputs: Tensor, *, everywhere: bool = False) -> Tensor:
    """What the linear map reads: [n, in] at the Site's position, or [n * positions, in] everywhere.

    inputs: [n, ...].
    """
    found: list[Tensor] = []
    handle = at.module.register_forward_pre_hook(lambda module, args: found.append(args[0]))
    try:
        run(model, inputs, read=[Site(at.site.hook)])
    finally:
        handle.remove()
    (read,) = found
    if everywhere or read.ndim == 2:
        return read.detach().reshape(-1, read.shape[-1]).clone()
    return read.detach()[:, at.site.position].clone()


@dataclass(frozen=True)
class Covariance:
    """C = E[k k'] of a linear map's keys with a ridge, and what it was taken from.

    matrix: [in, in], the ridge included. ridge: as a share of the mean of the diagonal.
    """

    site: Site
    matrix: Tensor
    ridge: float
    inputs: Tensor
    sample: Tensor  # keys of the first few inputs: whether a network is the one C was taken on
    protocol: str

    def solve(self, key: Tensor) -> Tensor:
        """C^-1 k: [..., in] -> [..., in]."""
        return torch.linalg.solve(self.matrix, key.double().reshape(-1, key.shape[-1]).T).T.reshape(
            key.shape
        )

    def check(self, model: nn.Module, at: LinearMap) -> None:
        """EditingError unless it was taken at this map, on a network that reads the same keys."""
        if self.site.hook != at.site.hook or len(self.matrix) != at.weight.shape[1]:
            raise EditingError(
                f"This covariance belongs to {self.site.hook!r}, the edit to {at.site.hook!r}:"
                " take another with covariance(model, site, inputs)."
            )
        now = keys(model, at, self.inputs[: len(self.sample)], everywhere=True)[: len(self.sample)]
        if now.shape != self.sample.shape or not torch.allclose(now, self.sample, atol=1e-4):
            raise EditingError(
                "This covariance was taken on another network, or before an edit in an earlier"
                " layer: the keys are not the same. Take it again."
            )


def covariance(model: nn.Module, site: Site, inputs: Tensor, ridge: float = 0.01) -> Covariance:
    """Second moment of the keys over stated inputs, at every position: the map is used at all.

    inputs: [n, ...], such as prompts of everything that an edit should leave alone.
    ridge: added to the diagonal, as a share of its mean. Where there are fewer different keys than
    key entries C is singular without it, and 0 is refused.
    """
    if not ridge >= 0:
        raise EditingError(f"The ridge is a share of the mean diagonal, 0 or more; got {ridge}.")
    at = linear_behind(model, site, inputs)
    every = keys(model, at, inputs, everywhere=True).double()
    matrix = every.T @ every / len(every)
    size = float(matrix.diagonal().mean())
    if size == 0:
        raise EditingError(f"Every key at {site} is zero: nothing can be edited there.")
    rank = int(torch.linalg.matrix_rank(matrix, hermitian=True))
    if ridge == 0 and rank < len(matrix):
        raise EditingError(
            f"The covariance of these keys is singular (rank {rank} of {len(matrix)}): give it a"
            " ridge, such as ridge=0.01, or more different inputs."
        )
    matrix = matrix + ridge * size * torch.eye(len(matrix), dtype=matrix.dtype)
    protocol = f"{len(every)} keys of {len(inputs)} inputs, rank {rank}, ridge {ridge:g}"
    sample = every[:8].float()
    return Covariance(site, matrix, ridge, inputs, sample, protocol)


def identity(like: Covariance) -> Covariance:
    """C = I in place of a covariance: the edit that knows nothing of other keys."""
    eye = torch.eye(len(like.matrix), dtype=like.matrix.dtype)
    return Covariance(like.site, eye, 0.0, like.inputs, like.sample, "identity")


def rank_one(weight: Tensor, key: Tensor, change: Tensor, covariance: Tensor) -> Tensor:
    """weight + change (C^-1 k)' / (k' C^-1 k): maps `key` to what it was mapped to, plus `change`.

    weight: [out, in]. key: [in]. change: [out]. covariance: [in, in], not singular. Of all
    matrices with that property it is the one that moves keys of second moment C least ("Locating
    and Editing Factual Associations in GPT", Meng, Bau, Andonian & Belinkov 2022; the update is
    theirs, and the same key stands above and below the line). Computed in double precision.
    """
    k = key.double()
    direction = torch.linalg.solve(covariance.double(), k)
    scale = torch.dot(k, direction)
    if not float(scale) > 0:
        raise EditingError("The key is zero, or the covariance is not positive: no edit there.")
    return (weight.double() + torch.outer(change.double(), direction / scale)).to(weight.dtype)
