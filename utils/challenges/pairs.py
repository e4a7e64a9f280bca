"""Challenge 2 on trial: a grid of answers, the curves in it, and what is left when they are named.

The original challenge was called intractable by those who came nearest: they found that the network
interpolates between its training pairs rather than having learned the labelling function. Here that
is measured. Curves are searched for in the answers on the *training* half alone, and everything is
scored on the held-out half; a twin whose row bits do follow a rule shows that a rule would have
been found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from utils.challenges import curves as cv
from utils.challenges import evidence as ev
from utils.challenges import rules
from utils.data import grid
from utils.reports import Estimate, Report, Row

Progress = Callable[[str], None]
DIGITS = 2  # shown; finer digits would differ between processors
ORDERS = 5  # random orders of the rows behind that null
INPUTS = 3000  # pairs on which the inside of the network is tested


@dataclass(frozen=True)
class Case:
    """A network's answers to a grid of pairs.

    answers: [p, p], what it says of (a, b). labels: [p, p], what it was trained towards.
    seen: [p, p] bool, the pairs it was trained on. model: the network itself, None if only its
    answers are known.
    """

    name: str
    answers: Tensor
    labels: Tensor
    seen: Tensor
    model: nn.Module | None = None

    @property
    def size(self) -> int:
        return len(self.answers)

    @property
    def wrong(self) -> Tensor:
        """Where it errs, [p, p] bool."""
        return self.answers != self.labels

    @cached_property
    def fits(self) -> list[cv.Fit]:
        """Curves found in its answers to the training half, with 0, 1, 2 ... curves."""
        return cv.find_curves(self.answers, self.seen)

    @cached_property
    def fit(self) -> cv.Fit:
        return cv.shortest(self.fits)

    @cached_property
    def bits(self) -> rules.RowBits:
        """The row bits, read from the training half."""
        heights = torch.stack([curve.heights(self.size) for curve in self.fit.curves])
        return rules.row_bits(self.fit.pieces, heights)

    def share(self, hits: Tensor, of: Tensor) -> Estimate:
        """Mean of `hits` over the cells `of`, both [p, p]; the interval resamples whole rows."""
        rows = torch.arange(self.size)[:, None].expand_as(of)
        return ev.share(hits[of].double(), rows[of])


def course_case(name: str = "grid") -> Case:
    """The course's own network, or `grid-twin`, whose row bits follow a rule."""
    from utils.models import pairs, zoo

    program = grid.regular_twin() if name == "grid-twin" else grid.challenge_2()
    model = zoo.load(name)
    return Case(name, pairs.answers(model), program.table(), grid.training_mask(), model)


# --- what a row's own training pairs say ---------------------------------------------------------


@dataclass(frozen=True)
class Neighbours:
    """The nearest training pair to the left and right of each cell, in its own row.

    left, right: [p, p], their labels, -1 where there is none. nearest: [p, p] in {0, .5, 1}, the
    label of the nearer one, .5 where two that differ are equally near.
    """

    left: Tensor
    right: Tensor
    nearest: Tensor

    @property
    def gap(self) -> Tensor:
        """Cells between two training pairs of different labels: the row leaves them open."""
        return (self.left >= 0) & (self.right >= 0) & (self.left != self.right)


def neighbours(labels: Tensor, seen: Tensor) -> Neighbours:
    """labels, seen: [p, p]. A training cell does not count as its own neighbour."""
    place = torch.arange(labels.shape[1])
    far = 10 * len(place)

    def last(flip: bool) -> tuple[Tensor, Tensor]:
        """Label of, and distance to, the last training cell before each."""
        know, said = (x.flip(1) if flip else x for x in (seen, labels))
        index = torch.where(know, place, -1).cummax(1).values
        index = torch.nn.functional.pad(index[:, :-1], (1, 0), value=-1)
        label = said.gather(1, index.clamp(0)).masked_fill(index < 0, -1)
        distance = (place - index).masked_fill(index < 0, far)
        return (label.flip(1), distance.flip(1)) if flip else (label, distance)

    (left, to_left), (right, to_right) = last(False), last(True)
    nearest = torch.where(to_left < to_right, left, right).double()
    nearest[(to_left == to_right) & (left != right)] = 0.5
    return Neighbours(left, right, nearest)


def half_right(said: Tensor, truth: Tensor) -> Tensor:
    """1 where `said` in {0, .5, 1} is the truth, .5 where it is undecided, 0 elsewhere."""
    return 1 - (said.double() - truth.double()).abs()


