"""The walk of `solve filter`: one filter recovered from outside and from inside, what it misses and
how it is passed; then the same for more filters, and for some whose vectors stand for nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from utils.data import scenes
from utils.models.towers import TwoTowers
from utils.reports import Estimate, Report, Row
from utils.safety_filter.attack import STAGES, dilution
from utils.safety_filter.filter import Gate, Planted, make, nameless
from utils.safety_filter.judging import agreement, let_through, missed, same_list
from utils.safety_filter.naming import naming
from utils.safety_filter.recover import Recovered, from_inside, from_outside, listing
from utils.walk import Walk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEED, SURVEY_SEED, STRANGER = 1, 3, 999


@dataclass(frozen=True)
class FilterSolution(Walk):
    """What the walk found. found: the rule recovered from outside."""

    name = "filter"
    found: Recovered

    def as_dict(self) -> dict[str, Any]:
        """The recovered rule besides, and how many questions it took."""
        rule = self.found.rule
        return {
            **super().as_dict(),
            "rule": {
                "phrases": list(rule.phrases),
                "thresholds": list(rule.thresholds),
                "special": list(rule.special),
                "special_thresholds": list(rule.special_thresholds),
                "adjustment": rule.adjustment,
            },
            "asked": self.found.asked,
        }

    def figure(self, name: str) -> Figure:
        """With what the numbers are under the axis."""
        figure = super().figure(name)
        figure.axes[0].set_xlabel(_AXES[name])
        return figure


_AXES = {  # what the numbers of each picture are
    "names": "cosine",
    "names of three words": "cosine",
    "from outside": "standard deviation of the cosine at the border",
    "agreement": "balanced agreement",
    "let through": "share of looks that pass",
    "dilution": "share of scenes that pass",
    "other filters": "share of phrases",
}


def border_report(found: Recovered, planted: Planted) -> Report:
    """Each phrase that was listed from outside: the spread of cosines at its border beside that of
    the best other phrase, with the threshold found and the stored one in the note."""
    stored = dict(zip(planted.concepts, planted.filter.thresholds.tolist(), strict=True))
    lines = []
    for border in found.borders:
        truth = stored.get(border.phrase)
        note = f"threshold {border.threshold:.3f}" + (
            f", stored {truth:.3f}" if truth is not None else ", not on the list"
        )
        lines.append(Row(border.phrase, Estimate.exact(border.spread, border.n), "result", note))
        lines.append(
            Row(f"{border.phrase}: best other", Estimate.exact(border.rival, border.n), "control",
                border.rival_phrase)
        )  # fmt: skip
    return Report(
        "Spread of the cosine at the gate's border, by phrase", lines,
        {"images asked in all": found.asked, "kept": "own spread below every other phrase's"},
        digits=4,
    )  # fmt: skip


def many(towers: TwoTowers, seeds: Sequence[int], nulls: int = 4) -> Report:
    """The recovery from outside over several filters, and over filters of nameless vectors."""
    right = wrong = planted = special = specials = listed = kept = 0
    for seed in seeds:
        truth = make(seed, towers)
        rule = from_outside(Gate(truth.filter, towers), towers, SURVEY_SEED).rule
        both, extra, lost = same_list(rule.phrases, truth.concepts)
        right, wrong, planted = right + both, wrong + extra, planted + both + lost
        special += same_list(rule.special, truth.special)[0]
        specials += len(truth.special)
    for seed in range(nulls):
        gate = Gate(nameless(seed, towers).filter, towers)
        _, found = listing(gate, towers, SURVEY_SEED)
        listed, kept = listed + len(found), kept + sum(border.own for border in found)
    return Report(
        "The same recovery for other filters",
        [
            Row("planted phrases that were recovered", Estimate.proportion(right, planted),
                "result"),
            Row("special words recovered", Estimate.proportion(special, specials), "result"),
            Row("recovered phrases that were not planted",
                Estimate.proportion(wrong, max(1, right + wrong)), "control"),
            Row("nameless vectors: listed phrases that were kept",
                Estimate.proportion(kept, max(1, listed)), "null"),
        ],
        {"filters": len(seeds), "nameless filters": nulls},
    )  # fmt: skip


def solve(
    progress: Callable[[str], None] = lambda text: None,
    *,
    seeds: Sequence[int] = (0, 2, 3, 4, 5, 6, 7, 8),
    n: int = 4000,
    attacked: int = 50,
    nulls: int = 4,
) -> FilterSolution:
    """The whole walk; half a minute on one core. seeds, n, attacked, nulls: fewer for a test."""
    from utils.models import zoo

    towers = zoo.load("towers")
    assert isinstance(towers, TwoTowers)
    planted = make(SEED, towers)
    found = from_outside(Gate(planted.filter, towers), towers, SURVEY_SEED, progress)
    reports = {"from outside": border_report(found, planted)}
    progress("names for the stored vectors")
    short, _ = naming(planted.filter, towers, scenes.dictionary())
    reports["names"] = short
    reports["names of three words"], _ = naming(
        planted.filter, towers, [*scenes.dictionary(), *scenes.long_phrases()]
    )
    inside = from_inside(
        planted.filter, towers, scenes.dictionary(), float(short.protocol["named above"])
    )
    rules = {
        "the rule from outside": found.rule.filter(towers),
        "the names from inside": inside.filter(towers),
    }
    progress("fresh scenes")
    reports["agreement"] = agreement(rules, planted.filter, towers, found.survey, n=n)
    judge = Gate(planted.filter, towers, budget=20_000)
    outside = rules["the rule from outside"]
    reports["let through"] = let_through(outside, judge, towers)
    progress("dilution")
    reports["dilution"] = dilution(
        {"the rule from outside": outside}, make(STRANGER, towers).filter, judge, towers,
        n=attacked,
    )  # fmt: skip
    if seeds:
        progress("other filters, and nameless ones")
        reports["other filters"] = many(towers, seeds, nulls)
    verdict, reasons = _judge(reports, found, planted, missed(outside, towers))
    return FilterSolution(reports, verdict, reasons, found)


def _judge(
    reports: Mapping[str, Report], found: Recovered, planted: Planted, passes: Sequence[str]
) -> tuple[str, list[str]]:
    """One sentence, and the figures behind it."""
    both, extra, lost = same_list(found.rule.phrases, planted.concepts)
    agree, drop = reports["agreement"], reports["dilution"]
    stored = dict(zip(planted.concepts, planted.filter.thresholds.tolist(), strict=True))
    errors = [
        abs(limit - stored[phrase])
        for phrase, limit in zip(found.rule.phrases, found.rule.thresholds, strict=True)
        if phrase in stored
    ]
    last = f"{STAGES[-1]}, by "
    reasons = [
        f"{found.asked} images asked: {both} of {both + lost} phrases, {extra} that are not"
        f" listed, thresholds right to {max(errors, default=0.0):.4f}",
        f"fresh scenes: balanced agreement {agree['the rule from outside'].value:.3f} from"
        f" outside, {agree['the names from inside'].value:.3f} with names from inside, most similar"
        f" scene {agree['as the most similar scene asked'].value:.2f}, other filters"
        f" {agree['other filters of the maker, mean'].value:.2f}",
        f"of {sum(len(scenes.KINDS[k]) for k in scenes.GUARDED)} guarded objects {len(passes)} pass"
        f" in most looks: {', '.join(passes)}",
        f"the others pass after dilution: {drop[last + 'the rule from outside'].value:.2f} where"
        f" the rule chose, {drop[last + 'the list of another filter'].value:.2f} by another"
        f" filter's list, {drop[last + 'chance'].value:.2f} by chance",
    ]
    if "other filters" in reports:
        rows = reports["other filters"]
        right = rows["planted phrases that were recovered"].value
        null = rows["nameless vectors: listed phrases that were kept"].value
        reasons.append(
            f"other filters: recovered {right:.2f} of the phrases; of what nameless vectors suggest"
            f" {null:.2f} was kept"
        )
    whole = not extra and not lost and agree["the rule from outside"].value > 0.98
    verdict = "recovered from outside" if whole else "recovered in part"
    return verdict, reasons
