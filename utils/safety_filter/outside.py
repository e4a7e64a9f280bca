"""What can be learned of a filter through its gate alone, with the public towers in hand.

Four steps, each a few hundred questions. Survey: one scene for everything there is. List: a phrase
whose cosine no allowed scene reaches, and blocked ones do. Thresholds: fade a blocked scene towards
an allowed one and halve the interval; at the border the cosine of the right phrase is its
threshold, whatever else is in the scene. Special care: put a companion beside something that is
only just allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from utils.data import scenes
from utils.data.scenes import Scenes
from utils.models.towers import TwoTowers
from utils.safety_filter.filter import Gate, GateError, SafetyFilter

MARGIN = 0.03  # how far above every allowed scene a cosine must be to explain a blocked one
Ask = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rule:
    """A recovered filter in words: what it lists, and from which cosine on."""

    phrases: tuple[str, ...]
    thresholds: tuple[float, ...]
    special: tuple[str, ...] = ()
    special_thresholds: tuple[float, ...] = ()
    adjustment: float = 0.0

    def filter(self, towers: TwoTowers) -> SafetyFilter:
        """The same as vectors: what it would block. Raises GateError for an empty list."""
        if not self.phrases:
            raise GateError("A rule without any phrase blocks nothing; recover a list first.")
        return SafetyFilter(
            towers.phrases(self.phrases), torch.tensor(self.thresholds),
            towers.phrases(self.special), torch.tensor(self.special_thresholds), self.adjustment,
        )  # fmt: skip


@dataclass(frozen=True)
class Survey:
    """Scenes that were asked, their vectors [n, d], and which were blocked [n] bool."""

    scenes: Scenes
    embeddings: Tensor
    blocked: Tensor


def candidates() -> list[str]:
    """What a list may hold: the 249 phrases of the dictionary and the 480 of three words."""
    return [*scenes.dictionary(), *scenes.long_phrases()]


def survey(gate: Gate, towers: TwoTowers, seed: int, copies: int = 2) -> Survey:
    """Ask about every object in every colour on every ground, alone, `copies` times each."""
    rows = scenes.of(scenes.long_phrases() * copies, seed)
    return Survey(rows, towers.embed(rows.images), gate.ask(rows.images))


def explained(cosines: Tensor, blocked: Tensor, margin: float = MARGIN) -> Tensor:
    """Which blocked scenes a phrase would explain: [n, phrases] bool.

    cosines: [n, phrases]. A phrase's threshold cannot lie below the cosine of a scene that was
    allowed; a blocked scene counts as explained when it is above the highest of those by `margin`.
    """
    if blocked.all():
        raise GateError("Every scene was blocked: without allowed ones no phrase has a floor.")
    above = cosines - cosines[~blocked].amax(0) > margin
    return above & blocked[:, None]


def shortlist(cosines: Tensor, blocked: Tensor, margin: float = MARGIN) -> list[int]:
    """The fewest phrases that explain the blocked scenes, greedily: their numbers, best first.

    The phrase that explains most of what is left comes next; of several with the same count the one
    whose explained scenes stand highest above its floor.
    """
    table = explained(cosines, blocked, margin)
    floor = cosines[~blocked].max(0).values
    left, chosen = blocked.clone(), []
    while True:
        here = table & left[:, None]
        count = here.sum(0)
        if count.max() == 0:
            return chosen
        lowest = torch.where(here, cosines, torch.inf).min(0).values - floor
        best = int(torch.where(count == count.max(), lowest, -torch.inf).argmax())
        chosen.append(best)
        left &= ~table[:, best]


def bisect(ask: Ask, blocked: Tensor, allowed: Tensor, steps: int = 10) -> Tensor:
    """Where between two images the gate changes its mind: [n], the share of the allowed one.

    blocked, allowed: [n, 3, 16, 16]. Asks `steps` times n images. The share is right to
    1 / 2**(steps + 1); between the ends the gate may change its mind more than once, and one of the
    changes is found.
    """
    low, high = torch.zeros(len(blocked)), torch.ones(len(blocked))
    for _ in range(steps):
        middle = (low + high) / 2
        still = ask(fade(blocked, allowed, middle))
        low, high = torch.where(still, middle, low), torch.where(still, high, middle)
    return (low + high) / 2


def fade(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """(1 - share) of the first image and `share` of the second; share: [n]."""
    weight = share[:, None, None, None]
    return (1 - weight) * first + weight * second


def emptied(rows: Scenes, seed: int) -> Scenes:
    """The same grounds with nothing on them."""
    nothing = torch.full_like(rows.objects, -1)
    return scenes.draw(nothing, nothing, rows.ground, seed)


@dataclass(frozen=True)
class Border:
    """Cosines at the border of one listed phrase. spread: of the phrase itself, the standard
    deviation; rival: the smallest spread of any other candidate, and which that is."""

    phrase: str
    threshold: float
    spread: float
    rival: float
    rival_phrase: str
    n: int

    @property
    def own(self) -> bool:
        """Whether the border is that of this phrase: its cosine is steadier there than any."""
        return self.spread < self.rival


def borders(
    gate: Gate, towers: TwoTowers, found: Sequence[str], seed: int, lines: int = 8, steps: int = 10
) -> list[Border]:
    """Threshold of each listed phrase, from `lines` fades of scenes that show it.

    Scenes with a second, plain object are used too, since the threshold must not depend on what
    else is there. Asks (steps + 1) * lines images a phrase.
    """
    names, result = candidates(), []
    table = towers.phrases(names).T
    for number, phrase in enumerate(found):
        rows = showing(phrase, lines, seed + number, found)
        rows = rows[gate.ask(rows.images)]
        if len(rows) < 2:
            continue  # not even its own scenes are blocked: no threshold to be found
        empty = emptied(rows, seed + number)
        share = bisect(gate.ask, rows.images, empty.images, steps)
        cosines = towers.embed(fade(rows.images, empty.images, share)) @ table
        spread = cosines.std(0)
        own = names.index(phrase)
        others = spread.clone()
        others[own] = torch.inf
        rival = int(others.argmin())
        result.append(
            Border(
                phrase, cosines[:, own].median().item(), spread[own].item(), spread[rival].item(),
                names[rival], len(rows),
            )
        )  # fmt: skip
    return result


def showing(phrase: str, n: int, seed: int, others: Sequence[str] = ()) -> Scenes:
    """n scenes that show a phrase, on all grounds where it leaves that open; every other one has a
    plain object beside it. others: phrases that may be listed too; their objects stay out of the
    picture, or the border could be theirs."""
    grounds = [""] if scenes.parse(phrase)[2] >= 0 else list(scenes.GROUNDS)
    texts = [f"{phrase} {grounds[i // 2 % len(grounds)]}".strip() for i in range(n)]
    rows = scenes.of(texts, seed)
    generator = torch.Generator().manual_seed(seed)
    plain = torch.tensor([scenes.OBJECTS.index(name) for name in scenes.KINDS["plain"]])
    taken = torch.tensor([scenes.parse(text)[0] for text in (phrase, *others)])
    plain = plain[~torch.isin(plain, taken)]
    thing = plain[torch.randint(len(plain), (n,), generator=generator)]
    colour = torch.randint(len(scenes.COLOURS), (n,), generator=generator)
    both = scenes.add(rows, thing, colour, seed)
    second = torch.arange(n) % 2 == 1
    return Scenes(
        *(
            torch.where(second.view(-1, *[1] * (a.ndim - 1)), b, a)
            for a, b in zip(rows, both, strict=True)
        )
    )
