"""Lesson 14: every check on its solution, its stub and plausible wrong answers."""

from __future__ import annotations

import math

import torch

from tests.lessons.machinery import CheckSuite, factory
from utils.sites import Site


def _both(lab):
    """The direction of the count, from the lesson's own data."""
    x = lab.data.asked
    column = (x[:, 0] >= 21) & (x[:, 0] < 65)
    row = (x[:, 1] >= 34) & (x[:, 1] < 78)
    values = Site("blocks.0.hook_attn_out", position=2).read(lab.model, x)
    line = values[column].mean(0) - values[~column].mean(0)
    line = line + values[row].mean(0) - values[~row].mean(0)
    return (line / line.norm())[:, None]


def _changes(table):
    return (table[1:] != table[:-1]).double().mean(1)


def _fields(x):
    column = ((x[:, 0] >= 21) & (x[:, 0] < 65)).long()
    return column, ((x[:, 1] >= 34) & (x[:, 1] < 78)).long()


def _labels(count):
    return (count == 1).long()


def _swap(tokens, donors, swapped):
    """column, row and count with the donor's value in one of them."""
    mine, theirs = _fields(tokens), _fields(donors)
    column = theirs[0] if swapped in ("column", "count") else mine[0]
    row = theirs[1] if swapped in ("row", "count") else mine[1]
    return column, row


def _count_forgotten(tokens, donors, swapped):
    column, row = _swap(tokens, donors, "" if swapped == "count" else swapped)
    return _labels(column + row)


def _body(
    column="(x[:, 0] >= 21) & (x[:, 0] < 65)",
    count="c.long() + r.long()",
    odd='"odd", lambda k: k == 1, ("count",), site=ODD',
    name="explanation",
    count_site="COUNT",
):
    return f"""
{name} = Explanation([
    Step("column", lambda x: {column}, site=COLUMN),
    Step("row", lambda x: (x[:, 1] >= 34) & (x[:, 1] < 78), site=ROW),
    Step("count", lambda c, r: {count}, ("column", "row"), site={count_site}),
    Step({odd}),
    Step("label", lambda o: o, ("odd",)),
])
"""


_PAST = """
explanation = Explanation([
    Step("column", lambda x: (x[:, 0] >= 21) & (x[:, 0] < 65), site=COLUMN),
    Step("row", lambda x: (x[:, 1] >= 34) & (x[:, 1] < 78), site=ROW),
    Step("count", lambda c, r: c.long() + r.long(), ("column", "row"), site=COUNT),
    Step("odd", lambda k, c, r: (c != r) | (k > 5), ("count", "column", "row"), site=ODD),
    Step("label", lambda o: o, ("odd",)),
])
"""

WRONG = {
    "14.1": [
        lambda program, x, y: (program(x).long() == y).double().sum().item(),
        lambda program, x, y: (program(x).long() != y).double().mean().item(),
        lambda program, x, y: (program(x).bool() & y.bool()).double().mean().item(),
        lambda program, x, y: (program(x).long() == y)[y == 1].double().mean().item(),
        lambda program, x, y: 2 * (program(x).long() == y).double().mean().item() - 1,
    ],
    "14.2": [
        lambda table: (_changes(table) > 0.5).nonzero()[:, 0].tolist(),
        lambda table: (_changes(table) > 0).nonzero()[:, 0].add(1).tolist(),
        lambda table: (_changes(table.T) > 0.5).nonzero()[:, 0].add(1).tolist(),
        lambda table: (_changes(table) == 1).nonzero()[:, 0].add(1).tolist(),
        lambda table: [0, *(_changes(table) > 0.5).nonzero()[:, 0].add(1).tolist()],
        lambda table: [21, 65],
    ],
    "14.3": [
        lambda k, n: math.log2(math.comb(n, k)),
        lambda k, n: math.log(n + 1) + math.log(math.comb(n, k)),
        lambda k, n: math.log2(n + 1) + k * math.log2(n),
        lambda k, n: float(k),
        lambda k, n: math.log2(n) + math.log2(math.comb(n, k)),
    ],
    "14.4": [
        lambda labels: float(len(labels)),
        lambda labels: math.log2(math.comb(len(labels), int(labels.sum()))),
        lambda labels: math.log2(len(labels) + 1) + math.log2(math.factorial(len(labels))),
        lambda labels: math.log2(len(labels) + 1) + len(labels),
        lambda labels: len(labels) * torch.special.entr(
            torch.bincount(labels, minlength=2) / len(labels)
        ).sum().item() / math.log(2),
    ],
    "14.5": [
        factory(lambda lab: Site("blocks.0.hook_attn_out", position=0, basis=_both(lab))),
        factory(lambda lab: Site("blocks.0.hook_mlp_out", position=2, basis=_both(lab))),
        factory(lambda lab: Site("blocks.0.hook_resid_pre", position=0, basis=_both(lab))),
        factory(lambda lab: Site("blocks.0.hook_resid_mid", position=2, basis=_both(lab))),
        factory(lambda lab: Site("blocks.0.hook_attn_out", basis=_both(lab))),
        Site("blocks.0.hook_attn_out", position=2),
        Site("blocks.0.hook_attn_out", position=2, neuron=3),
        Site("blocks.0.attn.hook_z", position=2, head=3),
        Site("hook_fc1", neuron=3),
    ],
    "14.6": [
        lambda tokens, donors, swapped: _labels(sum(_fields(tokens))),
        lambda tokens, donors, swapped: _labels(sum(_fields(donors))),
        lambda tokens, donors, swapped: (sum(_swap(tokens, donors, swapped)) > 0).long(),
        lambda tokens, donors, swapped: 1 - _labels(sum(_swap(tokens, donors, swapped))),
        lambda tokens, donors, swapped: sum(_swap(tokens, donors, swapped)),
        lambda tokens, donors, swapped: _labels(sum(_swap(donors, tokens, swapped))),
        _count_forgotten,
    ],
    "14.7": [
        _body(column="(x[:, 0] >= 20) & (x[:, 0] < 65)"),
        _body(column="(x[:, 0] > 21) & (x[:, 0] <= 65)"),
        _body(column="(x[:, 1] >= 21) & (x[:, 1] < 65)"),
        _body(count="c + r"),
        _body(count="c ^ r"),
        _body(odd='"odd", lambda k: k == 1, ("count",)'),
        _body(odd='"odd", lambda k: k >= 1, ("count",), site=ODD'),
        _body(odd='"odd", lambda x: x[:, 0] > 3, site=ODD'),
        _body(count_site="ODD", odd='"odd", lambda k: k == 1, ("count",), site=COUNT'),
        _body(name="account"),
        _body(column="x[:, 0] >= lower"),
        'explanation = Explanation([Step("label", lambda x: x[:, 0] > 3)])',
        _PAST,
        "explanation = Explanation([Step(",
    ],
    "14.8": [
        lambda findings, level: [f.rule.measure for f in findings if not f.met],
        lambda findings, level: [
            f.rule.measure for f in findings if f.rule.level == level and f.met
        ],
        lambda findings, level: [
            f.rule.measure for f in findings
            if f.rule.level == level and f.value is not None and f.value < f.rule.least
        ],
        lambda findings, level: [
            f.rule.measure for f in findings
            if f.rule.level == level and (f.value is None or f.value <= f.rule.least)
        ],
        lambda findings, level: [f for f in findings if f.rule.level == level and not f.met],
        lambda findings, level: [],
    ],
}  # fmt: skip


class TestChecks14(CheckSuite):
    lesson = "14"
    wrong = WRONG
