"""Challenge 1 solved: from a network and a clue image to a verdict with its evidence.

The walk follows "Solving the Mechanistic Interpretability challenges: EIS VII Challenge 1"
(Heimersheim and Hobbhahn, 2023) and adds what it left out: intervals, nulls, donors drawn
independently for the two detectors, and interchange interventions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.challenges import evidence as ev
from utils.challenges.challenge import Challenge, Sample
from utils.challenges.explanation import Explanation
from utils.challenges.judge import Verdict, judge
from utils.data import digits
from utils.data.programs import BandProgram, best_band, challenge_1
from utils.errors import CourseError
from utils.reports import Estimate, Report, Row
from utils.scrubbing import Step
from utils.sites import Site

DOSES = (0.0001, 0.001, 0.01, 0.1, 1.0)  # the solvers' noise levels, share of the range; 1 = random
REPEATS = 10  # donor draws behind every resampling row
DIGITS = 2  # shown; finer digits would differ between processors
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """A network to explain, on given images.

    images: [n, 1, 28, 28] in [0, 1]. labels: [n], what the network was trained towards, or None
    when nobody but its maker knows. groups: [n], see `evidence.Cut`.
    """

    name: str
    model: nn.Module
    images: Tensor
    groups: Tensor
    program: BandProgram  # the explanation on trial
    labels: Tensor | None = None
    statistic: Tensor = field(init=False)
    cut: ev.Cut = field(init=False)

    def __post_init__(self) -> None:
        # Only the cut and the output are kept: a full cache of 60,000 images would need 3 GB.
        parts = self.images.split(4000)
        kept = torch.cat([Site("hook_fc1").read(self.model, part) for part in parts])
        object.__setattr__(self, "cut", ev.Cut(kept, self.model.fc2, self.groups))
        object.__setattr__(self, "statistic", self.program.similarity(self.images))

    @property
    def below(self) -> Tensor:
        return self.statistic <= self.program.low

    @property
    def above(self) -> Tensor:
        return self.statistic >= self.program.high

    @property
    def said(self) -> Tensor:
        """What the program says, [n] int64."""
        return (self.below | self.above).long()


def held_out_case(n: int = 7200, progress: Progress = lambda text: None) -> Case:
    """The shipped network on images of held-out scans, with the program *recovered* from it.

    The band is fitted to the network's own answers on images of training scans; the secret
    thresholds are used for the labels alone.
    """
    from utils.models import zoo
    from utils.models.cnn import predict

    progress("loading the network and drawing images of held-out scans")
    model, clue = zoo.load("cnn-challenge"), digits.clue()
    seen = digits.make("train", 14_370, seed=11)
    progress("fitting the band to the network's own answers")
    rule = BandProgram(clue, 0.0, 0.0)
    low, high, _ = best_band(rule.similarity(seen.images), predict(model, seen.images))
    test = digits.make("held-out", n, seed=7)
    return Case(
        "cnn", model, test.images, test.original, replace(rule, low=low, high=high),
        challenge_1().labels(test.images),
    )  # fmt: skip


def challenge() -> Challenge:
    """Challenge 1 for the judge: the shipped network and its clue; images of held-out scans."""
    from utils.models import zoo

    def draw(n: int, seed: int) -> Sample:
        images = digits.make("held-out", n, seed=10_000 + seed)
        return Sample(images.images, images.original)

    return _challenge("cnn", zoo.load("cnn-challenge"), draw, digits.clue())


def challenge_of(case: Case) -> Challenge:
    """The same for a case's own network and images, of which the judge draws some."""

    def draw(n: int, seed: int) -> Sample:
        order = torch.randperm(len(case.images), generator=torch.Generator().manual_seed(seed))
        return Sample(case.images[order[:n]], case.groups[order[:n]])

    return _challenge(case.name, case.model, draw, case.program.template)


def _challenge(
    name: str, model: nn.Module, draw: Callable[[int, int], Sample], clue: Tensor
) -> Challenge:
    return Challenge(name, "cnn", model, draw, given={"clue": clue})


