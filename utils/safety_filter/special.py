"""The second list from outside: which companions lower the thresholds, by how much, and from where.

A companion that gets special care blocks nothing by itself. It shows beside something that is only
just allowed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from utils.data import scenes
from utils.data.scenes import Scenes
from utils.models.towers import TwoTowers
from utils.reports import Estimate
from utils.safety_filter.filter import Gate
from utils.safety_filter.outside import Rule, bisect, emptied, fade

BAND = (-0.03, -0.008)  # cosine minus threshold of what counts as only just allowed


@dataclass(frozen=True)
class Companion:
    """One object beside scenes that are only just allowed: how many of them are blocked."""

    name: str
    blocked: Estimate


def borderline(
    rule: Rule, towers: TwoTowers, thing: int, n: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Up to n images that hold a faded listed object and a companion, only just allowed by `rule`
    without its special list: images [m, 3, 16, 16], and the same with the companion gone,
    allowed too.

    Nothing is asked: the towers are public, so it is known beforehand how close they are.
    """
    generator = torch.Generator().manual_seed(seed)
    phrases = [p for p in rule.phrases if scenes.parse(p)[0] != thing]
    pick = torch.randint(len(phrases), (3 * n,), generator=generator)
    alone = scenes.of([phrases[i] for i in pick], seed)
    colour = torch.randint(len(scenes.COLOURS), (len(pick),), generator=generator)
    both = scenes.add(alone, torch.full((len(pick),), thing), colour, seed).images
    quarter, blank = _quarters(alone), emptied(alone, seed).images
    plain, shares = Rule(rule.phrases, rule.thresholds).filter(towers), torch.linspace(0, 1, 17)
    images, without, close = [], [], []
    for share in shares:  # fade the listed object alone: its quarter towards the empty ground
        images.append(torch.where(quarter, (1 - share) * both + share * blank, both))
        without.append(torch.where(quarter, images[-1], blank))
        top, rest = (plain.margins(towers.embed(x)).amax(1) for x in (images[-1], without[-1]))
        close.append((top > BAND[0]) & (top < BAND[1]) & (rest < BAND[1]))
    inside = torch.stack(close)  # [shares, scenes]
    rows = inside.any(0).nonzero()[:n, 0]
    first = inside.int().argmax(0)[rows]
    return torch.stack(images)[first, rows], torch.stack(without)[first, rows]


def _quarters(rows: Scenes) -> Tensor:
    """Which pixels lie in the quarter of the single object: [n, 1, 16, 16] bool."""
    place = (rows.objects >= 0).int().argmax(1)
    axis = torch.arange(scenes.SIDE) // 8
    which = 2 * axis[:, None] + axis
    return (which == place[:, None, None])[:, None]


def companions(gate: Gate, rule: Rule, towers: TwoTowers, seed: int, n: int = 8) -> list[Companion]:
    """Ask about each of the 24 objects beside up to n scenes that are only just allowed."""
    found = []
    for thing, name in enumerate(scenes.OBJECTS):
        images, _ = borderline(rule, towers, thing, n, seed + thing)
        if len(images):
            hits = int(gate.ask(images).sum())
            found.append(Companion(name, Estimate.proportion(hits, len(images))))
    return found


def special_threshold(
    gate: Gate, rule: Rule, towers: TwoTowers, word: str, seed: int, lines: int = 12
) -> float:
    """From which cosine on a special word acts: the median over fades of the companion, while the
    listed object stays only just allowed. rule: with its adjustment, which says what "only just"
    is. Where no fade shows it: the lowest cosine at which it acted, an upper bound. NaN when it
    never acted."""
    images, without = borderline(rule, towers, scenes.OBJECTS.index(word), lines, seed)
    on = gate.ask(images)
    images, without = images[on], without[on]
    if not len(images):
        return math.nan
    direction = towers.phrases([word])[0]
    at = towers.embed(fade(images, without, bisect(gate.ask, images, without)))
    near = Rule(rule.phrases, rule.thresholds).filter(towers).margins(at).amax(1)
    # where it was the companion and not the listed object that changed the gate's mind
    good = (near > 0.002 - rule.adjustment) & (near < -0.002)
    if not good.any():
        return (towers.embed(images) @ direction).min().item()
    return (at[good] @ direction).quantile(0.5).item()


def adjustment(
    gate: Gate, rule: Rule, towers: TwoTowers, words: Sequence[str], seed: int, lines: int = 8
) -> float:
    """By how much special care lowers the thresholds: the median over fades of the listed object
    beside a special companion, of threshold minus cosine at the border."""
    plain, gaps = Rule(rule.phrases, rule.thresholds).filter(towers), []
    for number, word in enumerate(words):
        rows = scenes.of([p for p in rule.phrases for _ in range(lines // 2)], seed + number)
        thing = torch.full((len(rows),), scenes.OBJECTS.index(word))
        colour = torch.arange(len(rows)) % len(scenes.COLOURS)
        both = scenes.add(rows, thing, colour, seed + number).images
        blank = torch.where(_quarters(rows), emptied(rows, seed + number).images, both)
        keep = gate.ask(both) & ~gate.ask(blank)
        both, blank = both[keep], blank[keep]
        share = bisect(gate.ask, both, blank)
        at = towers.embed(fade(both, blank, share))
        gaps.append(-plain.margins(at).amax(1))
    return torch.cat(gaps).median().item()
