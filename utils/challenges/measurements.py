"""The judge's measurements, each a report of its own: agreement, random sites, swaps, strength.

`utils.challenges.judge` puts them together; `utils.challenges.verdicts` weighs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from utils.challenges.challenge import Challenge
from utils.challenges.evidence import ratio
from utils.challenges.explanation import Explanation
from utils.challenges.nulls import random_sites
from utils.reports import Estimate, Report, Row, jackknife
from utils.scrubbing import Step, recovered
from utils.sites import Site, random_cycle, run

BLOCKS = 20  # of inputs, for intervals over pairs of them
RANDOM_SITES = 3  # draws of random sites behind that null
ENOUGH = 20  # pairs below which a share says nothing
DIGITS = 3


def sites_of(step: Step) -> list[Any]:
    """The places of one step, of which there may be several."""
    return list(step.site) if isinstance(step.site, tuple) else [step.site]


def places(explanation: Explanation) -> list[Site]:
    """All Sites that its steps are placed at."""
    return [site for step in explanation.placed for site in sites_of(step)]


def share(hits: Tensor, groups: Tensor) -> Estimate:
    """Mean of `hits` [n] in [0, 1]; whole groups are resampled, Wilson where all agree."""
    count = len(groups.unique())
    mean = float(hits.double().mean())
    if count == len(hits) and bool(((hits == 0) | (hits == 1)).all()):
        return Estimate.proportion(int(hits.sum()), len(hits))
    if mean in (0.0, 1.0):
        return Estimate.proportion(round(mean * count), count)
    return ratio(hits.double(), torch.ones(len(hits), dtype=torch.double), groups)


def pair_share(hits: Tensor, first: Tensor, second: Tensor) -> Estimate:
    """Mean of `hits` [n] over pairs of groups (first, second), each [n]: an input that is left out
    is left out on both sides, since donors differ as much as what they are put into."""
    units = torch.cat([first, second]).unique(return_inverse=True)[1]
    count = int(units.max()) + 1
    mean = float(hits.double().mean())
    if mean in (0.0, 1.0) or count < 2 * BLOCKS:
        n = min(len(hits), count)
        return Estimate.proportion(round(mean * n), n)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    one, two = (order % BLOCKS)[units].chunk(2)

    def without(g: int | None) -> float:
        kept = hits if g is None else hits[(one != g) & (two != g)]
        return float(kept.double().mean())

    found = jackknife(without, BLOCKS, count)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


# --- program ------------------------------------------------------------------------------------


def agreement_report(
    said: Tensor, network: Tensor, groups: Tensor, labels: Tensor | None
) -> Report:
    """What the program says beside what the network says, and the labels where they are known."""
    rows = [Row("program = network", share(said == network, groups), "result")]
    if labels is not None:
        wrong = network != labels
        rows += [
            Row("program = secret labels", share(said == labels, groups), "result"),
            Row("network = secret labels", share(network == labels, groups), "ceiling"),
        ]
        if int(wrong.sum()) >= ENOUGH:
            hits = share((said == network)[wrong], groups[wrong])
            rows.append(Row("program = network, where it errs", hits, "result"))
    largest = torch.bincount(network).argmax()
    rows.append(Row("always the larger class", share(network == largest, groups), "baseline"))
    protocol = {"inputs": len(said), "drawn": "by the challenge, for the judge"}
    return Report("Program: agreement", rows, protocol, digits=DIGITS)


def unrecoverable_report(
    challenge: Challenge,
    x: Tensor,
    groups: Tensor,
    lost: Tensor,
    labels: Callable[[Tensor], Tensor] | None,
) -> Report:
    """Whether the network knows the labels that the explanation gives up. Needs the key."""
    rows = [Row("share given up", share(lost, groups), "result")]
    if labels is not None and min(int(lost.sum()), int((~lost).sum())) >= ENOUGH:
        truth = labels(x).long()
        right = challenge.predict(x) == truth
        guess = truth == torch.bincount(truth[lost]).argmax()
        for name, hits, part, role in (
            ("network = secret labels, given up", right, lost, "result"),
            ("one answer for all, given up", guess, lost, "null"),
            ("network = secret labels, elsewhere", right, ~lost, "ceiling"),
        ):
            rows.append(Row(name, share(hits[part], groups[part]), role))
    rows.append(Row("nothing given up", Estimate.exact(0.0, len(x)), "baseline"))
    return Report(
        "Unrecoverable: does the network know these labels?", rows, {"inputs": len(x)},
        digits=DIGITS,
    )  # fmt: skip


# --- sufficiency --------------------------------------------------------------------------------


def random_site_null(
    challenge: Challenge,
    explanation: Explanation,
    x: Tensor,
    network: Tensor,
    groups: Tensor,
    references: int,
    seed: int,
    generator: torch.Generator,
) -> Estimate:
    """Loss recovered when the same steps are placed at random sites of the same size, the mean of
    some draws. A claim about a site must do better than a claim about any site."""
    losses = []
    for _ in range(RANDOM_SITES):
        moved = relocated(challenge, explanation, x, generator)
        losses.append(
            recovered(
                challenge.graph_for(places(moved), x), moved.hypothesis("random sites"), x, network,
                refs=references, resamples=1, seed=seed, groups=groups,
            )
        )  # fmt: skip
    value = sum(e.value for e in losses) / len(losses)
    return Estimate(
        value, min(e.low for e in losses), max(e.high for e in losses), losses[0].n,
        f"mean of {RANDOM_SITES} draws, the widest of their intervals",
    )  # fmt: skip


def relocated(
    challenge: Challenge, explanation: Explanation, x: Tensor, generator: torch.Generator
) -> Explanation:
    """The same explanation with every placed step at a random site of the same size."""
    moved = iter(random_sites(challenge.model, places(explanation), x, generator))
    steps = []
    for step in explanation.steps:
        if step.site is not None:
            new = tuple(next(moved) for _ in sites_of(step))
            step = replace(step, site=new if isinstance(step.site, tuple) else new[0])
        steps.append(step)
    return replace(explanation, steps=steps)


# --- necessity ----------------------------------------------------------------------------------


def necessity_report(
    challenge: Challenge,
    explanation: Explanation,
    x: Tensor,
    groups: Tensor,
    values: Mapping[str, Tensor],
    own: Tensor,
    generator: torch.Generator,
) -> Report:
    """Swap each placed step's sites from an input where its value differs: does the answer follow?

    Rows for each step and for all together: pairs on which the program predicts another answer,
    pairs on which it predicts the same, and *telling* pairs: another answer although both inputs
    have the same one, which no site that merely carries the label could bring about. Nulls: a
    random site of the same size, and values from another donor than the prediction is about.
    values, own: the steps' values and the program's labels on x.
    """
    rows: list[Row] = []
    pooled: dict[tuple[str, str], list[tuple[Tensor, Tensor, Tensor]]] = {}
    for step in explanation.placed:
        value = values[step.name].reshape(len(x), -1)
        donors, differs = _other_donors(value, generator)
        if int(differs.sum()) < ENOUGH:
            continue
        base, donors = differs.nonzero()[:, 0], donors[differs]
        predicted = explanation.labels(x[base], {step.name: values[step.name][donors]})
        change = predicted != own[base]
        telling = change & (own[donors] == own[base])
        elsewhere = random_sites(challenge.model, sites_of(step), x, generator)
        wrong = donors[random_cycle(len(donors), generator)]
        here = sites_of(step)
        held = run(challenge.model, x, read=[*here, *elsewhere], batch_size=1000).values
        taken, others = held[: len(here)], held[len(here) :]
        for suffix, sites, values_there, source, role in (
            ("", here, taken, donors, "result"),
            (", random site", elsewhere, others, donors, "null"),
            (", shuffled source", here, taken, wrong, "null"),
        ):
            given = [value[source] for value in values_there]
            hits = swapped(challenge, x[base], sites, given) == predicted
            for what, part in (
                ("should change", change), ("should stay", ~change), ("telling", telling),
            ):  # fmt: skip
                if int(part.sum()) >= ENOUGH:
                    found = hits[part], groups[base[part]], groups[source[part]]
                    rows.append(Row(f"{step.name}, {what}{suffix}", pair_share(*found), role))
                    pooled.setdefault((f"any step, {what}{suffix}", role), []).append(found)
    for (name, role), parts in pooled.items():
        found = tuple(torch.cat(column) for column in zip(*parts, strict=True))
        rows.append(Row(name, pair_share(*found), role))  # type: ignore[arg-type]
    constant = Estimate.exact(1.0, len(x))
    rows.append(Row("nothing swapped, should stay", constant, "control"))
    return Report(
        "Necessity: answers that follow the program's counterfactual",
        rows,
        {"donor": "random input in which the step comes out differently", "inputs": len(x)},
        digits=DIGITS,
    )


def swapped(
    challenge: Challenge, x: Tensor, sites: Sequence[Site], values: Sequence[Tensor]
) -> Tensor:
    """The network's answers on x with these values at these sites, [n] int64."""
    edits = list(zip(sites, values, strict=True))
    output = run(challenge.model, x, edits=edits, allow_unchanged=True, batch_size=1000).output
    return challenge.read(output).argmax(-1)


