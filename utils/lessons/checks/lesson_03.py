"""Checks, hints and data of lesson 03. Reading it spoils the exercises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from utils.challenges import curves as cv
from utils.challenges.pairs_case import neighbours
from utils.data import grid
from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import expect_choice, expect_keys, expect_number, expect_tensor
from utils.sites import Site

SUPPORTED, REFUTED, UNTESTED = "supported", "refuted", "not tested"


@dataclass(frozen=True)
class GridData:
    """What the learner is given.

    labels: [113, 113] int64, the secret program's label of every pair. seen: [113, 113] bool, the
    pairs the network was trained on.
    """

    labels: Tensor
    seen: Tensor


def load_model() -> nn.Module:
    from utils.models import zoo

    return zoo.load("grid")


def load_data() -> GridData:
    return GridData(grid.challenge_2().table(), grid.training_mask())


def _noisy(size: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """A random grid of a few long runs a row, and a random half of it as known."""
    generator = torch.Generator().manual_seed(seed)
    flips = torch.rand(size, size, generator=generator) < share
    return flips.long().cumsum(1) % 2, torch.rand(size, size, generator=generator) < 0.5


@check(
    "3.1",
    hints=[
        "Compare all columns but the first with all columns but the last.",
        "`(labels[:, 1:] != labels[:, :-1]).nonzero()` lists places in a table that lacks one "
        "column. Which column does its column 0 stand for?",
        "Add 1 to the second entry of every place.",
    ],
    expects="a function of a grid that gives the cells [m, 2]",
)
def check_changes(answer: Any, lab: Any) -> str | None:
    small = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0], [0, 0, 0, 0]])
    found = expect_tensor(call(answer, small), (None, 2), "int", name="changes(labels)")
    pairs = sorted(map(tuple, found.tolist()))
    for wrong, message in (
        ([(0, 1), (1, 2)], "every change is one column too far to the left: a change belongs to "
         "the cell that differs from the one *before* it."),
        ([(2, 0), (3, 1)], "rows and columns are exchanged: return (a, b), row first."),
        ([(0, 0), (0, 2), (1, 0), (1, 3)], "column 0 was compared with the last column; nothing "
         "stands before it."),
        ([(1, 0), (1, 1), (1, 3), (2, 0), (2, 1), (2, 2)], "these are changes from row to row; "
         "asked are changes along a row."),
    ):  # fmt: skip
        if pairs == wrong:
            raise CheckFailed(message)
    if pairs != [(0, 2), (1, 3)]:
        raise CheckFailed(
            f"on the grid 0011 / 1110 / 0000 the changes are (0, 2) and (1, 3); got {pairs[:6]}."
        )
    labels, _ = _noisy(30, 0.1, 0)
    wanted = [(a, b) for a in range(30) for b in range(1, 30) if labels[a, b] != labels[a, b - 1]]
    again = expect_tensor(call(answer, labels), (None, 2), "int", name="changes(labels)")
    if sorted(map(tuple, again.tolist())) != wanted:
        raise CheckFailed(f"a random grid has {len(wanted)} changes; {len(again)} were found.")
    return None


def _wrong(labels: Tensor, heights: Tensor, known: Tensor) -> int:
    return cv.cut(labels, heights, known).wrong


@check(
    "3.2",
    hints=[
        "Do one row at a time. Its pieces lie between 0, the heights in that row *in order*, and "
        "the end.",
        "In a piece, keep the known cells only. If it holds z zeros and o ones, saying the "
        "majority gets min(z, o) of them wrong.",
        "`edges = [0, *sorted(heights[:, a].tolist()), size]`, and then loop over "
        "`pairwise(edges)`.",
    ],
    expects="a function of labels, heights and known cells that gives a whole number",
)
def check_wrong(answer: Any, lab: Any) -> str | None:
    labels, known = _noisy(20, 0.15, 1)
    generator = torch.Generator().manual_seed(2)
    crossing = torch.randint(0, 21, (3, 20), generator=generator)
    one, everything = crossing[:1], torch.ones_like(known)
    value = expect_number(
        call(answer, labels, one, everything), what="the count with one curve, all cells known"
    )
    total = int(labels.sum())
    best = _wrong(labels, one, everything)
    whole_grid = 0
    above = torch.arange(20)[None] >= one[0][:, None]
    later = (one + 1).clamp(max=20)
    for side in (above, ~above):
        ones = int(labels[side].sum())
        whole_grid += min(ones, int(side.sum()) - ones)
    for slip, message in (
        (total, "this counts the ones; a piece says its *majority*, so it gets the minority "
         "wrong."),
        (400 - best, "this counts the cells that are right; asked are the wrong ones."),
        (whole_grid, "one majority was taken for the whole grid above the curve; every row has "
         "bits of its own."),
        (_wrong(labels, later, everything), "the cell at the height itself lies *on* the curve "
         "and belongs to the upper piece: the pieces are [0, h) and [h, size)."),
    ):  # fmt: skip
        if value == slip != best:
            raise CheckFailed(message)
    if value != best:
        raise CheckFailed(f"with one curve {best} cells of a random grid are wrong; got {value:g}.")
    if expect_number(call(answer, labels, one, known)) != _wrong(labels, one, known):
        raise CheckFailed(
            "cells that are not known were read: only the known ones may vote or be counted.",
            credit=0.5,
        )
    value = expect_number(call(answer, labels, crossing, known))
    if value != _wrong(labels, crossing, known):
        raise CheckFailed(
            f"right for one curve, but three curves that cross leave "
            f"{_wrong(labels, crossing, known)} wrong; got {value:g}. Sort the heights in each "
            "row.",
            credit=0.5,
        )
    none = expect_number(call(answer, labels, crossing[:0], known), what="the count with no curve")
    if none != _wrong(labels, crossing[:0], known):
        raise CheckFailed("without any curve a row is one piece; heights may have no rows.")
    return None


@check(
    "3.3",
    hints=[
        "The height of row a is the smallest whole b with b >= c * a**power: round up.",
        "A height beyond the last column means that the curve misses the row: clamp to 0..size.",
        "Loop over the candidates, count with your own `wrong_cells`, and keep the best pair.",
    ],
    expects="a function of labels, known, power and candidates that gives (constant, wrong)",
)
def check_constant(answer: Any, lab: Any) -> str | None:
    size = 40
    generator = torch.Generator().manual_seed(3)
    a, b = torch.arange(size)[:, None].double(), torch.arange(size)[None].double()
    for power, constant in ((0.5, 4.0), (2.0, 0.04)):
        upper = b >= constant * a**power
        row = torch.rand(size, 1, generator=generator) < 0.5
        labels = (row ^ upper).long()
        stray = torch.rand(size, size, generator=generator) < 0.02
        labels = torch.where(stray, 1 - labels, labels)
        known = torch.rand(size, size, generator=generator) < 0.6
        candidates = constant * torch.logspace(-0.5, 0.5, 41, base=2.0).double()
        pair = call(answer, labels, known, power, candidates)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise CheckFailed("two things are asked for: the constant and its wrong cells.")
        found = expect_number(pair[0], what="the constant")
        wrong = expect_number(pair[1], what="the number of wrong cells")
        count = [
            _wrong(labels, (c * a[:, 0] ** power - 1e-9).ceil().clamp(0, size).long()[None], known)
            for c in candidates.tolist()
        ]
        if min(abs(candidates - found)) > 1e-6 * constant:
            raise CheckFailed(f"{found:.4g} is none of the candidates.")
        index = int((candidates - found).abs().argmin())
        if count[index] == max(count):
            raise CheckFailed("this constant leaves the *most* cells wrong; take the fewest.")
        if count[index] > min(count) + 3:
            raise CheckFailed(
                f"on a planted curve b >= {constant:g} * a^{power:g} the constant {found:.4g} "
                f"leaves {count[index]} cells wrong where {min(count)} can be had. Round heights "
                "up, use the power that was given, and count known cells only."
            )
        if abs(wrong - count[index]) > 0.03 * count[index] + 3:
            raise CheckFailed(
                f"the constant is right, but {wrong:g} is not its number of wrong cells "
                f"({count[index]}); return the count too.",
                credit=0.5,
            )
    return "Checked on two planted curves with stray cells."


@check(
    "3.4",
    hints=[
        "Three costs added up: curves, row bits, exceptions.",
        "Exceptions: first how many there are, one of cells + 1 numbers; then which of the sets "
        "of that size, one of `math.comb(cells, wrong)`.",
        "A choice among N equally likely things costs log2(N) bits; `math.log2` takes whole "
        "numbers of any size.",
    ],
    expects="a function of four numbers that gives bits",
)
def check_code(answer: Any, lab: Any) -> str | None:
    from utils.challenges.curves import CURVE_BITS

    for curves, row_bits, cells, wrong in ((0, 0, 1000, 0), (3, 400, 12769, 30), (1, 20, 50, 25)):
        value = expect_number(call(answer, curves, row_bits, cells, wrong), what="the bits")
        named, which = math.log2(cells + 1), math.log2(math.comb(cells, wrong))
        base = curves * CURVE_BITS + row_bits
        right = base + named + which
        if abs(value - right) <= 1e-6 * right + 1e-6:
            continue
        for slip, message in (
            (base + (named + which) * math.log(2), "the exceptions are in natural units; take "
             "log2."),
            (base + which, "how *many* exceptions there are must be told too: log2(cells + 1)."),
            (base + wrong, "one bit an exception does not say *which* cells they are."),
            (base + named, "this says how many exceptions there are, not which."),
            (base + named + wrong * math.log2(cells), "naming the cells one after another pays "
             "for an order that nobody needs; name the set."),
            (right - base, "the curves and the row bits are missing."),
        ):  # fmt: skip
            if abs(value - slip) <= 1e-6 * abs(slip) + 1e-6 and abs(slip - right) > 1e-3:
                raise CheckFailed(message)
        raise CheckFailed(
            f"{curves} curves, {row_bits} row bits and {wrong} exceptions among {cells} cells cost "
            f"{right:.1f} bits; got {value:.1f}."
        )
    return None


@check(
    "3.5",
    hints=[
        "For every cell: the last training cell before it in its row, and the first after it.",
        "Go along each row once from the left, remembering the last label seen; then once from "
        "the right. Remember that a row may begin with cells before any training cell.",
        "A cell is in a gap if it is not a training cell, both neighbours exist, and their labels "
        "differ.",
    ],
    expects="a function of labels and seen that gives a true/false grid",
)
def check_gaps(answer: Any, lab: Any) -> str | None:
    labels = torch.tensor([[0, 0, 1, 1, 1, 0]])
    seen = torch.tensor([[True, False, False, True, False, False]])
    found = expect_tensor(call(answer, labels, seen), (1, 6), "bool", name="gaps(labels, seen)")
    if found[0, 4] or found[0, 5]:
        raise CheckFailed(
            "a cell was put in a gap that has no training cell on its right; both must exist."
        )
    if (found & seen).any():
        raise CheckFailed("a training cell was put in a gap; only held-out cells can be in one.")
    if found.tolist() != [[False, True, True, False, False, False]]:
        raise CheckFailed(
            "in the row 0 . . 1 . . (dots are held out) the first two dots are in the gap; got "
            f"{found[0].nonzero()[:, 0].tolist()}. Look at the nearest *training* cells, however "
            "far, and never at the label of a held-out cell."
        )
    for size, share in ((25, 0.2), (113, 0.05)):
        labels, seen = _noisy(size, share, size)
        wanted = neighbours(labels, seen).gap & ~seen
        again = expect_tensor(call(answer, labels, seen), (size, size), "bool")
        if not torch.equal(again, wanted):
            changed = call(answer, torch.where(seen, labels, 1 - labels), seen)
            if not torch.equal(expect_tensor(changed, (size, size), "bool"), again):
                raise CheckFailed("the labels of held-out cells are read; a gap must not know.")
            raise CheckFailed(
                f"a random grid has {int(wanted.sum())} cells in gaps; {int(again.sum())} were "
                "found. The nearest training cell may be several cells away."
            )
    return None


@check(
    "3.6",
    hints=[
        '`Site("blocks.0.hook_resid_mid", position=2)` is the stream at the last position before '
        "the MLP; `read` gives [n, 128].",
        "Centre, `torch.linalg.svd(..., full_matrices=False)`, and take the first k rows of the "
        "last matrix as *columns* of a basis.",
        '`Site(..., basis=basis).project(model, tokens, rest="mean")` gives logits [n, 3, 2]; '
        "compare the class at the last position with the untouched network's.",
    ],
    expects="a function of a model, tokens and a number that gives a share",
)
def check_kept(answer: Any, lab: Any) -> str | None:
    cells = grid.every_cell()[torch.randperm(113**2, generator=torch.Generator().manual_seed(5))]
    tokens, model = grid.tokens(cells[:600]), lab.model
    site = Site("blocks.0.hook_resid_mid", position=2)
    with torch.no_grad():
        own = model(tokens)[:, -1].argmax(-1)
    labels = lab.data.labels[tokens[:, 0], tokens[:, 1]]
    stream = site.read(model, tokens)

    def share(k: int, centred: bool = True, rest: str = "mean", last: bool = False) -> float:
        values = stream - stream.mean(0) if centred else stream
        directions = torch.linalg.svd(values, full_matrices=False)[2]
        chosen = directions[-k:] if last else directions[:k]
        part = Site(site.hook, position=2, basis=chosen.T.contiguous())
        said = part.project(model, tokens, rest=rest)[:, -1].argmax(-1)
        return (said == own).double().mean().item()

    for k in (1, 2, 3):
        value = expect_number(call(answer, model, tokens, k), 0.0, 1.0, what=f"the share, k = {k}")
        right = share(k)
        if abs(value - right) <= 0.0051:
            continue
        for slip, message in (
            (1 - right, "this is the share that *changed*; asked is what is kept."),
            (share(k, rest="zero"), "the rest was set to zero; hold it at its mean, which the "
             "network is used to."),
            (share(k, centred=False), "the stream was not centred, so the first direction is its "
             "mean."),
            (share(k, last=True), "these are the directions of least variance."),
        ):  # fmt: skip
            if abs(value - slip) < 1e-6:
                raise CheckFailed(message)
        raise CheckFailed(
            f"with {k} dimensions {right:.2f} of 600 answers are kept; got {value:.2f}. Compare "
            "with the network's own answers at the last position, not with the labels "
            f"({(own == labels).double().mean():.2f} of which it gets right)."
        )
    return None


@check(
    "3.7",
    hints=[
        "Agreement of neighbours is the mean of `bits[1:] == bits[:-1]`.",
        "Under the null the order of the rows means nothing, but there are as many ones as before: "
        "shuffle the bits.",
        "`torch.randperm(len(bits), generator=generator)` is one random order; collect `draws` "
        "agreements in a tensor.",
    ],
    expects="a function of bits, draws and a generator that gives (observed, null)",
)
def check_null(answer: Any, lab: Any) -> str | None:
    bits = torch.tensor([1, 0, 0, 0, 0, 0, 0, 1])
    pair = call(answer, bits, 3000, torch.Generator().manual_seed(0))
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise CheckFailed("two things are asked for: the observed agreement and the null's draws.")
    observed = expect_number(pair[0], what="the observed agreement")
    null = expect_tensor(pair[1], (3000,), name="the null")
    if abs(observed - 6 / 8) < 1e-6:
        raise CheckFailed("the last row was compared with the first; they are no neighbours.")
    if abs(observed - 5 / 7) > 1e-6:
        raise CheckFailed(f"neighbours agree in 5 of 7 pairs of 10000001; got {observed:.3f}.")
    n, ones = 8, 2
    zeros, mean = n - ones, null.mean().item()
    shuffled = (ones * (ones - 1) + zeros * (zeros - 1)) / (n * (n - 1))
    redrawn = (ones**2 + zeros**2) / n**2
    if null.std() == 0:
        raise CheckFailed("every draw of the null is the same; shuffle anew for each.")
    if abs(mean - 0.5) < 0.02:
        raise CheckFailed(
            "the null throws fair coins. These bits are mostly zeros, and mostly-zero bits agree "
            "often: keep the number of ones, shuffle their order."
        )
    if abs(mean - redrawn) < 0.01:
        raise CheckFailed("the null draws with replacement, so the number of ones varies; shuffle.")
    if abs(mean - shuffled) > 0.012:
        raise CheckFailed(
            f"shuffled, 10000001 agrees in {shuffled:.3f} of the pairs on average; your null has "
            f"{mean:.3f}."
        )
    again = call(answer, bits, 3000, torch.Generator().manual_seed(0))
    other = call(answer, bits, 3000, torch.Generator().manual_seed(1))
    if not torch.equal(torch.as_tensor(again[1]).double(), null.double()):
        raise CheckFailed("the same seed gave another null: use the given generator alone.")
    if torch.equal(torch.as_tensor(other[1]).double(), null.double()):
        raise CheckFailed("two seeds gave the same null: draw from the given generator.")
    return None


VERDICTS = {
    "three curves and a table of row bits give the labels": SUPPORTED,
    "the network knows where the curves run": REFUTED,
    "none of the rules in the search lies behind the row bits": SUPPORTED,
    "no rule whatever lies behind the row bits": UNTESTED,
    "the search finds a rule of its family when there is one": SUPPORTED,
    "two dimensions of the stream carry the answer": REFUTED,
}
WHY = {
    "three curves and a table of row bits give the labels": "look at the agreement with held-out "
    "labels, and at the same search in shuffled rows.",
    "the network knows where the curves run": "the gaps are where it would have to show that.",
    "none of the rules in the search lies behind the row bits": "compare what the best rule saves "
    "with what it saves in random order.",
    "no rule whatever lies behind the row bits": "a search speaks about the rules it tried.",
    "the search finds a rule of its family when there is one": "what did it find in the twin?",
    "two dimensions of the stream carry the answer": "how many answers were kept with two, and "
    "how many with four?",
}


@check(
    "3.8",
    hints=[
        "For each sentence find the one table that could have come out against it.",
        'A sentence about *all* rules is not tested by a search among some. "Not tested" is a '
        "verdict too.",
        "Two of the six are refuted, one is not tested.",
    ],
    expects="a dict of six verdicts",
)
def check_verdicts(answer: Any, lab: Any) -> str | None:
    found = expect_keys(answer, VERDICTS, "verdicts")
    wrong = []
    for claim, right in VERDICTS.items():
        chosen = expect_choice(
            found[claim], (SUPPORTED, REFUTED, UNTESTED), f"the verdict {claim!r}"
        )
        if chosen != right:
            wrong.append(claim)
    if wrong:
        credit = 0.5 if len(wrong) == 1 else 0.0
        raise CheckFailed(
            f"{len(wrong)} of {len(VERDICTS)} do not follow from what was measured. The first, "
            f'"{wrong[0]}": {WHY[wrong[0]]}',
            credit=credit,
        )
    return None
