"""Running a scrubbed model: the output when every claimed path holds a stand-in's value.

`gather` is the engine to use. What a leaf or an unimportant input holds is the model's clean
activation on some input of the data, so those are computed once for the data set and looked up;
only nodes that mix several inputs are computed, all rows of one component at once, at the
positions where they are read. `prefix` and `naive` do the same by recursion without the store; they
are the references for tests and benchmarks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from utils.errors import CourseError
from utils.hooked import chunks
from utils.scrubbing.graph import OUTPUT, Graph, Mix, Where
from utils.scrubbing.hypothesis import Hypothesis
from utils.scrubbing.plan import Bound, Plan
from utils.scrubbing.samplers import Draws, Sampler

Progress = Callable[[int, int], None]  # rows done, rows in all
_CACHE = 8 * 2**20  # bytes to work on at once


class MemoryBoundError(CourseError, ValueError):
    """The work does not fit into the memory the caller allows."""


@dataclass
class Cost:
    """What a run took. A forward of the whole model counts as one evaluation of each component.

    cached: evaluations for the store of clean activations; computed: for the rest, both in
    component evaluations on one input. seconds and cache_seconds: wall time, apart.
    """

    computed: float = 0.0
    cached: float = 0.0
    rows: int = 0
    seconds: float = 0.0
    cache_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


class Store:
    """Clean activations of a data set: what `plan` can ask for, at the positions it asks for.

    Filled in chunks. `bytes_for` says how large it would be without making it.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Tensor,
        values: Mapping[str, Where],
        streams: Mapping[str, Where],
        chunk: int,
    ) -> None:
        self.positions = {**values}
        self.stream_positions = {**streams}
        self._values: dict[str, Tensor] = {}
        self._streams: dict[str, Tensor] = {}
        for rows in chunks(len(inputs), chunk):
            found, flows = graph.clean(inputs[rows], values, streams)
            for store, part in ((self._values, found), (self._streams, flows)):
                for name, x in part.items():
                    if name not in store:
                        store[name] = x.new_empty((len(inputs), *x.shape[1:]))
                    store[name][rows] = x

    def value(self, component: str, index: Tensor, where: Where) -> Tensor:
        return _take(self._values[component], index, self.positions[component], where)

    def stream(self, name: str, index: Tensor, where: Where) -> Tensor:
        return _take(self._streams[name], index, self.stream_positions[name], where)

    def covers(self, values: Mapping[str, Where], streams: Mapping[str, Where]) -> bool:
        """Whether all of this is in the store."""
        return all(
            name in have and (have[name] is None or (w is not None and set(w) <= set(have[name])))
            for have, want in ((self.positions, values), (self.stream_positions, streams))
            for name, w in want.items()
        )

    @staticmethod
    def fits(plan: Plan, inputs: Tensor, memory_mb: float) -> bool:
        """Whether a plan's store over the inputs stays within half of the bound."""
        return _row_bytes(plan, inputs).stored * len(inputs) <= memory_mb * 2**20 / 2

    def output(self, index: Tensor) -> Tensor:
        return self._values[OUTPUT].index_select(0, index)


def _take(stored: Tensor, index: Tensor, have: Where, where: Where) -> Tensor:
    if where == have:
        return stored.index_select(0, index)
    assert where is not None
    place = {p: i for i, p in enumerate(have)} if have is not None else None
    columns = [p if place is None else place[p] for p in where]
    if columns == list(range(columns[0], columns[0] + len(columns))):
        return stored[:, columns[0] : columns[0] + len(columns)].index_select(0, index)
    return stored[index[:, None], torch.tensor(columns, device=stored.device)]


def wanted(plan: Plan) -> tuple[dict[str, Where], dict[str, Where]]:
    """Which clean values and streams a plan can ask for, and at which positions."""
    graph = plan.graph
    values: dict[str, Where] = {OUTPUT: graph.answer()}
    streams: dict[str, Where] = {}

    def add(store: dict[str, Where], name: str, where: Where) -> None:
        old = store.get(name, ())
        store[name] = None if where is None or old is None else tuple(sorted({*old, *where}))

    separate = plan.hypothesis.unimportant == "separate"
    for bound in plan.nodes:
        for component, where in bound.needs.items():
            if bound is not plan.root:
                add(values, component, where)
            if bound.leaf and bound is not plan.root:
                continue
            for slot, sources in graph.slots(component).items():
                read = graph.reads(component, slot, where)
                if separate:
                    for source in sources:
                        add(values, source, read)
                else:
                    add(streams, graph.stream(component, slot), read)
    return values, streams


