"""The bracket checker solved: which program it runs, and how far the evidence carries.

The published account of such a checker is a count test beside a horizon test ("Causal scrubbing on
a paren balance checker", Chan et al. 2022). This one was trained here, and it checks the string
from both ends instead; scrubbing tells the two accounts apart although their labels are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from utils.data import brackets
from utils.reports import Estimate, Report, Row, bootstrap
from utils.scrubbing import Hypothesis, Node, ScrubReport, TransformerGraph, scrub
from utils.sites import Site, run

Progress = Callable[[str], None]
Feature = Callable[[Tensor], Tensor]

INPUTS = 6000
BALANCED = 0.46  # share of balanced strings; the baseline, and so every score, moves with it
ENDINGS_PARTS = ("a2.h0", "m0", "a0.h1", "a1.h0")
BEGINNINGS_PARTS = ("a2.h1",)
IDLE_PARTS = ("a0.h0", "a1.h1", "m1")  # at the answer's position the claims leave these out
DIGITS = 2


def part(name: str) -> Site:
    """A head or MLP of the checker at START, where the answer is read off: "a2.h1", "m0" ..."""
    if name.startswith("m"):
        return Site(f"blocks.{name[1:]}.hook_mlp_out", position=0)
    layer, head = name[1:].split(".h")
    return Site(f"blocks.{layer}.attn.hook_z", head=int(head), position=0)


def both_tests(tokens: Tensor) -> Tensor:
    """The horizon test and the endings test side by side: [n, 2] bool."""
    return torch.stack([brackets.horizon_test(tokens), brackets.endings_test(tokens)], 1)


def claims(features: Mapping[str, Feature | str], name: str) -> Hypothesis:
    """Each part tells its feature, to the output directly and through the last MLP, no other way.

    The last MLP itself is left on the reference ("exact"): the claim is about what reaches it.
    """

    def heads() -> tuple[Node, ...]:
        return tuple(Node(part(key), feature, name=key) for key, feature in features.items())

    return Hypothesis((Node(part("m2"), "exact", heads(), name="m2"), *heads()), "shared", name)


def both_ends() -> Hypothesis:
    """Endings by four parts, beginnings by one: the first account worth defending."""
    features = dict.fromkeys(ENDINGS_PARTS, brackets.endings_test)
    return claims({**features, "a2.h1": brackets.horizon_test}, "both ends")


def both_ends_refined() -> Hypothesis:
    """The same, but the head of the beginnings knows the result of the other test too."""
    return claims(
        {**dict.fromkeys(ENDINGS_PARTS, brackets.endings_test), "a2.h1": both_tests},
        "both ends, refined",
    )


def published_account() -> Hypothesis:
    """Count test and horizon test, the account of the checker in the paper."""
    features = dict.fromkeys(ENDINGS_PARTS, brackets.count_test)
    return claims({**features, "a2.h1": brackets.horizon_test}, "count and horizon")


def swapped_features() -> Hypothesis:
    """The features of `both_ends` given to each other's parts: wrong on purpose."""
    features = dict.fromkeys(ENDINGS_PARTS, brackets.horizon_test)
    return claims({**features, "a2.h1": brackets.endings_test}, "features swapped")


