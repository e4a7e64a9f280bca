"""A model as a graph of components, which is what a hypothesis talks about.

A component reads named slots. What arrives in a slot is the sum of what its sources write there
(the residual stream), or one source alone. Scrubbing replaces parts of such a sum.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from utils.hooked import axes_of, eval_mode
from utils.scrubbing.hypothesis import (
    HypothesisError,
    NotUpstreamError,
    UnknownComponentError,
)
from utils.sites import Site, run

OUTPUT = "output"  # the component every hypothesis ends in
INPUT = "input"  # the data set itself, where a graph offers it as a component


class Part(NamedTuple):
    """A component and which piece of its value: a Site's selection, or None for all of it."""

    component: str
    piece: Site | None


class Mix(NamedTuple):
    """One replacement in a slot: the piece of `part` takes its value from `new`, not `old`.

    `new` and `old` hold the component's values at the same positions, given in `positions`
    (None: all there are).
    """

    part: Part
    new: Tensor
    old: Tensor
    positions: tuple[int, ...] | None = None


Where = tuple[int, ...] | None  # token positions of a transformer; None: all, or there are none


class Graph(ABC):
    """What the engines need to know of a model.

    Values and streams are [B, ...], the first axis the input. Positions let a transformer compute
    a component where it is read and nowhere else; other graphs leave them None.
    """

    order: tuple[str, ...]  # every component, sources before readers; the last is OUTPUT
    model: nn.Module | None = None

    @abstractmethod
    def slots(self, component: str) -> Mapping[str, tuple[str, ...]]:
        """slot -> the components that write into it."""

    @abstractmethod
    def parts(self, site: Site | str) -> list[Part]:
        """What a node's site means. UnknownComponentError if it means nothing here."""

    @abstractmethod
    def overlap(self, a: Part, b: Part) -> bool:
        """Whether two pieces share anything."""

    @abstractmethod
    def stream(self, component: str, slot: str) -> str:
        """A name for what arrives in a slot; slots that always hold the same have one name."""

    @abstractmethod
    def clean(
        self, inputs: Tensor, values: Mapping[str, Where], streams: Mapping[str, Where]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Values of components, and streams, on the inputs as they are, at those positions."""

    @abstractmethod
    def mix(
        self, component: str, slot: str, base: Tensor, positions: Where, mixes: Sequence[Mix]
    ) -> Tensor:
        """What arrives in a slot whose base is `base` after the replacements."""

    @abstractmethod
    def gathered(
        self, component: str, slot: str, values: Mapping[str, Tensor], positions: Where
    ) -> Tensor:
        """What arrives in a slot, from the value of each of its sources at `positions`."""

    @abstractmethod
    def compute(self, component: str, slots: Mapping[str, Tensor], positions: Where) -> Tensor:
        """A component's value at `positions` from what arrives in its slots."""

    def whole(self, part: Part, positions: Where) -> bool:
        """Whether the piece is all that the component writes at `positions`."""
        return part.piece is None

    def reads(self, component: str, slot: str, positions: Where) -> Where:
        """Where a slot is read to give the component's value at `positions`."""
        return None

    def at(self, part: Part, positions: Where) -> Where:
        """Those of `positions` that lie in the piece."""
        return None

    def answer(self) -> Where:
        """The positions of the output that are wanted."""
        return None

    def base_of(self, component: str) -> str:
        """The component of which this one is a view; itself, but for a layer's inner neurons."""
        return component

    def depth(self, values: Mapping[str, Where], streams: Mapping[str, Where]) -> int:
        """How many components a forward evaluates that stops where these are known."""
        last = max((self.order.index(n) for n in (*values, *streams)), default=-1)
        return sum(1 for name in self.order[: last + 1] if self.slots(name))

    def check(self, inputs: Tensor) -> None:
        """HypothesisError if the graph no longer gives what the model gives on a few inputs."""
        return None

    def unknown(self, site: Site | str) -> UnknownComponentError:
        """The error for a site that is no component, with the nearest names."""
        near = difflib.get_close_matches(str(site), self.order, n=3, cutoff=0.4)
        names = near or list(self.order[:6])
        return UnknownComponentError(
            f"{site} is no component of this graph; there are {', '.join(names)}"
            + (" ..." if len(self.order) > len(names) else "")
            + "."
        )


@dataclass(frozen=True)
class Component:
    """One function of a `FunctionGraph`: it is called with the values of `inputs`, in order."""

    name: str
    function: Callable[..., Tensor]
    inputs: tuple[str, ...]


class FunctionGraph(Graph):
    """A graph of plain functions, each reading whole values: toys, diagrams, compiled programs.

    components: in order, the last one the output. "input" names the data itself. Every other
    component's value is [B], [B, width] or more axes, the first the input. A node's site is a
    component's name, or Site(name, neuron=..., basis=...) for a piece of it.
    """

    def __init__(
        self, components: Sequence[Component], axes: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        if not components:
            raise HypothesisError("A graph needs at least one component, the output.")
        self._table: dict[str, Component] = {}
        for component in components:
            for source in component.inputs:
                if source != INPUT and source not in self._table:
                    raise NotUpstreamError(
                        f"{component.name!r} reads {source!r}, which is not an earlier component."
                    )
            if component.name in self._table or component.name == INPUT:
                raise HypothesisError(f"Two components are called {component.name!r}.")
            self._table[component.name] = component
        self.order = (INPUT, *list(self._table)[:-1], OUTPUT)
        self._table[OUTPUT] = self._table.pop(components[-1].name)
        self._axes = dict(axes or {})

    def slots(self, component: str) -> Mapping[str, tuple[str, ...]]:
        if component == INPUT:
            return {}
        return {source: (source,) for source in self._table[component].inputs}

    def parts(self, site: Site | str) -> list[Part]:
        name = site if isinstance(site, str) else site.hook
        if name not in self.order or name == OUTPUT:
            raise self.unknown(site)
        return [Part(name, None if isinstance(site, str) else site)]

    def overlap(self, a: Part, b: Part) -> bool:
        return a.component == b.component and pieces_overlap(a.piece, b.piece)

    def stream(self, component: str, slot: str) -> str:
        return slot

    def clean(
        self, inputs: Tensor, values: Mapping[str, Where], streams: Mapping[str, Where]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        known = {INPUT: inputs}
        wanted = [self.order.index(name) for name in (*values, *streams)]
        for name in self.order[1 : max(wanted, default=0) + 1]:
            known[name] = self._call(name, [known[s] for s in self._table[name].inputs])
        return {name: known[name] for name in values}, {name: known[name] for name in streams}

    def mix(
        self, component: str, slot: str, base: Tensor, positions: Where, mixes: Sequence[Mix]
    ) -> Tensor:
        for part, new, *_ in mixes:
            if part.piece is None:
                base = new
                continue
            axes = self.axes(part.component, base)
            base = part.piece.set(base, part.piece.get(new, axes), axes)
        return base

    def gathered(
        self, component: str, slot: str, values: Mapping[str, Tensor], positions: Where
    ) -> Tensor:
        return values[slot]

    def compute(self, component: str, slots: Mapping[str, Tensor], positions: Where) -> Tensor:
        return self._call(component, [slots[s] for s in self._table[component].inputs])

    def axes(self, component: str, value: Tensor) -> tuple[str, ...]:
        """The names of a value's axes, for selections."""
        if component in self._axes:
            return self._axes[component]
        return axes_of(nn.Module(), component, value.ndim)

    def _call(self, name: str, values: list[Tensor]) -> Tensor:
        with torch.no_grad():
            return self._table[name].function(*values)


def chain(
    model: nn.Module,
    hooks: Sequence[str],
    inputs: Tensor,
    read: Callable[[Tensor], Tensor] = lambda output: output,
) -> FunctionGraph:
    """A model whose layers follow one another, such as a CNN, cut at some of its hooks.

    hooks: in the order in which they fire; everything the model computes after one must pass
    through the next. None at all: the model in one piece, about whose inside nothing can be
    claimed. inputs: a few rows [B, ...]; on them it is checked that this is so.
    read: the model's output -> the logits [B, classes] that are scrubbed; a language model gives
    logits at every position, and the question is about one.
    Raises HypothesisError if information bypasses a hook.
    """
    rows = inputs[:2]
    shape = tuple(inputs.shape[1:])
    values = run(model, rows, read=[Site(hook) for hook in hooks]).values
    axes = {h: axes_of(model, h, v.ndim) for h, v in zip(hooks, values, strict=True)}

    def segment(start: str, end: str | None) -> Callable[[Tensor], Tensor]:
        def function(value: Tensor) -> Tensor:
            if start == INPUT:
                made = run(model, value, read=[] if end is None else [Site(end)])
            else:
                blank = torch.zeros(len(value), *shape, dtype=inputs.dtype, device=value.device)
                made = run(
                    model, blank, edits=[(Site(start), value)],
                    read=[] if end is None else [Site(end)], allow_unchanged=True,
                )  # fmt: skip
            return read(made.output) if end is None else made.values[0]

        return function

    stops = [INPUT, *hooks]
    parts = [
        Component(end, segment(start, end), (start,))
        for start, end in zip(stops, stops[1:], strict=False)
    ]
    last = stops[-1]
    graph = FunctionGraph([*parts, Component(OUTPUT, segment(last, None), (last,))], axes)
    graph.model = model
    with eval_mode(model), torch.no_grad():
        right = read(model(rows))
    found = graph.clean(rows, {OUTPUT: None}, {})[0][OUTPUT]
    if not torch.allclose(found, right, rtol=1e-4, atol=1e-5):
        raise HypothesisError(
            f"This model is no chain through {', '.join(hooks)}: run from one to the next, it gives"
            " another output. Something bypasses one of them, or they are not in order."
        )
    return graph


def pieces_overlap(a: Site | None, b: Site | None) -> bool:
    """Whether two selections of one activation share an entry (or a direction)."""
    if a is None or b is None:
        return True
    for name in ("position", "head", "channel", "row", "column", "neuron", "key"):
        mine, other = (_numbers(getattr(s, name)) for s in (a, b))
        if mine is not None and other is not None and not set(mine) & set(other):
            return False
    if a.basis is not None and b.basis is not None and a.basis.shape[0] == b.basis.shape[0]:
        return bool((a.basis.double().T @ b.basis.double()).abs().max() > 1e-5)
    return True


def _numbers(selector: object) -> list[int] | None:
    """The entries a selector takes; None if it takes all, or depends on the axis' length."""
    if selector is None or isinstance(selector, int):
        return None if selector is None else [selector]
    if isinstance(selector, slice):
        if selector.stop is None or (selector.start or 0) < 0 or selector.stop < 0:
            return None
        return list(range(*selector.indices(selector.stop)))
    return list(selector)  # type: ignore[call-overload]
