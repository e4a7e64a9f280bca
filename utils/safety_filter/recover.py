"""The two whole recoveries: from outside through the gate, from inside by the stored vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from utils.models.towers import TwoTowers
from utils.safety_filter.filter import Gate, GateError, SafetyFilter
from utils.safety_filter.naming import best_match
from utils.safety_filter.outside import (
    Border,
    Rule,
    Survey,
    borders,
    candidates,
    shortlist,
    survey,
)
from utils.safety_filter.special import Companion, adjustment, companions, special_threshold


@dataclass(frozen=True)
class Recovered:
    """A rule, and what it was read from. asked: images the gate answered for it."""

    rule: Rule
    survey: Survey
    borders: Sequence[Border]
    companions: Sequence[Companion]
    asked: int


def listing(
    gate: Gate, towers: TwoTowers, seed: int, step: Callable[[str], None] = lambda text: None
) -> tuple[Survey, list[Border]]:
    """The survey, and the border of every phrase that explains what was blocked."""
    names = candidates()
    step("one scene for everything there is")
    asked = survey(gate, towers, seed)
    if not asked.blocked.any():
        raise GateError("The gate blocked nothing in the survey: there is no list to be found.")
    step("which phrases explain what was blocked")
    listed = shortlist(asked.embeddings @ towers.phrases(names).T, asked.blocked)
    step("thresholds, by halving")
    return asked, borders(gate, towers, [names[i] for i in listed], seed + 100)


def from_outside(
    gate: Gate, towers: TwoTowers, seed: int, step: Callable[[str], None] = lambda text: None
) -> Recovered:
    """Recover a rule from answers alone: about 2,500 questions. A phrase is kept when the cosines
    at its border spread less than those of any other phrase. Raises GateError when none is."""
    before = gate.asked
    asked, found = listing(gate, towers, seed, step)
    kept = [border for border in found if border.own]
    if not kept:
        raise GateError("No phrase has a border of its own: the filter is not of this kind.")
    rule = Rule(tuple(b.phrase for b in kept), tuple(b.threshold for b in kept))
    step("companions that lower the thresholds")
    beside = companions(gate, rule, towers, seed + 500)
    special = [c.name for c in beside if c.blocked.low > 0.25]
    if special:
        amount = adjustment(gate, rule, towers, special, seed + 1200)
        rule = replace(rule, adjustment=amount)
        limits = [special_threshold(gate, rule, towers, word, seed + 900) for word in special]
        rule = replace(rule, special=tuple(special), special_thresholds=tuple(limits))
    return Recovered(rule, asked, found, beside, gate.asked - before)


def from_inside(
    stored: SafetyFilter, towers: TwoTowers, phrases: Sequence[str], bar: float
) -> Rule:
    """Names for the stored vectors, with the stored numbers; vectors whose best cosine is not above
    `bar` are left out. What is lost is what the names do not say."""
    table = towers.phrases(phrases)
    number, cosine = best_match(stored.concepts, table)
    special, _ = best_match(stored.special, table)
    keep = (cosine > bar).nonzero()[:, 0].tolist()
    return Rule(
        tuple(phrases[int(number[i])] for i in keep),
        tuple(stored.thresholds[i].item() for i in keep),
        tuple(phrases[int(i)] for i in special),
        tuple(torch.as_tensor(stored.special_thresholds).tolist()),
        stored.adjustment.item(),
    )
