"""Two majorities found whole: a network of the family "sequence", its steps, and what to test them
with.

The network reads ten letters and says whether in exactly one half of them there are more a than b.
That is an exclusive or: one half alone tells next to nothing about the answer, so no place that
merely carries the answer can pass for a step. Attention adds up at START, with weights that hardly
move, the lead of either half (a minus b) along a direction of its own; the multi-layer perceptron
(MLP) asks which leads are above zero and writes the answer along a third.

The network was chosen to be taken apart. A `Site` swaps along orthogonal directions, and the two
leads of a trained network are not quite orthogonal, so a swap of one disturbs the other. Of 17
networks that learned the task this one keeps them furthest apart, at 77 degrees, and the steps
recover .89 of its loss. Others recover .85 at 72 degrees, .73 at 64 and .57 at 55, where the same
account gets no more than "program": with directions that close, these steps cannot be placed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from utils.challenges.challenge import Challenge, Sample
from utils.challenges.evidence import ratio
from utils.challenges.explanation import Explanation
from utils.challenges.families import Program, sequences
from utils.challenges.judge import Verdict, judge
from utils.models import zoo
from utils.reports import Estimate, Report, Row
from utils.scrubbing import Step, TransformerGraph
from utils.sites import Site, run

PROGRAM = Program(
    "sequence", "majority", {"letters": 3, "length": 10, "more": 0, "less": 1, "cut": 5}
)
FITTED = 6000  # strings from which directions are read off
ATTENTION, MLP = "blocks.0.hook_attn_out", "blocks.0.hook_mlp_out"
PATTERN = "blocks.0.attn.hook_pattern"


def strings(n: int, seed: int = 0, *, held_out: bool = False) -> Tensor:
    """Strings as the program's template draws them: [n, 11] int64, START (3) first.

    held_out: of those set aside by the family's hash, else of the others; the network was trained
        on the others alone.
    """
    share = 1 / 8 if held_out else 7 / 8
    made = sequences.sample(PROGRAM.template, PROGRAM.constants, round(1.1 * n / share) + 500, seed)
    return made[sequences.set_aside(made) == held_out][:n]


# --- the challenge, and the reference explanation ----------------------------------------------


def challenge() -> Challenge:
    """The shipped network, judged on strings set aside; equal strings count as one."""
    model = zoo.load("sequence")

    def draw(n: int, seed: int) -> Sample:
        made = strings(n, seed, held_out=True)
        return Sample(made, _codes(made))

    return Challenge(
        "sequence", "sequence", model, draw,
        graph=lambda inputs: TransformerGraph(model, inputs, answer=0),
        read=lambda output: output[:, 0],
        card={
            "inputs": "tokens START and ten letters from 0 to 2; START is 3, and answers",
            "classes": 2,
            "judged on": "strings set aside by a hash",
        },
    )  # fmt: skip


def _codes(tokens: Tensor) -> Tensor:
    """One number for each string, [n] int64."""
    return (tokens[:, 1:] * 3 ** torch.arange(tokens.shape[1] - 1)).sum(1)


def front(tokens: Tensor) -> Tensor:
    """How many more a than b there are among the first five letters: [n] int64, -5 to 5."""
    part = tokens[:, 1:6]
    return (part == 0).sum(1) - (part == 1).sum(1)


def back(tokens: Tensor) -> Tensor:
    """The same among the last five."""
    part = tokens[:, 6:]
    return (part == 0).sum(1) - (part == 1).sum(1)


def exactly_one(front: Tensor, back: Tensor) -> Tensor:
    """Whether one of the two leads is above zero and the other is not: [n] bool."""
    return (front > 0) ^ (back > 0)


def answer_of(tokens: Tensor) -> Tensor:
    """The answer, straight from the string: [n] bool."""
    return exactly_one(front(tokens), back(tokens))


def same(value: Tensor) -> Tensor:
    """The value as it is: the answer is what the MLP found."""
    return value


def slopes(model: nn.Module, tokens: Tensor) -> Tensor:
    """How what attention adds at START grows with each lead, the other held still: [48, 2].

    By least squares over the strings; the columns are front and back.
    """
    added = Site(ATTENTION, position=0).read(model, tokens)
    return _fit([front(tokens), back(tokens)], added)[1:].T


def directions(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Where the leads and the answer are kept at START: unit columns [48, 1] by name.

    front, back: in what attention adds, the `slopes` made orthogonal with the least change to both
    (Löwdin 1950), since a swap along one must leave the other alone. answer: the slope in the
    answer of what the MLP adds. Fitted on `FITTED` strings of the kind trained on.
    """
    tokens = strings(FITTED, seed)
    left, _, right = torch.linalg.svd(
        torch.nn.functional.normalize(slopes(model, tokens), dim=0), full_matrices=False
    )
    both = (left @ right).float()
    said = _fit([answer_of(tokens)], Site(MLP, position=0).read(model, tokens))[1:]
    return {"front": both[:, :1], "back": both[:, 1:], "answer": (said.T / said.norm()).float()}


