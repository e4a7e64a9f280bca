"""Inside the network of Challenge 2: attention, the residual stream, and swaps of one token.

The solvers of the original fixed attention at its mean, found two dimensions in the residual stream
and went on from there. Each step is repeated here with its null.
"""

from __future__ import annotations

import torch
from torch import Tensor

from utils.challenges.pairs_case import Case
from utils.challenges.pairs_reports import DIGITS
from utils.data import grid
from utils.reports import Estimate, Report, Row
from utils.sites import Site, run

INPUTS = 3000  # pairs on which the network is tested
PATTERN = Site("blocks.0.attn.hook_pattern", position=2)
MIDDLE = Site("blocks.0.hook_resid_mid", position=2)


def sample(case: Case, n: int = INPUTS, seed: int = 0) -> Tensor:
    """Random cells of the grid, training and held-out alike: [n, 2]."""
    order = torch.randperm(case.size**2, generator=torch.Generator().manual_seed(seed))
    return grid.every_cell()[order[:n]]


def principal(values: Tensor) -> tuple[Tensor, Tensor]:
    """values [n, d] -> directions [d, d] as columns, largest first, and variance shares [d]."""
    centred = (values - values.mean(0)).double()
    variance, directions = torch.linalg.eigh(centred.T @ centred)
    return directions.flip(1).float().contiguous(), (variance.flip(0) / variance.sum()).clamp(0)


def inside_report(case: Case, dimensions: tuple[int, ...] = (2, 3, 4), seed: int = 1) -> Report:
    """Answers kept when a part is held at its mean or swapped; each beside a null."""
    model, cells = case.model, sample(case)
    assert model is not None
    tokens, a, b = grid.tokens(cells), cells[:, 0], cells[:, 1]
    own = case.answers[a, b]
    generator = torch.Generator().manual_seed(seed)

    def share(said: Tensor, wanted: Tensor = own) -> Estimate:
        hits = said[:, -1].argmax(-1) == wanted
        return Estimate.proportion(int(hits.sum()), len(hits))

    rows = [
        Row("attention held at its mean", share(PATTERN.ablate(model, tokens, "mean")), "result"),
        Row("attention of another pair", share(PATTERN.ablate(model, tokens, "resample")), "null"),
    ]
    directions, shares = principal(MIDDLE.read(model, tokens))
    for k in dimensions:
        kept = Site(MIDDLE.hook, position=2, basis=directions[:, :k].contiguous())
        any_k = torch.linalg.qr(torch.randn(len(directions), k, generator=generator)).Q
        null = Site(MIDDLE.hook, position=2, basis=any_k)
        held = f"{shares[:k].sum().item():.2f} of the variance"
        for name, site, role, note in (
            (f"{k} principal dimensions kept", kept, "result", held),
            (f"{k} random dimensions kept", null, "null", ""),
        ):
            rows.append(Row(name, share(site.project(model, tokens, rest="mean")), role, note))
    for name, column, position in (("first", 0, 0), ("second", 1, 1)):
        other = cells.clone()
        other[:, column] = cells[torch.randperm(len(cells), generator=generator), column]
        follows = case.answers[other[:, 0], other[:, 1]]
        differs = follows != own
        for part, role in (("v", "result"), ("k", "control")):
            site = Site(f"blocks.0.attn.hook_{part}", position=position)
            value = site.read(model, grid.tokens(other))
            said = run(model, tokens, edits=[(site, value)]).output
            what = "value" if part == "v" else "key"
            rows.append(
                Row(
                    f"{name} token's {what} swapped, answer follows",
                    share(said[differs], follows[differs]), role,
                )
            )  # fmt: skip
    ones = own.double().mean().item()
    rows.append(
        Row("one answer for all", Estimate.exact(max(ones, 1 - ones), len(own)), "baseline")
    )
    return Report(
        "Inside the network: answers kept, or changed as they should",
        rows,
        {
            "pairs": len(cells),
            "kept": "the answer is the untouched network's",
            "swapped": "the part comes from a pair with another token there and another answer",
        },
        digits=DIGITS,
    )
