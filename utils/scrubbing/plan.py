"""A hypothesis bound to a graph: checked, with every edge resolved to slots and positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from utils.scrubbing.graph import OUTPUT, Graph, Part, Where
from utils.scrubbing.hypothesis import (
    ClaimedTwiceError,
    Hypothesis,
    HypothesisError,
    Node,
    NotUpstreamError,
)


@dataclass
class Bound:
    """A node on its graph. The output is one too, with `node` None and the path "".

    needs: component -> positions at which its value is read. edges: component -> slot -> the
    children that feed it there, each with its part.
    """

    path: str
    node: Node | None
    parts: list[Part]
    needs: dict[str, Where] = field(default_factory=dict)
    edges: dict[str, dict[str, list[tuple[Bound, Part]]]] = field(default_factory=dict)
    children: list[Bound] = field(default_factory=list)

    @property
    def leaf(self) -> bool:
        return not self.children


class Plan:
    """What an engine walks: `nodes`, children before parents, the output last."""

    def __init__(self, graph: Graph, hypothesis: Hypothesis) -> None:
        self.graph, self.hypothesis = graph, hypothesis
        self.root = Bound("", None, [Part(OUTPUT, None)], {OUTPUT: graph.answer()})
        self._bind(self.root, hypothesis.inputs)
        self.nodes = list(self._postorder(self.root))

    def _postorder(self, bound: Bound) -> Iterator[Bound]:
        for child in bound.children:
            yield from self._postorder(child)
        yield bound

    def internal(self) -> list[Bound]:
        """Nodes to recompute, the output last."""
        return [bound for bound in self.nodes if not bound.leaf or bound is self.root]

    def sources(self, path: str) -> list[str]:
        """The components that a node reads, in the graph's order."""
        bound = next(b for b in self.nodes if b.path == path)
        read = {s for c in bound.needs for sources in self.graph.slots(c).values() for s in sources}
        return [name for name in self.graph.order if name in read]

    def _bind(self, parent: Bound, nodes: tuple[Node, ...]) -> None:
        graph, where = self.graph, parent.path or "the output"
        parent.edges = {
            part.component: {slot: [] for slot in graph.slots(part.component)}
            for part in parent.parts
        }
        for node in nodes:
            path = f"{parent.path}/{node.name}" if parent.path else node.name
            child = Bound(path, node, graph.parts(node.site))
            known = {slot for slots in parent.edges.values() for slot in slots}
            for slot in node.via or ():
                if slot not in known:
                    raise HypothesisError(
                        f"{path} is to go through slot {slot!r}, but {where} has"
                        f" {', '.join(map(repr, sorted(known))) or 'no slots'}."
                    )
            self._connect(parent, child)
            parent.children.append(child)
        for component, slots in parent.edges.items():
            for slot, edges in slots.items():
                for i, (first, a) in enumerate(edges):
                    for second, b in edges[:i]:
                        if first is not second and graph.overlap(a, b):
                            raise ClaimedTwiceError(
                                f"{second.path} and {first.path} claim the same path into"
                                f" {where} ({component}, slot {slot!r}). Give each its own part:"
                                " other positions, neurons or slots, or orthogonal bases."
                            )
        for child in parent.children:
            assert child.node is not None
            if child.node.inputs:
                heights = {graph.base_of(p.component) for p in child.parts}
                for a in heights:
                    if any(a in s for b in heights for s in graph.slots(b).values()):
                        raise HypothesisError(
                            f"{child.path} stands for components that read each other, so it can"
                            " only be a leaf; give its inputs a node for each component."
                        )
                self._bind(child, child.node.inputs)

    def _connect(self, parent: Bound, child: Bound) -> None:
        graph = self.graph
        node, where = child.node, parent.path or "the output"
        assert node is not None
        upstream = False
        for component, slots in parent.edges.items():
            for slot, sources in graph.slots(component).items():
                if node.via is not None and slot not in node.via:
                    continue
                read = graph.reads(component, slot, parent.needs[component])
                for part in child.parts:
                    if graph.base_of(part.component) not in sources:
                        continue
                    upstream = True
                    at = graph.at(part, read)
                    if at == ():
                        continue
                    slots[slot].append((child, part))
                    old = child.needs.get(part.component, ())
                    both = None if at is None or old is None else tuple(sorted({*at, *old}))
                    child.needs[part.component] = both
        if not child.needs:
            reason = (
                "is read there at other positions only"
                if upstream
                else "does not come before it in the model"
            )
            raise NotUpstreamError(f"{child.path} cannot feed {where}: {node.site} {reason}.")
        child.parts = [part for part in child.parts if part.component in child.needs]