# --- the reports -------------------------------------------------------------------------------


def agreement_report(case: Case) -> Report:
    """The curves with their row bits against the network and the labels, on held-out pairs."""
    out, said = ~case.seen, case.fit.pieces.table()
    rows = [
        Row("program = network", case.share(said == case.answers, out), "result"),
        Row("program = secret labels", case.share(said == case.labels, out), "result"),
        Row("network = secret labels", case.share(~case.wrong, out), "ceiling"),
    ]
    if (case.wrong & out).any():
        hits = case.share(said == case.answers, out & case.wrong)
        rows.append(Row("program = network, where it errs", hits, "result"))
    near = neighbours(case.answers, case.seen).nearest
    plain = case.fits[0].pieces.table()
    rows += [
        Row(
            "nearest training pair of the row = network",
            case.share(half_right(near, case.answers), out), "control",
        ),
        Row("one bit a row, no curve = network", case.share(plain == case.answers, out), "control"),
        Row("curves found in shuffled rows = network", _shuffled(case), "null"),
    ]  # fmt: skip
    ones = case.answers[out].double().mean().item()
    constant = Estimate.exact(max(ones, 1 - ones), int(out.sum()))
    rows.append(Row("one answer for all = network", constant, "baseline"))
    return Report(
        "Agreement on held-out pairs",
        rows,
        {
            "program": f"{len(case.fit.curves)} curves and {case.fit.row_bits} row bits, found in "
            "the answers to the training half alone",
            "shuffled": f"{ORDERS} random orders of the rows, as many curves searched for in each",
        },
        digits=DIGITS,
    )


def _shuffled(case: Case) -> Estimate:
    """The same search where no curve can be: rows in random order. Held-out agreement."""
    generator, values = torch.Generator().manual_seed(0), []
    for _ in range(ORDERS):
        order = torch.randperm(case.size, generator=generator)
        answers, seen = case.answers[order], case.seen[order]
        fit = cv.find_curves(answers, seen, most=len(case.fit.curves), stop=False)[-1]
        values.append((fit.pieces.table() == answers)[~seen].double().mean().item())
    return Estimate.mean(torch.tensor(values, dtype=torch.double))


def gap_report(case: Case) -> Report:
    """Does the network know where the curves run? Ask where its row's training pairs do not say."""
    out, near = ~case.seen, neighbours(case.labels, case.seen)
    gap, closed = out & near.gap, out & ~near.gap
    said = case.fit.pieces.table()
    rows = [
        Row("network right, in the gaps", case.share(~case.wrong, gap), "result"),
        Row("network right, elsewhere", case.share(~case.wrong, closed), "result"),
        Row(
            "nearest training pair right, in the gaps",
            case.share(half_right(near.nearest, case.labels), gap), "null",
        ),
        Row("curves of the training half right, in the gaps",
            case.share(said == case.labels, gap), "ceiling"),
        Row(
            "network = nearest training pair, in the gaps",
            case.share(half_right(near.nearest, case.answers), gap), "control",
        ),
        Row("coin, in the gaps", Estimate.exact(0.5, int(gap.sum())), "baseline"),
    ]  # fmt: skip
    return Report(
        "Held-out pairs that lie in a gap, and the others",
        rows,
        {
            "gap": "the nearest training pairs of the row, left and right, have different labels",
            "cells": f"{int(gap.sum())} in gaps, {int(closed.sum())} elsewhere",
        },
        digits=DIGITS,
    )


def neighbour_report(case: Case, reach: int = 3) -> Report:
    """Accuracy against how many training pairs nearby have the label of the held-out pair."""
    out, rows = ~case.seen, []
    places = [(0, d) for d in range(-reach, reach + 1) if d]
    columns = [(d, 0) for d in range(-reach, reach + 1) if d]
    for what, offsets, role in (
        ("in the row", places, "result"),
        ("in the column", columns, "control"),
    ):
        agree = _agreeing(case, offsets)
        for low, high in ((0, 1), (2, 2), (3, 3), (4, 6)):
            cells = out & (agree >= low) & (agree <= high)
            name = f"{low}" if low == high else f"{low} to {high}"
            rows.append(Row(f"{name} agree {what}", case.share(~case.wrong, cells), role))
    return Report(
        "Accuracy on held-out pairs, by training pairs nearby that agree",
        rows,
        {"nearby": f"at most {reach} cells away, in the same row or the same column"},
        digits=DIGITS,
    )


