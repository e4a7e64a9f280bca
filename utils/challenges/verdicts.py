"""What each verdict needs, as data, and how it is put into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from utils.challenges.bits import Bits
from utils.reports import Estimate, Report
from utils.scrubbing import ScrubReport

LABELS, PROGRAM, MECHANISM = "labels only", "program", "program and mechanism"
UNRECOVERABLE = "not recoverable (supported)"

Level = Literal["program", "program and mechanism", "not recoverable (supported)"]


@dataclass(frozen=True)
class Rule:
    """One thing a verdict needs: `measure` must be `least` or more. `why` it is asked."""

    level: Level
    measure: str
    least: float
    why: str


# Shares of "what there is to win": 0 is the best null, 1 the ceiling. Bounds are compared with the
# end of the interval that is worse for the claim, so that luck does not carry it over.
RULES: tuple[Rule, ...] = (
    Rule(PROGRAM, "agreement with the network", 0.90, "it must say what the network says"),
    Rule(PROGRAM, "share of bits saved", 0.30, "a list of labels in disguise saves nothing"),
    Rule(MECHANISM, "steps placed that say more than the answer", 2,
         "a step that only repeats the answer divides nothing up"),
    Rule(MECHANISM, "share of variance resampled", 0.10,
         "holding everything exact proves nothing"),
    Rule(MECHANISM, "recovered above random classes", 0.50,
         "half of the way from that null to the ceiling"),
    Rule(MECHANISM, "recovered above random sites", 0.25,
         "the same claim elsewhere must do worse"),
    Rule(MECHANISM, "worst step, answers that change as predicted", 0.60,
         "each step must move the answer"),
    Rule(MECHANISM, "answers that change as predicted, above nulls", 0.25,
         "more often than with random sites, and than with the values of another donor"),
    Rule(MECHANISM, "answers that stay as predicted", 0.60, "and move it only when it should"),
    Rule(MECHANISM, "more than the label can do", 0.0,
         "by sufficiency above the label-only null, or by swaps between inputs of one label"),
    Rule(UNRECOVERABLE, "share given up", 0.03, "a few exceptions are cheaper as exceptions"),
    Rule(UNRECOVERABLE, "network right where nothing is given up", 0.90,
         "it must have learned the rest"),
    Rule(UNRECOVERABLE, "what guessing has over the network, where given up", -0.10,
         "a network that knows the labels hides a program there"),
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """A rule and what was measured. `met` is False where nothing could be measured."""

    rule: Rule
    value: float | None

    @property
    def met(self) -> bool:
        return self.value is not None and self.value >= self.rule.least


class Decision(NamedTuple):
    """The verdict, why in words, and every rule with what was measured."""

    verdict: str
    reasons: list[str]
    findings: list[Finding]


def decide(
    program: Report,
    bits: Bits,
    sufficiency: ScrubReport | None,
    random_sites: Estimate | None,
    necessity: Report | None,
    strength: Report | None,
    given_up: Report | None = None,
) -> Decision:
    """Apply RULES. The mechanism counts only where the program stands, and so does giving up."""
    measured = _measured(program, bits, sufficiency, random_sites, necessity, strength)
    if given_up is not None:
        measured.update(_measured_loss(given_up))
    findings = [Finding(rule, measured.get(rule.measure)) for rule in RULES]
    fits = all(f.met for f in findings if f.rule.level == PROGRAM)
    works = sufficiency is not None and all(f.met for f in findings if f.rule.level == MECHANISM)
    verdict = MECHANISM if fits and works else PROGRAM if fits else LABELS
    reasons = [_program_reason(program, bits)]
    if given_up is not None:
        lost = all(f.met for f in findings if f.rule.level == UNRECOVERABLE)
        # labels are given up without support: then the program is one of the rest only
        verdict = UNRECOVERABLE if fits and lost else LABELS
        reasons.append(_loss_reason(given_up))
    if sufficiency is None:
        reasons.append("No step is placed in the network, so no mechanism is claimed.")
    else:
        reasons += _mechanism_reasons(sufficiency, random_sites, necessity)
    weighed = {PROGRAM}
    weighed |= {MECHANISM} if sufficiency is not None else set()
    weighed |= {UNRECOVERABLE} if given_up is not None else set()
    reasons += [
        f"Not met: {f.rule.measure} "
        + ("could not be measured" if f.value is None else f"is {f.value:.2f}")
        + f", {f.rule.least:g} is needed ({f.rule.why})."
        for f in findings
        if not f.met and f.rule.level in weighed
    ]
    return Decision(verdict, reasons, findings)


def _rows(report: Report | None) -> dict[str, Estimate]:
    return {} if report is None else {row.name: row.estimate for row in report}


def _measured(
    program: Report,
    bits: Bits,
    sufficiency: ScrubReport | None,
    random_sites: Estimate | None,
    necessity: Report | None,
    strength: Report | None,
) -> dict[str, float]:
    out = {
        "agreement with the network": program["program = network"].low,
        "share of bits saved": bits.saved,
    }
    if sufficiency is None or strength is None:
        return out
    swaps, weights = _rows(necessity), _rows(strength)
    beyond = [e.value for name, e in weights.items() if name.endswith("bits beyond the answer")]
    out["steps placed that say more than the answer"] = float(sum(b >= 0.05 for b in beyond))
    out["share of variance resampled"] = weights["share of variance resampled"].low
    rows = _rows(sufficiency.report)
    mine, ceiling = rows["loss recovered"], rows["recovered, named parts exact"].value

    def above(null: Estimate) -> float:
        room = ceiling - null.value
        return (mine.low - null.high) / room if room > 0.02 else 0.0

    if "recovered, random classes" in rows:
        out["recovered above random classes"] = above(rows["recovered, random classes"])
    if random_sites is not None:
        out["recovered above random sites"] = above(random_sites)
    each = [
        e.low
        for name, e in swaps.items()
        if name.endswith(", should change") and not name.startswith("any step")
    ]
    if each:
        out["worst step, answers that change as predicted"] = min(each)
    change = swaps.get("any step, should change")
    nulls = [
        swaps[f"any step, should change, {null}"].high
        for null in ("random site", "shuffled source")
        if f"any step, should change, {null}" in swaps
    ]
    if change is not None and nulls:
        out["answers that change as predicted, above nulls"] = change.low - max(nulls)
    if "any step, should stay" in swaps:
        out["answers that stay as predicted"] = swaps["any step, should stay"].low
    beats = mine.low - rows["recovered, label only"].high
    if "any step, telling" in swaps:
        telling = swaps["any step, telling"].low
        nulls = [
            swaps[f"any step, telling, {null}"].high
            for null in ("random site", "shuffled source")
            if f"any step, telling, {null}" in swaps
        ]
        beats = max(beats, min(telling - max(nulls, default=0.0), telling - 0.5))
    out["more than the label can do"] = beats
    return out


def _measured_loss(given_up: Report) -> dict[str, float]:
    rows = _rows(given_up)
    out = {"share given up": rows["share given up"].low}
    right = rows.get("network = secret labels, given up")
    if right is not None:
        elsewhere = rows["network = secret labels, elsewhere"]
        out["network right where nothing is given up"] = elsewhere.low
        guess = rows["one answer for all, given up"]
        out["what guessing has over the network, where given up"] = guess.value - right.high
    return out


def _loss_reason(given_up: Report) -> str:
    rows = _rows(given_up)
    text = f"It gives up {rows['share given up'].value:.0%} of the inputs"
    if "network = secret labels, given up" not in rows:
        return f"{text}; without the key nobody can say whether the network knows those labels."
    right, guess = rows["network = secret labels, given up"], rows["one answer for all, given up"]
    return (
        f"{text}; there the network is right in {right.value:.0%} of cases, one answer for all in"
        f" {guess.value:.0%}, and elsewhere it is right in"
        f" {rows['network = secret labels, elsewhere'].value:.0%}."
    )


def _program_reason(program: Report, bits: Bits) -> str:
    agreement, largest = program["program = network"], program["always the larger class"]
    return (
        f"The program gives the network's answer for {agreement.value:.1%} of the inputs (the"
        f" larger class alone for {largest.value:.1%}) and saves {max(bits.saved, 0):.0%} of the"
        " bits that the labels take."
    )


def _mechanism_reasons(
    sufficiency: ScrubReport, random_sites: Estimate | None, necessity: Report | None
) -> Sequence[str]:
    rows, swaps = _rows(sufficiency.report), _rows(necessity)
    text = f"Resampling along it recovers {rows['loss recovered'].value:.0%} of the loss"
    parts = [
        f"{name} {estimate.value:.0%}"
        for name, estimate in (
            ("random classes", rows.get("recovered, random classes")),
            ("random sites", random_sites),
            ("the label in place of every step", rows.get("recovered, label only")),
            ("the named parts exact", rows.get("recovered, named parts exact")),
        )
        if estimate is not None
    ]
    reasons = [f"{text}; {', '.join(parts)}."]
    change = swaps.get("any step, should change")
    if change is not None:
        null = swaps.get("any step, should change, random site")
        beside = "" if null is None else f", random sites in {null.value:.0%}"
        reasons.append(
            f"Swapping a step changes the answer as predicted in {change.value:.0%} of the pairs"
            f" where it should{beside}."
        )
    telling = swaps.get("any step, telling")
    if telling is not None:
        reasons.append(
            f"Of swaps between two inputs of one label that should give the other,"
            f" {telling.value:.0%} do."
        )
    return reasons
