"""Edits one after another in the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from utils.editing.edits import edit
from utils.editing.maps import Covariance
from utils.editing.requests import Request, logits_of
from utils.reports import Estimate, Report, Row
from utils.sites import Site


@dataclass(frozen=True)
class Sequential:
    """Edits one after another in the same weights, judged after each and at the end.

    held: [edit, step] bool, whether edit i was in force after step k (never before it was made).
    kept: [step, input] bool, untouched inputs with the answer they had before the first edit.
    """

    held: Tensor
    kept: Tensor
    protocol: dict[str, str | int | float]

    def report(self, at: Sequence[int] = (1, 5, 10, 20), digits: int = 2) -> Report:
        """After so many edits: share still in force, share of untouched answers kept."""
        n, rows = len(self.held), []
        steps = [k for k in at if k <= n] + ([n] if n not in at else [])
        for k in steps:
            hits = self.held[:k, k - 1]
            rows.append(Row(f"in force after {k}", _share(hits), "result"))
        for k in steps:
            rows.append(Row(f"untouched after {k}", _share(self.kept[k - 1]), "result"))
        rows.append(Row("each just after it was made", _share(self.held.diagonal()), "ceiling"))
        rows.append(Row("untouched before", Estimate.exact(1.0, self.kept.shape[1]), "baseline"))
        return Report("Edits one after another", rows, self.protocol, digits=digits)


def _share(hits: Tensor) -> Estimate:
    return Estimate.proportion(int(hits.sum()), len(hits))


def sequential(
    model: nn.Module,
    requests: Sequence[Request],
    site: Site,
    cov: Covariance,
    untouched: Tensor,
    **search: Any,
) -> Sequential:
    """Make the edits one after another, look after each at all of them, then undo every one.

    untouched: [n, ...], inputs that no request is about. An edit is in force when most of its
    fresh inputs (the first set of `changed`) give the new answer.
    """
    before = logits_of(model, untouched).argmax(-1)
    made, held, kept = [], [], []
    fresh = [next(iter(request.changed.values())) for request in requests]
    rows, owner = (
        torch.cat(fresh),
        torch.arange(len(fresh)).repeat_interleave(torch.tensor([len(x) for x in fresh])),
    )
    wanted = torch.tensor([request.new for request in requests])[owner]
    try:
        for number, request in enumerate(requests):
            made.append(edit(model, request, site, cov, **search))
            hit = (logits_of(model, rows).argmax(-1) == wanted).double()
            share = torch.zeros(len(fresh)).double().index_add(0, owner, hit)
            share = share / torch.bincount(owner)
            held.append((share > 0.5) & (torch.arange(len(fresh)) <= number))
            kept.append(logits_of(model, untouched).argmax(-1) == before)
    finally:
        for step in reversed(made):
            step.undo()
    protocol: dict[str, str | int | float] = {
        "edits": len(requests), "site": str(site), "untouched inputs": len(untouched),
        "in force": "most fresh inputs give the new answer",
    }  # fmt: skip
    return Sequential(torch.stack(held, 1), torch.stack(kept), protocol)