def _agreeing(case: Case, offsets: list[tuple[int, int]]) -> Tensor:
    """How many of the cells at these offsets are training cells with this cell's label: [p, p]."""
    p, reach = case.size, max(max(abs(x) for x in pair) for pair in offsets)
    pad = torch.nn.functional.pad
    known, label = pad(case.seen, (reach,) * 4), pad(case.labels, (reach,) * 4)
    count = torch.zeros(p, p, dtype=torch.long)
    for down, right in offsets:
        window = (
            slice(reach + down, reach + down + p), slice(reach + right, reach + right + p)
        )  # fmt: skip
        count += known[window] & (label[window] == case.labels)
    return count


def bits_report(case: Case) -> Report:
    """A two-part code of the labels, and of the network's answers, against writing them out."""
    size, n = case.size, case.size**2
    heights = [curve.heights(size) for curve in case.fit.curves]
    labels = cv.Fit(case.fit.curves, cv.cut(case.labels, torch.stack(heights)), n)
    network = cv.Fit(case.fit.curves, cv.cut(case.answers, torch.stack(heights)), n)

    def row(name: str, value: float, role: Any = "result") -> Row:
        return Row(name, Estimate.exact(round(value)), role)

    fewer = cv.Fit((), cv.cut(case.labels, torch.empty(0, size, dtype=torch.long)), n)
    ones = int(case.labels.sum())
    return Report(
        "Bits to write the grid down",
        [
            row("curves", labels.curve_bits),
            row("row bits", labels.row_bits),
            row("exceptions: the labels", labels.exception_bits),
            row("exceptions: the network", network.exception_bits),
            row("one bit a row, no curve, and exceptions", fewer.bits, "control"),
            row("table, ones named", cv.exception_bits(n, ones), "baseline"),
            row("table", n, "baseline"),
        ],
        {
            "curve": f"{cv.CURVE_BITS:.0f} bits: one of {len(cv.POWERS) + 1} shapes, 17 bits of "
            "constant",
            "row bit": "one bit for each piece of a row",
            "curves": "found in the training half, then used for the whole grid",
        },
        digits=0,
    )


def rules_report(case: Case) -> Report:
    """Is there a rule behind the row bits? Bits saved by the best of them, against chance."""
    rows, texts = [], []
    for name in case.bits.names:
        where, bits = case.bits.column(name)
        found = rules.best_rule(where, bits, case.size)
        chance = rules.chance_savings(where, bits, case.size)
        rows.append(Row(f"{name}: best rule saves", Estimate.exact(found.saved, found.n), "result"))
        middle = Estimate(
            chance.mean().item(), chance.min().item(), chance.max().item(), len(chance),
            "lowest to highest of the random orders",
        )  # fmt: skip
        rows.append(Row(f"{name}: saved by chance", middle, "null"))
        texts.append(f"{name}: {found.text}, wrong in {found.wrong} of {found.n}")
    return Report(
        "Bits that a rule saves on the row bits",
        rows,
        {"rules": f"{rules.count(case.size)} tried, and the opposite of each", "bits": "row order"},
        notes=texts,
        digits=1,
    )


def neighbouring_rows_report(case: Case) -> Report:
    """Can a row's bits be told from its neighbour's? Agreement, against rows in random order."""
    same, chance = rules.neighbour_agreement(case.bits)
    return Report(
        "Row bits that are the same in the row above",
        [
            Row("neighbouring rows agree", same, "result"),
            Row("rows in random order agree", chance, "null"),
        ],
        {"bits": f"{', '.join(case.bits.names)}; known ones"},
        digits=DIGITS,
    )


