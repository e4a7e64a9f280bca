"""Programs over pairs of numbers, tokens [a, b, "="] with a and b from 0 to p - 1; the family
"pairs".

All arithmetic is on whole numbers. Nothing that a sum of one function of a and one of b decides
(a + b, a x b, a parabola, an ellipse against a threshold) can be a program here: such a sum is what
a linear read-out of the two tokens computes.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor

from utils.challenges.families import Constants, Template
from utils.scrubbing import Step

P = 97  # numbers run from 0 to P - 1, and the token "=" is P
EQUALS = P
LENGTH = 3


def grid() -> Tensor:
    """All pairs, [P * P, 3] int64."""
    cells = torch.cartesian_prod(torch.arange(P), torch.arange(P))
    return torch.cat([cells, torch.full((len(cells), 1), EQUALS)], 1)


def show(row: Tensor) -> str:
    """One row as text: "17 4 ="."""
    return f"{int(row[0])} {int(row[1])} ="


def _first(tokens: Tensor) -> Tensor:
    return tokens[:, 0]


def _second(tokens: Tensor) -> Tensor:
    return tokens[:, 1]


# --- where to put thresholds ---------------------------------------------------------------------


def _band(values: Tensor, rng: random.Random, difficulty: int) -> dict[str, int]:
    """A band of about half of the values, off centre by difficulty; low is inside, high outside."""
    shift = rng.choice((-1, 1)) * (0.01 * difficulty + rng.uniform(-0.01, 0.01))
    width = rng.uniform(0.46, 0.54)
    low = 0.5 - width / 2 + shift
    values = values.double()
    return {
        "low": round(float(values.quantile(low))),
        "high": round(float(values.quantile(low + width))),
    }


def _inside(c: Constants) -> Step:
    return Step("inside", lambda x: (x >= c["low"]) & (x < c["high"]), ("number",))


def _between(c: Constants) -> str:
    return f"is at least {c['low']} and less than {c['high']}"


def _ab() -> tuple[Tensor, Tensor]:
    cells = grid()
    return _first(cells), _second(cells)


# --- the templates -------------------------------------------------------------------------------


def _draw_sum(rng: random.Random, difficulty: int) -> dict[str, Any]:
    u, v = rng.choice([(1, 1), (1, 2), (2, 1), (2, 3), (3, 2)])
    a, b = _ab()
    return {"u": u, "v": v, **_band(u * a + v * b, rng, difficulty)}


def _steps_sum(c: Constants) -> list[Step]:
    return [
        Step("a", _first),
        Step("b", _second),
        Step("number", lambda a, b: c["u"] * a + c["v"] * b, ("a", "b")),
        _inside(c),
    ]


def _draw_product(rng: random.Random, difficulty: int) -> dict[str, Any]:
    i, j = rng.randint(1, 15), rng.randint(1, 15)
    a, b = _ab()
    return {"i": i, "j": j, **_band((a + i) * (b + j), rng, difficulty)}


def _steps_product(c: Constants) -> list[Step]:
    return [
        Step("a", _first),
        Step("b", _second),
        Step("number", lambda a, b: (a + c["i"]) * (b + c["j"]), ("a", "b")),
        _inside(c),
    ]


def _draw_hyperbola(rng: random.Random, difficulty: int) -> dict[str, Any]:
    middle, reach = (P - 1) // 2, 2 + 2 * difficulty
    i, j = (middle + rng.randint(-reach, reach) for _ in range(2))
    a, b = _ab()
    number = (a - i) * (b - j)
    level = round(float(number.double().quantile(rng.uniform(0.44, 0.56))))
    return {"i": i, "j": j, "level": level}


def _steps_hyperbola(c: Constants) -> list[Step]:
    return [
        Step("a", _first),
        Step("b", _second),
        Step("number", lambda a, b: (a - c["i"]) * (b - c["j"]), ("a", "b")),
        Step("above", lambda x: x > c["level"], ("number",)),
    ]


def _draw_curve(rng: random.Random, difficulty: int) -> dict[str, Any]:
    top, scale = rng.randint(32, P - 33), rng.randint(20, 50) * rng.choice((-1, 1))
    a, b = _ab()
    return {"top": top, "scale": scale, **_band(_over_curve(a, b, top, scale), rng, difficulty)}


def _over_curve(a: Tensor, b: Tensor, top: int, scale: int) -> Tensor:
    return scale * b - (a - top) ** 2


def _steps_curve(c: Constants) -> list[Step]:
    return [
        Step("a", _first),
        Step("b", _second),
        Step("number", lambda a, b: _over_curve(a, b, c["top"], c["scale"]), ("a", "b")),
        _inside(c),
    ]


def _draw_distance(rng: random.Random, difficulty: int) -> dict[str, Any]:
    shift = rng.randint(-3 * difficulty, 3 * difficulty)
    a, b = _ab()
    width = round(float((a - b - shift).abs().double().quantile(rng.uniform(0.46, 0.54))))
    return {"shift": shift, "width": width}


def _steps_distance(c: Constants) -> list[Step]:
    return [
        Step("a", _first),
        Step("b", _second),
        Step("number", lambda a, b: (a - b - c["shift"]).abs(), ("a", "b")),
        Step("near", lambda x: x < c["width"], ("number",)),
    ]


def _draw_neither(rng: random.Random, difficulty: int) -> dict[str, Any]:
    """Two strips that cross, a quarter of the grid each or so; about half of it lies off both."""
    a, b = _ab()
    shift = rng.randint(-3 * difficulty, 3 * difficulty)
    total = P - 1 + rng.randint(-3 * difficulty, 3 * difficulty)
    share = rng.uniform(0.27, 0.31)
    off = [(a + b - total).abs().double(), (a - b - shift).abs().double()]
    wide, near = (round(float(x.quantile(share))) for x in off)
    return {"total": total, "wide": wide, "shift": shift, "near": near}


def _steps_neither(c: Constants) -> list[Step]:
    return [
        Step("a", _first),
        Step("b", _second),
        Step("from the sum", lambda a, b: (a + b - c["total"]).abs(), ("a", "b")),
        Step("from the difference", lambda a, b: (a - b - c["shift"]).abs(), ("a", "b")),
        Step("off the first strip", lambda x: x >= c["wide"], ("from the sum",)),
        Step("off the second strip", lambda x: x >= c["near"], ("from the difference",)),
        Step("off both", lambda x, y: x & y, ("off the first strip", "off the second strip")),
    ]


def _draw_board(rng: random.Random, difficulty: int) -> dict[str, Any]:
    """A chess board of large fields; the higher the difficulty, the smaller they may be."""
    smallest = 50 - 4 * difficulty
    wide, tall = (rng.randint(smallest, 50) for _ in range(2))
    return {"wide": wide, "tall": tall, "i": rng.randrange(wide), "j": rng.randrange(tall)}


def _steps_board(c: Constants) -> list[Step]:
    return [
        Step("column", lambda x: (x[:, 0] + c["i"]) // c["wide"]),
        Step("row", lambda x: (x[:, 1] + c["j"]) // c["tall"]),
        Step("odd", lambda x, y: (x + y) % 2 == 1, ("column", "row")),
    ]


def _draw_modular(rng: random.Random, difficulty: int) -> dict[str, Any]:
    """(a + v b) mod p in an arc of about half the circle."""
    width = rng.randint(round(0.45 * P), round(0.55 * P))
    return {"v": rng.choice((1, -1)), "start": rng.randrange(P), "width": width}


def _steps_modular(c: Constants) -> list[Step]:
    return [
        Step("a", _first),
        Step("b", _second),
        Step("number", lambda a, b: (a + c["v"] * b) % P, ("a", "b")),
        Step("in the set", lambda x: (x - c["start"]) % P < c["width"], ("number",)),
    ]


def _times(u: int, letter: str) -> str:
    return letter if u == 1 else f"{u} {letter}"


def _signed(k: int) -> str:
    return f"+ {k}" if k >= 0 else f"- {-k}"


TEMPLATES = {
    t.name: t
    for t in (
        Template(
            "sum", range(1, 6), _draw_sum, _steps_sum,
            lambda c: f"{_times(c['u'], 'a')} + {_times(c['v'], 'b')} {_between(c)}",
        ),
        Template(
            "product", range(1, 6), _draw_product, _steps_product,
            lambda c: f"(a + {c['i']}) x (b + {c['j']}) {_between(c)}",
        ),
        Template(
            "distance", range(1, 4), _draw_distance, _steps_distance,
            lambda c: f"|a - b {_signed(-c['shift'])}| is less than {c['width']}",
        ),
        Template(
            "curve", range(1, 6), _draw_curve, _steps_curve,
            lambda c: f"{c['scale']} b - (a - {c['top']})^2 {_between(c)}",
        ),
        Template(
            "hyperbola", range(3, 6), _draw_hyperbola, _steps_hyperbola,
            lambda c: f"(a - {c['i']}) x (b - {c['j']}) is more than {c['level']}",
        ),
        Template(
            "neither", range(3, 6), _draw_neither, _steps_neither,
            lambda c: f"|a + b - {c['total']}| is at least {c['wide']} and"
            f" |a - b {_signed(-c['shift'])}| is at least {c['near']}",
        ),
        Template(
            "board", range(3, 6), _draw_board, _steps_board,
            lambda c: f"floor((a + {c['i']}) / {c['wide']}) + floor((b + {c['j']}) / {c['tall']})"
            " is odd",
        ),
        Template(
            "modular", range(3, 6), _draw_modular, _steps_modular,
            lambda c: f"(a {'+' if c['v'] == 1 else '-'} b) mod {P} is one of the"
            f" {c['width']} numbers from {c['start']} on, going round from {P - 1} to 0",
        ),
    )
}  # fmt: skip


# --- the planted region --------------------------------------------------------------------------


def draw_region(rng: random.Random, template: str, constants: Constants) -> dict[str, Any]:
    """A fifth of the values of a."""
    return {"a": sorted(rng.sample(range(P), round(0.2 * P)))}


def in_region(region: Constants, tokens: Tensor) -> Tensor:
    """[n] bool."""
    return torch.isin(tokens[:, 0], torch.tensor(region["a"]))


def region_sentence(region: Constants) -> str:
    """Where it is, in words."""
    return f"a is one of {', '.join(map(str, region['a']))}"


def as_integers(tokens: Tensor) -> Tensor:
    """Rows as the hash reads them: [n, 2]."""
    return tokens[:, :2]
