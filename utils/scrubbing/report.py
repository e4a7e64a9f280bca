"""Causal scrubbing with what belongs beside its number: baselines, nulls, ceiling, strength, cost.

A score alone cannot be read. Wrong features that are correlated with the right ones score well, so
there are nulls; a hypothesis that resamples nothing scores 100 %, so there is strength; and the
expected loss can be kept while single outputs change, so there is agreement with the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from utils.reports import Estimate, Report, Row, bootstrap, jackknife
from utils.scrubbing.engine import Cost
from utils.scrubbing.graph import Graph
from utils.scrubbing.hypothesis import Hypothesis, HypothesisError
from utils.scrubbing.plan import Plan
from utils.scrubbing.runner import Engine, Loss, Runner, featured
from utils.scrubbing.samplers import Classes, Draws, Sampler

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BLOCKS = 20  # of inputs, for intervals over inputs


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Nats a row: output [B, classes] logits, target [B] int or bool."""
    return functional.cross_entropy(output, target.long(), reduction="none")


@dataclass(frozen=True)
class Strength:
    """How much a node's resampling really swapped.

    classes: number of classes. smallest, median: members. alone: share of inputs whose class has
    no other member, which can never be swapped. moved: share of draws that are another input than
    the parent's. bits: entropy of the feature over the data, what the swap keeps.
    """

    classes: int
    smallest: int
    median: int
    alone: float
    moved: float
    bits: float


@dataclass(frozen=True, repr=False)
class ScrubReport:
    """What `scrub` found. Prints as text, shows as a table; `report` is the table of estimates.

    losses: [resamples, references], the scrubbed losses. refs: [references], rows of the data.
    strength: path -> Strength. marginals: path -> recovered with the node exact, and with it
    unconditional. strata: name -> (scrubbed, model's own, baseline loss). spread: standard errors
    of the mean loss from the choice of references and from resampling.
    """

    hypothesis: Hypothesis
    report: Report
    losses: Tensor
    refs: Tensor
    strength: Mapping[str, Strength]
    marginals: Mapping[str, tuple[Estimate, Estimate]]
    strata: Mapping[str, tuple[Estimate, Estimate, Estimate]]
    spread: tuple[float, float]
    cost: Cost
    engine: str

    @property
    def recovered(self) -> Estimate:
        """Share of the loss recovered; not clipped, so it can lie under 0 or over 1."""
        return self.report["loss recovered"]

    def __getitem__(self, name: str) -> Estimate:
        return self.report[name]

    def node_table(self) -> list[tuple[str, ...]]:
        """Header and one row a node: its claim, its strength and its marginals, as text."""
        header = ("node", "feature", "classes", "alone", "moved", "bits")
        if self.marginals:
            header += ("exact", "any")
        table = [header]
        for path, node in self.hypothesis.nodes():
            s = self.strength[path]
            row = (
                "  " * path.count("/") + node.name, node.label, str(s.classes),
                f"{s.alone:.2f}", f"{s.moved:.2f}", f"{s.bits:.1f}",
            )  # fmt: skip
            if self.marginals:
                row += tuple(f"{e.value:.{self.report.digits}f}" for e in self.marginals[path])
            table.append(row)
        return table

    def strata_table(self) -> list[tuple[str, ...]]:
        """Header and one row a stratum: mean losses of the scrubbed and the untouched model."""
        table = [("stratum", "scrubbed", "model", "baseline", "references")]
        for name, (scrubbed, own, base) in self.strata.items():
            numbers = (f"{e.value:.{self.report.digits}f}" for e in (scrubbed, own, base))
            table.append((name, *numbers, str(scrubbed.n)))
        return table

    def __str__(self) -> str:
        parts = [str(self.report), _columns(self.node_table())]
        if self.strata:
            parts.append(_columns(self.strata_table()))
        return "\n\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        tables = [self.node_table()] + ([self.strata_table()] if self.strata else [])
        return self.report._repr_html_() + "".join(_html(table) for table in tables)

    def figure(self) -> Figure:
        """The hypothesis as a tree, coloured by what each node's claim costs; see `draw.tree`."""
        from utils.scrubbing.draw import tree

        return tree(self.hypothesis, self)


