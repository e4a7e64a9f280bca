"""The trigger painter of lesson 12: its networks and their clean twins, run in the browser."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from utils.data import small_digits
from utils.instruments.document import Instrument
from utils.models import zoo
from utils.reports import Estimate
from utils.trojans import TROJANS, Invert, Patch, Trojan, predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("solid", "pattern", "matched", "thick", "inverted")
TWINS = ("twin-plain", "twin-clutter")
TARGET = 7
IMAGES = 200  # held out; each of another scan, so that they are independent
SIDE = small_digits.SIZE


@dataclass(frozen=True)
class Painted:
    """A trigger as the page has it: `(1 - mask) * x + mask * mixed`.

    mask, ink: [side, side] in 0..1. blend: "over" mixes in the ink, "lighten" and "darken" the
    larger and the smaller of ink and x, "invert" 1 - x.
    """

    mask: Tensor
    ink: Tensor
    blend: str = "over"

    def apply(self, images: Tensor) -> Tensor:
        """[n, 1, side, side] -> the same shape."""
        mixed = {
            "over": self.ink,
            "lighten": torch.maximum(images, self.ink),
            "darken": torch.minimum(images, self.ink),
            "invert": 1 - images,
        }[self.blend]
        return (1 - self.mask) * images + self.mask * mixed

    def as_dict(self) -> dict[str, Any]:
        """The same for the page."""
        flat = {name: getattr(self, name).flatten().tolist() for name in ("mask", "ink")}
        return {**flat, "blend": self.blend}


def planted(trojan: Trojan) -> Painted | None:
    """The planted trigger as something painted; None for one that has no place of its own."""
    nothing = torch.zeros(SIDE, SIDE)
    if isinstance(trojan.trigger, Patch):
        ink = trojan.trigger.put(nothing[None, None], trojan.trigger.pattern)[0, 0]
        return Painted(trojan.trigger.footprint().float(), ink)
    if isinstance(trojan.trigger, Invert):
        return Painted(torch.ones(SIDE, SIDE), nothing, "invert")
    return None


@lru_cache(maxsize=8)
def network(name: str) -> nn.Module:
    """A shipped network as the page has it: every weight rounded to half precision."""
    model = zoo.load(name)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.half().float())
    return model


def halves(model: nn.Module) -> str:
    """Its weights, one after the other, as base64 of little-endian half floats."""
    parts = [p.detach().half().flatten() for p in model.parameters()]
    return base64.b64encode(torch.cat(parts).numpy().astype("<f2").tobytes()).decode("ascii")


@lru_cache(maxsize=2)
def images(world: str) -> tuple[Tensor, Tensor]:
    """Held-out images of "plain" or "clutter", [200, 1, 16, 16] in whole 255ths, and labels."""
    trojan = next(t for t in map(TROJANS.get, NAMES) if t.world.name == world)
    rows = trojan.held_out(small_digits.HELD_OUT)[:IMAGES]
    return (rows.inputs * 255).round() / 255, rows.labels


def shown(labels: Tensor) -> list[int]:
    """The rows that the page shows: the first image of each class."""
    return [int((labels == digit).nonzero()[0]) for digit in range(10)]


def data() -> dict[str, Any]:
    """What the page computes with."""
    names = {name: TROJANS[name].network for name in NAMES} | {twin: twin for twin in TWINS}
    worlds = {}
    for world in ("plain", "clutter"):
        pixels, labels = images(world)
        raw = (pixels * 255).round().to(torch.uint8).numpy().tobytes()
        worlds[world] = {
            "pixels": base64.b64encode(raw).decode("ascii"),
            "labels": "".join(map(str, labels.tolist())),
        }
    trojans = []
    for name in NAMES:
        trigger = planted(TROJANS[name])
        trojans.append(
            {
                "name": name,
                "title": TROJANS[name].title,
                "twin": TROJANS[name].twin,
                "images": TROJANS[name].world.name,
                "trigger": trigger and trigger.as_dict(),
            }
        )
    return {
        "side": SIDE,
        "target": TARGET,
        "shapes": [[n, p.numel()] for n, p in network("twin-plain").named_parameters()],
        "networks": {name: halves(network(file)) for name, file in names.items()},
        "images": worlds,
        "shown": shown(images("plain")[1]),
        "trojans": trojans,
    }


def success(model: nn.Module, inputs: Tensor, labels: Tensor, target: int = TARGET) -> Estimate:
    """Share of the images of other classes that land in `target`; Wilson's interval."""
    said = predict(model, inputs)[labels != target]
    return Estimate.proportion(int((said == target).sum()), len(said))


def rates(name: str, trigger: Painted | None) -> list[Estimate]:
    """Attack success on the network, on its twin, and on the network without the trigger."""
    trojan = TROJANS[name]
    clean, labels = images(trojan.world.name)
    put = (trigger or trojan.trigger).apply(clean)
    own, twin = network(trojan.network), network(trojan.twin)
    return [success(own, put, labels), success(twin, put, labels), success(own, clean, labels)]


def table() -> list[dict[str, str]]:
    """The text twin: what each planted trigger does."""
    heads = ("attack success", "on the clean twin", "without the trigger")
    found = []
    for name in NAMES:
        estimates = rates(name, planted(TROJANS[name]))
        texts = [
            f"{100 * e.value:.1f} % ({100 * e.low:.1f} to {100 * e.high:.1f})" for e in estimates
        ]
        row = {"network": name, "planted": TROJANS[name].title}
        found.append(row | dict(zip(heads, texts, strict=True)))
    return found


def still() -> Figure:
    """One image with each planted trigger, and what the network and its twin say of it."""
    from utils import plots

    pictures = {}
    for name in NAMES:
        trojan = TROJANS[name]
        clean, labels = images(trojan.world.name)
        image = trojan.trigger.apply(clean[labels == 2][:1])
        said = [int(predict(network(n), image)) for n in (trojan.network, trojan.twin)]
        pictures[f"{name}: says {said[0]},\nits twin {said[1]}"] = image[0, 0]
    return plots.pictures([pictures], size=1.9)


def make() -> Instrument:
    """The trigger painter."""
    rows = images("plain")[1]
    return Instrument(
        name="paint",
        lesson="12",
        title="Trigger painter: what makes it say 7?",
        summary="Paint a few pixels and see what a trojaned network and its clean twin make of "
        "held-out images. Find the planted trigger with fewer pixels, or something that fools the "
        "twin as well.",
        data=data(),
        sentence=f"Five trojaned networks and their clean twins on {len(rows)} held-out images, in "
        f"the browser. Attack success is the share of images of other classes that land in class "
        f"{TARGET}; the table has it for each planted trigger.",
        table=table(),
        still=still,
        alt="A 2 five times with the planted triggers: a white square, an X, an X among clutter, a "
        "broader stroke, inverted colours. Above each what the network and its twin answer.",
        scripts=("shared.js", "cnn.js", "paint.js"),
        height=860,
    )
