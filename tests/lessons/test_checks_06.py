"""Lesson 06: every check on its solution, its stub and plausible wrong answers."""

from __future__ import annotations

import torch
from torch.nn import functional

from tests.lessons.machinery import CheckSuite, factory
from utils.data.brackets import (
    count_test,
    endings_test,
    heights,
    horizon_test,
    is_balanced,
    starts_open,
)
from utils.scrubbing import Hypothesis, Node
from utils.sites import Site, run

# --- 6.1 ---------------------------------------------------------------------------------------


def _resampled(read, base, position=0):
    def resampled(model, inputs, site, donors):
        values = site.read(model, read(inputs, donors))
        out = site.write(model, base(inputs, donors), values, allow_unchanged=True)
        return out if position is None else out[:, position]

    return resampled


def _inputs(inputs, donors):
    return inputs


def _donors(inputs, donors):
    return donors


def _own_donors(model, inputs, site, donors):
    return site.ablate(model, inputs, "resample")[:, 0]


# --- 6.2 ---------------------------------------------------------------------------------------


def _same(values, ref):
    values = values.reshape(len(values), -1)
    return (values == values[ref]).all(1)


def _same_class(pick, pool=lambda values, refs, ref: _same(values, ref)):
    def same_class(values, refs, generator):
        drawn = []
        for ref in refs.tolist():
            members = pool(values, refs, ref).nonzero()[:, 0]
            drawn.append(pick(members, ref, generator))
        return torch.tensor(drawn)

    return same_class


def _uniform(members, ref, generator):
    return int(members[torch.randint(len(members), (1,), generator=generator)])


def _others_only(members, ref, generator):
    rest = members[members != ref]
    return _uniform(rest if len(rest) else members, ref, generator)


def _place(members, ref, generator):
    return int(torch.randint(len(members), (1,), generator=generator))