def scrub(
    graph: Graph,
    hypothesis: Hypothesis,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Loss = cross_entropy,
    refs: int | Tensor = 1000,
    resamples: int = 5,
    seed: int = 0,
    label: Tensor | None = None,
    nulls: int = 5,
    marginals: bool = False,
    strata: Mapping[str, Tensor] | None = None,
    ids: Tensor | None = None,
    groups: Tensor | None = None,
    over: Literal["references", "inputs"] = "references",
    engine: Engine = "auto",
    memory_mb: float = 2048,
    progress: Callable[[str, int, int], None] | None = None,
    digits: int = 3,
) -> ScrubReport:
    """Test a hypothesis by resampling everything it calls free to vary.

    inputs: the data [N, ...]. targets: [N, ...], what `loss(outputs, targets)` -> [B] compares
        with. refs: rows to measure on, or how many to draw with replacement; all rows when there
        are at most so many. resamples: rounds of resampling a reference.
    label: [N], for the label-only null; the targets if they are integers or booleans.
    nulls: how many shuffles of the classes make the class-matched null; 0 leaves it out.
    marginals: also run with each node exact, and with each unconditional.
    strata: name -> [N] bool, parts of the data whose losses are shown apart.
    ids: [N] names of the inputs, so that a shuffled data set gives the same draws.
    groups: [N], inputs that are copies of one original share a number; intervals resample whole
        groups.
    over: what the interval of the loss recovered speaks about. "references": these inputs, of which
        other references might have been drawn. "inputs": other inputs of the same kind, where every
        donor would be another too; wider, by a jackknife that leaves an input out of all its parts.
    engine: "auto" gathers clean activations unless recomputing them is cheaper, and says so.
    memory_mb: for the stored activations, and the work on them.
    progress: called with what is running, rows done and rows in all.

    loss recovered = (scrubbed - baseline) / (model - baseline), where the baseline takes the
    output on a random other input (Chan et al. 2022, "Causal scrubbing"). Intervals resample
    references. Raises HypothesisError and its kinds for what cannot be tested.
    """
    n = len(inputs)
    if len(targets) != n:
        raise HypothesisError(f"There are {n} inputs but {len(targets)} targets.")
    if resamples < 1:
        raise HypothesisError(f"resamples must be 1 or more, got {resamples}.")
    rows = _references(refs, n, seed)
    sampler = Sampler(hypothesis, inputs, seed=seed, ids=ids)
    graph.check(inputs)
    plan = Plan(graph, hypothesis)
    run = Runner(graph, inputs, targets, loss, rows, resamples, engine, memory_mb, progress)

    run.prepare(plan, variants=1 + bool(nulls) * nulls + 2 + 2 * marginals * (len(hypothesis) - 1))
    outputs, draws = run("scrubbing", plan, sampler)
    clean = run.clean()
    own = run.measure(clean[rows][None], rows[None])[0]
    base = run.baseline(clean, sampler)
    losses = run.losses(outputs)
    mine = losses.mean(0)
    units = _units(rows, groups)

    def share(scrubbed: Tensor) -> Estimate:
        return _recovered(scrubbed, base, own, units)

    found = share(mine)
    if over == "inputs":
        found = _over_inputs(losses, base, own, draws, n, groups)
    protocol: dict[str, str | int | float] = {
        "references": len(rows),
        "resamples of each": resamples,
        "inputs": n,
        "unimportant inputs": hypothesis.unimportant,
        "baseline": "output on a random other input",
        "seed": seed,
        "engine": run.engine,
    }
    table = [
        Row("loss recovered", found, "result"),
        Row("loss, scrubbed", _mean(mine, units), "result"),
        Row("loss, baseline", _mean(base, units), "baseline", "recovers 0"),
        Row("loss, model", _mean(own, units), "ceiling", "recovers 1"),
    ]
    table += _agreement(outputs, clean[rows], run.targets(rows), units)
    label = _label(label, targets)
    if label is not None:
        note = "every feature replaced by the label"
        table.append(
            Row("recovered, label only", share(run.null(plan, sampler, label)), "null", note)
        )
    if nulls and any(callable(node.feature) for _, node in hypothesis.nodes()):
        shuffled = torch.stack([run.shuffled(plan, sampler, k) for k in range(nulls)])
        note = f"random classes of the same sizes, mean of {nulls}"
        table.append(Row("recovered, random classes", share(shuffled.mean(0)), "null", note))
    ceiling = hypothesis.map(lambda _, node: replace(node, feature="exact"))
    table.append(
        Row(
            "recovered, named parts exact", share(run.score("exact ceiling", ceiling, seed, ids)),
            "ceiling", "what remains is lost outside the claims",
        )
    )  # fmt: skip
    apart: dict[str, tuple[Estimate, Estimate]] = {}
    if marginals:
        for path, node in hypothesis.nodes():
            exact = hypothesis.change(path, feature="exact", inputs=())
            free = hypothesis.change(path, feature="any", together=None)
            if node.together is not None:
                exact = exact.change(path, together=None)
            apart[path] = (
                share(run.score(f"{path} exact", exact, seed, ids)),
                share(run.score(f"{path} free", free, seed, ids)),
            )
    spread = _spread(losses)
    notes = [
        f"standard error of the scrubbed loss: {spread[0]:.{digits}f} from the choice of"
        f" references, {spread[1]:.{digits}f} from resampling",
        f"change of loss, one reference at a time: median"
        f" {(mine - own).abs().median():.{digits}f}, 90 % below"
        f" {(mine - own).abs().quantile(0.9):.{digits}f}",
        *run.notes(),
    ]
    strength = {path: _strength(sampler.classes[path], draws, path) for path in sampler.classes}
    still = [path for path, _ in featured(hypothesis) if strength[path].alone > 0.5]
    if still:
        notes.append(
            f"{', '.join(still)}: more than half of the inputs are alone in their class, so there"
            " is next to nothing to swap"
        )
    return ScrubReport(
        hypothesis,
        Report(f"Causal scrubbing: {hypothesis.name}", table, protocol, notes, digits=digits),
        losses, rows, strength, apart,
        _strata(strata or {}, rows, mine, own, base, groups), spread, run.cost, run.engine,
    )  # fmt: skip


