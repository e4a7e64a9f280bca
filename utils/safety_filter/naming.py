"""Names for stored vectors: a dictionary, and what a vector without a name would have matched.

The authors of "Red-Teaming the Stable Diffusion Safety Filter" (2022) named the 17 stored concepts
so: the phrase tower is public, so embed many phrases and look which lies where a stored vector is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from utils.models.towers import TwoTowers
from utils.reports import Estimate, Report, Row
from utils.safety_filter.filter import GateError, SafetyFilter, like

EXACT = 0.9999  # cosine from which a phrase is the very one that was embedded


def best_match(vectors: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """The entry of `table` [m, d] with the highest cosine to each vector [k, d]: numbers [k] and
    cosines [k]."""
    known = normalize(table, dim=1)
    highest, number = (normalize(vectors, dim=1) @ known.T).max(1)
    return number, highest


def null_matches(table: Tensor, n: int = 2000, seed: int = 0, matched: bool = True) -> Tensor:
    """Best cosines of n random vectors with `table` [m, d]: [n].

    matched: random vectors with the mean and covariance of the table, which is where vectors of
    phrases lie. Otherwise evenly over all directions: far from every phrase, a null too easy to
    beat.
    """
    generator = torch.Generator().manual_seed(seed)
    if matched:
        drawn = like(table, n, generator)
    else:
        drawn = torch.randn(n, table.shape[1], generator=generator)
    return best_match(drawn, table)[1]


def naming(
    stored: SafetyFilter, towers: TwoTowers, phrases: Sequence[str], *, seed: int = 0
) -> tuple[Report, list[tuple[str, float]]]:
    """Name every stored vector by `phrases`: a report with two nulls, and (phrase, cosine) each.

    The phrase is "" where the cosine is not above the 99 % point of the matched null. Raises
    GateError when there are fewer than two phrases.
    """
    if len(phrases) < 2:
        raise GateError("Naming needs a dictionary of two phrases or more.")
    table = towers.phrases(phrases)
    nulls = {kind: null_matches(table, seed=seed, matched=kind) for kind in (True, False)}
    bar = nulls[True].quantile(0.99).item()
    rows, names = [], []
    for sort, vectors in (("concept", stored.concepts), ("special", stored.special)):
        number, cosine = best_match(vectors, table)
        for k, (which, value) in enumerate(zip(number.tolist(), cosine.tolist(), strict=True)):
            found = phrases[which] if value > bar else ""
            sure = "" if value >= EXACT or not found else "near "
            names.append((found, value))
            rows.append(
                Row(f"{sort} {k}", Estimate.exact(value), "result",
                    f"{sure}{found}" if found else f"no name (nearest: {phrases[which]})")
            )  # fmt: skip
    for kind, what in ((True, "like phrases"), (False, "in any direction")):
        for level in (0.5, 0.99):
            value = nulls[kind].quantile(level).item()
            rows.append(
                Row(f"random vectors {what}, {100 * level:g} % point",
                    Estimate.exact(value, len(nulls[kind])), "null")
            )  # fmt: skip
    report = Report(
        f"Best cosine with a dictionary of {len(phrases)} phrases",
        rows,
        {"random vectors of each sort": len(nulls[True]), "named above": bar},
    )
    return report, names
