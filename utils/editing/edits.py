"""Rank-one edits: find the value, change the weights, take it back; and fine-tuning beside them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.editing.maps import (
    Covariance,
    EditingError,
    LinearMap,
    identity,
    keys,
    linear_behind,
    rank_one,
)
from utils.editing.requests import Request, check, logits_of
from utils.sites import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from utils.reports import Report

STEPS, RATE = 80, 0.25  # of the search for a value; the rate is in units of the value's size
KL_WEIGHT, NORM_WEIGHT = 0.0625, 0.02
SURE = 0.02  # nats: the search for one edit's value ends where its contexts cost no more
TUNE_STEPS, TUNE_RATE = 60, 0.003


def mean_key(model: nn.Module, at: LinearMap, request: Request) -> Tensor:
    """The key averaged over the request's contexts: [in]."""
    return keys(model, at, request.contexts).double().mean(0)


def find_changes(
    model: nn.Module,
    requests: Sequence[Request],
    site: Site,
    *,
    steps: int = STEPS,
    kl_weight: float = KL_WEIGHT,
    norm_weight: float = NORM_WEIGHT,
) -> Tensor:
    """v* - W k of every request, sought together and each on its own: [request, out].

    Adam on what is added to the activation at `site`. The loss of one request is the mean negative
    log-probability of its new answer over its contexts, plus `kl_weight` times the mean KL
    divergence from what the network said on `protect`, plus `norm_weight` times the squared length
    of the addition over that of the activation. A request whose contexts cost less than 0.02 nats
    goes no further; the search ends when none is left, or after `steps`.
    """
    rows, weights, counts, kinds = [], [], [], []
    for number, request in enumerate(requests):
        for kind, inputs in enumerate((request.contexts, request.protect)):
            if inputs is not None:
                rows.append(inputs)
                counts += [number] * len(inputs)
                weights += [1 / len(inputs)] * len(inputs)
                kinds += [kind] * len(inputs)
    inputs, owner = torch.cat(rows), torch.tensor(counts)
    weight, protected = torch.tensor(weights), torch.tensor(kinds) == 1
    new = torch.tensor([request.new for request in requests])[owner]
    before = logits_of(model, inputs).log_softmax(-1)
    old = site.read(model, inputs)
    size = torch.zeros(len(requests)).index_add(0, owner, weight * ~protected * old.norm(dim=-1))
    width = old.shape[-1]
    change = torch.zeros(len(requests), width, requires_grad=True)
    unit = (size / width**0.5)[:, None]
    optimizer = torch.optim.Adam([change], lr=RATE)
    going = torch.ones(len(requests), dtype=torch.bool)
    for _ in range(steps):
        with torch.enable_grad():
            added = (change * unit)[owner]
            logp = logits_of(
                model, inputs, edits=[(site, lambda v, a=added: v + a)], grad=True,
                allow_unchanged=True,
            ).log_softmax(-1)  # fmt: skip
            miss = functional.nll_loss(logp, new, reduction="none")
            moved = (before.exp() * (before - logp)).sum(-1)
            cost = torch.zeros(len(requests)).index_add(0, owner, weight * ~protected * miss)
            drift = torch.zeros(len(requests)).index_add(0, owner, weight * protected * moved)
            length = change.pow(2).sum(-1) / width
            loss = (cost + kl_weight * drift + norm_weight * length)[going].sum()
        going = going & (cost.detach() > SURE)
        if not bool(going.any()):
            break
        (gradient,) = torch.autograd.grad(loss, change)
        kept = change.detach().clone()
        change.grad = gradient
        optimizer.step()
        with torch.no_grad():
            change[~going] = kept[~going]
    return (change * unit).detach()


@dataclass
class Edit:
    """An edit that is in place. `undo` puts the old weights back, bit for bit.

    key: [in], averaged over the contexts. change: [out], v* - W k. seconds: without covariance.
    As a context manager it undoes itself at the end.
    """

    model: nn.Module
    request: Request
    at: LinearMap
    covariance: Covariance
    key: Tensor
    change: Tensor
    seconds: float
    before: Tensor = field(repr=False)
    after: Tensor = field(repr=False)
    active: bool = True

    def undo(self) -> None:
        """Put the weights back. EditingError when something else has changed them since."""
        if not self.active:
            raise EditingError("This edit is undone already.")
        if not torch.equal(self.at.weight, self.after):
            raise EditingError(
                "The weights were changed after this edit, so undoing it would undo that as well:"
                " undo the later edits first."
            )
        write(self.at, self.before)
        self.active = False

    def report(self, wrong: Site | None = None, digits: int = 2) -> Report:
        """Its scores beside those of four edits that should do worse; see `measure.compare`.

        wrong: the Site of the "wrong site" row; by default another position, or another map.
        """
        from utils.editing.measure import compare

        if not self.active:
            raise EditingError("This edit is undone; a report needs it in place.")
        self.undo()
        try:
            found = compare(
                self.model, [self.request], self.at.site, self.covariance, wrong=wrong,
                given=[self.after],
            )  # fmt: skip
        finally:
            write(self.at, self.after)
            self.active = True
        return found.report(digits=digits)

    def __enter__(self) -> Edit:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self.active:
            self.undo()