def recovered(
    graph: Graph,
    hypothesis: Hypothesis,
    inputs: Tensor,
    targets: Tensor,
    *,
    loss: Loss = cross_entropy,
    refs: int | Tensor = 1000,
    resamples: int = 5,
    seed: int = 0,
    groups: Tensor | None = None,
    memory_mb: float = 2048,
) -> Estimate:
    """The share of the loss recovered and nothing else; arguments as for `scrub`, the interval over
    inputs.

    For one more row beside a report that has the rest: a rival, another null.
    """
    rows = _references(refs, len(inputs), seed)
    graph.check(inputs)
    sampler = Sampler(hypothesis, inputs, seed=seed)
    plan = Plan(graph, hypothesis)
    run = Runner(graph, inputs, targets, loss, rows, resamples, "auto", memory_mb, None)
    run.prepare(plan, variants=1)
    outputs, draws = run("scrubbing", plan, sampler)
    clean = run.clean()
    own = run.measure(clean[rows][None], rows[None])[0]
    base = run.baseline(clean, sampler)
    return _over_inputs(run.losses(outputs), base, own, draws, len(inputs), groups)


def _references(refs: int | Tensor, n: int, seed: int) -> Tensor:
    if isinstance(refs, Tensor):
        if refs.ndim != 1 or not len(refs) or refs.min() < 0 or refs.max() >= n:
            raise HypothesisError(f"refs must be rows of the data, numbers from 0 to {n - 1}.")
        return refs.long()
    if refs < 2:
        raise HypothesisError(f"refs must be 2 or more, got {refs}: one has no interval.")
    if refs >= n:
        return torch.arange(n)
    return torch.randint(n, (refs,), generator=torch.Generator().manual_seed(seed))


def _units(rows: Tensor, groups: Tensor | None) -> Tensor | None:
    """What an interval resamples: groups, or rows where some were drawn twice, or just the rows."""
    if groups is not None:
        return groups[rows]
    return rows if len(rows.unique()) < len(rows) else None


def _recovered(scrubbed: Tensor, base: Tensor, own: Tensor, groups: Tensor | None) -> Estimate:
    gap = float((own - base).mean())
    if abs(gap) < 1e-9:
        raise HypothesisError(
            "The model's loss equals the baseline's, so there is no loss to recover: either the"
            " model does nothing here, or the loss does not depend on its output."
        )

    def statistic(s: Any, b: Any, o: Any) -> float:
        return float((s - b).mean() / (o - b).mean())

    return bootstrap(statistic, scrubbed, base, own, groups=groups, n_resamples=500)