def explanation(case: Case) -> Explanation:
    """The account on trial as steps: two detectors at the neurons that take sides clearly.

    A detector of which the network has no neuron is a step without a place.
    """
    found = ev.find_detectors(case.cut.activations, case.below, case.above, ratio=2.0, floor=0.02)
    clue, low, high = case.program.template, round(case.program.low, 1), round(case.program.high, 1)

    def similarity(x: Tensor) -> Tensor:
        return (x[:, 0] * (2 * clue - 1)).sum((1, 2))

    def place(neurons: Tensor) -> Site | None:
        return Site("hook_fc1", neuron=neurons.tolist()) if len(neurons) else None

    return Explanation(
        [
            Step("below", lambda x: similarity(x) <= low, site=place(found.below)),
            Step("above", lambda x: similarity(x) >= high, site=place(found.above)),
            Step("label", lambda below, above: below | above, ("below", "above")),
        ],
        name="two detectors of a band",
    )


# --- the four kinds of evidence --------------------------------------------------------------


def statistics(images: Tensor, template: Tensor) -> dict[str, tuple[Tensor, str]]:
    """Rival one-number programs, each to be given its best band: name -> (values [n], role)."""
    x, t = images[:, 0].flatten(1), template.flatten()
    turned = template.rot90(2).flatten()
    return {
        "template": (x @ (2 * t - 1), "result"),
        "template rotated by 180 degrees": (x @ (2 * turned - 1), "control"),
        "ink on the template only": (x @ t, "control"),
        "amount of ink": (x.sum(1), "control"),
    }


def agreement_report(case: Case) -> Report:
    """How far the program says what the network says, beside rivals and trivial baselines."""
    network, share = case.cut.classes(), lambda hits: ev.share(hits, case.groups)
    rows = [Row("program = network", share(case.said == network), "result")]
    if case.labels is not None:
        wrong = network != case.labels
        rows += [
            Row("program = secret labels", share(case.said == case.labels), "result"),
            Row("network = secret labels", share(network == case.labels), "ceiling"),
        ]
        if wrong.any():
            hits = ev.share((case.said == network)[wrong], case.groups[wrong])
            rows.append(Row("program = network, where it errs", hits, "result"))
    for name, (values, role) in statistics(case.images, case.program.template).items():
        if role == "control":
            values = values.double()  # as the ends of the band are: no rounding at the ends
            low, high, _ = best_band(values, network)
            said = ((values <= low) | (values >= high)).long()
            rows.append(Row(f"{name}, best band", share(said == network), "control"))
    majority = max(network.double().mean().item(), 1 - network.double().mean().item())
    rows.append(Row("always the larger class", Estimate.exact(majority, len(network)), "baseline"))
    return Report(
        "Agreement of programs with the network",
        rows,
        {
            "inputs": len(case.cut),
            "band": f"{case.program.low:.2f} to {case.program.high:.2f}",
            "bands of the controls": "fitted to the network on these very inputs, in their favour",
        },
        digits=DIGITS,
    )


def ablation_report(case: Case) -> Report:
    """Hold one detector at its minimum: which half of the inputs keeps its label?"""
    cut, found = case.cut, ev.find_detectors(case.cut.activations, case.below, case.above)
    middle = (case.program.low + case.program.high) / 2
    halves = {"unlike": case.statistic < middle, "like": case.statistic >= middle}
    network, rows = cut.classes(), []
    generator = torch.Generator().manual_seed(0)
    live = (cut.activations > 0).any(0).nonzero()[:, 0]
    random = live[torch.randperm(len(live), generator=generator)[: len(found.below)]]
    for name, neurons, role in (
        ("below detector", found.below, "result"),
        ("above detector", found.above, "result"),
        ("both", found.both, "result"),
        ("as many random live neurons", random, "control"),
    ):
        kept = cut.classes(ev.ablate_to_minimum(cut, neurons)) == network
        for half, chosen in halves.items():
            estimate = ev.share(kept[chosen], case.groups[chosen])
            rows.append(Row(f"{name} off, {half} half", estimate, role))
    for half, chosen in halves.items():
        estimate = ev.share(network[chosen] == 0, case.groups[chosen])
        rows.append(Row(f"share of class 0, {half} half", estimate, "baseline"))
    return Report(
        "Labels kept when a detector is held at its minimum",
        rows,
        {
            "halves": "similarity under or over the middle of the band",
            "neurons": f"{len(found.below)} below, {len(found.above)} above, of {len(live)} live",
        },
        digits=DIGITS,
    )