def write(at: LinearMap, weight: Tensor) -> None:
    with torch.no_grad():
        at.weight.copy_(weight)


@contextmanager
def weights(at: LinearMap, weight: Tensor) -> Iterator[None]:
    """Other weights inside, the old bits afterwards."""
    before = at.weight.detach().clone()
    write(at, weight)
    try:
        yield
    finally:
        write(at, before)


def edit(
    model: nn.Module,
    request: Request,
    site: Site,
    covariance: Covariance,
    *,
    change: Tensor | None = None,
    **search: Any,
) -> Edit:
    """Make the network say `request.new`, by a rank-one change of the linear map behind `site`.

    covariance: of the map's keys, from `covariance(model, site, ...)`. change: [out], v* - W k,
    where it was found already; `search`: options of `find_changes`. The model is changed in place.
    Raises EditingError for a fact that is true already, a Site behind which no linear map stands,
    a covariance of another map or network.
    """
    start = time.perf_counter()
    at = linear_behind(model, site, request.contexts)
    check(model, request)
    covariance.check(model, at)
    if change is None:
        change = find_changes(model, [request], site, **search)[0]
    key = mean_key(model, at, request)
    before = at.weight.detach().clone()
    after = rank_one(before, key, change, covariance.matrix)
    write(at, after)
    spent = time.perf_counter() - start
    return Edit(model, request, at, covariance, key, change, spent, before, after)


def with_identity(
    model: nn.Module, at: LinearMap, request: Request, change: Tensor, covariance: Covariance
) -> Tensor:
    """The weights [out, in] of the same edit with C = I."""
    matrix = identity(covariance).matrix
    return rank_one(at.weight.detach(), mean_key(model, at, request), change, matrix)


def with_random_key(at: LinearMap, change: Tensor, covariance: Covariance, seed: int) -> Tensor:
    """The weights [out, in] of the same edit whose key is noise with the keys' second moment."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(covariance.matrix), generator=generator, dtype=torch.float64)
    key = torch.linalg.cholesky(covariance.matrix) @ noise
    return rank_one(at.weight.detach(), key, change, covariance.matrix)


def fine_tuned(
    model: nn.Module,
    at: LinearMap,
    request: Request,
    *,
    rehearsed: bool = False,
    steps: int = TUNE_STEPS,
    rate: float = TUNE_RATE,
) -> Tensor:
    """The weights [out, in] of the same map after plain gradient descent on the contexts.

    Adam, the loss that `find_changes` has (without the length), the same end: the contexts cost
    less than 0.02 nats. rehearsed: it is also told to keep its answers on `request.rehearse` (KL,
    weight 1) and goes on until they cost as little. The model is as before when this returns.
    """
    rehearse = request.rehearse if rehearsed else None
    if rehearsed and rehearse is None:
        raise EditingError("This request has no inputs to rehearse: give it rehearse=.")
    # every other row of the rehearsal at a time: half the work a step, and all rows in two
    halves = [None, None] if rehearse is None else [rehearse[::2], rehearse[1::2]]
    parts = [[request.contexts, request.protect, half] for half in halves]
    batches = [torch.cat([part for part in some if part is not None]) for some in parts]
    n, m = len(request.contexts), 0 if request.protect is None else len(request.protect)
    with torch.no_grad():
        before = [_output(model, inputs).log_softmax(-1) for inputs in batches]
    new = torch.full((n,), request.new)
    start = at.weight.detach().clone()
    needed = at.weight.requires_grad
    at.weight.requires_grad_(True)
    # Adam divides by the gradient's size: a usual eps would make full steps of rounding noise
    optimizer = torch.optim.Adam([at.weight], lr=rate, eps=1e-5)
    try:
        for step in range(steps):
            with torch.enable_grad():
                logp, old = _output(model, batches[step % 2]).log_softmax(-1), before[step % 2]
                miss = functional.nll_loss(logp[:n], new)
                moved = (old.exp() * (old - logp)).sum(-1)
                loss, kept = miss, True
                if m:
                    loss = loss + KL_WEIGHT * moved[n : n + m].mean()
                if rehearse is not None:
                    loss = loss + moved[n + m :].mean()
                    kept = moved[n + m :].mean().item() < SURE
            if miss.item() < SURE and kept:
                break
            (at.weight.grad,) = torch.autograd.grad(loss, at.weight)
            optimizer.step()
        return at.weight.detach().clone()
    finally:
        at.weight.grad = None
        at.weight.requires_grad_(needed)
        write(at, start)


def _output(model: nn.Module, inputs: Tensor) -> Tensor:
    output = model(inputs)
    return output[:, -1] if output.ndim == 3 else output
