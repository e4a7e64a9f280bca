"""Programs over handwritten digits of 28x28 pixels (`utils.data.digits`); the family "cnn".

Amounts are in full-ink pixels, places in pixels from the upper left corner. All sums are taken in
float64, so that which side of a threshold an image falls on is the same on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from utils.challenges.families import Constants, Template
from utils.data import digits
from utils.scrubbing import Step

CALIBRATION = 2000  # training images on which thresholds are placed


# --- numbers that programs read off an image -----------------------------------------------------


def similarity(images: Tensor, scan: int) -> Tensor:
    """Dot product with `2 * template - 1`, the template being that scan as written: [n]."""
    weights = (2 * digits.originals().images[scan, 0] - 1).flatten().double()
    return torch.cat([part.flatten(1).double() @ weights for part in images.split(5000)])


def ink(images: Tensor, box: list[int] | None = None) -> Tensor:
    """Sum over the box [top, bottom, left, right], ends not included; over all without one: [n]."""
    top, bottom, left, right = box or (0, digits.SIZE, 0, digits.SIZE)
    return images[:, 0, top:bottom, left:right].double().sum((1, 2))


def centre(images: Tensor) -> Tensor:
    """Row and column of the centre of mass: [n, 2]."""
    at = torch.arange(digits.SIZE, dtype=torch.double)
    grey = images[:, 0].double()
    total = grey.sum((1, 2)).clamp_min(1e-9)
    return torch.stack([(grey.sum(2) @ at) / total, (grey.sum(1) @ at) / total], 1)


def outline(images: Tensor) -> Tensor:
    """Sum of absolute differences between neighbours, down and across: [n]."""
    grey = images[:, 0].double()
    return grey.diff(dim=1).abs().sum((1, 2)) + grey.diff(dim=2).abs().sum((1, 2))


def thickness(images: Tensor) -> Tensor:
    """Ink per unit of outline, times two: about the width of the stroke in pixels, [n]."""
    return 2 * ink(images) / outline(images).clamp_min(1e-9)


# --- where to put thresholds ---------------------------------------------------------------------


@lru_cache(maxsize=1)
def _calibration() -> Tensor:
    return digits.make("train", CALIBRATION, seed=2023).images


def _cut(values: Tensor, share: float, places: int = 1) -> float:
    """A round number below which about that share of the values lies."""
    return round(float(values.quantile(share)), places)


def _off_centre(rng: random.Random, difficulty: int) -> float:
    """How far a band is shifted from the middle half, as a share of inputs; either way."""
    return rng.choice((-1, 1)) * (0.015 * difficulty + rng.uniform(-0.01, 0.01))


def _band(values: Tensor, rng: random.Random, difficulty: int, places: int = 1) -> dict[str, float]:
    """A band of about half of the values."""
    shift, width = _off_centre(rng, difficulty), rng.uniform(0.47, 0.53)
    low = 0.5 - width / 2 + shift
    return {"low": _cut(values, low, places), "high": _cut(values, low + width, places)}


def _in_band(c: Constants) -> Callable[[Tensor], Tensor]:
    return lambda x: (x > c["low"]) & (x < c["high"])


def _scan(rng: random.Random, digit: int | None = None) -> int:
    """A training scan, of that digit if one is named."""
    ids = digits.split()[0].tolist()
    if digit is not None:
        ids = [i for i in ids if int(digits.originals().digit[i]) == digit]
    return rng.choice(ids)


def scans(constants: Constants) -> list[int]:
    """The scans that a program compares images with; none for most templates."""
    return [constants["scan"]] if "scan" in constants else list(constants.get("scans", []))


def _box(rng: random.Random) -> list[int]:
    """A box of 9 to 14 pixels a side that touches the digit's part of the frame."""
    tall, wide = rng.randint(9, 14), rng.randint(9, 14)
    top, left = rng.randint(4, 24 - tall), rng.randint(4, 24 - wide)
    return [top, top + tall, left, left + wide]


def _box_text(box: list[int]) -> str:
    return f"rows {box[0]}-{box[1] - 1}, columns {box[2]}-{box[3] - 1}"


# --- the templates -------------------------------------------------------------------------------


def _draw_band(rng: random.Random, difficulty: int) -> dict[str, Any]:
    scan = _scan(rng)
    return {"scan": scan, **_band(similarity(_calibration(), scan), rng, difficulty)}


def _steps_band(c: Constants) -> list[Step]:
    return [
        Step("similarity", lambda x: similarity(x, c["scan"])),
        Step("inside", _in_band(c), ("similarity",)),
    ]


def _draw_contest(rng: random.Random, difficulty: int) -> dict[str, Any]:
    first, second = (_scan(rng, digit) for digit in rng.sample(range(10), 2))
    lead = similarity(_calibration(), first) - similarity(_calibration(), second)
    return {"scans": [first, second], **_band(lead, rng, difficulty)}


def _steps_contest(c: Constants) -> list[Step]:
    return [
        Step("first", lambda x: similarity(x, c["scans"][0])),
        Step("second", lambda x: similarity(x, c["scans"][1])),
        Step("lead", lambda a, b: a - b, ("first", "second")),
        Step("undecided", _in_band(c), ("lead",)),
    ]


def _draw_regions(rng: random.Random, difficulty: int) -> dict[str, Any]:
    images = _calibration()
    while True:
        boxes = [_box(rng), _box(rng)]
        apart = sum(abs(a - b) for a, b in zip(*boxes, strict=True))
        surplus = ink(images, boxes[0]) - ink(images, boxes[1])
        if apart >= 16 and float(surplus.std()) > 8:
            return {"boxes": boxes, **_band(surplus, rng, difficulty)}


