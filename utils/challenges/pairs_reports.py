"""The evidence on a grid of answers, one report a question."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from utils.challenges import curves as cv
from utils.challenges import rules
from utils.challenges.pairs_case import Case, half_right, neighbours
from utils.reports import Estimate, Report, Row

DIGITS = 2  # shown; finer digits would differ between processors
ORDERS = 5  # random orders of the rows behind that null


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
