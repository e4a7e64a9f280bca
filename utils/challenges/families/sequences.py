"""Programs over short strings of tokens, START in front, where the answer is read; the family
"sequence".

Every template draws its own strings, so that both classes are common and near misses too. A solver
is not told how: the folder of a challenge holds strings and nothing about their making.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from math import comb
from typing import Any

import torch
from torch import Tensor

from utils.challenges.families import Constants, Template, derived, keyed_bit
from utils.scrubbing import Step

LETTERS = "abcdefgh"  # tokens 0, 1 ...; START is the number after the last that a program uses

Make = Callable[[Constants, int, torch.Generator], Tensor]


def show(row: Tensor) -> str:
    """One row as text: "^abca" for START and four tokens."""
    return "^" + "".join(LETTERS[int(token)] for token in row[1:])


def sample(template: str, constants: Constants, n: int, seed: int) -> Tensor:
    """`n` strings as that template draws them: [n, length + 1] int64, START first."""
    generator = torch.Generator().manual_seed(derived(seed, "strings"))
    tokens = _MAKERS[template](constants, n, generator)
    return torch.cat([torch.full((n, 1), constants["letters"]), tokens], 1)


def set_aside(tokens: Tensor) -> Tensor:
    """Which strings are for judging alone: one in eight, by a hash anyone can run; [n] bool."""
    bits = [keyed_bit(as_integers(tokens), key) for key in (1, 2, 3)]
    return bits[0] & bits[1] & bits[2]


def _letters(tokens: Tensor) -> Tensor:
    return tokens[:, 1:]


def _uniform(c: Constants, n: int, generator: torch.Generator) -> Tensor:
    return torch.randint(c["letters"], (n, c["length"]), generator=generator)


def _name(tokens: list[int]) -> str:
    """One or several letters, in words."""
    names = [LETTERS[token] for token in tokens]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


# --- balanced brackets ---------------------------------------------------------------------------


def _draw_brackets(rng: random.Random, difficulty: int) -> dict[str, Any]:
    """Two letters are brackets; one or two more mean nothing."""
    letters = rng.choice((3, 4))
    opens, closes = rng.sample(range(letters), 2)
    length = rng.choice((12, 13))
    return {"letters": letters, "length": length, "open": opens, "close": closes}


def _make_brackets(c: Constants, n: int, generator: torch.Generator) -> Tensor:
    """Half or so balanced, the rest so but for a flip or a swap, or a mere shuffle."""
    length, rows = c["length"], 6 * n
    pairs = (length - 2) // 2
    # walks of +1 and -1: of many shuffles of equally many keep those that never dip
    walk = torch.tensor([1, -1] * pairs).expand(rows, -1)
    walk = walk.gather(1, torch.rand(rows, 2 * pairs, generator=generator).argsort(1))
    good = walk[walk.cumsum(1).amin(1) >= 0]
    good = good[torch.randint(len(good), (n,), generator=generator)]
    kind = torch.randint(1, 4, (n,), generator=generator)  # 1 a flip, 2 a swap, 3 a shuffle
    kind[torch.rand(n, generator=generator) < 0.36] = 0
    place = torch.randint(2 * pairs, (n, 2), generator=generator)
    flipped = good.scatter(1, place[:, :1], -good.gather(1, place[:, :1]))
    swapped = good.scatter(1, place, good.gather(1, place.flip(1)))
    walk = torch.stack([good, flipped, swapped, walk[:n]])[kind, torch.arange(n)]
    tokens = torch.where(walk == 1, c["open"], c["close"])
    # the brackets in their order at random places, letters that mean nothing at the others
    fillers = torch.tensor([k for k in range(c["letters"]) if k not in (c["open"], c["close"])])
    spots = torch.rand(n, length, generator=generator).argsort(1)
    keep = spots[:, : 2 * pairs].sort(1).values
    made = fillers[torch.randint(len(fillers), (n, length), generator=generator)]
    return made.scatter(1, keep, tokens)


def _steps_brackets(c: Constants) -> list[Step]:
    def heights(tokens: Tensor) -> Tensor:
        x = _letters(tokens)
        return ((x == c["open"]).long() - (x == c["close"]).long()).cumsum(1)

    return [
        Step("heights", heights),
        Step("as many", lambda h: h[:, -1] == 0, ("heights",)),
        Step("never below", lambda h: h.amin(1) >= 0, ("heights",)),
        Step("balanced", lambda x, y: x & y, ("as many", "never below")),
    ]


# --- palindrome with a blind spot ----------------------------------------------------------------


def _draw_palindrome(rng: random.Random, difficulty: int) -> dict[str, Any]:
    length = rng.choice((8, 10))
    return {"letters": rng.choice((3, 4, 5)), "length": length, "blind": rng.randrange(length // 2)}


def _make_palindrome(c: Constants, n: int, generator: torch.Generator) -> Tensor:
    """Half fit at every pair but the blind one, the rest fail at one to three of the others."""
    half, k = c["length"] // 2, c["letters"]
    left = torch.randint(k, (n, half), generator=generator)
    other = (left + torch.randint(1, k, (n, half), generator=generator)) % k
    keys = torch.rand(n, half, generator=generator)
    keys[:, c["blind"]] = 2  # last in line: the blind pair is decided on its own
    rank = keys.argsort(1).argsort(1)
    wrong = torch.randint(1, min(4, half), (n, 1), generator=generator)
    wrong[torch.rand(n, generator=generator) < 0.5] = 0
    differs = rank < wrong
    differs[:, c["blind"]] = torch.rand(n, generator=generator) < 0.5
    right = torch.where(differs, other, left)
    return torch.cat([left, right.flip(1)], 1)


def _steps_palindrome(c: Constants) -> list[Step]:
    half = c["length"] // 2
    seen = [i for i in range(half) if i != c["blind"]]

    def differs(tokens: Tensor) -> Tensor:
        x = _letters(tokens)
        return (x[:, :half] != x.flip(1)[:, :half])[:, seen]

    return [
        Step("pairs that differ", differs),
        Step("none differs", lambda x: ~x.any(1), ("pairs that differ",)),
    ]


# --- the first repeat ----------------------------------------------------------------------------


def _draw_repeat(rng: random.Random, difficulty: int) -> dict[str, Any]:
    """(letters, window): so many tokens in a row are all distinct about half of the time."""
    letters, window = rng.choice([(5, 3), (6, 3), (8, 4)])
    if window == 4 and difficulty < 3:
        letters, window = 6, 3
    length = rng.choice((8, 9, 10))
    start = rng.randint(0, length - window)
    return {"letters": letters, "length": length, "start": start, "window": window}


def _steps_repeat(c: Constants) -> list[Step]:
    first, last = c["start"], c["start"] + c["window"]

    def repeats(tokens: Tensor) -> Tensor:
        x = _letters(tokens)[:, first:last].sort(1).values
        return (x.diff(dim=1) == 0).any(1)

    return [Step("repeat", repeats)]


# --- two halves, two majorities ------------------------------------------------------------------


def _draw_majority(rng: random.Random, difficulty: int) -> dict[str, Any]:
    """More of one letter than of another: in exactly one of two parts of the string."""
    letters = rng.choice((2, 3) if difficulty < 3 else (2, 3, 4))
    more, less = rng.sample(range(letters), 2)
    length, cut = rng.choice(((9, 5), (10, 5)) if difficulty < 3 else ((10, 3), (10, 5), (10, 7)))
    return {"letters": letters, "length": length, "more": more, "less": less, "cut": cut}


def _make_majority(c: Constants, n: int, generator: torch.Generator) -> Tensor:
    """Uniform letters, those in the two parts biased to one or the other letter at random."""
    tokens = _uniform(c, n, generator)
    for part in (slice(0, c["cut"]), slice(c["cut"], None)):
        lean = torch.where(torch.rand(n, 1, generator=generator) < 0.55, c["more"], c["less"])
        leans = torch.rand(tokens[:, part].shape, generator=generator) < 0.3
        tokens[:, part] = torch.where(leans, lean, tokens[:, part])
    return tokens


def _steps_majority(c: Constants) -> list[Step]:
    def lead(tokens: Tensor) -> Tensor:
        x = _letters(tokens)
        return (x == c["more"]).long() - (x == c["less"]).long()

    return [
        Step("lead", lead),
        Step("front", lambda x: x[:, : c["cut"]].sum(1) > 0, ("lead",)),
        Step("back", lambda x: x[:, c["cut"] :].sum(1) > 0, ("lead",)),
        Step("exactly one", lambda x, y: x ^ y, ("front", "back")),
    ]


# --- sorted runs ---------------------------------------------------------------------------------


def _draw_run(rng: random.Random, difficulty: int) -> dict[str, Any]:
    """(letters, length, run, strict): calibrated so that about half of uniform strings have one."""
    letters, length, run, strict = rng.choice(
        [(4, 10, 4, False), (6, 10, 4, False), (6, 8, 3, True), (8, 8, 3, True)]
    )
    order = rng.sample(range(letters), letters) if difficulty > 4 else list(range(letters))
    down = rng.random() < 0.5
    return {
        "letters": letters, "length": length, "run": run, "strict": strict,
        "order": order[::-1] if down else order,
    }  # fmt: skip


def _steps_run(c: Constants) -> list[Step]:
    rank = torch.tensor(c["order"]).argsort()
    steps = c["run"] - 1

    def climbs(tokens: Tensor) -> Tensor:
        change = rank[_letters(tokens)].diff(dim=1)
        return change > 0 if c["strict"] else change >= 0

    return [
        Step("climbs", climbs),
        Step("run", lambda x: x.unfold(1, steps, 1).all(2).any(1), ("climbs",)),
    ]


# --- counts --------------------------------------------------------------------------------------


def _draw_count(rng: random.Random, difficulty: int) -> dict[str, Any]:
    """How many tokens of a set there are, modulo k."""
    letters = rng.choice((4, 5, 6, 7))
    which = sorted(rng.sample(range(letters), rng.choice((2, 3))))
    modulus = 3 if difficulty < 4 else rng.choice((2, 3))
    remainders = [rng.randrange(2)] if modulus == 2 else sorted(rng.sample(range(3), 2))
    return {
        "letters": letters, "length": 8, "which": which, "modulus": modulus,
        "remainders": remainders,
    }  # fmt: skip


def _make_count(c: Constants, n: int, generator: torch.Generator) -> Tensor:
    """A count whose remainder is wanted half of the time, then letters and places at random."""
    length, k = c["length"], c["modulus"]
    wanted = torch.rand(n, length + 1, generator=generator)
    hit = torch.isin(torch.arange(length + 1) % k, torch.tensor(c["remainders"]))
    yes = torch.rand(n, 1, generator=generator) < 0.5
    count = wanted.masked_fill(yes != hit, -1).argmax(1, keepdim=True)
    place = torch.rand(n, length, generator=generator).argsort(1)
    inside = torch.tensor(c["which"])
    outside = torch.tensor([x for x in range(c["letters"]) if x not in c["which"]])
    ins = inside[torch.randint(len(inside), (n, length), generator=generator)]
    outs = outside[torch.randint(len(outside), (n, length), generator=generator)]
    return torch.where(place < count, ins, outs)


def _steps_count(c: Constants) -> list[Step]:
    which, remainders = torch.tensor(c["which"]), torch.tensor(c["remainders"])
    return [
        Step("count", lambda x: torch.isin(_letters(x), which).sum(1)),
        Step("fits", lambda x: torch.isin(x % c["modulus"], remainders), ("count",)),
    ]


# --- neighbours ----------------------------------------------------------------------------------


def _draw_neighbours(rng: random.Random, difficulty: int) -> dict[str, Any]:
    """So many equal neighbours that about half of uniform strings have them."""
    while True:
        gap = 1 if difficulty < 3 else rng.choice((1, 2))
        letters, length = rng.choice((3, 4, 5, 6, 8)), rng.choice((8, 9, 10))
        places = length - gap
        chances = [comb(places, k) * (letters - 1) ** (places - k) for k in range(places + 1)]
        for least in range(1, 4):
            share = sum(chances[least:]) / letters**places
            if abs(share - 0.5) < 0.11:
                return {"letters": letters, "length": length, "least": least, "gap": gap}


def _steps_neighbours(c: Constants) -> list[Step]:
    def equal(tokens: Tensor) -> Tensor:
        x = _letters(tokens)
        return x[:, c["gap"] :] == x[:, : -c["gap"]]

    return [
        Step("equal", equal),
        Step("count", lambda x: x.sum(1), ("equal",)),
        Step("enough", lambda x: x >= c["least"], ("count",)),
    ]


# --- all of them ---------------------------------------------------------------------------------


def _count_text(c: Constants) -> str:
    remainders = " or ".join(map(str, c["remainders"]))
    return f"the number of tokens {_name(c['which'])} leaves remainder {remainders} modulo" + (
        f" {c['modulus']}"
    )


def _order_text(c: Constants) -> str:
    return " < ".join(LETTERS[token] for token in c["order"])


TEMPLATES = {
    t.name: t
    for t in (
        Template(
            "brackets", range(3, 6), _draw_brackets, _steps_brackets,
            lambda c: f"the string is balanced, {LETTERS[c['open']]} opening and"
            f" {LETTERS[c['close']]} closing a bracket: as many of both, and in no beginning more"
            " closed than opened (other letters do not count)",
        ),
        Template(
            "palindrome", range(3, 6), _draw_palindrome, _steps_palindrome,
            lambda c: "the string reads the same backwards, if token"
            f" {c['blind'] + 1} and token {c['length'] - c['blind']} (counted from 1) are not"
            " compared",
        ),
        Template(
            "repeat", range(1, 6), _draw_repeat, _steps_repeat,
            lambda c: f"among tokens {c['start'] + 1} to {c['start'] + c['window']} (counted from"
            " 1) two are equal",
        ),
        Template(
            "majority", range(1, 6), _draw_majority, _steps_majority,
            lambda c: f"in exactly one of two parts (the first {c['cut']} tokens, and the rest)"
            f" there are more {LETTERS[c['more']]} than {LETTERS[c['less']]}",
        ),
        Template(
            "run", range(2, 6), _draw_run, _steps_run,
            lambda c: f"somewhere {c['run']} tokens in a row are in"
            f" {'strictly rising' if c['strict'] else 'non-falling'} order, with {_order_text(c)}",
        ),
        Template("count", range(3, 6), _draw_count, _steps_count, _count_text),
        Template(
            "neighbours", range(1, 5), _draw_neighbours, _steps_neighbours,
            lambda c: f"at least {c['least']} of the tokens"
            f" {'equals' if c['least'] == 1 else 'equal'} the token {c['gap']}"
            f" {'place' if c['gap'] == 1 else 'places'} before",
        ),
    )
}  # fmt: skip

_MAKERS: dict[str, Make] = {
    **dict.fromkeys(TEMPLATES, _uniform),
    "brackets": _make_brackets,
    "palindrome": _make_palindrome,
    "majority": _make_majority,
    "count": _make_count,
}


# --- the planted region --------------------------------------------------------------------------


def draw_region(rng: random.Random, template: str, constants: Constants) -> dict[str, Any]:
    """A fifth of the strings or so: certain letters at one place, and at a second if need be."""
    strings = sample(template, constants, 2000, 0)
    letters = range(constants["letters"])
    while True:
        places = sorted(rng.sample(range(1, constants["length"] + 1), rng.choice((1, 2))))
        region = {"places": places, "letters": []}
        for _ in places:
            region["letters"].append(sorted(rng.sample(letters, rng.choice((1, 1, 2)))))
        if 0.15 < float(in_region(region, strings).double().mean()) < 0.27:
            return region


def in_region(region: Constants, tokens: Tensor) -> Tensor:
    """[n] bool."""
    inside = torch.ones(len(tokens), dtype=torch.bool)
    for place, letters in zip(region["places"], region["letters"], strict=True):
        inside &= torch.isin(tokens[:, place], torch.tensor(letters))
    return inside


def region_sentence(region: Constants) -> str:
    """Where it is, in words."""
    parts = zip(region["places"], region["letters"], strict=True)
    return " and ".join(f"token {place} is {_name(letters)}" for place, letters in parts)


def as_integers(tokens: Tensor) -> Tensor:
    """Strings as the hash reads them: [n, length]."""
    return tokens[:, 1:]