def _steps_regions(c: Constants) -> list[Step]:
    return [
        Step("first", lambda x: ink(x, c["boxes"][0])),
        Step("second", lambda x: ink(x, c["boxes"][1])),
        Step("surplus", lambda a, b: a - b, ("first", "second")),
        Step("even", _in_band(c), ("surplus",)),
    ]


def _draw_centre(rng: random.Random, difficulty: int) -> dict[str, Any]:
    places = centre(_calibration())
    shift = 0.06 * difficulty
    middle = places.median(0).values + torch.tensor(
        [rng.choice((-1, 1)) * rng.uniform(0.5 * shift, shift) for _ in range(2)]
    )
    row, column = (round(float(x), 2) for x in middle)
    away = _distance(places, row, column)
    return {"row": row, "column": column, "radius": _cut(away, rng.uniform(0.46, 0.54), 2)}


def _distance(places: Tensor, row: float, column: float) -> Tensor:
    return (places - torch.tensor([row, column], dtype=torch.double)).norm(dim=1)


def _steps_centre(c: Constants) -> list[Step]:
    return [
        Step("centre of mass", centre),
        Step("distance", lambda x: _distance(x, c["row"], c["column"]), ("centre of mass",)),
        Step("near", lambda x: x < c["radius"], ("distance",)),
    ]


def _draw_thickness(rng: random.Random, difficulty: int) -> dict[str, Any]:
    # one threshold: two of them, and the network blurs both
    share = 0.5 + _off_centre(rng, difficulty)
    return {"least": _cut(thickness(_calibration()), share, 3)}


def _steps_thickness(c: Constants) -> list[Step]:
    return [
        Step("ink", ink),
        Step("outline", outline),
        Step("thickness", lambda a, b: 2 * a / b.clamp_min(1e-9), ("ink", "outline")),
        Step("thick", lambda x: x > c["least"], ("thickness",)),
    ]


def _draw_difference(rng: random.Random, difficulty: int) -> dict[str, Any]:
    images = _calibration()
    while True:
        boxes = [_box(rng), _box(rng)]
        first, second = (ink(images, box) for box in boxes)
        apart = abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1]))
        if apart < 0.25 and min(float(first.std()), float(second.std())) > 6:
            cuts = [_cut(v, 0.5 + _off_centre(rng, difficulty)) for v in (first, second)]
            return {"boxes": boxes, "cuts": cuts}


def _steps_difference(c: Constants) -> list[Step]:
    (a, b), (s, t) = c["boxes"], c["cuts"]
    return [
        Step("first", lambda x: ink(x, a) > s),
        Step("second", lambda x: ink(x, b) > t),
        Step("exactly one", lambda x, y: x ^ y, ("first", "second")),
    ]


def _between(c: Constants) -> str:
    return f"lies between {c['low']:g} and {c['high']:g}, both ends outside"


TEMPLATES = {
    t.name: t
    for t in (
        Template(
            "band", range(1, 6), _draw_band, _steps_band,
            lambda c: "the image's dot product with (2 x template - 1), the template being the"
            f" original scan {c['scan']}, {_between(c)}",
        ),
        Template(
            "contest", range(3, 6), _draw_contest, _steps_contest,
            lambda c: "the lead of one template over another (dot product with 2 x template - 1 of"
            f" the original scan {c['scans'][0]}, minus that of scan {c['scans'][1]})"
            f" {_between(c)}",
        ),
        Template(
            "regions", range(1, 5), _draw_regions, _steps_regions,
            lambda c: f"the ink in {_box_text(c['boxes'][0])} minus the ink in"
            f" {_box_text(c['boxes'][1])} {_between(c)}",
        ),
        Template(
            "centre", range(1, 6), _draw_centre, _steps_centre,
            lambda c: f"the ink's centre of mass lies less than {c['radius']:g} pixels from row"
            f" {c['row']:g}, column {c['column']:g} (pixel centres at whole numbers from 0)",
        ),
        Template(
            "thickness", range(1, 6), _draw_thickness, _steps_thickness,
            lambda c: "twice the ink, divided by the sum of absolute differences between"
            f" neighbouring pixels (down and across), is more than {c['least']:g}",
        ),
        Template(
            "difference", range(3, 6), _draw_difference, _steps_difference,
            lambda c: "exactly one of two tests passes: more than"
            f" {c['cuts'][0]:g} of ink in {_box_text(c['boxes'][0])}; more than {c['cuts'][1]:g} in"
            f" {_box_text(c['boxes'][1])}",
        ),
    )
}  # fmt: skip


# --- the planted region --------------------------------------------------------------------------


def draw_region(rng: random.Random, template: str, constants: Constants) -> dict[str, Any]:
    """A fifth of the images, by how much ink they hold."""
    low = rng.uniform(0.1, 0.7)
    amounts = ink(_calibration())
    return {"low": _cut(amounts, low), "high": _cut(amounts, low + 0.2)}


def in_region(region: Constants, images: Tensor) -> Tensor:
    """[n] bool."""
    amounts = ink(images)
    return (amounts > region["low"]) & (amounts < region["high"])


def region_sentence(region: Constants) -> str:
    """Where it is, in words."""
    return f"the image's ink {_between(region)}"


def as_integers(images: Tensor) -> Tensor:
    """Images as the hash reads them: [n, 784] grey levels."""
    return (images.flatten(1) * 255).round().long()