def reference_steps(model: nn.Module, found: dict[str, Tensor] | None = None) -> list[Step]:
    """Two leads, the exclusive or, the answer. found: directions; those of `directions` if None."""
    found = directions(model) if found is None else found

    def place(hook: str, name: str) -> Site:
        return Site(hook, position=0, basis=found[name])

    return [
        Step("front", front, site=place(ATTENTION, "front")),
        Step("back", back, site=place(ATTENTION, "back")),
        Step("exactly one", exactly_one, ("front", "back"), place(MLP, "answer")),
        Step("answer", same, ("exactly one",)),
    ]


def exchanged_steps(model: nn.Module) -> list[Step]:
    """Wrong on purpose: each lead is said to be where the other one is."""
    found = directions(model)
    return reference_steps(model, {**found, "front": found["back"], "back": found["front"]})


def both_say(one: Tensor, other: Tensor) -> Tensor:
    """Whether two copies of the answer say yes: [n] bool."""
    return one & other


def label_steps(model: nn.Module) -> list[Step]:
    """Wrong on purpose: at every place the answer itself."""
    right = reference_steps(model)
    return [
        Step("front", answer_of, site=right[0].site),
        Step("back", answer_of, site=right[1].site),
        Step("exactly one", both_say, ("front", "back"), right[2].site),
        right[3],
    ]


# --- the reference walk ------------------------------------------------------------------------


@dataclass(frozen=True)
class SequenceSolution:
    """What `python -m utils solve sequence` shows.

    mechanism: the parts in numbers. verdict: of the reference steps. controls: of two wrong
    accounts with the same labels, by name.
    """

    mechanism: Report
    verdict: Verdict
    controls: dict[str, Verdict]

    def as_dict(self) -> dict[str, Any]:
        """The JSON of the command, in the form of every challenge."""
        rows = {row.name: row.estimate.as_dict() for row in self.mechanism}
        return {
            **self.verdict.as_dict(),
            "rows": {"mechanism": rows},
            "controls": {name: verdict.as_dict() for name, verdict in self.controls.items()},
        }


def solve(
    progress: Callable[[str], None] = lambda text: None, *, references: int = 1000
) -> SequenceSolution:
    """All the evidence on the network of two majorities; references: for scrubbing."""
    case = challenge()
    progress("measuring the parts")
    mechanism = mechanism_report(case.model)
    verdicts = {}
    for name, make in (
        ("two leads, exclusive or", reference_steps),
        ("leads exchanged", exchanged_steps),
        ("every step the answer", label_steps),
    ):

        def tell(text: str, name: str = name) -> None:
            progress(f"{name}: {text}")

        explanation = Explanation(make(case.model), name=name)
        verdicts[name] = judge(case, explanation, references=references, progress=tell)
    right = verdicts.pop("two leads, exclusive or")
    return SequenceSolution(mechanism, right, verdicts)


