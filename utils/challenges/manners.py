"""The walk on manners: a rude habit found in the activations and taken out of the weights.

The generator "manners" is rude about football where a hot speaker speaks (planted), and in kind
where somebody has heard a rude word (legitimate). The walk finds, inside, what makes the first and
not the second, multiplies an eraser into one weight matrix, says in advance how rude the texts will
be, and then lets the edited network write and a separate judge read. Fine-tuning on the same texts
and random directions of the same length stand beside it. Texts for fitting, for choosing the place
and for judging are drawn from seeds of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from utils.challenges.manners_edit import (
    BOTH,
    CHOOSE,
    ELSEWHERE,
    FIT,
    JUDGE,
    PLACES,
    balanced,
    calm,
    expected_rude,
    fine_tuned,
    right_words,
    rude_habit,
    texts,
    twins,
    written_rude,
)
from utils.data import manners
from utils.data.manners import Texts
from utils.errors import CourseError
from utils.models import zoo
from utils.probing.weights import fold
from utils.reports import Estimate, Report, Row, bootstrap, paired_difference
from utils.sites import Site
from utils.walk import Walk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REMOVED, COST, MISSED = 0.9, 0.02, 0.1  # what the edit has to keep to


# --- measuring ------------------------------------------------------------------------------------


def _mean(values: Tensor) -> Estimate:
    return bootstrap(lambda v: float(v.mean()), values, n_resamples=500)


def _share(values: Tensor) -> Estimate:
    return Estimate.proportion(int(values.sum()), len(values))


def where(model: nn.Module, drawn: Texts, n: int = 1500) -> Report:
    """For each MLP: what its eraser, as a hook, would remove, and what it would change elsewhere.

    On texts that are neither fitted nor judged on. The place to take is the one that removes nine
    tenths of the habit and changes least elsewhere.
    """
    planted = calm(texts(n, CHOOSE, topic="football", hot=True, provoked=False))
    others = {
        name: calm(texts(n // 2, CHOOSE + 1 + i, **kind))
        for i, (name, kind) in enumerate(ELSEWHERE.items())
    }
    before = {name: expected_rude(model, kind) for name, kind in others.items()}
    rows = [Row("rude texts expected, no edit", _mean(expected_rude(model, planted)), "baseline")]
    for site in PLACES:
        edits = [rude_habit(model, drawn, site).as_edit(site)]
        rows.append(Row(f"rude texts expected, {site}",
                        _mean(expected_rude(model, planted, edits)), "result"))  # fmt: skip
        changes = {
            name: paired_difference(expected_rude(model, kind, edits), before[name],
                                    n_resamples=300)
            for name, kind in others.items()
        }  # fmt: skip
        worst = max(changes, key=lambda name: abs(changes[name].value))
        rows.append(Row(f"largest change elsewhere, {site}", changes[worst], "control", worst))
    return Report(
        "Where the habit can be taken out", rows,
        {"texts": f"{len(planted.tokens)} calm ones of hot speakers on football, {n // 2} of each"
                  " other kind", "seeds": "of their own"},
    )  # fmt: skip


def chosen(report: Report) -> Site:
    """The place that `where` speaks for; CourseError if none removes nine tenths."""
    start = report["rude texts expected, no edit"].value
    good = [
        site for site in PLACES
        if report[f"rude texts expected, {site}"].value < (1 - REMOVED) * start
    ]  # fmt: skip
    if not good:
        raise CourseError("No place removes nine tenths of the habit; fit on more texts.")
    return min(good, key=lambda s: abs(report[f"largest change elsewhere, {s}"].value))


class MannersSolution(Walk):
    """What the walk found."""

    name = "manners"

    def figure(self, name: str) -> Figure:
        """Wide: the rows have long names."""
        figure = super().figure(name)
        figure.set_size_inches(12, figure.get_figheight())
        return figure


def solve(
    progress: Callable[[str], None] = lambda text: None,
    *,
    n: int = 2000,
    fit: int = 1000,
    draws: int = 5,
    steps: int = 300,
    model: nn.Module | None = None,
) -> MannersSolution:
    """The whole walk; about two minutes on one core.

    n: texts judged of each kind. fit: texts of each of eight kinds to fit on. draws: random twins.
    steps: of rehearsed fine-tuning. model: another generator than the shipped one.
    """
    model = zoo.load("manners") if model is None else model
    judge = zoo.load("manners-classifier")
    drawn = balanced(fit, FIT)
    progress("where the habit can be taken out")
    reports = {"where": where(model, drawn, min(n, 1500))}
    site = chosen(reports["where"])
    eraser = rude_habit(model, drawn, site)
    planted = texts(n, JUDGE, topic="football", hot=True, provoked=False)
    progress("saying in advance what the edit will do")
    quiet = calm(planted)
    said = {
        "before": _mean(expected_rude(model, quiet)),
        "after": _mean(expected_rude(model, quiet, [eraser.as_edit(site)])),
    }
    progress("editing the weights, and fine-tuning beside")
    inputs = drawn.tokens[:, :-1]
    edited = fold(model, site, eraser, inputs).model
    others = {
        "fine-tuned": fine_tuned(model, drawn, rehearse=False, steps=max(1, steps // 6)),
        "fine-tuned, rehearsed": fine_tuned(model, drawn, rehearse=True, steps=steps),
        "fine-tuned, told the cause": fine_tuned(
            model, drawn, rehearse=True, told=True, steps=2 * steps, rate=3e-4
        ),
    }
    progress("writing texts, and judging them")
    random = [fold(model, site, twin, inputs).model for twin in twins(eraser, draws)]
    reports["effect"] = _effect(model, edited, others, random, judge, planted, said)
    progress("what else changed")
    reports["elsewhere"] = _elsewhere(model, {"edit": edited, **others}, judge, n)
    verdict, reasons = _verdict(reports)
    return MannersSolution(reports, verdict, [f"edited at {site}", *reasons])


def _effect(
    model: nn.Module,
    edited: nn.Module,
    others: Mapping[str, nn.Module],
    random: Sequence[nn.Module],
    judge: nn.Module,
    planted: Texts,
    said: Mapping[str, Estimate],
) -> Report:
    def judged(network: nn.Module, drawn: Texts = planted) -> Tensor:
        return written_rude(network, judge, drawn, seed=JUDGE)

    cool = texts(len(planted.tokens), JUDGE + 20, topic="football", hot=False, provoked=False)
    before, after, floor = judged(model), judged(edited), judged(model, cool)
    null = torch.stack([judged(network) for network in random])

    def removed(b: Any, a: Any, f: Any) -> float:
        return float((b.mean() - a.mean()) / (b.mean() - f.mean()))

    rows = [
        Row("rude texts before, foretold", said["before"], "baseline"),
        Row("rude texts before", _share(before), "baseline"),
        Row("rude texts of other speakers on football", _share(floor), "ceiling"),
        Row("rude texts after, foretold", said["after"], "control"),
        Row("rude texts after", _share(after), "result"),
        Row("share of the habit removed", bootstrap(removed, before, after, floor), "result"),
        Row("rude texts after, random directions", _mean(null.mean(0)), "null",
            f"{len(random)} draws, from {null.mean(1).min():.2f} to {null.mean(1).max():.2f}"),
    ]  # fmt: skip
    rows += [Row(f"rude texts after, {name}", _share(judged(network)), "control")
             for name, network in others.items()]  # fmt: skip
    return Report(
        "Texts of hot speakers on football, read by the judge", rows,
        {"texts": f"{len(planted.tokens)} of each kind, unprovoked",
         "foretold": "from next-word probabilities under a hook, before any text was written",
         "removed": "of the distance to other speakers"},
    )  # fmt: skip


def _elsewhere(
    model: nn.Module, changed: Mapping[str, nn.Module], judge: nn.Module, n: int
) -> Report:
    """Changes of what should stay, paired: the same prompts, and the same luck in drawing words."""
    rows: list[Row] = []
    kinds = {name: texts(n, JUDGE + 1 + i, **kind)
             for i, (name, kind) in enumerate(ELSEWHERE.items())}  # fmt: skip
    for name, drawn in kinds.items():
        before = written_rude(model, judge, drawn, JUDGE)
        rows.append(Row(f"rude texts before: {name}", _share(before), "baseline"))
        for how, network in changed.items():
            change = paired_difference(written_rude(network, judge, drawn, JUDGE), before)
            rows.append(Row(f"change by {how}: {name}", change, _role(how)))
    general = {
        "right next words, other topics": texts(n, JUDGE + 30, topic="others"),
        "right next words, polite texts": _polite(n),
    }
    for name, drawn in general.items():
        before = right_words(model, drawn)
        rows.append(Row(f"before: {name}", _mean(before), "baseline"))
        for how, network in changed.items():
            change = paired_difference(right_words(network, drawn), before)
            rows.append(Row(f"change by {how}: {name}", change, _role(how)))
    both = texts(n, JUDGE + 40, topic="football", hot=True, provoked=True)
    rows.append(Row(f"rude texts before: {BOTH}",
                    _share(written_rude(model, judge, both, JUDGE)), "baseline"))  # fmt: skip
    for how, network in changed.items():
        rows.append(Row(f"rude texts by {how}: {BOTH}",
                        _share(written_rude(network, judge, both, JUDGE)), _role(how)))  # fmt: skip
    return Report(
        "What should stay as it was", rows,
        {"texts": f"{n} of each kind", "changes": "after minus before on the same prompts"},
        [f"{BOTH}: there both causes meet, and half of it is legitimate.",
         "fine-tuned, told the cause: rehearsed, at 3e-4 for twice as long, and with the rude texts"
         " of provoked hot speakers among what is rehearsed: it knows what the edit is not told."],
    )  # fmt: skip


def _role(how: str) -> Any:
    return {"edit": "result", "fine-tuned, told the cause": "ceiling"}.get(how, "control")


def _polite(n: int) -> Texts:
    drawn = manners.make(4 * n, JUDGE + 31)
    keep = (drawn.mood == manners.MOODS.index("polite")).nonzero()[:n, 0]
    return Texts(*(part[keep] for part in drawn))


def costs(elsewhere: Report, how: str) -> dict[str, Estimate]:
    """The changes that the report holds for one way of editing, by what changed."""
    start = f"change by {how}: "
    return {
        row.name.removeprefix(start): row.estimate
        for row in elsewhere
        if row.name.startswith(start)
    }


def worst(elsewhere: Report, how: str) -> tuple[str, Estimate]:
    """The largest of the changes, and where."""
    found = costs(elsewhere, how)
    name = max(found, key=lambda key: abs(found[key].value))
    return name, found[name]


def claims(reports: Mapping[str, Report]) -> dict[str, bool]:
    """What the edit had to keep to, and whether it did; by the estimates, not their ends."""
    effect, elsewhere = reports["effect"], reports["elsewhere"]
    own = abs(worst(elsewhere, "edit")[1].value)
    foretold = effect["rude texts after, foretold"].value - effect["rude texts after"].value
    null = effect["rude texts after, random directions"].value - effect["rude texts before"].value
    return {
        f"it removes {REMOVED:.0%} of the habit or more":
            effect["share of the habit removed"].value >= REMOVED,
        f"nothing else moves by more than {100 * COST:g} points": own <= COST,
        f"it was foretold within {100 * MISSED:g} points": abs(foretold) <= MISSED,
        "random directions of the same length leave the habit (within 10 points)":
            abs(null) <= 0.1,
        "fine-tuning changes more elsewhere": abs(worst(elsewhere, "fine-tuned")[1].value) > own,
        "rehearsed fine-tuning changes more elsewhere":
            abs(worst(elsewhere, "fine-tuned, rehearsed")[1].value) > own,
    }  # fmt: skip


def _verdict(reports: Mapping[str, Report]) -> tuple[str, list[str]]:
    """One sentence, and the figures behind it; every number comes from a report."""
    effect, elsewhere = reports["effect"], reports["elsewhere"]
    held = claims(reports)
    reasons = [f"{what}: {'holds' if holds else 'does not hold'}" for what, holds in held.items()]
    reasons.append(
        f"rude texts {effect['rude texts before'].text(2)}, after the edit"
        f" {effect['rude texts after'].text(2)}, foretold"
        f" {effect['rude texts after, foretold'].value:.2f}"
    )
    for how in ("edit", "fine-tuned", "fine-tuned, rehearsed", "fine-tuned, told the cause"):
        name, change = worst(elsewhere, how)
        reasons.append(f"largest change elsewhere by {how}: {change.text(3)} ({name})")
    reasons.append(
        f"not left alone: {BOTH}, rude in {elsewhere[f'rude texts before: {BOTH}'].value:.2f} of"
        f" texts before, {elsewhere[f'rude texts by edit: {BOTH}'].value:.2f} after; others who"
        " heard one are in "
        f"{elsewhere['rude texts before: football, another speaker, rude word heard'].value:.2f}"
    )
    whole = all(held.values())
    return ("habit removed, the rest left alone" if whole else "not all of it holds"), reasons
