"""`python -m utils solve trojan`: every shipped trojan, looked for by every method, and scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from utils.features import METHODS, judge, observe
from utils.reports import Report
from utils.sites import Site
from utils.trojans.attacks import copy_paste, exhaustive
from utils.trojans.board import Board
from utils.trojans.detect import Detection, detect, transfer
from utils.trojans.methods import FOR_IMAGES, FOR_STRINGS, case
from utils.trojans.plant import NAMES, TROJANS, Trojan, known, planting
from utils.trojans.search import Blend
from utils.trojans.triggers import Patch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SALIENCY = "matched"  # the trojan whose trigger attributions are judged on: no pixel is new there


@dataclass(frozen=True, eq=False)
class TrojanSolution:
    """reports: by name. board: methods x trojans. found: the blend of each image trojan's network
    for its target class. maps: attribution maps of one image, and the image."""

    reports: dict[str, Report]
    board: Board
    found: dict[str, Blend]
    maps: dict[str, Tensor]

    def as_dict(self) -> dict[str, Any]:
        """One object for `--json`; every estimate as {"value", "low", "high", "n"}."""
        return {
            "name": "trojan",
            "rows": {
                key: {row.name.strip(): row.estimate.as_dict() for row in report}
                for key, report in self.reports.items()
            },
            "board": self.board.as_dict(),
            "beaten": self.board.beats(),
        }

    def texts(self) -> list[str]:
        """The reports and the board, in order."""
        return [*map(str, self.reports.values()), str(self.board)]

    def draw(self, folder: Path) -> list[Path]:
        """Three figures into `folder`; returns their paths."""
        from utils import plots

        files = []

        def save(figure: Figure, name: str) -> None:
            path = folder / name
            figure.savefig(path, dpi=120, bbox_inches="tight")
            files.append(path)

        columns = []
        for name, blend in self.found.items():
            trojan = TROJANS[name]
            rows = trojan.held_out(600)
            one = rows[rows.labels != trojan.target][:1].inputs
            columns.append(
                {
                    f"{name}: image": one[0, 0],
                    "with the trigger": trojan.trigger.apply(one)[0, 0],
                    "mask found": blend.mask,
                    "with what was found": blend.apply(one)[0, 0],
                }
            )
        save(plots.pictures(columns, size=1.7), "trojan-found.png")
        save(plots.pictures([self.maps], size=1.7), "trojan-attributions.png")
        save(self.reports["attributions: footprint"].figure(), "trojan-attributions-scored.png")
        return files


def fill(
    board: Board, trojan: Trojan, model: nn.Module, twin: nn.Module, names: list[str] | None = None
) -> None:
    """Run the methods of its kind (or those named) on one trojan and enter what comes out."""
    methods = FOR_STRINGS if trojan.world == NAMES else FOR_IMAGES
    for name in methods if names is None else names:
        method, inside, told = methods[name]
        found = method(case(trojan, model, told=told))
        board.enter(
            name, trojan.name, found.trigger, found.target, model, twin,
            passes=found.passes, inside=inside,
        )  # fmt: skip


def solve(
    step: Callable[[str], None],
    seeds: int = 3,
    *,
    names: Sequence[str] = tuple(TROJANS),
    methods: Sequence[str] | None = None,
    steps: int = 240,
    images: int = 120,
    units: int = 16,
    starts: int = 10,
) -> TrojanSolution:
    """The reference walk on the shipped networks; a minute and a half on one core.

    The rest makes it shorter. names: which trojans. methods: those of the board, None for all.
    steps: of a detection. images: that attributions are judged on. units: that are observed.
    starts: of gradients at the needle's place.
    """
    from utils.models import zoo

    reports: dict[str, Report] = {}
    board, found = Board(), {}
    for trojan in map(known, names):
        step(f"trojan {trojan.name}: planted?")
        model, twin = zoo.load(trojan.network), zoo.load(trojan.twin)
        reports[f"{trojan.name}: planted"] = planting(trojan, model, twin)
        if trojan.world != NAMES:
            step(f"trojan {trojan.name}: the smallest trigger of every class")
            clean = trojan.world.sample("train", 1000, seed=5).inputs
            result = detect(
                model, clean, twin, seeds=range(seeds), steps=steps, compare_at=min(100, steps)
            )
            reports[f"{trojan.name}: detected"] = result.report
            found[trojan.name] = _scored(result, trojan, model, twin, reports)
        step(f"trojan {trojan.name}: the methods of the board")
        of_kind = FOR_STRINGS if trojan.world == NAMES else FOR_IMAGES
        fill(board, trojan, model, twin, [m for m in methods or of_kind if m in of_kind])
    trojan = TROJANS[SALIENCY]
    model, twin = zoo.load(trojan.network), zoo.load(trojan.twin)
    step("attributions on the trigger")
    place = trojan.trigger.footprint()
    assert place is not None and isinstance(trojan.trigger, Patch)
    rows = trojan.triggered(trojan.held_out(600))[:images]
    for key, report in judge(model, rows.inputs, trojan.target, place, groups=rows.group).items():
        reports[f"attributions: {key}"] = report
    maps = {"image": rows.inputs[0, 0]}
    for name, method in METHODS.items():
        shown = method(model, rows.inputs[:1], trojan.target)[0, 0].abs()
        maps[name] = shown / shown.max()
    step("copy and paste, and every pattern at the place")
    clean = trojan.world.sample("train", 1000, seed=5)
    reports["copy and paste"], _ = copy_paste(
        model, twin, clean.inputs, clean.inputs[:40], trojan.held_out(600), trojan.target
    )
    reports["the needle"] = needle(trojan, model, twin, starts=starts)
    step("exemplars against synthesis")
    reports["observer"] = observe(
        model, Site("hook_fc1_pre"), clean.inputs, trojan.held_out(600).inputs,
        range(units), references=5,
    )  # fmt: skip
    return TrojanSolution(reports, board, found, maps)


def _scored(
    result: Detection, trojan: Trojan, model: nn.Module, twin: nn.Module, reports: dict[str, Report]
) -> Blend:
    target = trojan.target if result.flagged is None else result.flagged
    blend = result.best(target)
    reports[f"{trojan.name}: found"] = transfer(blend, target, trojan, model, twin)
    return blend


def needle(
    trojan: Trojan, model: nn.Module, twin: nn.Module, rows: int = 60, starts: int = 10
) -> Report:
    """At the planted place of a 3x3 trojan: all 512 patterns, and what gradients make of it."""
    from utils.reports import Estimate, Row
    from utils.trojans.attacks import patch_scan

    patch = trojan.trigger
    assert isinstance(patch, Patch)
    held = trojan.held_out(600)
    images = held.inputs[held.labels != trojan.target]
    patterns, rates = exhaustive(model, images[:rows], trojan.target, patch.row, patch.column)
    _, of_twin = exhaustive(twin, images[:rows], trojan.target, patch.row, patch.column)
    best = patterns[rates.argmax()]
    ends = [
        float(
            patch_scan(
                model, images[:200], trojan.target, places=[(patch.row, patch.column)], seed=seed,
                steps=80,
            )[0]
        )
        for seed in range(starts)
    ]  # fmt: skip
    high = int((rates >= 0.8).sum())
    return Report(
        "A needle: 512 patterns at the planted place",
        [
            Row("patterns that send 0.8 of the images", Estimate.proportion(high, 512), "result"),
            Row("the same, clean twin",
                Estimate.proportion(int((of_twin >= 0.8).sum()), 512), "control"),
            Row("the best of them is the planted one",
                Estimate.exact(float((best == patch.pattern).all())), "result"),
            Row("gradient starts that end above 0.8",
                Estimate.proportion(sum(s >= 0.8 for s in ends), starts), "result"),
        ],
        {"images": rows, "gradient starts": starts, "place": f"{patch.row}, {patch.column}"},
    )  # fmt: skip
