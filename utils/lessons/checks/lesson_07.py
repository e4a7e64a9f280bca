"""Checks, hints and data of lesson 07. Reading it spoils the exercises."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from utils.data import brackets
from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import (
    expect_choice,
    expect_close,
    expect_keys,
    expect_number,
    expect_tensor,
    expect_type,
)

if TYPE_CHECKING:
    from utils.scrubbing import FunctionGraph, Hypothesis, ScrubReport

BALANCED = 0.46
LINES = ("unimportant inputs", "alone", "loss, model", "strata", "agreement", "none")


@dataclass(frozen=True)
class ScrubbingData:
    """What the lesson measures on.

    data: 2,000 strings, 46 % balanced. fresh: 6,000 others, for swaps. few_endings: 3,000 strings
    among which hardly any fails the endings test.
    """

    data: brackets.Strings
    fresh: brackets.Strings
    few_endings: brackets.Strings

    @staticmethod
    def nonsense(k: int) -> Callable[[Tensor], Tensor]:
        """A feature that means nothing: the string scrambled into a number from 0 to k - 1."""

        def feature(tokens: Tensor) -> Tensor:
            number = (tokens[:, 1:] * 2 ** torch.arange(brackets.BRACKETS)).sum(1)
            return (number * 40503 + 12345) // 7 % k

        feature.__name__ = f"nonsense, {k} values"
        return feature

    @staticmethod
    def anonymous(seed: int = 0) -> dict[str, dict[str, float | str]]:
        """Seven reports, A to G, without the names of their hypotheses: line -> value. The seed
        says which report has which letter."""
        reports = _anonymous()
        return {
            letter: _read_off(reports[known][1](), reports[known][0])
            for letter, known in _letters(seed).items()
        }


@lru_cache(maxsize=1)
def load_model() -> nn.Module:
    from utils.models import zoo

    return zoo.load("brackets")


def load_data() -> ScrubbingData:
    many = brackets.make(8000, seed=72, balanced=BALANCED)
    drawn = torch.rand(8000, generator=torch.Generator().manual_seed(0)) < 0.05
    keep = brackets.endings_test(many.tokens) | drawn
    return ScrubbingData(
        brackets.make(2000, seed=71, balanced=BALANCED),
        brackets.make(6000, seed=73, balanced=BALANCED),
        brackets.Strings(*(values[keep][:3000] for values in many)),
    )


def strata(tokens: Tensor) -> dict[str, Tensor]:
    """The four kinds of string that two tests make, as masks [n]."""
    beginnings, endings = brackets.horizon_test(tokens), brackets.endings_test(tokens)
    return {
        "balanced": beginnings & endings,
        "only beginnings fail": ~beginnings & endings,
        "only endings fail": beginnings & ~endings,
        "both fail": ~beginnings & ~endings,
    }


# --- the anonymous reports ---------------------------------------------------------------------


def _anonymous() -> dict[str, tuple[str, Callable[[], ScrubReport]]]:
    from utils.challenges.brackets import ENDINGS_PARTS, both_ends_refined, claims, part
    from utils.scrubbing import Hypothesis, Node, TransformerGraph, scrub

    given = load_data()
    graph = TransformerGraph(load_model(), given.data.tokens, answer=0)
    five = (*ENDINGS_PARTS, "a2.h1")

    def checker(claim: Hypothesis, strings: brackets.Strings = given.data) -> ScrubReport:
        return scrub(
            graph, claim, strings.tokens, strings.balanced, refs=len(strings.tokens), resamples=3,
            nulls=0, strata=strata(strings.tokens),
        )  # fmt: skip

    counted = Hypothesis(
        tuple(Node(part(name), brackets.count_test, name=name) for name in ENDINGS_PARTS), "exact"
    )
    only = {"a2.h1": brackets.horizon_test, **dict.fromkeys(ENDINGS_PARTS, "any")}
    return {
        "A": ("checker", lambda: checker(claims(dict.fromkeys(five, given.nonsense(30_000)), "A"))),
        "B": ("checker", lambda: checker(claims(dict.fromkeys(five, brackets.is_balanced), "B"))),
        "C": ("toy", lambda: _toy_report(lambda x: 2 * x[:, 0] - x[:, 1])),
        "D": ("checker", lambda: checker(counted)),
        "E": ("checker", lambda: checker(claims(only, "E"), given.few_endings)),
        "F": ("checker", lambda: checker(both_ends_refined())),
        "G": ("toy", lambda: _toy_report(lambda x: 2 * x[:, 0])),
    }


def _letters(seed: int) -> dict[str, str]:
    """Letter of a variant -> letter in the common one (seed 0)."""
    common = list("ABCDEFG")
    shown = common.copy()
    if seed:
        random.Random(seed).shuffle(shown)
    return dict(zip(common, shown, strict=True))


ANSWERS = {
    "A": "alone", "B": "none", "C": "loss, model", "D": "unimportant inputs", "E": "strata",
    "F": "none", "G": "agreement",
}  # fmt: skip


def _read_off(report: ScrubReport, kind: str) -> dict[str, float | str]:
    claimed = [
        report.strength[path] for path, node in report.hypothesis.nodes() if callable(node.feature)
    ]
    lines: dict[str, float | str] = {
        "loss recovered": report.recovered.value,
        "unimportant inputs": report.hypothesis.unimportant,
        "alone": max(s.alone for s in claimed),
        "loss, scrubbed": report["loss, scrubbed"].value,
        "loss, model": report["loss, model"].value,
    }
    if kind == "checker":
        shares = [
            (scrubbed.value - base.value) / (own.value - base.value)
            for scrubbed, own, base in report.strata.values()
        ]
        lines["worst stratum recovers"] = min(shares)
        lines["agreement"] = report["agreement with the model"].value
        lines["recovered, label only"] = report["recovered, label only"].value
    else:
        lines["mean |output - the model's|"] = report["mean |output - the model's|"].value
    return lines


# --- toys --------------------------------------------------------------------------------------


def signs() -> Tensor:
    """All rows of three signs: [8, 3]."""
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)))


def _first(x: Tensor) -> Tensor:
    return x[:, 0]


def _squared(output: Tensor, target: Tensor) -> Tensor:
    return (output - target) ** 2


def _toy(a: float, b: float) -> tuple[FunctionGraph, Hypothesis]:
    """The model a x0 + b x1, and the claim that only x0 matters, through its own part."""
    from utils.scrubbing import Component, FunctionGraph, Hypothesis, Node

    graph = FunctionGraph(
        [
            Component("A", lambda x: a * x[:, 0], ("input",)),
            Component("B", lambda x: b * x[:, 1], ("input",)),
            Component("output", torch.add, ("A", "B")),
        ]
    )
    return graph, Hypothesis((Node("A", _first),), "shared")


def _toy_report(target: Callable[[Tensor], Tensor]) -> ScrubReport:
    from utils.scrubbing import scrub

    graph, claim = _toy(2.0, 1.0)
    x = signs().repeat(100, 1)
    return scrub(
        graph, claim, x, target(x), loss=_squared, refs=800, resamples=20, nulls=0
    )  # fmt: skip


def _share(graph: FunctionGraph, claim: Hypothesis, x: Tensor, y: Tensor) -> float:
    from utils.scrubbing import Hypothesis, expectation

    scrubbed, base, own = (
        expectation(graph, h, x, y, _squared)
        for h in (claim, Hypothesis((), "shared"), Hypothesis((), "exact"))
    )
    return (scrubbed - base) / (own - base)


# --- the checks --------------------------------------------------------------------------------


@check(
    "7.1",
    hints=[
        "What does a feature have to tell a part so that the output comes out right? No more than "
        "the answer itself.",
        "One `Node(site, feature, name=name)` for every part, all with the same feature, all read "
        "by the output directly.",
        'The feature is `brackets.is_balanced`; the nodes go into `Hypothesis(nodes, "shared")`.',
    ],
    expects="a function of a dict of Sites that returns a Hypothesis",
)
def check_vacuous(answer: Any, lab: Any) -> str | None:
    from utils.challenges.brackets import part
    from utils.scrubbing import Hypothesis, TransformerGraph, scrub

    names = ("a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1", "m1", "a2.h0", "a2.h1", "m2")
    claim = expect_type(
        call(answer, {name: part(name) for name in names}), Hypothesis, "vacuous(sites)"
    )
    if claim.unimportant != "shared":
        raise CheckFailed(
            f'the unimportant inputs are {claim.unimportant!r}; with "shared" everything that is '
            "not claimed is really taken from another string."
        )
    tokens, right = (values[:800] for values in lab.data.data[:2])
    told = {}
    for path, node in claim.nodes():
        if not callable(node.feature):
            raise CheckFailed(
                f'{path} is "{node.feature}". That claims no feature at all: "exact" swaps '
                'nothing, "any" tells nothing. The parts must be told the label, no more.'
            )
        told[path] = torch.as_tensor(call(node.feature, tokens)).reshape(len(tokens), -1).double()
    for path, values in told.items():
        if any(len(values[right == label].unique(dim=0)) > 1 for label in (False, True)):
            raise CheckFailed(
                f"{path} is told more than the label: among the balanced strings, or among the "
                "others, its feature still differs. That would be a claim about how the network "
                "does it."
            )
    report = scrub(
        TransformerGraph(lab.model, tokens, answer=0), claim, tokens, right, refs=300,
        resamples=3, nulls=0,
    )  # fmt: skip
    if report.recovered.value < 0.97:
        raise CheckFailed(
            f"it recovers {report.recovered.value:.2f}, and 0.97 was asked for. Parts without a "
            "node are swapped at random: name all of them, not the last one alone.",
            credit=0.25,
        )
    return f"It recovers {report.recovered.value:.2f} and says nothing."


@check(
    "7.2",
    hints=[
        "0 should mean: no better than the best of the nulls. 1 should mean: as good as with the "
        "named parts exact.",
        "A linear scale: what is gained over the floor, divided by what could be gained.",
        "`floor = max(nulls)`, and then (score - floor) over (ceiling - floor).",
    ],
    expects="a function of a score, nulls and a ceiling",
)
def check_placed(answer: Any, lab: Any) -> str | None:
    for score, nulls, ceiling in (
        (0.55, [0.25, 0.15], 0.95),
        (0.9, [0.1, 0.4, 0.2], 0.8),
        (0.2, [0.3], 0.7),
    ):
        floor = max(nulls)
        wanted = (score - floor) / (ceiling - floor)
        found = expect_number(call(answer, score, nulls, ceiling), what="placed(...)")

        def like(value: float, found: float = found) -> bool:
            return abs(found - value) < 1e-4

        mean = sum(nulls) / len(nulls)
        if not like(wanted):
            if len(nulls) > 1 and like((score - mean) / (ceiling - mean)):
                raise CheckFailed("the floor is the *best* null, not their mean.")
            if len(nulls) > 1 and like((score - min(nulls)) / (ceiling - min(nulls))):
                raise CheckFailed("the floor is the best null, the highest one; this is the worst.")
            if like((score - floor) / (1 - floor)):
                raise CheckFailed(
                    "the top of this scale is 1. Nothing that is claimed about these parts can "
                    "beat the parts left exact: divide by ceiling - floor."
                )
            if like((score - floor) / ceiling) or like(score - floor):
                raise CheckFailed("divide by ceiling - floor, so that the ceiling comes out as 1.")
            if like(min(max(wanted, 0), 1)):
                raise CheckFailed(
                    "do not clip: a score under every null, or over the ceiling, should look odd.",
                    credit=0.5,
                )
        expect_close(found, wanted, name=f"placed({score}, {nulls}, {ceiling})")
    return None


@check(
    "7.3",
    hints=[
        "First find for each input how many inputs share its value, itself counted.",
        "`torch.unique(values, return_inverse=True, return_counts=True)` gives the class of each "
        "input and the size of each class; `counts[inverse]` is the size for each input.",
        "`alone` is the share of inputs whose size is 1. A draw from a class of size s is another "
        "input with probability 1 - 1/s; `moved` is the mean of that over inputs.",
    ],
    expects="a function of a tensor of class names that returns two numbers",
)
def check_strength(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(3)
    for values in (
        torch.tensor([7, 7, 7, 3, 9, 9, 9, 9]),
        torch.arange(10) * 5,
        torch.zeros(4, dtype=torch.int64),
        torch.randint(0, 40, (60,), generator=generator) - 11,
    ):
        size = (values[:, None] == values).sum(1).double()
        wanted = torch.stack([(size == 1).double().mean(), (1 - 1 / size).mean()])
        found = expect_type(call(answer, values), (tuple, list, Tensor), "strength(values)")
        if len(found) != 2:
            raise CheckFailed(f"strength(values) holds {len(found)} entries; return alone, moved.")
        found = torch.tensor(
            [expect_number(f, what=w) for f, w in zip(found, ("alone", "moved"), strict=True)]
        ).double()
        if not torch.allclose(found, wanted, atol=1e-5):
            classes = values.unique()
            counts = torch.tensor([(values == c).sum() for c in classes]).double()

            def is_(
                position: int, value: Any, found: Tensor = found, wanted: Tensor = wanted
            ) -> bool:
                off = abs(float(found[position]) - float(wanted[position])) > 1e-5
                return off and abs(float(found[position]) - float(value)) < 1e-5

            for hit, message in (
                (torch.allclose(found.flip(0), wanted, atol=1e-5), "the two are exchanged: "
                 "return alone first."),
                (is_(0, (counts == 1).double().mean()), "`alone` is a share of the *inputs*, not "
                 "of the classes: a class of a thousand counts a thousand times."),
                (is_(0, (counts == 1).sum()), "`alone` is a share, not a count."),
                (is_(1, 1 - wanted[0]), "`moved` is not everything that is not alone. A draw may "
                 "come back with the input itself, in a class of two every other time."),
                (is_(1, 1 - 1 / len(classes)), "`moved` depends on the sizes of the classes, not "
                 "on how many there are."),
                (is_(1, (1 - 1 / counts).mean()), "`moved` is a mean over inputs, not over "
                 "classes."),
                (is_(1, 1 - wanted[1]), "this is the share of draws that stay; `moved` is the "
                 "share that is another input."),
            ):  # fmt: skip
                if hit:
                    raise CheckFailed(message)
        expect_close(found, wanted, name=f"(alone, moved) of {values.tolist()[:8]}")
    return None


@check(
    "7.4",
    hints=[
        "Each stratum has its own baseline: the loss of its strings when the output comes from a "
        "random other string.",
        "In each stratum: (scrubbed - baseline) / (model - baseline). Then the smallest.",
        "A dict of shares, `{name: ... for name, (scrubbed, own, base) in strata.items()}`; "
        "`min(shares, key=shares.get)` is the name.",
    ],
    expects="a function of a dict of strata that returns a name and a number",
)
def check_stratum(answer: Any, lab: Any) -> str | None:
    for table in (
        # the largest loss, the largest rise and the smallest share are three different strata
        {"p": (2.0, 0.1, 9.0), "q": (1.9, 0.0, 3.0), "r": (1.8, 1.7, 5.0), "s": (0.2, 0.0, 3.0)},
        {"p": (0.3, 0.1, 2.0), "q": (3.2, 0.2, 3.0), "r": (3.3, 0.0, 7.0)},
    ):
        shares = {k: (s - b) / (o - b) for k, (s, o, b) in table.items()}
        worst = min(shares, key=lambda k: shares[k])
        found = expect_type(call(answer, dict(table)), (tuple, list), "worst_stratum(strata)")
        if len(found) != 2:
            raise CheckFailed("return the name of the worst stratum and what it recovers.")
        name = expect_choice(found[0], list(table), "the stratum")
        share = expect_number(found[1], what="the share")
        best = max(shares, key=lambda k: shares[k])
        if name != worst:
            rise = max(table, key=lambda k: table[k][0] - table[k][1])
            reason = f"it recovers {shares[name]:.2f}, and {worst!r} only {shares[worst]:.2f}"
            if name == max(table, key=lambda k: table[k][0]) or name == rise:
                reason += ". A large loss is no small share: each stratum has its own baseline"
            elif name == best:
                reason += "; this is the best stratum"
            raise CheckFailed(f"{name!r} is not the worst stratum: {reason}.")
        s, o, b = table[worst]
        for wrong, message in (
            ((s - o) / (b - o), "this is the share that is lost; asked is the share recovered."),
            (max(shares[worst], 0), "do not clip: a stratum can be worse than its baseline, and "
             "that is worth knowing."),
        ):  # fmt: skip
            if abs(share - wrong) < 1e-6 and abs(share - shares[worst]) > 1e-6:
                raise CheckFailed(message, credit=0.5)
        expect_close(share, shares[worst], name=f"what {worst!r} recovers")
    return None


@check(
    "7.5",
    hints=[
        "Write down three expected squares. Signs have mean 0 and square 1, and independent ones "
        "multiply to mean 0, so the mean square of a sum is the sum of the squared coefficients.",
        "Scrubbed: a x0 + b x1' against a x0 + c x1 gives b^2 + c^2. Model: (b - c)^2. Baseline: "
        "all four signs differ, 2 a^2 + b^2 + c^2.",
        "(scrubbed - baseline) is -2 a^2, and (model - baseline) is -2 a^2 - 2 b c.",
    ],
    expects="a function of three numbers",
)
def check_closed_form(answer: Any, lab: Any) -> str | None:
    x = signs()
    for a, b, c in ((1.5, 0.5, 2.0), (2.0, 1.0, -1.0), (2.0, 1.0, 0.0), (1.0, 1.0, 1.0)):
        graph, claim = _toy(a, b)
        wanted = _share(graph, claim, x, a * x[:, 0] + c * x[:, 1])
        found = expect_number(call(answer, a, b, c), what=f"share({a:g}, {b:g}, {c:g})")
        for wrong, message in (
            (a**2 / (a**2 + b**2), "this forgets the label: with c instead of b in it the model "
             "already makes a mistake, and swapping x1 may repair it."),
            (min(wanted, 1), "do not clip at 1: where the scrubbed model is better than the model, "
             "the share is over 1."),
            (1 - wanted, "this is the share that is lost."),
            (a**2 / (a**2 + c**2), "the coefficient b of the model is missing."),
            (1 - (b**2 + c**2) / (2 * a**2 + b**2 + c**2), "the loss of the model itself, "
             "(b - c)^2, is not 0 unless b = c."),
            (1 / wanted if wanted else 0, "the fraction is upside down."),
        ):  # fmt: skip
            if abs(found - wrong) < 1e-6 and abs(found - wanted) > 1e-6:
                raise CheckFailed(f"share({a:g}, {b:g}, {c:g}) is {found:.3f}: {message}")
        expect_close(found, wanted, name=f"share({a:g}, {b:g}, {c:g})")
    return "The toys, enumerated, agree with you."


@check(
    "7.6",
    hints=[
        "The formula of 7.5 has a b c in it. If c is +1 for half of the inputs and -1 for the "
        "others, what is b c on average?",
        "Let the sign of the third coordinate decide in which half an input is. There the target "
        "holds + x1, in the other half - x1.",
        "2 x0 and a product of two coordinates.",
    ],
    expects="a function of inputs [N, 3] that gives targets [N]",
)
def check_cancelling(answer: Any, lab: Any) -> str | None:
    from utils.scrubbing import Hypothesis, expectation

    graph, claim = _toy(2.0, 1.0)
    for x in (signs(), signs()[[5, 0, 3, 6, 1, 7, 2, 4]].repeat(2, 1)):
        y = expect_tensor(call(answer, x), (len(x),), name="target(x)").to(x.dtype)
        base, own = (expectation(graph, Hypothesis((), p), x, y, _squared)
                     for p in ("shared", "exact"))  # fmt: skip
        if base - own < 0.2:
            raise CheckFailed(
                f"with this target the model's loss is {own:.2f} and the baseline's {base:.2f}: "
                "there is nothing to recover. The target must contain the 2 x0 that the model "
                "computes."
            )
        share = _share(graph, claim, x, y)
        if abs(share - 1) > 1e-3:
            more = " Half of the inputs must lose what the other half gains." if share > 1 else ""
            raise CheckFailed(f"this target recovers {share:.0%}, and 100 % was asked for.{more}")
        # a reference's scrubbed loss averages over the two values x1 can take
        clean = 2 * x[:, 0] + x[:, 1]
        scrubbed = sum((2 * x[:, 0] + s - y) ** 2 for s in (-1, 1)) / 2
        change = scrubbed - (clean - y) ** 2
        if change.abs().median() < 0.5:
            raise CheckFailed(
                "the loss is kept, but input by input as well: the median change is "
                f"{change.abs().median():.2f}, and at least 0.5 was asked for. That is the toy "
                "above; here some inputs must get worse and others better.",
                credit=0.25,
            )
    return f"The loss rises on {float((change > 0).double().mean()):.0%} of the inputs."


@check(
    "7.7",
    hints=[
        "Two masks: the strings that fail only the test in `column`, and those that fail only the "
        "other one.",
        "`nonzero()[:, 0]` turns a mask into row numbers. All of the first are receivers; a "
        "donor is drawn for each from the second.",
        "`pool[torch.randint(len(pool), (len(receivers),), generator=generator)]`",
    ],
    expects="a function of test results, a column and a generator that returns two tensors",
)
def check_donors(answer: Any, lab: Any) -> str | None:
    tests = torch.rand(400, 2, generator=torch.Generator().manual_seed(5)) < 0.6
    for column in (0, 1):
        mine, other = tests[:, column], tests[:, 1 - column]
        pair = expect_type(
            call(answer, tests, column, torch.Generator().manual_seed(0)), (tuple, list),
            "other_failure(...)",
        )  # fmt: skip
        if len(pair) != 2:
            raise CheckFailed("return receivers and donors, two tensors of row numbers.")
        receivers, donors = (
            expect_tensor(p, (None,), "int", name)
            for p, name in zip(pair, ("receivers", "donors"), strict=True)
        )
        if len(receivers) != len(donors):
            raise CheckFailed(
                f"{len(receivers)} receivers and {len(donors)} donors: one donor for each, drawn "
                "with replacement."
            )
        if (torch.cat([receivers, donors]) < 0).any() or (
            torch.cat([receivers, donors]) >= len(tests)
        ).any():
            raise CheckFailed("row numbers lie between 0 and the number of strings.")
        wanted = (~mine & other).nonzero()[:, 0]
        if set(receivers.tolist()) != set(wanted.tolist()) or len(receivers) != len(wanted):
            if set(receivers.tolist()) == set((mine & ~other).nonzero()[:, 0].tolist()):
                raise CheckFailed("receivers and donors are exchanged, or the two columns are.")
            if (~mine & ~other)[receivers].any():
                raise CheckFailed(
                    "a receiver fails both tests. Then swapping one of them in changes nothing, by "
                    "either account; take those that fail only the test in `column`."
                )
            raise CheckFailed("the receivers are all strings that fail only the test in `column`.")
        if (mine & other)[donors].any():
            raise CheckFailed(
                "a donor is balanced. Its label differs from the receiver's, so the empty account "
                "has nothing to say about the swap; take one that fails the *other* test."
            )
        if (~mine)[donors].any():
            raise CheckFailed(
                "a donor fails the same test as its receiver: the swap would bring nothing new."
            )
        if len(donors.unique()) < len(wanted) / 4:
            raise CheckFailed("nearly all receivers share a donor: draw one for each.", credit=0.5)
        second = call(answer, tests, column, torch.Generator().manual_seed(1))[1]
        if torch.equal(torch.as_tensor(second), donors):
            raise CheckFailed(
                "two generators gave the same donors: pass `generator` on to `torch.randint`.",
                credit=0.5,
            )
    return None


_WHY = {
    "A": "look at how many of its inputs have a class of their own.",
    "B": "go through the lines in their order. What it claims may be poor, but which line says so?",
    "C": "its scrubbed loss is below the model's own loss.",
    "D": "look at what was done with everything that it does not claim.",
    "E": "its mean is good; one kind of string is worse than at the baseline.",
    "F": "go through the lines in their order; none of them objects.",
    "G": "its score is perfect; what happened to the outputs?",
}


@check(
    "7.8",
    hints=[
        "Take the list from the top, for each report; the first line that objects is the answer.",
        "Three lines are plain: something other than \"shared\", a share over a half, a scrubbed "
        "loss under the model's.",
        "Two of the seven get away with it, as far as these lines go.",
    ],
    expects="a dict from the letters A to G to names of lines",
)  # fmt: skip
def check_verdicts(answer: Any, lab: Any) -> str | None:
    verdicts = expect_keys(answer, ANSWERS, "verdicts")
    given = {k: expect_choice(v, LINES, f"the verdict on {k}") for k, v in verdicts.items()}
    letters = _letters(lab.variant("7.8"))
    wrong = [k for k in ANSWERS if given[k] != ANSWERS[letters[k]]]
    if wrong:
        first, report = wrong[0], letters[wrong[0]]
        if given[first] == "agreement" and report == "C":
            reason = "agreement objects too, but a line above it objects first: " + _WHY["C"]
        elif report in "BF" and given[first] == "agreement":
            reason = "its outputs keep their class in more than nine of ten draws."
        elif given[first] == "none":
            reason = "one of the lines objects: " + _WHY[report]
        else:
            reason = _WHY[report]
        raise CheckFailed(
            f"{len(wrong)} of 7 verdicts differ, among them that on {first}: {reason}",
            credit=0.5 if len(wrong) <= 2 else 0.0,
        )
    shown = {known: letter for letter, known in letters.items()}
    return (
        f"{shown['B']} is empty and {shown['F']} is right, and these lines do not tell them apart."
    )