def gather(
    plan: Plan,
    inputs: Tensor,
    draws: Draws,
    *,
    store: Store | None = None,
    memory_mb: float = 2048,
    chunk: int | None = None,
    cost: Cost | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Outputs [B, ...] of the scrubbed model, one row for each row of the draws.

    store: clean activations made earlier for this plan and data (`make_store`); without one they
        are made here. When they would not fit into `memory_mb`, they are made chunk by chunk for
        the inputs a chunk of draws needs, which is slower, and said in `cost.notes`.
    chunk: rows of draws at once; chosen from `memory_mb` if None.
    """
    cost = Cost() if cost is None else cost
    row_bytes = _row_bytes(plan, inputs)
    budget = memory_mb * 2**20
    allowed = min(budget / 4, _CACHE)  # what a processor's cache holds is faster than any batch
    size = min(max(1, int(allowed / max(row_bytes.working, 1))), 2048) if chunk is None else chunk
    if size < 1:
        raise MemoryBoundError(f"chunk must be 1 or more, got {chunk}.")
    if row_bytes.working > budget:
        raise MemoryBoundError(
            f"One row of this hypothesis needs {row_bytes.working / 2**20:.1f} MiB, more than"
            f" memory_mb={memory_mb:g}; allow more, or test a smaller tree."
        )
    if store is None and Store.fits(plan, inputs, memory_mb):
        store = make_store(plan, inputs, cost=cost)
    if store is None:
        size = max(1, min(size, int(budget / 2 / (row_bytes.stored * _tables(draws)))))
        cost.notes.append(
            f"clean activations of {len(inputs)} inputs need"
            f" {row_bytes.stored * len(inputs) / 2**20:.0f} MiB, over the bound of"
            f" {memory_mb:g} MiB; they were computed anew for every {size} rows"
        )
    pieces = []
    started, cached = time.perf_counter(), cost.cache_seconds
    for rows in chunks(len(draws), size):
        part = draws.rows(rows)
        local = store
        if local is None:
            used, part = _compact(part)
            local = make_store(plan, inputs[used], cost=cost)
        pieces.append(_evaluate(plan, part, local, cost))
        if progress is not None:
            progress(min(rows.stop, len(draws)), len(draws))
    cost.rows += len(draws)
    cost.seconds += time.perf_counter() - started - (cost.cache_seconds - cached)
    return torch.cat(pieces)


def expectation(
    graph: Graph,
    hypothesis: Hypothesis,
    inputs: Tensor,
    targets: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    limit: int = 200_000,
) -> float:
    """The exact mean scrubbed loss over every reference and every draw: no sampling at all.

    For data sets of a few inputs; HypothesisError above `limit` combinations. Sampled results
    must agree with it within their error.
    """
    plan = Plan(graph, hypothesis)
    draws, weight = Sampler(hypothesis, inputs).enumerate(plan.sources, limit)
    outputs = gather(plan, inputs, draws)
    with torch.no_grad():
        values = loss(outputs, targets[draws.refs]).double().cpu()
    return float((values * weight).sum())


def make_store(plan: Plan, inputs: Tensor, *, cost: Cost | None = None, chunk: int = 256) -> Store:
    """The clean activations a plan needs, over the data set; one pass, shared by every draw."""
    started = time.perf_counter()
    values, streams = wanted(plan)
    store = Store(plan.graph, inputs, values, streams, chunk)
    if cost is not None:
        cost.cache_seconds += time.perf_counter() - started
        cost.cached += len(inputs) * _forward_size(plan.graph)
    return store


def choose(plan: Plan, inputs: int, rows: int) -> tuple[str, str]:
    """The cheaper of "gather" and "prefix" for so many rows of draws, and why if not gather."""
    graph = plan.graph
    prefix = 0
    for bound in plan.nodes:
        if bound.leaf and bound is not plan.root:
            prefix += graph.depth(bound.needs, {})
            continue
        streams = {graph.stream(c, slot): None for c in bound.needs for slot in graph.slots(c)}
        forwards = 1
        if plan.hypothesis.unimportant == "separate":
            forwards = len(plan.sources(bound.path))
        prefix += forwards * graph.depth({}, streams) + len(bound.needs)
    mixed = sum(len(b.needs) for b in plan.internal())
    once = inputs * _forward_size(graph)
    if once + rows * mixed <= rows * prefix:
        return "gather", ""
    return "prefix", (
        f"engine prefix: storing clean activations of {inputs} inputs takes {once} component"
        f" evaluations, more than they would save over {rows} rows"
    )


def _forward_size(graph: Graph) -> int:
    return sum(1 for name in graph.order if graph.slots(name))


def _evaluate(plan: Plan, draws: Draws, store: Store, cost: Cost) -> Tensor:
    """All rows of some draws, node by node; equal components of several nodes in one batch."""
    graph = plan.graph
    if plan.root.leaf and "" in draws.others:  # nothing claimed: another input's output
        return store.output(draws.others[""])
    values: dict[tuple[str, str], Tensor] = {}  # (path, component) of internal nodes
    rank = {name: i for i, name in enumerate(graph.order)}
    jobs: dict[tuple[int, str, Where], list[Bound]] = {}
    for bound in plan.internal():
        for component, where in bound.needs.items():
            key = (rank[graph.base_of(component)], component, where)
            jobs.setdefault(key, []).append(bound)
    remaining = {b.path: len(b.needs) for b in plan.internal()}
    for (_, component, where), bounds in sorted(jobs.items(), key=lambda item: item[0][0]):
        arriving = [_slots(plan, bound, component, where, draws, store, values) for bound in bounds]
        slots = {
            slot: arriving[0][slot]
            if len(arriving) == 1
            else torch.cat([one[slot] for one in arriving])
            for slot in arriving[0]
        }
        result = graph.compute(component, _shared(slots, arriving), where)
        if component != OUTPUT:
            cost.computed += len(result)
        for bound, one in zip(bounds, result.split(len(draws)), strict=True):
            values[bound.path, component] = one
            remaining[bound.path] -= 1
            if not remaining[bound.path]:  # its children were read for the last time
                for child in bound.children:
                    for name in child.needs:
                        values.pop((child.path, name), None)
    return values["", OUTPUT]


def _shared(
    slots: dict[str, Tensor], arriving: Sequence[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """The same slots, with one tensor where all nodes have the same in two of them."""
    names = list(slots)
    for i, b in enumerate(names):
        for a in names[:i]:
            if all(one[a] is one[b] for one in arriving):
                slots[b] = slots[a]
                break
    return slots


def _slots(
    plan: Plan,
    bound: Bound,
    component: str,
    where: Where,
    draws: Draws,
    store: Store,
    values: Mapping[tuple[str, str], Tensor],
) -> dict[str, Tensor]:
    """What arrives in each slot of one node's component, for every row."""
    graph = plan.graph
    out: dict[str, Tensor] = {}
    made: dict[tuple[object, ...], Tensor] = {}
    for slot, sources in graph.slots(component).items():
        read = graph.reads(component, slot, where)
        edges = bound.edges[component][slot]
        # heads get q, k and v from one stream: where they are claimed alike, compute it once
        key = (graph.stream(component, slot), read, tuple((c.path, p) for c, p in edges))
        if key not in made:
            new = {
                (child.path, part.component): _new(child, part.component, draws, store, values)
                for child, part in edges
            }
            made[key] = _arriving(
                plan, bound, component, slot, sources, read, edges, new, draws, store
            )
        out[slot] = made[key]
    return out


def _new(
    child: Bound,
    component: str,
    draws: Draws,
    store: Store,
    values: Mapping[tuple[str, str], Tensor],
) -> Tensor:
    if child.leaf:
        return store.value(component, draws.drawn[child.path], child.needs[component])
    return values[child.path, component]


def _arriving(
    plan: Plan,
    bound: Bound,
    component: str,
    slot: str,
    sources: Sequence[str],
    read: Where,
    edges: Sequence[tuple[Bound, object]],
    new: Mapping[tuple[str, str], Tensor],
    draws: Draws,
    store: Store,
) -> Tensor:
    graph = plan.graph
    whole = {
        part.component: new[child.path, part.component]
        for child, part in edges
        if graph.whole(part, read) and child.needs[part.component] == read
    }
    separate = plan.hypothesis.unimportant == "separate"

    def other(name: str) -> Tensor:
        return draws.others[bound.path, name] if separate else draws.others[bound.path]

    if separate or len(whole) == len(sources):
        # summed up from the sources: no input of another's is needed for those claimed whole
        parts = {s: whole[s] if s in whole else store.value(s, other(s), read) for s in sources}
        base = graph.gathered(component, slot, parts, read)
        edges = [(c, p) for c, p in edges if p.component not in whole]
    else:
        base = store.stream(graph.stream(component, slot), other(""), read)
    mixes = []
    for child, part in edges:
        where = child.needs[part.component]
        old = _old(graph, store, part.component, other(graph.base_of(part.component)), where)
        mixes.append(Mix(part, new[child.path, part.component], old, where))
    return graph.mix(component, slot, base, read, mixes) if mixes else base


def _old(graph: Graph, store: Store, component: str, index: Tensor, where: Where) -> Tensor:
    return store.value(component, index, where)


def _tables(draws: Draws) -> int:
    return 1 + len(draws.drawn) + len(draws.others)


def _compact(draws: Draws) -> tuple[Tensor, Draws]:
    """The inputs some draws use, and the same draws counting within them."""
    tables = [draws.refs, *draws.drawn.values(), *draws.others.values()]
    used, index = torch.unique(torch.stack(tables), return_inverse=True)
    parts = iter(index)
    return used, Draws(
        next(parts),
        {k: next(parts) for k in draws.drawn},
        {k: next(parts) for k in draws.others},
    )


@dataclass(frozen=True)
class _Bytes:
    stored: float
    working: float


def _row_bytes(plan: Plan, inputs: Tensor) -> _Bytes:
    """Bytes an input takes in the store, and a row of draws while it is computed."""
    values, streams = wanted(plan)
    found, flows = plan.graph.clean(inputs[:1], values, streams)
    sizes = {name: x.numel() * x.element_size() for name, x in found.items()}
    flow = sum(x.numel() * x.element_size() for x in flows.values())
    stored = sum(sizes.values()) + flow
    live = sum(
        sizes[component]
        for bound in plan.internal() if bound is not plan.root
        for component in bound.needs
    )  # fmt: skip
    widest = max([*sizes.values(), *(x.numel() * x.element_size() for x in flows.values())])
    return _Bytes(stored, live + 12 * widest)