def _other_donors(value: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """For each input a random one with another value, as far as some tries find one."""
    n = len(value)
    donors = torch.randint(n, (n,), generator=generator)
    for _ in range(30):
        same = (value[donors] == value).all(1)
        if not same.any():
            break
        donors[same] = torch.randint(n, (int(same.sum()),), generator=generator)
    return donors, ~(value[donors] == value).all(1)


# --- strength -----------------------------------------------------------------------------------


def strength_report(
    challenge: Challenge,
    explanation: Explanation,
    x: Tensor,
    groups: Tensor,
    values: Mapping[str, Tensor],
    said: Tensor,
    generator: torch.Generator,
) -> Report:
    """How much the claim gives away, and what each step says beyond the answer.

    share of variance: at the hooks the steps lie on, the mean squared change when every step's
        sites take the value of another input of its class and all else that of a random input,
        over what it would be if all of it came from one random input. share of entropy: what is
        left of the input's entropy when all steps' values are known, plug-in estimate over the
        judge's inputs.
    """
    rows = []
    known = [values[step.name].reshape(len(x), -1).double() for step in explanation.placed]
    kept = entropy(torch.cat(known, 1))
    whole = entropy(x.reshape(len(x), -1))
    rows.append(
        Row(
            "share of the input's entropy resampled",
            Estimate.exact(1 - kept / whole if whole > 0 else 0.0, len(x)), "result",
            f"{kept:.1f} of {whole:.1f} bits kept",
        )
    )  # fmt: skip
    variance = _variance(challenge, explanation, x, values, generator)
    rows.append(Row("share of variance resampled", share(variance, groups), "result"))
    for step, value in zip(explanation.placed, known, strict=True):
        beyond = entropy(torch.cat([value, said[:, None].double()], 1)) - entropy(said[:, None])
        rows.append(
            Row(f"{step.name}, bits beyond the answer", Estimate.exact(beyond, len(x)), "result")
        )
    rows.append(Row("the answer itself", Estimate.exact(0.0, len(x)), "baseline"))
    return Report("Strength: what was really resampled", rows, {"inputs": len(x)}, digits=DIGITS)


def entropy(values: Tensor) -> float:
    """Plug-in entropy in bits of the rows of [n, k]."""
    _, counts = torch.unique(values, dim=0, return_counts=True)
    p = counts.double() / counts.sum()
    return float(-(p * p.log2()).sum())


def _variance(
    challenge: Challenge,
    explanation: Explanation,
    x: Tensor,
    values: Mapping[str, Tensor],
    generator: torch.Generator,
) -> Tensor:
    """For each input, the squared change at the claimed hooks over its mean under free resampling.

    [n], capped at 1 so that a few far inputs do not speak for the rest.
    """
    from utils.hooked import axes_of
    from utils.scrubbing import Classes

    hooks = list(dict.fromkeys(site.hook for site in places(explanation)))
    n = min(len(x), 1000)
    activations = [Site(hook).read(challenge.model, x, batch_size=500) for hook in hooks]
    rest = torch.randint(len(x), (n,), generator=generator)
    moved = [a[rest].clone() for a in activations]
    for step in explanation.placed:
        classes = Classes.from_values(values[step.name])
        donors = classes.draw(torch.arange(n), generator)
        for site in sites_of(step):
            at = hooks.index(site.hook)
            axes = axes_of(challenge.model, site.hook, activations[at].ndim)
            site.put_(moved[at], site.get(activations[at][donors], axes), axes)
    other = torch.randint(len(x), (n,), generator=generator)
    changed = torch.zeros(n, dtype=torch.double)
    free = torch.zeros(n, dtype=torch.double)
    for a, m in zip(activations, moved, strict=True):
        changed += (m - a[:n]).double().flatten(1).pow(2).sum(1)
        free += (a[other] - a[:n]).double().flatten(1).pow(2).sum(1)
    result = torch.zeros(len(x), dtype=torch.double)
    result[:n] = (changed / free.mean().clamp_min(1e-12)).clamp(max=1)
    result[n:] = result[:n].mean()
    return result
