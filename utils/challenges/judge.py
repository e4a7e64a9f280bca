"""The judge: from a challenge and an explanation to a verdict, by four independent measurements.

1. Program: does it say what the network says, on inputs drawn for the judge alone?
2. Bits: does it say so in fewer bits than the labels take (`utils.challenges.bits`)?
3. Sufficiency: does the network stay itself when everything the explanation calls free is resampled
   (causal scrubbing), and better so than with random classes, with the label in place of every
   step, and with the same claims made of random sites of the same size?
4. Necessity: does its answer change as the program says when a step's site takes its value from an
   input where that step comes out differently (interchange interventions)?

Both halves of the mechanism are worth what was really resampled: `strength`. `RULES` says what each
verdict needs, as data. The thresholds were set before the calibration in `benchmarks/judge.py` was
run (explanations known to be right, half right and wrong; its table is in `benchmarks/README.md`);
what it taught is that one rule must not be asked where it has nothing to be about.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from utils.challenges.bits import Bits, measure
from utils.challenges.challenge import Challenge
from utils.challenges.explanation import Explanation, ExplanationError
from utils.challenges.measurements import (
    DIGITS,
    ENOUGH,
    agreement_report,
    necessity_report,
    places,
    random_site_null,
    sites_of,
    strength_report,
    unrecoverable_report,
)
from utils.challenges.verdicts import Finding, decide
from utils.reports import Estimate, Report
from utils.scrubbing import ScrubReport, scrub

MOST_STRATA = 5  # classes of answers whose losses are shown apart
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """What the judge found. `findings` are the rules with what was measured, `reasons` in words.

    sufficiency, strength and necessity are None when no mechanism was claimed; `given_up` is None
    when nothing was called unrecoverable.
    """

    name: str
    verdict: str
    reasons: Sequence[str]
    findings: Sequence[Finding]
    program: Report
    bits: Bits
    sufficiency: ScrubReport | None = None
    random_sites: Estimate | None = None
    necessity: Report | None = None
    strength: Report | None = None
    given_up: Report | None = None

    def __str__(self) -> str:
        parts = [str(self.program), self._bits_line()]
        if self.given_up is not None:
            parts.append(str(self.given_up))
        if self.sufficiency is not None:
            parts += [str(self.sufficiency), str(self.strength), str(self.necessity)]
        lines = "\n".join(f"  - {reason}" for reason in self.reasons)
        return "\n\n".join([*parts, f"VERDICT: {self.verdict}\n{lines}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        import html

        parts = [self.program._repr_html_(), f"<p>{html.escape(self._bits_line())}</p>"]
        if self.given_up is not None:
            parts.append(self.given_up._repr_html_())
        if self.sufficiency is not None:
            for report in (self.sufficiency, self.strength, self.necessity):
                parts.append(report._repr_html_())  # type: ignore[union-attr]
        items = "".join(f"<li>{html.escape(reason)}</li>" for reason in self.reasons)
        verdict = html.escape(self.verdict)
        return "".join(parts) + f"<p><strong>Verdict: {verdict}</strong></p><ul>{items}</ul>"

    def _bits_line(self) -> str:
        b = self.bits
        return (
            f"Bits: program {b.program:.0f} and exceptions {b.exceptions:.0f}, against"
            f" {b.table:.0f} for the table of labels: {b.saved:.0%} saved."
        )

    def as_dict(self) -> dict[str, Any]:
        """The JSON of `challenge judge` and of `solve`; estimates at the leaves."""

        def leaf(report: Report | None, name: str) -> dict[str, Any] | None:
            rows = {} if report is None else {row.name: row.estimate for row in report}
            return rows[name].as_dict() if name in rows else None

        scrubbed = None if self.sufficiency is None else self.sufficiency.report
        sites = None if self.random_sites is None else self.random_sites.as_dict()
        return {
            "name": self.name,
            "agreement": {
                "model": leaf(self.program, "program = network"),
                "labels": leaf(self.program, "program = secret labels"),
                "model_errors": leaf(self.program, "program = network, where it errs"),
            },
            "bits": {
                "program": round(self.bits.program, 1),
                "exceptions": round(self.bits.exceptions, 1),
                "table": round(self.bits.table, 1),
            },
            "sufficiency": {
                "recovered": leaf(scrubbed, "loss recovered"),
                "label_only_null": leaf(scrubbed, "recovered, label only"),
                "class_matched_null": leaf(scrubbed, "recovered, random classes"),
                "random_site_null": sites,
                "ceiling": leaf(scrubbed, "recovered, named parts exact"),
            },
            "necessity": {
                "change": leaf(self.necessity, "any step, should change"),
                "stay": leaf(self.necessity, "any step, should stay"),
                "random_site_null": leaf(self.necessity, "any step, should change, random site"),
            },
            "strength": {
                "variance": leaf(self.strength, "share of variance resampled"),
                "entropy": leaf(self.strength, "share of the input's entropy resampled"),
            },
            "verdict": self.verdict,
            "reasons": list(self.reasons),
        }


def judge(
    challenge: Challenge,
    explanation: Explanation,
    *,
    labels: Callable[[Tensor], Tensor] | None = None,
    inputs: int = 3000,
    references: int = 1000,
    resamples: int = 4,
    seed: int = 0,
    progress: Progress = lambda text: None,
) -> Verdict:
    """Try an explanation on a challenge.

    labels: the secret program, where the judge holds the key; its labels are compared, and decide
        whether a part was unrecoverable. Nothing else depends on them.
    inputs: how many to draw; fewer where the domain is smaller. references, resamples: for
        scrubbing. seed: of the inputs and, with the submission's digest, of the pairs, so that
        they cannot be known before the submission is fixed.

    Raises ExplanationError and its kinds, or HypothesisError and its kinds, for what cannot be
    tried as it stands.
    """
    sample = challenge.draw(inputs, seed)
    x, groups = sample.inputs, sample.groups
    progress("checking the steps")
    for step in explanation.placed:
        if any(isinstance(site, str) for site in sites_of(step)):
            raise ExplanationError(
                f"Step {step.name!r} names its place as text; use a Site, which can be swapped."
            )
    graph = challenge.graph_for(places(explanation), x)
    explanation.check(x[: min(len(x), 512)], graph)
    progress("comparing the program with the network")
    given_up = None
    if explanation.unrecoverable is not None:
        lost = explanation.given_up(x)
        given_up = unrecoverable_report(challenge, x, groups, lost, labels)
        x, groups = x[~lost], groups[~lost]
        if len(x) < ENOUGH:
            raise ExplanationError(
                f"The explanation gives up {int(lost.sum())} of {len(lost)} inputs, so there is"
                " next to nothing left that it explains."
            )
    values = explanation.values(x)
    said, network = explanation.labels(x, values), challenge.predict(x)
    program = agreement_report(said, network, groups, None if labels is None else labels(x).long())
    bits = measure(explanation, said, network, challenge.given)
    sufficiency = null = swaps = strength = None
    if explanation.placed:
        pairs = int.from_bytes(hashlib.sha256(f"{bits.digest}|{seed}".encode()).digest()[:7], "big")
        progress("resampling along the explanation, and its nulls")
        hypothesis = explanation.hypothesis()
        sufficiency = scrub(
            graph, hypothesis, x, network, label=network, refs=references, resamples=resamples,
            nulls=3, seed=seed, groups=groups, over="inputs", strata=_by_answer(network),
            digits=DIGITS,
        )  # fmt: skip
        progress("the same claims at random sites")
        generator = torch.Generator().manual_seed(pairs)
        null = random_site_null(
            challenge, explanation, x, network, groups, references, seed, generator
        )
        progress("swapping steps")
        swaps = necessity_report(challenge, explanation, x, groups, values, said, generator)
        progress("weighing what was resampled")
        strength = strength_report(challenge, explanation, x, groups, values, said, generator)
    decision = decide(program, bits, sufficiency, null, swaps, strength, given_up)
    return Verdict(
        challenge.name, *decision, program, bits, sufficiency, null, swaps, strength, given_up
    )  # fmt: skip


def _by_answer(network: Tensor) -> dict[str, Tensor]:
    """Inputs by the network's answer, for losses shown apart; none where the answers are many."""
    count = torch.bincount(network)
    if len(count) > MOST_STRATA:
        return {}
    common = [c for c, n in enumerate(count.tolist()) if n >= len(network) / 20]
    return {f"answer {c}": network == c for c in common}