def dose_report(case: Case, seed: int = 0) -> Report:
    """Labels kept against how similar the donors are: one donor for both detectors, or two."""
    found = ev.find_detectors(case.cut.activations, case.below, case.above)
    network, rows = case.cut.classes(), []
    for name, apart in (("same donor", False), ("independent donors", True)):
        for dose in DOSES:
            generator = torch.Generator().manual_seed(seed)
            kept = torch.zeros(len(case.cut), dtype=torch.double)
            for _ in range(REPEATS):
                first = ev.similar_donors(case.statistic, dose, generator)
                second = ev.similar_donors(case.statistic, dose, generator) if apart else first
                logits = ev.scrub(case.cut, found, first, second, generator)
                kept += logits.argmax(-1) == network
            role = "baseline" if dose >= 1 else "result"
            label = "at random" if dose >= 1 else f"within {dose:.2%}"
            rows.append(Row(f"{name} {label}", ev.share(kept / REPEATS, case.groups), role))
    return Report(
        "Labels kept when both detectors are resampled from similar inputs",
        rows,
        {"similar": "nearest in similarity plus noise, as a share of its range", "draws": REPEATS},
        digits=DIGITS,
    )


def sufficiency_report(case: Case, seed: int = 0) -> Report:
    """Causal scrubbing with boolean features and independent donors, between nulls and ceiling.

    Rows give the loss recovered, (L - L_random) / (L_clean - L_random), unclipped, and the share of
    inputs that keep the network's own label. Only neurons that take sides clearly (ratio 2) are
    claimed; all others are resampled at random.
    """
    cut, network = case.cut, case.cut.classes()
    found = ev.find_detectors(cut.activations, case.below, case.above, ratio=2.0, floor=0.02)
    target = network if case.labels is None else case.labels
    generator = torch.Generator().manual_seed(seed)
    everyone, nobody = torch.arange(len(cut)), torch.zeros(len(cut), dtype=torch.bool)
    label = case.below | case.above
    order = torch.randperm(len(cut), generator=generator)

    def run(below: Tensor | None, above: Tensor | None) -> tuple[Tensor, Tensor]:
        """Per-input loss and kept share for two features; None holds the detector exact."""
        loss, kept = torch.zeros(len(cut)).double(), torch.zeros(len(cut)).double()
        for _ in range(REPEATS):
            first, second = (
                everyone if feature is None else ev.same_class_donors(feature, generator)
                for feature in (below, above)
            )
            logits = ev.scrub(cut, found, first, second, generator)
            loss += functional.cross_entropy(logits, target, reduction="none").double() / REPEATS
            kept += logits.argmax(-1) == network
        return loss, kept / REPEATS

    clean = functional.cross_entropy(cut.readout(cut.activations), target, reduction="none")
    base, base_kept = run(nobody, nobody)
    rows = []
    for name, below, above, role in (
        ("explanation", case.below, case.above, "result"),
        ("label-only null", label, label, "null"),
        ("class-matched random null", case.below[order], case.above[order], "null"),
        ("features swapped", case.above, case.below, "control"),
        ("exact ceiling", None, None, "ceiling"),
    ):
        loss, kept = run(below, above)
        recovered = ev.ratio(loss - base, clean.double() - base, case.groups)
        rows.append(Row(f"{name}: loss recovered", recovered, role))
        rows.append(Row(f"{name}: labels kept", ev.share(kept, case.groups), role))
    rows.append(Row("all random: labels kept", ev.share(base_kept, case.groups), "baseline"))
    return Report(
        "Sufficiency: resampling along the explanation",
        rows,
        {
            "detectors": f"{len(found.below)} below and {len(found.above)} above, rest at random",
            "donors": "independent for the two detectors, same boolean feature",
            "draws": REPEATS,
        },
        digits=DIGITS,
    )