@dataclass(frozen=True)
class BracketSolution:
    """The walk through the bracket checker: reports, verdict, reasons."""

    agreement: Report
    scrubbed: dict[str, ScrubReport]
    necessity: Report
    verdict: str
    reasons: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The JSON of `python -m utils solve brackets`, in the form of every challenge."""
        best = self.scrubbed["both ends, refined"]
        agreement, swaps = self.agreement, self.necessity
        return {
            "name": "brackets",
            "agreement": {
                "model": agreement["program = network"].as_dict(),
                "labels": agreement["program = labels"].as_dict(),
                "model_errors": None,
            },
            "sufficiency": {
                "recovered": best.recovered.as_dict(),
                "label_only_null": best["recovered, label only"].as_dict(),
                "class_matched_null": best["recovered, random classes"].as_dict(),
                "ceiling": best["recovered, named parts exact"].as_dict(),
            },
            "necessity": {
                "change": swaps["either swapped, should change"].as_dict(),
                "stay": swaps["either swapped, should stay"].as_dict(),
                "random_site_null": swaps[
                    "either swapped, should change, other parts instead"
                ].as_dict(),
            },
            "verdict": self.verdict,
            "reasons": self.reasons,
            "rows": {
                **{
                    name: {row.name: row.estimate.as_dict() for row in report.report}
                    for name, report in self.scrubbed.items()
                },
                "necessity": {row.name: row.estimate.as_dict() for row in swaps},
            },
        }


def solve(
    model: nn.Module, progress: Progress = lambda text: None, *, inputs: int = INPUTS
) -> BracketSolution:
    """All the evidence on the bracket checker, and what follows from it."""
    data = brackets.make(inputs, seed=11, balanced=BALANCED)
    graph = TransformerGraph(model, data.tokens, answer=0)
    progress("comparing the program with the network")
    agreement = agreement_report(model)
    strata = {
        "balanced": data.balanced,
        "beginnings fail only": ~brackets.horizon_test(data.tokens)
        & brackets.endings_test(data.tokens),
        "endings fail only": brackets.horizon_test(data.tokens)
        & ~brackets.endings_test(data.tokens),
        "both fail": ~brackets.horizon_test(data.tokens) & ~brackets.endings_test(data.tokens),
    }
    scrubbed = {}
    for hypothesis in (both_ends(), both_ends_refined(), published_account(), swapped_features()):
        progress(f"scrubbing: {hypothesis.name}")
        scrubbed[hypothesis.name] = scrub(
            graph, hypothesis, data.tokens, data.balanced, refs=2000, strata=strata,
            marginals=hypothesis.name == "both ends, refined", digits=DIGITS,
        )  # fmt: skip
    progress("swapping between classes, where the output should change")
    swaps = necessity_report(model, data.tokens)
    verdict, reasons = judge(agreement, scrubbed, swaps)
    return BracketSolution(agreement, scrubbed, swaps, verdict, reasons)


def agreement_report(model: nn.Module, n: int = 20_000) -> Report:
    """Program against network and labels on fresh strings; a count of opens alone as control."""
    data = brackets.make(n, seed=12, balanced=BALANCED)
    with torch.no_grad():
        said = torch.cat([model(rows)[:, 0].argmax(-1).bool() for rows in data.tokens.split(1000)])
    program = both_tests(data.tokens).all(1)

    def share(hits: Tensor) -> Estimate:
        return Estimate.proportion(int(hits.sum()), len(hits))

    rows = [
        Row("program = network", share(program == said), "result", "both tests pass"),
        Row("program = labels", share(program == data.balanced), "result"),
        Row("network = labels", share(said == data.balanced), "ceiling"),
        Row(
            "count and horizon = network",
            share((brackets.count_test(data.tokens) & brackets.horizon_test(data.tokens)) == said),
            "control", "the same labels by another program",
        ),
        Row("count test alone = network", share(brackets.count_test(data.tokens) == said), "null"),
        Row(
            "one answer for all = network",
            max((share(said), share(~said)), key=lambda estimate: estimate.value), "null",
        ),
    ]  # fmt: skip
    return Report(
        "Agreement: labels cannot tell the two programs apart",
        rows,
        {"strings": n, "balanced": BALANCED, "drawn": "fresh, not used in training"},
        digits=DIGITS + 1,
    )


def necessity_report(model: nn.Module, tokens: Tensor, seed: int = 0) -> Report:
    """Swap one test's parts from a string where that test alone comes out differently.

    Interchange interventions (Geiger et al. 2021, "Causal abstractions of neural networks"): the
    program says which output must follow, a changed one or the same.
    """
    tests = both_tests(tokens)
    own = tests.all(1)
    generator = torch.Generator().manual_seed(seed)
    rows, pooled = [], {}
    for column, (name, parts) in enumerate(
        (("beginnings", BEGINNINGS_PARTS), ("endings", ENDINGS_PARTS))
    ):
        donors = _donors(tests, column, generator)
        predicted = tests[donors, column] & tests[:, 1 - column]
        for where, chosen, role in (
            ("", parts, "result"),
            (", other parts instead", IDLE_PARTS, "null"),
        ):
            sites = [part(key) for key in chosen]
            values = run(model, tokens[donors], read=sites, batch_size=1000).values
            edits = list(zip(sites, values, strict=True))
            said = run(model, tokens, edits=edits, batch_size=1000).output[:, 0].argmax(-1).bool()
            hits = said == predicted
            for what, mask in (("change", predicted != own), ("stay", predicted == own)):
                key = f"swapped, should {what}{where}"
                count = int(hits[mask].sum())
                rows.append(Row(f"{name} {key}", Estimate.proportion(count, int(mask.sum())), role))
                pooled.setdefault((key, role), []).append(hits[mask])
    for (key, role), parts_hits in pooled.items():
        hits = torch.cat(parts_hits)
        estimate = bootstrap(lambda x: float(x.mean()), hits.double(), n_resamples=300)
        rows.append(Row(f"either {key}", estimate, role))
    return Report(
        "Necessity: swaps that should change the output",
        rows,
        {
            "pairs": len(tokens),
            "donor": "random string with the other result of this test, the same of the other",
        },
        digits=DIGITS,
    )


def _donors(tests: Tensor, column: int, generator: torch.Generator) -> Tensor:
    """For each string one that differs in this test and agrees in the other: [n]."""
    donors = torch.empty(len(tests), dtype=torch.int64)
    for mine in (False, True):
        for other in (False, True):
            here = (tests[:, column] == mine) & (tests[:, 1 - column] == other)
            there = (tests[:, column] != mine) & (tests[:, 1 - column] == other)
            pool = there.nonzero()[:, 0]
            pick = torch.randint(len(pool), (int(here.sum()),), generator=generator)
            donors[here] = pool[pick]
    return donors


def judge(
    agreement: Report, scrubbed: Mapping[str, ScrubReport], swaps: Report
) -> tuple[str, list[str]]:
    """By intervals that do not overlap: the account against its rivals and its nulls."""
    best, rival = scrubbed["both ends, refined"], scrubbed["count and horizon"]
    null, wrong = best["recovered, random classes"], scrubbed["features swapped"].recovered
    change = swaps["either swapped, should change"]
    random = swaps["either swapped, should change, other parts instead"]
    label = best["recovered, label only"]
    mechanism = (
        best.recovered.low > max(null.high, rival.recovered.high, wrong.high)
        and change.low > random.high
    )
    nulls = ("count test alone = network", "one answer for all = network")
    program = agreement["program = network"].low > max(agreement[name].high for name in nulls)
    reasons = [
        f"The program gives the network's answer for {agreement['program = network'].value:.1%} of"
        f" fresh strings. So does counting with a horizon test"
        f" ({agreement['count and horizon = network'].value:.1%}): labels cannot decide.",
        f"Resampling along the two ends recovers {best.recovered.value:.0%} of the loss; count and"
        f" horizon {rival.recovered.value:.0%}, the two features swapped {wrong.value:.0%}, random"
        f" classes {null.value:.0%}; with the named parts exact it is"
        f" {best['recovered, named parts exact'].value:.0%}.",
        f"The label put in every part recovers {label.value:.0%}: sufficiency alone does not single"
        " this account out, so the swaps matter.",
        f"Swapping one test's parts changes the answer as predicted in {change.value:.0%} of pairs,"
        f" other parts in {random.value:.0%}.",
    ]
    verdict = "program and mechanism" if program and mechanism else "program"
    return (verdict if program else "labels only"), reasons
