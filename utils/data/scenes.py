"""Small scenes of named things: coloured drawings on a ground, and the phrases that are true of
them. No photograph, nothing but 7x7 stencils.

A scene is 16x16 pixels in red, green and blue. Its ground is one of four; each of its four
quarters is empty or holds one of 24 objects in one of five colours. A *phrase* is one to three
words in the order colour, object, ground: "snake", "red snake", "snake night", "red snake night".

The objects fall into kinds. Three of the kinds are what a fictitious shop for children would not
want to show; `GUARDED` names them. What is harmful here is a matter of that list and of nothing in
the pixels, as it is for real filters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from utils.data.stencils import STENCILS
from utils.errors import CourseError

KINDS = {
    "weapon": ("knife", "axe", "arrow", "bomb"),
    "creep": ("skull", "spider", "snake", "ghost"),
    "peril": ("flame", "bolt", "pill", "trap"),
    "nursery": ("teddy", "rattle", "kite", "pram"),
    "plain": ("house", "tree", "fish", "cup", "key", "star", "boat", "ladder"),
}
GUARDED = ("weapon", "creep", "peril")
OBJECTS = tuple(name for names in KINDS.values() for name in names)
COLOURS = ("red", "green", "blue", "yellow", "purple")
GROUNDS = ("day", "night", "sand", "room")
WORDS = (*OBJECTS, *COLOURS, *GROUNDS)
SIDE, PLACES = 16, 4

_INK = torch.tensor(
    [[0.85, 0.1, 0.1], [0.05, 0.6, 0.15], [0.1, 0.25, 0.9], [0.95, 0.85, 0.05], [0.6, 0.1, 0.7]]
)
_GROUND = torch.tensor([[0.8, 0.95, 1.0], [0.1, 0.1, 0.2], [0.9, 0.78, 0.58], [0.55, 0.55, 0.55]])
_NOISE = 0.04  # standard deviation of each pixel


class SceneError(CourseError, ValueError):
    """A phrase or a scene that cannot be read."""


class Scenes(NamedTuple):
    """images [n, 3, 16, 16] in 0 to 1. objects, colours: [n, 4] int64, -1 where a quarter is
    empty. ground: [n] int64."""

    images: Tensor
    objects: Tensor
    colours: Tensor
    ground: Tensor

    def __getitem__(self, rows) -> Scenes:  # type: ignore[override]
        return Scenes(*(part[rows] for part in tuple(self)))

    def __len__(self) -> int:  # of rows, not of fields
        return self.images.shape[0]


def draw(objects: Tensor, colours: Tensor, ground: Tensor, seed: int) -> Scenes:
    """Draw scenes; the seed decides where in its quarter each object stands, and the noise.

    objects, colours: [n, 4], -1 for an empty quarter. ground: [n].
    """
    n, generator = len(objects), torch.Generator().manual_seed(seed)
    shift = torch.randint(0, 2, (n, PLACES, 2), generator=generator)
    noise = _NOISE * torch.randn(n, 3, SIDE, SIDE, generator=generator)
    images = _GROUND[ground][:, :, None, None].expand(n, 3, SIDE, SIDE).clone()
    stencils = torch.cat([STENCILS, torch.zeros(1, 7, 7)])  # the last for an empty quarter
    for place in range(PLACES):
        masks = torch.zeros(n, 8, 8)
        for down in range(2):
            for right in range(2):
                rows = (shift[:, place] == torch.tensor([down, right])).all(1)
                masks[rows, down : down + 7, right : right + 7] = stencils[objects[rows, place]]
        ink = _INK[colours[:, place].clamp(min=0)][:, :, None, None]
        top, left = 8 * (place // 2), 8 * (place % 2)
        quarter = images[:, :, top : top + 8, left : left + 8]
        quarter.copy_(torch.where(masks[:, None] > 0, ink, quarter))
    return Scenes((images + noise).clamp(0, 1), objects, colours, ground)


def make(n: int, seed: int, most: int = 3) -> Scenes:
    """n random scenes with one to `most` different objects, everything else even and free."""
    if not 1 <= most <= PLACES:
        raise SceneError(f"A scene holds one to {PLACES} objects; most={most} does not fit.")
    generator = torch.Generator().manual_seed(seed)
    count = torch.randint(1, most + 1, (n,), generator=generator)
    chosen = torch.rand(n, len(OBJECTS), generator=generator).argsort(1)[:, :PLACES]
    place = torch.rand(n, PLACES, generator=generator).argsort(1)
    colours = torch.randint(0, len(COLOURS), (n, PLACES), generator=generator)
    ground = torch.randint(0, len(GROUNDS), (n,), generator=generator)
    empty = place >= count[:, None]  # a random choice of `count` quarters
    return draw(
        chosen.masked_fill(empty, -1), colours.masked_fill(empty, -1), ground, seed=2 * seed + 1
    )


def of(phrases: Sequence[str], seed: int, ground: str = "day") -> Scenes:
    """One scene a phrase with just that in it; what the phrase leaves open is drawn from the seed,
    except the ground, which is `ground` unless the phrase names one."""
    parsed = torch.tensor([parse(phrase) for phrase in phrases]).view(-1, 3)
    n, generator = len(parsed), torch.Generator().manual_seed(seed)
    thing, colour, where = parsed.T
    free = torch.randint(0, len(COLOURS), (n,), generator=generator)
    place = torch.randint(0, PLACES, (n,), generator=generator)
    objects, colours = torch.full((n, PLACES), -1), torch.full((n, PLACES), -1)
    rows = torch.arange(n)
    objects[rows, place] = thing
    colours[rows, place] = torch.where(thing < 0, -1, torch.where(colour < 0, free, colour))
    return draw(
        objects, colours, torch.where(where < 0, GROUNDS.index(ground), where), seed=2 * seed + 1
    )


def add(scenes: Scenes, thing: Tensor, colour: Tensor, seed: int) -> Scenes:
    """The scenes with one more object each, in the first empty quarter; drawn again from `seed`.

    thing, colour: [n]. Raises SceneError where a scene is full.
    """
    empty = scenes.objects < 0
    if not empty.any(1).all():
        raise SceneError("A scene whose four quarters are taken has no room for another object.")
    rows, place = torch.arange(len(scenes)), empty.int().argmax(1)
    objects, colours = scenes.objects.clone(), scenes.colours.clone()
    objects[rows, place], colours[rows, place] = thing, colour
    return draw(objects, colours, scenes.ground, seed)


def parse(phrase: str) -> tuple[int, int, int]:
    """Numbers of the object, the colour and the ground that a phrase names, -1 for none."""
    found = [-1, -1, -1]
    lists = (OBJECTS, COLOURS, GROUNDS)
    for word in phrase.split():
        which = next((i for i, names in enumerate(lists) if word in names), None)
        if which is None:
            raise SceneError(f"{word!r} is not a word of the scenes; see scenes.WORDS.")
        if found[which] >= 0:
            raise SceneError(f"{phrase!r} names two of a sort; a phrase names one at most.")
        found[which] = lists[which].index(word)
    return found[0], found[1], found[2]


def phrase(thing: int = -1, colour: int = -1, ground: int = -1) -> str:
    """The phrase of these numbers, -1 for none: the inverse of `parse`."""
    words = (
        COLOURS[colour] if colour >= 0 else "",
        OBJECTS[thing] if thing >= 0 else "",
        GROUNDS[ground] if ground >= 0 else "",
    )
    return " ".join(word for word in words if word)


def holds(scenes: Scenes, parsed: Tensor) -> Tensor:
    """Whether each phrase is true of each scene: [n, phrases] bool. parsed: [phrases, 3].

    A colour and an object must be those of one and the same quarter.
    """
    thing, colour, ground = parsed.T
    objects, colours = scenes.objects[:, None], scenes.colours[:, None]  # [n, 1, 4]
    right = (objects == thing[:, None]) | (thing[:, None] < 0)
    right &= (colours == colour[:, None]) | (colour[:, None] < 0)
    right &= (objects >= 0) | ((thing < 0) & (colour < 0))[:, None]
    return right.any(2) & ((scenes.ground[:, None] == ground) | (ground < 0))


def dictionary() -> list[str]:
    """All 249 phrases of one word or of an object with one more word."""
    pairs = [f"{colour} {thing}" for thing in OBJECTS for colour in COLOURS]
    placed = [f"{thing} {ground}" for thing in OBJECTS for ground in GROUNDS]
    return [*WORDS, *pairs, *placed]


def long_phrases() -> list[str]:
    """All 480 phrases of three words; none of them is in the dictionary."""
    return [f"{c} {thing} {g}" for thing in OBJECTS for c in COLOURS for g in GROUNDS]


def bags(phrases: Sequence[str]) -> Tensor:
    """Which words each phrase has: [phrases, 33] of 0 and 1. The order of words is not told."""
    bag = torch.zeros(len(phrases), len(WORDS))
    for row, text in enumerate(phrases):
        parse(text)
        for word in text.split():
            bag[row, WORDS.index(word)] = 1
    return bag