def necessity_report(case: Case, seed: int = 0) -> Report:
    """Swap one detector from an input where its feature differs: does the output follow?"""
    cut = case.cut
    found = ev.find_detectors(cut.activations, case.below, case.above, ratio=2.0, floor=0.02)
    generator = torch.Generator().manual_seed(seed)
    live = (cut.activations > 0).any(0).nonzero()[:, 0]
    rows, pooled = [], {}
    for name, neurons, feature, other in (
        ("below", found.below, case.below, case.above),
        ("above", found.above, case.above, case.below),
    ):
        donors = ev.other_class_donors(feature, generator)
        predicted = (feature[donors] | other).long()
        changes = predicted != case.said
        wrong_site = found.above if name == "below" else found.below
        random = live[torch.randperm(len(live), generator=generator)[: len(neurons)]]
        for where, chosen, role in (
            ("", neurons, "result"),
            (", random neurons instead", random, "null"),
            (", the other detector instead", wrong_site, "control"),
        ):
            hits = ev.swap(cut, chosen, donors) == predicted
            for what, part in (("change", changes), ("stay", ~changes)):
                if part.any():
                    key = f"swapped, should {what}{where}"
                    estimate = ev.share(hits[part], case.groups[part])
                    rows.append(Row(f"{name} {key}", estimate, role))
                    pooled.setdefault((key, role), []).append((hits[part], case.groups[part]))
    for (key, role), parts in pooled.items():
        hits, groups = (torch.cat(column) for column in zip(*parts, strict=True))
        rows.append(Row(f"either {key}", ev.share(hits, groups), role))
    return Report(
        "Necessity: outputs that follow the program's counterfactual",
        rows,
        {"pairs": len(cut), "donor": "random input in which the step's value differs"},
        digits=DIGITS,
    )


# --- the verdict -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Solution:
    """The reports of a walk, and what the judge makes of the account that came out of it."""

    reports: dict[str, Report]
    judged: Verdict

    @property
    def verdict(self) -> str:
        """The judge's one line."""
        return self.judged.verdict

    @property
    def reasons(self) -> list[str]:
        """Why, in sentences."""
        return list(self.judged.reasons)

    def as_dict(self) -> dict[str, Any]:
        """The JSON of `python -m utils solve`: the judge's, and every row of the walk."""
        rows = {
            key: {row.name: row.estimate.as_dict() for row in report}
            for key, report in self.reports.items()
        }
        return {**self.judged.as_dict(), "rows": rows}


def solve(case: Case, progress: Progress = lambda text: None) -> Solution:
    """All the evidence on one case, and the verdict on it.

    Raises CourseError when the band leaves no input on one of its sides: nothing could be swapped.
    """
    for side, inputs in (("under", case.below), ("over", case.above)):
        if inputs.all() or not inputs.any():
            raise CourseError(
                f"{'Every' if inputs.all() else 'No'} input lies {side} the band "
                f"{case.program.low:.2f} to {case.program.high:.2f}, so that detector cannot be "
                "tested: give a band that cuts the inputs in three."
            )
    reports = {}
    for key, make, text in (
        ("agreement", agreement_report, "comparing programs with the network"),
        ("ablation", ablation_report, "switching detectors off"),
        ("resampling", dose_report, "resampling detectors from similar images"),
        ("sufficiency", sufficiency_report, "scrubbing with independent donors, and the nulls"),
        ("necessity", necessity_report, "swapping detectors, and random neurons"),
    ):
        progress(text)
        reports[key] = make(case)
    labels = None if case.labels is None else challenge_1().labels
    verdict = judge(
        challenge_of(case), explanation(case), labels=labels,
        progress=lambda text: progress(f"judging: {text}"),
    )  # fmt: skip
    return Solution(reports, verdict)