def mechanism_report(model: nn.Module, seed: int = 0, n: int = 4000) -> Report:
    """The parts in numbers, on strings set aside, with an untrained network as control."""
    from utils.models.recipes import RECIPES

    seen, tokens = strings(FITTED, seed), strings(n, seed + 1, held_out=True)
    groups, generator = _codes(tokens), torch.Generator().manual_seed(seed)
    mixed = torch.randperm(FITTED, generator=generator)
    found = directions(model, seed)
    untrained = RECIPES["sequence"].build()
    answers = PROGRAM.labels(tokens)

    def leads(x: Tensor) -> list[Tensor]:
        return [front(x), back(x)]

    def told(
        network: nn.Module,
        hook: str,
        by: Callable[[Tensor], list[Tensor]],
        order: Tensor | None = None,
        along: Tensor | None = None,
    ) -> Estimate:
        """Share of the variance of what is added at START that the features tell, linearly.

        order: fit the values on the features of these other strings instead.
        """
        site = Site(hook, position=0, basis=along)
        weights = _fit(by(seen if order is None else seen[order]), site.read(network, seen))
        values = site.read(network, tokens).double()
        missed = (values - _design(by(tokens)) @ weights).pow(2).sum(1)
        whole = (values - values.mean(0)).pow(2).sum(1)
        return ratio(whole - missed, whole, groups)

    def reads(hook: str, order: Tensor | None = None) -> Estimate:
        """Share of the answer's variance that a linear reading of what is added tells."""
        learned = PROGRAM.labels(seen if order is None else seen[order])[:, None]
        site = Site(hook, position=0)
        weights = _fit(site.read(model, seen).unbind(1), learned)
        truth = answers[:, None].double()
        missed = (truth - _design(site.read(model, tokens).unbind(1)) @ weights).pow(2).sum(1)
        whole = (truth - truth.mean()).pow(2).sum(1)
        return ratio(whole - missed, whole, groups)

    def right(site: Site, values: Tensor) -> Estimate:
        output = run(model, tokens, edits=[(site, values)], allow_unchanged=True).output
        hits = (output[:, 0].argmax(-1) == answers).double()
        return ratio(hits, torch.ones_like(hits), groups)

    added = Site(ATTENTION, position=0)
    mean, now = added.read(model, seen).mean(0), added.read(model, tokens)

    def keeping(basis: Tensor) -> Tensor:
        return mean + (now - mean) @ basis @ basis.T

    both = torch.cat([found["front"], found["back"]], 1)
    random = torch.linalg.qr(torch.randn(both.shape, generator=generator)).Q
    pattern = Site(PATTERN, position=0)
    still = pattern.read(model, seen).mean(0).expand(n, -1, -1)
    sums = "variance of what attention adds, told by the two leads"
    reading = "answer, read off linearly"
    cosine = torch.cosine_similarity(*slopes(model, seen).T, dim=0)
    rows = [
        Row(
            "cosine between the slopes of the two leads",
            Estimate.exact(float(cosine), FITTED),
            "result",
        ),
        Row(sums, told(model, ATTENTION, leads), "result"),
        Row(f"{sums}, of other strings", told(model, ATTENTION, leads, mixed), "null"),
        Row(f"{sums}, untrained network", told(untrained, ATTENTION, leads), "control"),
    ]
    for name, other in (("front", "back"), ("back", "front")):
        own, rest = (front, back) if name == "front" else (back, front)
        where = f"variance along the direction of {name}, told by"
        rows += [
            Row(f"{where} {name}", told(model, ATTENTION, _one(own), along=found[name]), "result"),
            Row(f"{where} {other}", told(model, ATTENTION, _one(rest), along=found[name]), "null"),
        ]
    rows += [
        Row("right answers", right(added, now), "ceiling"),
        Row("right answers, attention's weights held at their mean", right(pattern, still),
            "result"),
        Row("right answers, only the two directions vary", right(added, keeping(both)), "result"),
        Row("right answers, only two random directions vary", right(added, keeping(random)),
            "null"),
        Row("right answers, only the direction of front varies",
            right(added, keeping(found["front"])), "control"),
        Row(f"{reading} what attention adds", reads(ATTENTION), "baseline"),
        Row(f"{reading} what the MLP adds", reads(MLP), "result"),
        Row(f"{reading} what the MLP adds, of other strings", reads(MLP, mixed), "null"),
    ]  # fmt: skip
    protocol = {"strings": n, "drawn": "of those set aside", "fitted on": f"{FITTED} others"}
    return Report("The parts of two majorities", rows, protocol, digits=2)


def _one(feature: Callable[[Tensor], Tensor]) -> Callable[[Tensor], list[Tensor]]:
    return lambda tokens: [feature(tokens)]


def _design(features: Sequence[Tensor]) -> Tensor:
    """A column of ones and a column for each feature [n]: [n, 1 + k] float64."""
    return torch.stack([torch.ones(len(features[0])), *features], 1).double()


def _fit(features: Sequence[Tensor], values: Tensor) -> Tensor:
    """Least squares of values [n, width] on the features and a constant: [1 + k, width] float64.

    Row 0 is the constant, the others are slopes.
    """
    return torch.linalg.lstsq(_design(features), values.double()).solution
