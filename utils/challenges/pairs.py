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
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from utils.challenges import verdicts
from utils.challenges.challenge import Challenge, Sample
from utils.challenges.explanation import Explanation
from utils.challenges.judge import Verdict
from utils.challenges.judge import judge as general_judge
from utils.challenges.pairs_case import Case, course_case
from utils.challenges.pairs_reports import (
    agreement_report,
    bits_report,
    gap_report,
    neighbour_report,
    neighbouring_rows_report,
    rules_report,
)
from utils.data import grid
from utils.reports import Report
from utils.scrubbing import Step, TransformerGraph

Progress = Callable[[str], None]


class _Answers(nn.Module):
    """Stands in for a network of which only the answers [p, p] are known."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, tokens: Tensor) -> Tensor:
        said = self.answers[tokens[:, 0], tokens[:, 1]]
        return nn.functional.one_hot(said, 2).double()[:, None]


def challenge(case: Case) -> Challenge:
    """The case for the judge: inputs are held-out pairs, and rows are the groups."""
    model, held_out = case.model or _Answers(case.answers), (~case.seen).nonzero()

    def draw(n: int, seed: int) -> Sample:
        order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(seed))
        cells = held_out[order[:n]]
        return Sample(grid.tokens(cells), cells[:, 0])

    def graph(tokens: Tensor) -> Any:
        return TransformerGraph(case.model, tokens, answer=2) if case.model else None

    return Challenge(case.name, "pairs", model, draw, graph, read=lambda output: output[:, -1])


def explanation(case: Case) -> Explanation:
    """The curves found, and one bit a piece of row, as a program of two steps."""
    bits = case.fit.pieces.bits.clamp(0).bool()
    # five digits are enough, and cheaper than all; power 0 stands for the falling line
    found = [
        (float(f"{c.constant:.5g}"), *(c.power or Fraction(0)).as_integer_ratio())
        for c in case.fit.curves
    ]

    def piece(tokens: Tensor) -> Tensor:
        a, b = tokens[:, 0].double(), tokens[:, 1]
        return sum((b + a * (n == 0) >= c * a ** (n / d)).long() for c, n, d in found)

    def label(tokens: Tensor, piece: Tensor) -> Tensor:
        return bits[tokens[:, 0], piece]

    return Explanation(
        [Step("piece", piece), Step("label", label, ("x", "piece"))], name="curves and row bits"
    )


def try_program(case: Case, progress: Progress = lambda text: None) -> Verdict:
    """The general judge on curves and row bits, on every held-out pair."""
    return general_judge(
        challenge(case), explanation(case), inputs=case.size**2, progress=progress,
        labels=lambda tokens: case.labels[tokens[:, 0], tokens[:, 1]],
    )  # fmt: skip


# --- the verdict ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairsSolution:
    """The reports of a walk, the general judge on the program, the verdict and its reasons."""

    name: str
    reports: dict[str, Report]
    judged: Verdict
    verdict: str
    reasons: list[str]

    def as_dict(self) -> dict[str, Any]:
        """The JSON of `python -m utils solve pairs`. No mechanism is claimed, so the leaves of
        sufficiency and necessity are null."""
        return {
            **self.judged.as_dict(),
            "program_verdict": self.judged.verdict,
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
    judged = try_program(case, progress)
    return PairsSolution(case.name, reports, judged, *decide(reports, judged))


def found_rules(report: Report) -> list[str]:
    """The columns in which a rule saves bits, and more of them than in any random order."""
    names = [row.name.split(":")[0] for row in report if row.role == "result"]
    return [
        name
        for name in names
        if report[f"{name}: best rule saves"].value
        > max(0, report[f"{name}: saved by chance"].high)
    ]


def decide(reports: dict[str, Report], judged: Verdict) -> tuple[str, list[str]]:
    """`not recoverable (supported)` of the row bits, else `program` or `labels only`.

    program: so says the general judge of curves and row bits, and they agree with the network
    better than the same search in shuffled rows and than no curve. not recoverable (supported):
    that, and no rule for the row bits was found by a search that does find all of the twin's, nor
    do neighbouring rows agree more than by chance. (The general judge uses the same words of labels
    that a network has not learned; here they are said of bits that have no shorter description.)
    """
    agreement, bits, gaps = (reports[key] for key in ("agreement", "bits", "gaps"))
    ours, labels = agreement["program = network"], agreement["program = secret labels"]
    shuffled = agreement["curves found in shuffled rows = network"]
    plain = agreement["one bit a row, no curve = network"]
    program = judged.verdict in (verdicts.PROGRAM, verdicts.MECHANISM)
    program &= ours.low > max(shuffled.high, plain.high)
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
        f"Curves and row bits as a program: {judged.verdict}, {judged.bits.saved:.0%} of the bits "
        f"of the held-out answers saved. {bits['curves'].value:.0f} bits of curves and "
        f"{bits['row bits'].value:.0f} row bits replace a table of {bits['table'].value:.0f}; the "
        "network's own errors cost another "
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
        return verdicts.LABELS, reasons
    return (verdicts.UNRECOVERABLE if unruly else verdicts.PROGRAM), reasons
