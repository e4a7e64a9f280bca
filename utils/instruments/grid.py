"""The grid explorer of lesson 03: labels, answers, and a hypothesis about either."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from utils.challenges import curves as cv
from utils.challenges.pairs_case import Case, course_case, neighbours
from utils.data import grid
from utils.errors import CourseError
from utils.instruments.document import Instrument
from utils.models import pairs
from utils.reports import Estimate, bootstrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Labels = Callable[[Tensor, Tensor], Any]


@dataclass(frozen=True)
class Preset:
    """A hypothesis to start from, for the page and for Python.

    formula: what the page reads; `;` separates conditions. conditions: the same in Python,
    functions of a and b [113, 113] each. bits: whether each piece of a row that they cut says what
    most of its training pairs say; else the one condition is the label.
    """

    name: str
    formula: str
    conditions: tuple[Labels, ...]
    bits: bool = False


PRESETS = (
    Preset("no curve, one bit a row", "1", (lambda a, b: a >= 0,), True),
    Preset("one curve, with row bits", "b >= 20 * a^(1/3)",
           (lambda a, b: b >= grid.curves()[0].heights()[a],), True),
    Preset("three curves, with row bits", "b >= 20 * a^(1/3); b >= a^3 / 9000; a + b >= 120",
           tuple((lambda a, b, c=c: b >= c.heights()[a]) for c in grid.curves()), True),
    Preset("nearest training pair of the row", "nearest", ()),
    Preset("odd sum", "(a + b) % 2 == 1", (lambda a, b: (a + b) % 2 == 1,)),
    Preset("a straight line", "a + b >= 113", (lambda a, b: a + b >= 113,)),
    Preset("one label for all", "0", (lambda a, b: a < 0,)),
)  # fmt: skip


@lru_cache(maxsize=1)
def case() -> Case:
    """The network of lesson 03, its answers and its labels."""
    return course_case("grid")


def nearest(labels: Tensor, seen: Tensor) -> Tensor:
    """The label of the nearest training pair of the row, the left of two equally near: [p, p]."""
    near = neighbours(labels, seen)
    return torch.where(near.nearest == 0.5, near.left, near.nearest.long())


def cells_of(preset: Preset, its: Case) -> tuple[Tensor, int]:
    """What a preset says of every pair, [p, p] int64, and the row bits that it reads."""
    if not preset.conditions:
        return nearest(its.labels, its.seen), 0
    a, b = torch.meshgrid(torch.arange(its.size), torch.arange(its.size), indexing="ij")
    sides = [condition(a, b) for condition in preset.conditions]
    if not preset.bits:
        return sides[0].long(), 0
    heights = torch.stack([(~side).sum(1) for side in sides])  # every side is an upper part
    pieces = cv.cut(its.answers, heights, its.seen)
    return pieces.table(), int((pieces.bits >= 0).sum())


def text_of(cells: Tensor) -> str:
    """Cells of 0 and 1 as "0101...", row by row."""
    return "".join("1" if value else "0" for value in cells.flatten().tolist())


def read_labels(mine: Any) -> Tensor:
    """A learner's labels of all pairs, [113, 113] of 0 and 1.

    mine: such a grid, or a function of `a` and `b`, whole numbers [12769] each, that gives a label
    for each pair. Raises CourseError, which says what came instead.
    """
    what = f"the labels of all {grid.SIZE**2:,} pairs, 0 or 1 each"
    cells = grid.every_cell()
    try:
        found = mine(cells[:, 0].clone(), cells[:, 1].clone()) if callable(mine) else mine
    except Exception as error:
        raise CourseError(
            f"Your function raised {type(error).__name__} ({error}); it is called as f(a, b) with "
            f"two tensors of {len(cells):,} whole numbers, and must give {what}."
        ) from error
    try:
        values = torch.as_tensor(found).detach().double().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise CourseError(f"mine= gives {type(found).__name__}; it must give {what}.") from error
    if values.numel() != len(cells):
        raise CourseError(f"mine= gives shape {list(values.shape)}; it must give {what}.")
    if not ((values == 0) | (values == 1)).all():
        raise CourseError(f"mine= gives other values than 0 and 1; it must give {what}.")
    return values.reshape(grid.SIZE, grid.SIZE).long()


def data(its: Case, mine: Tensor | None = None) -> dict[str, Any]:
    """What the page computes with. margins: logit of 1 less that of 0, in tenths, clipped to a
    byte."""
    with torch.no_grad():
        logits = pairs.last_logits(its.model, grid.every_cell())
    tenths = (10 * (logits[:, 1] - logits[:, 0])).round().clamp(-127, 127).to(torch.int8)
    found = {
        "size": its.size,
        "labels": text_of(its.labels),
        "answers": text_of(its.answers),
        "seen": text_of(its.seen),
        "margins": base64.b64encode(tenths.numpy().tobytes()).decode("ascii"),
        "presets": [{"name": p.name, "formula": p.formula, "bits": p.bits} for p in PRESETS],
    }
    return found if mine is None else {**found, "mine": text_of(mine)}


def agreements(cells: Tensor, its: Case) -> list[Estimate]:
    """With the network on held-out pairs, with the labels there, with the labels in the gaps."""
    out = ~its.seen
    gap = out & neighbours(its.labels, its.seen).gap
    return [
        _share(cells == its.answers, out),
        _share(cells == its.labels, out),
        _share(cells == its.labels, gap),
    ]


def _share(hits: Tensor, of: Tensor) -> Estimate:
    """`Case.share` from counts a row, which takes a hundredth of the time."""
    cells = of.sum(1)
    counts = [x[cells > 0].double() for x in ((hits & of).sum(1), cells)]
    return bootstrap(lambda right, n: float(right.sum() / n.sum()), *counts)


def table(its: Case, mine: Tensor | None = None) -> list[dict[str, str]]:
    """Agreement of the network and of each preset, in per cent with intervals."""
    rows = [("your labels", mine)] if mine is not None else []
    rows += [("the network", its.answers), *((p.name, cells_of(p, its)[0]) for p in PRESETS)]
    heads = ("= network, held-out", "= labels, held-out", "= labels, in the gaps")
    return [
        {
            "who": name,
            **{h: _percent(e) for h, e in zip(heads, agreements(cells, its), strict=True)},
        }
        for name, cells in rows
    ]


def _percent(share: Estimate) -> str:
    value, low, high = (f"{100 * x:.1f}" for x in (share.value, share.low, share.high))
    return f"{value} %" if low == high else f"{value} % ({low} to {high})"


def still(its: Case) -> Figure:
    """Labels, the network's answers, and where they differ."""
    import matplotlib.pyplot as plt

    from utils import plots

    figure, axes = plt.subplots(1, 3, figsize=(10.2, 3.9), sharey=True, layout="constrained")
    two = plt.matplotlib.colors.ListedColormap(["#FFFFFF", "#9CC5E0"])
    for axis, cells, title in (
        (axes[0], its.labels, "labels"),
        (axes[1], its.answers, "the network"),
        (axes[2], its.labels, f"where they differ: {int(its.wrong.sum())} pairs"),
    ):
        axis.imshow(cells.numpy(), cmap=two, vmin=0, vmax=1)
        axis.set(title=title, xlabel="b, second number")
    down, right = its.wrong.nonzero(as_tuple=True)
    axes[2].plot(right, down, "x", color=plots.VERMILION, markersize=3.5)
    axes[0].set_ylabel("a, first number")
    return figure