def _over_inputs(
    losses: Tensor, base: Tensor, own: Tensor, draws: Draws, n: int, groups: Tensor | None
) -> Estimate:
    """Loss recovered, with an interval over inputs: blocks of them are left out as references and
    as donors of every kind. losses: [rounds, B]; base, own: [B]; draws: of all rounds."""
    refs = draws.refs.reshape(losses.shape)[0]
    units = torch.arange(n) if groups is None else groups.unique(return_inverse=True)[1]
    count = int(units.max()) + 1
    blocks = min(BLOCKS, count)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    block = (order % blocks)[units]
    named = torch.stack([draws.refs, *draws.drawn.values(), *draws.others.values()])
    kinds = block[named].reshape(len(named), *losses.shape)
    if min(int((kinds != g).all(0).sum()) for g in range(blocks)) < 30:
        # too many donors a row: hardly any row is without one from a block
        return _recovered(losses.mean(0), base, own, refs if groups is None else groups[refs])

    def without(g: int | None) -> float:
        rows, mine = slice(None), slice(None)
        if g is not None:
            rows, mine = (kinds != g).all(0), block[refs] != g
        floor = float(base[mine].mean())
        return (float(losses[rows].mean()) - floor) / (float(own[mine].mean()) - floor)

    return jackknife(without, blocks, len(refs.unique()) if groups is None else count)


def _mean(values: Tensor, groups: Tensor | None) -> Estimate:
    return bootstrap(lambda x: float(x.mean()), values, groups=groups, n_resamples=500)


def _agreement(outputs: Tensor, clean: Tensor, targets: Tensor, groups: Tensor | None) -> list[Row]:
    if outputs.ndim == 3 and outputs.shape[-1] > 1:
        same = (outputs.argmax(-1) == clean.argmax(-1)).double().mean(0).cpu()
        rows = [
            Row("agreement with the model", _mean(same, groups), "result", "same class, each row")
        ]
        if targets.ndim == 1 and not targets.is_floating_point():
            right = (outputs.argmax(-1).cpu() == targets.cpu()).double().mean(0)
            rows.append(Row("accuracy, scrubbed", _mean(right, groups), "result"))
            own = (clean.argmax(-1).cpu() == targets.cpu()).double()
            rows.append(Row("accuracy, model", _mean(own, groups), "ceiling"))
        return rows
    off = (outputs - clean).double().abs().reshape(*outputs.shape[:2], -1).mean(-1).mean(0).cpu()
    return [Row("mean |output - the model's|", _mean(off, groups), "result", "0 is agreement")]


def _label(label: Tensor | None, targets: Tensor) -> Tensor | None:
    if label is not None:
        return label
    plain = targets.ndim == 1 and not targets.is_floating_point()
    return targets if plain else None


def _spread(losses: Tensor) -> tuple[float, float]:
    """Standard errors of the mean: from the references, and from resampling each of them."""
    rounds, n = losses.shape
    total = float(losses.mean(0).var()) / n if n > 1 else 0.0
    inner = float(losses.var(0).mean()) / (rounds * n) if rounds > 1 else 0.0
    return math.sqrt(max(total - inner, 0.0)), math.sqrt(inner)


def _strength(classes: Classes, draws: Draws, path: str) -> Strength:
    parent = draws.drawn[path.rpartition("/")[0]] if "/" in path else draws.refs
    share = classes.size.double() / classes.size.sum()
    return Strength(
        len(classes),
        int(classes.size.min()),
        int(classes.size.median()),
        float((classes.size == 1).sum() / classes.size.sum()),
        float((draws.drawn[path] != parent).double().mean()),
        float(-(share * share.log2()).sum()),
    )


def _strata(
    strata: Mapping[str, Tensor],
    rows: Tensor,
    scrubbed: Tensor,
    own: Tensor,
    base: Tensor,
    groups: Tensor | None,
) -> dict[str, tuple[Estimate, Estimate, Estimate]]:
    out = {}
    for name, mask in strata.items():
        inside = mask[rows].bool()
        if int(inside.sum()) < 2:
            raise HypothesisError(f"Stratum {name!r} holds {int(inside.sum())} references.")
        units = _units(rows[inside], groups)
        out[name] = tuple(_mean(x[inside], units) for x in (scrubbed, own, base))
    return out  # type: ignore[return-value]


def _columns(table: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(
            cell.ljust(w) if i < 1 or not _numeric(table, i) else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def _numeric(table: Sequence[tuple[str, ...]], column: int) -> bool:
    return all(row[column].lstrip("-").replace(".", "").isdigit() for row in table[1:])


def _html(table: Sequence[tuple[str, ...]]) -> str:
    import html

    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in table[0])
    body = "".join(
        "<tr>"
        + f'<th scope="row" style="text-align: left; white-space: pre">{html.escape(row[0])}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in table[1:]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
