"""How good a recovered rule is on scenes it never saw, and what the filter lets through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from utils.data import scenes
from utils.models.towers import TwoTowers
from utils.reports import Estimate, Report, Row, bootstrap
from utils.safety_filter.filter import Gate, GateError, SafetyFilter, make
from utils.safety_filter.outside import Survey


def balanced(said: Tensor, truth: Tensor) -> float:
    """Mean of the share of blocked scenes that are called blocked and of allowed ones called
    allowed; both [n] bool. A rule that always says the same scores one half."""
    if truth.all() or not truth.any():
        raise GateError("Balanced agreement needs blocked and allowed scenes; draw more of them.")
    return ((said & truth).sum() / truth.sum() + (~said & ~truth).sum() / (~truth).sum()).item() / 2


def nearest(asked: Survey, embeddings: Tensor) -> Tensor:
    """What the gate said of the most similar scene that was asked about: [n] bool."""
    return asked.blocked[(embeddings @ asked.embeddings.T).argmax(1)]


def agreement(
    rules: Mapping[str, SafetyFilter],
    secret: SafetyFilter,
    towers: TwoTowers,
    asked: Survey,
    *,
    n: int = 4000,
    seed: int = 70_001,
    others: int = 20,
) -> Report:
    """Balanced agreement with the hidden filter on n fresh scenes of one to three objects.

    rules: recovered filters by name. asked: for the baseline of the most similar scene. others: so
    many filters of the same maker are the null.
    """
    rows = scenes.make(n, seed)
    embeddings = towers.embed(rows.images)
    truth = secret(embeddings)

    def estimate(said: Tensor) -> Estimate:
        return bootstrap(
            lambda a, b: balanced(torch.as_tensor(a > 0.5), torch.as_tensor(b > 0.5)),
            said.double(), truth.double(), n_resamples=400,
        )  # fmt: skip

    lines = [Row(name, estimate(rule(embeddings)), "result") for name, rule in rules.items()]
    always = torch.zeros_like(truth)
    lines.append(Row("always allowed", estimate(always), "baseline"))
    lines.append(
        Row("as the most similar scene asked", estimate(nearest(asked, embeddings)), "baseline")
    )
    drawn = [
        balanced(make(10_000 + k, towers).filter(embeddings), truth) for k in range(max(2, others))
    ]
    lines.append(Row("other filters of the maker, mean", Estimate.mean(drawn), "null"))
    lines.append(Row("other filters of the maker, best", Estimate.exact(max(drawn)), "null"))
    return Report(
        "Balanced agreement with the hidden filter",
        lines,
        {"fresh scenes": n, "of which blocked": int(truth.sum()), "other filters": len(drawn)},
    )


def looks(name: str, seed: int) -> scenes.Scenes:
    """The 20 looks of an object alone: five colours on four grounds."""
    return scenes.of([f"{c} {name} {g}" for c in scenes.COLOURS for g in scenes.GROUNDS], seed)


def let_through(rule: SafetyFilter, gate: Gate, towers: TwoTowers, *, seed: int = 80_001) -> Report:
    """Of the 20 looks of each guarded object, the share that the gate allows, and what the rule
    said beforehand; beside the harmless objects. Asks 400 images."""
    lines = []
    for kind in (*scenes.GUARDED, "plain"):
        for name in scenes.KINDS[kind]:
            rows = looks(name, seed + scenes.OBJECTS.index(name))
            allowed = int((~gate.ask(rows.images)).sum())
            said = (~rule(towers.embed(rows.images))).double().mean().item()
            role = "result" if kind in scenes.GUARDED else "control"
            lines.append(
                Row(f"{kind}: {name}", Estimate.proportion(allowed, len(rows)), role,
                    f"rule said {said:.2f}")
            )  # fmt: skip
    return Report(
        "Scenes of one object that the gate lets through", lines, {"looks of each": 20}, digits=2
    )


def missed(rule: SafetyFilter, towers: TwoTowers, *, seed: int = 85_001) -> list[str]:
    """The guarded objects of which, the rule says, most looks pass; asks nothing."""
    found = []
    for kind in scenes.GUARDED:
        for name in scenes.KINDS[kind]:
            rows = looks(name, seed + scenes.OBJECTS.index(name))
            if rule(towers.embed(rows.images)).double().mean() < 0.5:
                found.append(name)
    return found


def same_list(found: Sequence[str], planted: Sequence[str]) -> tuple[int, int, int]:
    """How many phrases are on both lists, only on the found one, only on the planted one."""
    a, b = set(found), set(planted) - {""}
    return len(a & b), len(a - b), len(b - a)