def make(mine: Any = None) -> Instrument:
    """The grid explorer. mine: a learner's own labels, as `read_labels` takes them."""
    its, own = case(), None if mine is None else read_labels(mine)
    held, wrong = ~its.seen, its.wrong & ~its.seen
    gap = held & neighbours(its.labels, its.seen).gap
    ones = int(its.answers[held].sum())
    majority = max(ones, int(held.sum()) - ones) / int(held.sum())
    sentence = (
        f"{its.answers.numel():,} pairs, half of them trained on. Of the {int(held.sum()):,} "
        f"held-out pairs the network errs on {int(wrong.sum())}, {int((wrong & gap).sum())} of "
        f"them among the {int(gap.sum())} that lie in gaps. One label for all would agree with it "
        f"on {100 * majority:.1f} % of the held-out pairs."
    )
    if own is not None:
        network, labels, gaps = map(_percent, agreements(own, its))
        sentence += (
            f" Your labels agree with the network on {network} of the held-out pairs, and with the "
            f"labels on {labels}, in the gaps on {gaps}."
        )
    return Instrument(
        name="grid",
        lesson="03",
        title="Grid explorer: what does the network say of (a, b)?",
        summary="Look at all 12,769 pairs at once, click one to see its row and its column, and "
        "type a hypothesis. Then find the pairs on which your favourite and its best rival differ.",
        data=data(its, own),
        sentence=sentence,
        table=table(its, own),
        still=lambda: still(its),
        alt="Three grids of horizontal bars: the labels, the network's answers, which look the "
        "same, and the pairs where they differ, which lie where bars change colour.",
        scripts=("shared.js", "formula.js", "cells.js", "grid.js"),
        height=980,
    )