# --- the verdict ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairsSolution:
    """The reports of a walk, the verdict and its reasons."""

    name: str
    reports: dict[str, Report]
    verdict: str
    reasons: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The JSON of `python -m utils solve pairs`. No mechanism is claimed, so nothing is said of
        sufficiency and necessity."""
        agreement, bits = self.reports["agreement"], self.reports["bits"]
        names = [row.name for row in agreement]
        errors = "program = network, where it errs"
        return {
            "name": self.name,
            "agreement": {
                "model": agreement["program = network"].as_dict(),
                "labels": agreement["program = secret labels"].as_dict(),
                "model_errors": agreement[errors].as_dict() if errors in names else None,
            },
            "bits": {
                "program": bits["curves"].value + bits["row bits"].value,
                "exceptions": bits["exceptions: the network"].value,
                "table": bits["table"].value,
            },
            "sufficiency": None,
            "necessity": None,
            "verdict": self.verdict,
            "reasons": self.reasons,
            "rows": {
                key: {row.name: row.estimate.as_dict() for row in report}
                for key, report in self.reports.items()
            },
        }


def solve(
    case: Case, twin: Case | None = None, progress: Progress = lambda text: None
) -> PairsSolution:
    """All the evidence on one case. `twin`: the control for the search; the course's by default."""
    from utils.challenges import pairs_inside

    twin = course_case("grid-twin") if twin is None else twin
    progress("searching for curves in the training half")
    reports = {}
    steps: list[tuple[str, str, Callable[[], Report]]] = [
        ("agreement", "comparing with rivals and shuffled rows", lambda: agreement_report(case)),
        ("gaps", "looking into the gaps between training pairs", lambda: gap_report(case)),
        ("neighbours", "counting training pairs nearby", lambda: neighbour_report(case)),
        ("bits", "weighing", lambda: bits_report(case)),
        ("rules", "searching for a rule behind the row bits", lambda: rules_report(case)),
        ("rows", "comparing neighbouring rows", lambda: neighbouring_rows_report(case)),
        ("twin", "the same search on the twin", lambda: rules_report(twin)),
    ]
    if case.model is not None:
        steps.append(
            ("inside", "looking inside the network", lambda: pairs_inside.inside_report(case))
        )
    for key, text, make in steps:
        progress(text)
        reports[key] = make()
    verdict, reasons = judge(reports)
    return PairsSolution(case.name, reports, verdict, reasons)


def found_rules(report: Report) -> list[str]:
    """The columns in which a rule saves bits, and more of them than in any random order."""
    names = [row.name.split(":")[0] for row in report if row.role == "result"]
    return [
        name
        for name in names
        if report[f"{name}: best rule saves"].value
        > max(0, report[f"{name}: saved by chance"].high)
    ]


def judge(reports: dict[str, Report]) -> tuple[str, list[str]]:
    """`not recoverable (supported)`, `program` or `labels only`.

    program: the curves agree with the network better than the same search in shuffled rows and than
    no curve. not recoverable (supported): they do, and no rule for the row bits was found by a
    search that does find the twin's, nor do neighbouring rows agree more than by chance.
    """
    agreement, bits, gaps = (reports[key] for key in ("agreement", "bits", "gaps"))
    ours, labels = agreement["program = network"], agreement["program = secret labels"]
    shuffled = agreement["curves found in shuffled rows = network"]
    plain = agreement["one bit a row, no curve = network"]
    program = ours.low > max(shuffled.high, plain.high)
    network = agreement["network = secret labels"]
    reasons = [
        f"The curves found in the training half give the network's answer to {ours.value:.1%} of "
        f"held-out pairs; the same search in shuffled rows {shuffled.value:.1%}, no curve "
        f"{plain.value:.1%}. They give the secret label of {labels.value:.1%}, the network itself "
        f"that of {network.value:.1%}.",
    ]
    inside, near = (
        gaps["network right, in the gaps"],
        gaps["nearest training pair right, in the gaps"],
    )
    above = gaps["curves of the training half right, in the gaps"]
    knows = inside.low > near.high
    reasons.append(
        f"Where a row's training pairs leave the place of a change open the network is right in "
        f"{inside.value:.0%}; guessing from the nearest pair gives {near.value:.0%}, the curves "
        f"{above.value:.0%}. So it {'knows' if knows else 'does not know'} where the curves run"
        f"{'' if knows else ': it interpolates'}."
    )
    reasons.append(
        f"{bits['curves'].value:.0f} bits of curves and {bits['row bits'].value:.0f} row bits "
        f"replace a table of {bits['table'].value:.0f}; the network's own errors cost another "
        f"{bits['exceptions: the network'].value:.0f}."
    )
    same, chance = (row.estimate for row in reports["rows"])
    found, twin = found_rules(reports["rules"]), found_rules(reports["twin"])
    columns = sum(row.role == "result" for row in reports["rules"])
    wanted = sum(row.role == "result" for row in reports["twin"])
    alike = same.value > chance.high
    reasons.append(
        f"Row bits: a rule was found for {len(found)} of {columns} columns; in the twin, whose "
        f"bits follow rules, for {len(twin)} of {wanted}. Neighbouring rows agree in "
        f"{same.value:.0%}, by chance {chance.value:.0%}."
    )
    unruly = not found and not alike and len(twin) == wanted
    if not program:
        return "labels only", reasons
    return ("not recoverable (supported)" if unruly else "program"), reasons