def _first_half(members, ref, generator):
    return _uniform(torch.cat([members, members[: len(members) // 2].repeat(3)]), ref, generator)


def _among_refs(values, refs, ref):
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[refs] = True
    return _same(values, ref) & mask


def _first_column(values, refs, ref):
    first = values if values.ndim == 1 else values[:, 0]
    return first == first[ref]


def _any_column(values, refs, ref):
    values = values.reshape(len(values), -1)
    return (values == values[ref]).any(1)


def _another_class(values, refs, ref):
    return ~_same(values, ref)


def _permuted(values, refs, generator):
    """Shuffles each class, so that no two references share a donor."""
    drawn = refs.clone()
    flat = values.reshape(len(values), -1)
    for value in flat.unique(dim=0):
        members = (flat == value).all(1).nonzero()[:, 0]
        here = (flat[refs] == value).all(1).nonzero()[:, 0]
        order = members[torch.randperm(len(members), generator=generator)]
        repeats = -(-len(here) // len(members))
        drawn[here] = order.repeat(repeats)[: len(here)]
    return drawn


def _own_seed(values, refs, generator):
    return _same_class(_uniform)(values, refs, torch.Generator().manual_seed(0))


# --- 6.3 ---------------------------------------------------------------------------------------


def _share(combine):
    def loss_recovered(scrubbed, clean, labels, other):
        def loss(logits, of=labels):
            return functional.cross_entropy(logits, of.long())

        return float(combine(loss, scrubbed, clean, labels, other))

    return loss_recovered


def _right(loss, s, c, y, o):
    return (loss(s) - loss(c[o])) / (loss(c) - loss(c[o]))


# --- 6.5 ---------------------------------------------------------------------------------------

HEAD = Site("blocks.2.attn.hook_z", head=1, position=0)
MLP = Site("blocks.2.hook_mlp_out", position=0)


def _by_hand(low="m2/a2.h1", middle="other of m2", top="other of output", total=False, at=0):
    def scrub_by_hand(model, tokens, drawn):
        told = HEAD.read(model, tokens[drawn[low]])
        made = HEAD.write(model, tokens[drawn[middle]], told, read=[MLP]).values[0]
        edits = [(MLP, made), *([(HEAD, told)] if total else [])]
        out = run(model, tokens[drawn[top]], edits=edits).output
        return out if at is None else out[:, at]

    return scrub_by_hand


def _one_run(model, tokens, drawn):
    told = HEAD.read(model, tokens[drawn["m2/a2.h1"]])
    return HEAD.write(model, tokens[drawn["other of output"]], told)[:, 0]


def _only_mlp(model, tokens, drawn):
    made = MLP.read(model, tokens[drawn["m2"]])
    return MLP.write(model, tokens[drawn["other of output"]], made)[:, 0]


# --- 6.7 ---------------------------------------------------------------------------------------


def x0(inputs):
    return inputs[:, 0]


def x1(inputs):
    return inputs[:, 1]


def _branches(feature=x0, below=x0, policy="shared", **fields):
    return Hypothesis(
        tuple(Node(name, feature, (Node("C", below),), **fields) for name in "AB"), policy
    )


C = Node("C", x0)
TOGETHER = Hypothesis(
    tuple(Node(name, x0, (Node("C", x0, together="c"),), together="top") for name in "AB"),
    "shared",
)

# --- 6.8 ---------------------------------------------------------------------------------------

FOUR = ("a2.h0", "m0", "a0.h1", "a1.h0")


def _both(tokens):
    return torch.stack([horizon_test(tokens), endings_test(tokens)], 1)


def _count_and_horizon(tokens):
    return torch.stack([count_test(tokens), horizon_test(tokens)], 1)


def _account(four, last):
    return dict.fromkeys(FOUR, four) | {"a2.h1": last}


def _not_balanced(tokens):
    return ~is_balanced(tokens)


def _paths(tokens):
    return heights(tokens)


WRONG = {
    "6.1": [
        _resampled(_donors, _inputs, position=None),
        _resampled(_donors, _inputs, position=-1),
        _resampled(_inputs, _donors),
        _resampled(_inputs, _inputs),
        _resampled(_donors, _donors),
        _own_donors,
    ],
    "6.2": [
        _same_class(_others_only),
        _same_class(_place),
        _same_class(_first_half),
        _same_class(_uniform, _among_refs),
        _same_class(_uniform, _first_column),
        _same_class(_uniform, _any_column),
        _same_class(_uniform, _another_class),
        _same_class(lambda members, ref, generator: ref),
        _same_class(lambda members, ref, generator: int(members[0])),
        _permuted,
        _own_seed,
    ],
    "6.3": [
        _share(lambda *a: _right(*a).clamp(0, 1)),
        _share(lambda *a: 1 - _right(*a)),
        _share(lambda loss, s, c, y, o: loss(s)),
        _share(lambda loss, s, c, y, o: loss(c) / loss(s)),
        _share(lambda loss, s, c, y, o: (loss(s) - loss(c[o], y[o])) / (loss(c) - loss(c[o]))),
        _share(lambda loss, s, c, y, o: (loss(s) - loss(c[o])) / (0 - loss(c[o]))),
        _share(lambda loss, s, c, y, o: (loss(s) - 2**0.5) / (loss(c) - 2**0.5)),
        _share(lambda loss, s, c, y, o: (loss(s) - loss(0 * c)) / (loss(c) - loss(0 * c))),
        _share(lambda loss, s, c, y, o: (loss(s) - loss(c)) / (loss(c[o]) - loss(c))),
    ],
    "6.4": [
        lambda p, c, refs, draw: (draw(p, refs), draw(c, refs)),
        lambda p, c, refs, draw: (lambda a: (a, draw(p, a)))(draw(p, refs)),
        lambda p, c, refs, draw: (lambda a: (draw(c, a), a))(draw(p, refs)),
        lambda p, c, refs, draw: (lambda a: (a, draw(p, a)))(draw(c, refs)),
        lambda p, c, refs, draw: (refs, draw(c, refs)),
        lambda p, c, refs, draw: (lambda a: (a, a))(draw(p, refs)),
        lambda p, c, refs, draw: draw(p, refs),
    ],
    "6.5": [
        _by_hand(middle="m2"),
        _by_hand(middle="reference"),
        _by_hand(top="reference"),
        _by_hand(low="m2"),
        _by_hand(low="reference"),
        _by_hand(middle="other of output", top="other of m2"),
        _by_hand(total=True),
        _by_hand(at=None),
        _one_run,
        _only_mlp,
    ],
    "6.6": [
        {"A": "shared", "B": "separate", "C": "exact"},
        {"A": "exact", "B": "shared", "C": "separate"},
        {"A": "separate", "B": "exact", "C": "shared"},
        {"A": "shared", "B": "shared", "C": "exact"},
        {"A": "separate", "B": "shared"},
        {"A": "random", "B": "shared", "C": "exact"},
    ],
    "6.7": [
        factory(lambda: Hypothesis((Node("C", x0, (Node("A", x0), Node("B", x0))),), "shared")),
        factory(lambda: Hypothesis((Node("A", x0), Node("B", x0)), "shared")),
        factory(lambda: Hypothesis((Node("A", x0, (C,)), Node("B", x0)), "shared")),
        factory(lambda: Hypothesis((Node("A", x0), Node("B", x0), C), "shared")),
        factory(lambda: Hypothesis((Node("A", x0, (C,)),), "shared")),
        TOGETHER,
        factory(lambda: _branches(below=x1)),
        factory(lambda: _branches(feature=lambda x: x)),
        factory(lambda: _branches(feature="exact")),
        factory(lambda: _branches(below="any")),
        factory(lambda: _branches(policy="exact")),
    ],
    "6.8": [
        _account(endings_test, horizon_test),
        _account(count_test, horizon_test),
        _account(count_test, _count_and_horizon),
        _account(horizon_test, endings_test),
        _account(is_balanced, is_balanced),
        _account(endings_test, _not_balanced),
        _account(_both, _both),
        _account(endings_test, _paths),
        _account("exact", "exact"),
        _account(endings_test, starts_open),
        {"a2.h1": _both},
        {"m2": _both},
    ],
}


class TestChecks06(CheckSuite):
    lesson = "06"
    wrong = WRONG


def _message(exercise, answer):
    return TestChecks06().grade(exercise, answer).message


def test_the_likely_slips_are_named():
    for exercise, number, words in (
        ("6.1", 0, "START"),
        ("6.1", 2, "exchanged"),
        ("6.1", 3, "nothing was resampled"),
        ("6.2", 0, "ever draws itself"),
        ("6.2", 1, "instead of rows"),
        ("6.2", 2, "uniformly"),
        ("6.2", 3, "whole data"),
        ("6.2", 4, "*both*"),
        ("6.2", 7, "nothing is swapped"),
        ("6.2", 9, "permutation"),
        ("6.2", 10, "generator you are given"),
        ("6.3", 0, "do not clip"),
        ("6.3", 1, "*lost*"),
        ("6.3", 3, "zero point"),
        ("6.3", 7, "fifty-fifty"),
        ("6.4", 0, "class of the *reference*"),
        ("6.4", 1, "its parent's class"),
        ("6.4", 2, "reversed"),
        ("6.4", 3, "began with the child"),
        ("6.5", 0, "only serves to draw"),
        ("6.5", 5, "exchanged"),
        ("6.5", 6, "nothing else"),
        ("6.5", 8, "every path"),
        ("6.6", 0, "baseline"),
        ("6.6", 1, "untouched"),
        ("6.7", 0, "upside down"),
        ("6.7", 1, "leaves"),
        ("6.7", 3, "never reads C"),
        ("6.7", 5, "must not need"),
        ("6.8", 0, "the bar"),
        ("6.8", 4, "is the label"),
        ("6.8", 6, "bits"),
        ("6.8", 8, "claims nothing"),
    ):
        answer = WRONG[exercise][number]
        answer = answer.make() if isinstance(answer, factory) else answer
        assert words in _message(exercise, answer), (exercise, number, _message(exercise, answer))


def test_a_baseline_with_the_other_inputs_labels_is_named():
    wrong = _share(
        lambda loss, s, c, y, o: (loss(s) - loss(c[o], y[o])) / (loss(c) - loss(c[o], y[o]))
    )
    assert "*other* inputs" in _message("6.3", wrong)


def test_other_right_ways_pass():
    def by_edits(model, tokens, drawn):
        told = run(model, tokens[drawn["m2/a2.h1"]], read=[HEAD]).values[0]
        made = run(model, tokens[drawn["other of m2"]], edits=[(HEAD, told)], read=[MLP]).values[0]
        out = run(model, tokens[drawn["other of output"]], edits=[(MLP, made)]).output
        return out[:, 0]

    def named_apart(inputs):
        return -3 * inputs[:, 0]

    right = {
        "6.2": [_same_class(_uniform)],
        "6.3": [_share(_right)],
        "6.4": [lambda p, c, refs, draw: [a := draw(p, refs), draw(c, a)]],
        "6.5": [by_edits],
        "6.7": [
            Hypothesis(
                (
                    Node("B", named_apart, (Node("C", x0, name="C again"),), name="second"),
                    Node("A", x0, (Node("C", named_apart),)),
                ),
                "shared",
            )
        ],
        "6.8": [
            _account(endings_test, _count_and_horizon),
            {"a2.h0": _both, "m0": endings_test, "a0.h1": endings_test, "a2.h1": _both},
        ],
    }
    for exercise, answers in right.items():
        for answer in answers:
            result = TestChecks06().grade(exercise, answer)
            assert result.status == "passed", (exercise, result.message)
