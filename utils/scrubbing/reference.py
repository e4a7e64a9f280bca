"""Slow engines that say what `gather` must give: recursion over the tree, no store.

`naive` follows the definition with full forwards of the model itself, every edit made through its
hooks. `prefix` stops each forward at the depth it is read.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from utils.scrubbing.engine import Cost
from utils.scrubbing.graph import OUTPUT, Graph, Mix, Where
from utils.scrubbing.plan import Bound, Plan
from utils.scrubbing.samplers import Draws
from utils.scrubbing.transformer import TransformerGraph
from utils.sites import Site, run


def naive(plan: Plan, inputs: Tensor, draws: Draws, *, cost: Cost | None = None) -> Tensor:
    """Outputs [B, ...] by full forwards: one a leaf, two or more a mixed node."""
    return _Recursion(plan, inputs, draws, Cost() if cost is None else cost, full=True).output()


def prefix(plan: Plan, inputs: Tensor, draws: Draws, *, cost: Cost | None = None) -> Tensor:
    """Outputs [B, ...] by forwards that go no further than they are read."""
    return _Recursion(plan, inputs, draws, Cost() if cost is None else cost, full=False).output()


class _Recursion:
    def __init__(self, plan: Plan, inputs: Tensor, draws: Draws, cost: Cost, *, full: bool) -> None:
        self.plan, self.inputs, self.draws, self.cost, self.full = plan, inputs, draws, cost, full
        self.graph: Graph = plan.graph

    def output(self) -> Tensor:
        root = self.plan.root
        if root.leaf and "" in self.draws.others:
            return self._clean(self.draws.others[""], {OUTPUT: self.graph.answer()}, {})[0][OUTPUT]
        return self._values(root)[OUTPUT]

    def _values(self, bound: Bound) -> dict[str, Tensor]:
        needs = {c: self._where(w) if c != OUTPUT else w for c, w in bound.needs.items()}
        if bound.leaf and bound is not self.plan.root:
            return self._clean(self.draws.drawn[bound.path], needs, {})[0]
        graph, plan = self.graph, self.plan
        children = {child.path: self._values(child) for child in bound.children}
        reads = {
            (component, slot): self._where(graph.reads(component, slot, where))
            for component, where in needs.items()
            for slot in graph.slots(component)
        }
        streams: dict[str, Where] = {}
        for (component, slot), read in reads.items():
            name = graph.stream(component, slot)
            known = streams.get(name, ())
            streams[name] = (
                None if read is None or known is None else tuple(sorted({*known, *read}))
            )
        parts = {p.component for child in bound.children for p in child.parts}
        if plan.hypothesis.unimportant == "separate":
            old = {
                s: self._clean(self.draws.others[bound.path, s], {n: None for n in
                    {s, *(p for p in parts if graph.base_of(p) == s)}}, {})[0]
                for s in plan.sources(bound.path)
            }  # fmt: skip
            flows = None
        else:
            wanted = dict.fromkeys(parts)
            found, flows = self._clean(self.draws.others[bound.path], wanted, streams)
        out: dict[str, Tensor] = {}
        for component, where in needs.items():
            slots = {}
            for slot, sources in graph.slots(component).items():
                read = reads[component, slot]
                if flows is None:
                    values = {s: _at(old[s][s], read) for s in sources}
                    base = graph.gathered(component, slot, values, read)
                else:
                    name = graph.stream(component, slot)
                    base = _between(flows[name], streams[name], read)
                mixes = []
                for child, part in bound.edges[component][slot]:
                    name = part.component
                    mine = old[graph.base_of(name)] if flows is None else found
                    there = graph.at(part, None)
                    new = children[child.path][name]
                    if child.needs[name] is not None and not self.full:
                        there = child.needs[name]
                        new_there = new
                    else:
                        new_there = _at(new, there)
                    mixes.append(Mix(part, new_there, _at(mine[name], there), there))
                slots[slot] = graph.mix(component, slot, base, read, mixes) if mixes else base
            out[component] = self._compute(bound, component, slots, where)
        return out

    def _where(self, where: Where) -> Where:
        return None if self.full else where

    def _clean(
        self, index: Tensor, values: dict[str, Where], streams: dict[str, Where]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        graph, rows = self.graph, self.inputs[index]
        self.cost.rows += len(rows)
        if self.full and isinstance(graph, TransformerGraph):
            self.cost.computed += len(rows) * sum(1 for name in graph.order if graph.slots(name))
            return _model_clean(graph, rows, values, streams)
        if self.full:
            self.cost.computed += len(rows) * sum(1 for name in graph.order if graph.slots(name))
            return graph.clean(rows, {**values, OUTPUT: graph.answer()}, streams)
        self.cost.computed += len(rows) * graph.depth(values, streams)
        return graph.clean(rows, values, streams)

    def _compute(
        self, bound: Bound, component: str, slots: dict[str, Tensor], where: Where
    ) -> Tensor:
        if component != OUTPUT:
            self.cost.computed += len(self.draws)
        if self.full and isinstance(self.graph, TransformerGraph):
            first = next(iter(self.draws.others.values())) if self.draws.others else self.draws.refs
            return _model_compute(self.graph, self.inputs[first], component, slots)
        return self.graph.compute(component, slots, where)


def _at(value: Tensor, where: Where) -> Tensor:
    return value if where is None else value[:, list(where)]


def _between(value: Tensor, have: Where, where: Where) -> Tensor:
    if have == where:
        return value
    assert where is not None
    return value[:, [p if have is None else have.index(p) for p in where]]


# --- the model itself, through its hooks -------------------------------------------------------


def _hook(component: str) -> Site:
    if component == "embed":
        return Site("blocks.0.hook_resid_pre")
    if match := re.fullmatch(r"a(\d+)\.h(\d+)", component):
        return Site(f"blocks.{match[1]}.attn.hook_z", head=int(match[2]))
    layer, post = component.removeprefix("m").removesuffix(".post"), component.endswith(".post")
    return Site(f"blocks.{layer}.mlp.hook_post" if post else f"blocks.{layer}.hook_mlp_out")


def _stream_hook(graph: TransformerGraph, rank: int) -> Site:
    if rank == 2 * graph.layers:
        return Site("ln_final.hook_in")
    return Site(f"blocks.{rank // 2}.hook_resid_{'mid' if rank % 2 else 'pre'}")


def _model_clean(
    graph: TransformerGraph, rows: Tensor, values: dict[str, Where], streams: dict[str, Where]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    names = [name for name in values if name != OUTPUT]
    sites = [_hook(name) for name in names]
    sites += [_stream_hook(graph, int(name.split()[1])) for name in streams]
    result = run(graph.model, rows, read=sites)
    found = {n: _at(v, values[n]) for n, v in zip(names, result.values, strict=False)}
    if OUTPUT in values:
        where = values[OUTPUT]
        found[OUTPUT] = result.output if where is None else result.output[:, where[0]]
    late = result.values[len(names) :]
    return found, {n: _at(v, streams[n]) for n, v in zip(streams, late, strict=True)}


def _model_compute(
    graph: TransformerGraph, rows: Tensor, component: str, slots: dict[str, Tensor]
) -> Tensor:
    """One component of the model on what arrives in its slots, by writing that into hooks."""
    model = graph.model
    if component == OUTPUT:
        answer = graph.answer()
        edit = (Site("ln_final.hook_in"), slots["in"])
        logits = run(model, rows, edits=[edit], allow_unchanged=True).output
        return logits if answer is None else logits[:, answer[0]]
    if "in" in slots:
        stream = _stream_hook(graph, graph.rank(graph.base_of(component)))
        edits, read = [(stream, slots["in"])], _hook(component)
        return run(model, rows, edits=edits, read=[read], allow_unchanged=True).values[0]
    layer, head = re.fullmatch(r"a(\d+)\.h(\d+)", component).groups()  # type: ignore[union-attr]
    edits = []
    for slot, stream in slots.items():
        site = Site(f"blocks.{layer}.attn.hook_{slot}", head=int(head))
        before = (Site(f"blocks.{layer}.hook_resid_pre"), stream)
        value = run(model, rows, edits=[before], read=[site], allow_unchanged=True).values[0]
        edits.append((site, value))
    made = run(model, rows, edits=edits, read=[_hook(component)], allow_unchanged=True)
    return torch.as_tensor(made.values[0])
