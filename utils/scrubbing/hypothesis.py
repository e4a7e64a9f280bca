"""Hypotheses for causal scrubbing: a tree that says which part of a model computes what.

After "Causal Scrubbing: a method for rigorously testing interpretability hypotheses" (Chan,
Garriga-Alonso, Goldowsky-Dill, Greenblatt, Nitishinskaya, Radhakrishnan, Shlegeris & Thomas 2022).
The root is the model's output. A node says: through this `site` the parent learns this `feature`
of the input and nothing else; so the site may hold its value on any input with the same feature.
A node's own `inputs` say where it gets its information; everything else it reads is unimportant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torch import Tensor

from utils.errors import CourseError
from utils.sites import Site

Feature = Callable[[Tensor], Any] | Literal["any", "exact"]
Unimportant = Literal["shared", "separate", "exact"]
X = "x"  # what steps of a diagram call the model's input


class HypothesisError(CourseError, ValueError):
    """A hypothesis that cannot be tested as it stands."""


class UnknownComponentError(HypothesisError):
    """A site that the model has not, or that is not a component of its graph."""


class NotUpstreamError(HypothesisError):
    """A node that does not feed its parent."""


class ClaimedTwiceError(HypothesisError):
    """Two nodes that claim the same path."""


class FeatureError(HypothesisError):
    """A feature function that failed, or whose values name no classes."""


class EmptyClassError(HypothesisError):
    """A class of inputs from which nothing can be drawn."""


@dataclass(frozen=True)
class Node:
    """One claim: `site` tells its parent `feature` of the input, learnt from `inputs`.

    site: a Site, or the name of a component of the graph.
    feature: inputs [N, ...] -> [N] or [N, k] numbers; inputs with equal rows are one class.
        "any": the value does not matter (one class of all inputs); "exact": the parent's own
        input, never resampled.
    inputs: the nodes this one reads. None of them: a leaf, which holds its value on the input
        drawn for it, however the model came by it.
    via: which slots of the parent the node feeds ("q", "k", "v" of a head); None is all.
    together: nodes of one parent with the same word here are drawn as one input; so are nodes
        with the same word under parents that were themselves drawn together.
    name: shown in reports, and the key of the node's random numbers; siblings' names differ.
    """

    site: Site | str
    feature: Feature
    inputs: tuple[Node, ...] = ()
    via: tuple[str, ...] | None = None
    together: str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        if isinstance(self.via, str):
            object.__setattr__(self, "via", (self.via,))
        if not isinstance(self.site, Site | str):
            raise HypothesisError(f"A node's site is a Site or a name, got {self.site!r}.")
        if not callable(self.feature) and self.feature not in ("any", "exact"):
            raise FeatureError(
                f'The feature of {self.site} must be a function of the inputs, "any" or "exact",'
                f" got {self.feature!r}."
            )
        if not self.name:
            object.__setattr__(self, "name", str(self.site))
        if "/" in self.name:
            raise HypothesisError(f"The name {self.name!r} holds a slash, which separates names.")
        for child in self.inputs:
            if not isinstance(child, Node):
                raise HypothesisError(f"An input of {self.name} is {child!r}, not a Node.")

    @property
    def label(self) -> str:
        """The feature's name, for tables and drawings."""
        if isinstance(self.feature, str):
            return self.feature
        return getattr(self.feature, "__name__", type(self.feature).__name__)


@dataclass(frozen=True)
class Hypothesis:
    """The tree below the output, and what happens to inputs that no node mentions.

    unimportant: what a node reads beside its own `inputs`, taken from other inputs of the data:
        "shared": one random input for all of it (the published choice), "separate": another one
        for each component read, "exact": the node's own input, so that nothing is resampled there
        (this ablates paths, and tests much less). There is no default, since the choice moves
        every score.
    """

    inputs: tuple[Node, ...]
    unimportant: Unimportant
    name: str = "hypothesis"

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        if self.unimportant not in get_args(Unimportant):
            raise HypothesisError(
                f'unimportant must be "shared", "separate" or "exact", got {self.unimportant!r}.'
            )
        for path, node in self.nodes():
            names = [child.name for child in node.inputs]
            _refuse_equal_names(path, names)
        _refuse_equal_names("the output", [node.name for node in self.inputs])

    def nodes(self) -> Iterator[tuple[str, Node]]:
        """(path, node) for every node, parents first; a path is names joined by slashes."""

        def walk(prefix: str, nodes: Sequence[Node]) -> Iterator[tuple[str, Node]]:
            for node in nodes:
                path = f"{prefix}/{node.name}" if prefix else node.name
                yield path, node
                yield from walk(path, node.inputs)

        yield from walk("", self.inputs)

    def __len__(self) -> int:
        """Number of nodes with the output counted, the T of the cost tables."""
        return 1 + sum(1 for _ in self.nodes())

    def change(self, path: str, **fields: Any) -> Hypothesis:
        """A copy in which the node at `path` has other fields. HypothesisError if none is there."""
        if path not in dict(self.nodes()):
            raise HypothesisError(f"There is no node {path!r} in {self.name}.")

        def walk(prefix: str, nodes: Sequence[Node]) -> tuple[Node, ...]:
            out = []
            for node in nodes:
                here = f"{prefix}/{node.name}" if prefix else node.name
                if here == path:
                    out.append(replace(node, **fields))
                elif path.startswith(here + "/"):
                    out.append(replace(node, inputs=walk(here, node.inputs)))
                else:
                    out.append(node)
            return tuple(out)

        return replace(self, inputs=walk("", self.inputs))

    def map(self, change: Callable[[str, Node], Node]) -> Hypothesis:
        """A copy in which every node went through `change(path, node)`, children first."""

        def walk(prefix: str, nodes: Sequence[Node]) -> tuple[Node, ...]:
            out = []
            for node in nodes:
                here = f"{prefix}/{node.name}" if prefix else node.name
                out.append(change(here, replace(node, inputs=walk(here, node.inputs))))
            return tuple(out)

        return replace(self, inputs=walk("", self.inputs))


@dataclass(frozen=True)
class Step:
    """One named step of a diagram: a function of earlier steps, or of the input itself.

    function: the values of the steps named in `inputs`, each [N, ...], -> [N, ...]. "x" names the
        model's inputs; without `inputs` it is given those alone.
    site: where in the model this value is; None for a step the diagram does not place. Several
        Sites may hold one value (heads that do the same).
    """

    name: str
    function: Callable[..., Any]
    inputs: tuple[str, ...] = ()
    site: Site | str | tuple[Site | str, ...] | None = None
    via: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for field in ("inputs", "via"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, (value,) if isinstance(value, str) else value)


def treeify(
    steps: Sequence[Step], *, unimportant: Unimportant, name: str = "hypothesis"
) -> Hypothesis:
    """The tree of a diagram whose last step is the model's output: one node for every path.

    A step used twice becomes two nodes, drawn apart: the paths must not need to agree. A step
    without a site is passed through, its own inputs feeding whatever uses it. Raises
    HypothesisError for steps out of order, unknown or unused ones, or no placed step at all.
    """
    if not steps:
        raise HypothesisError("A diagram needs at least one step, the output.")
    table: dict[str, Step] = {}
    for step in steps:
        if step.name in table:
            raise HypothesisError(f"Two steps are called {step.name!r}.")
        if step.name == X:
            raise HypothesisError(f"No step can be called {X!r}: that is the model's input.")
        for source in step.inputs:
            if source not in table and source != X:
                raise HypothesisError(
                    f"Step {step.name!r} uses {source!r}, which is not an earlier step."
                )
        table[step.name] = step
    used = {source for step in steps for source in step.inputs}
    for step in steps[:-1]:
        if step.name not in used:
            raise HypothesisError(f"Step {step.name!r} is used by no later step.")
    features = {step.name: _composed(step.name, table) for step in steps}

    def below(step: Step) -> tuple[Node, ...]:
        found: dict[str, Node] = {}
        for source in step.inputs:
            if source == X:  # the input itself is claimed by naming a site for it, not by reading
                continue
            inner = table[source]
            if inner.site is None:
                nodes: Sequence[Node] = below(inner)
            else:
                sites = inner.site if isinstance(inner.site, tuple) else (inner.site,)
                children = below(inner)
                nodes = [
                    Node(
                        site, features[source], children, inner.via,
                        name=source if len(sites) == 1 else f"{source} at {site}",
                    )
                    for site in sites
                ]  # fmt: skip
            for node in nodes:  # two unplaced steps may pass the same node through
                found.setdefault(node.name, node)
        return tuple(found.values())

    inputs = below(steps[-1])
    if not inputs:
        raise HypothesisError("No step below the output has a site, so there is nothing to test.")
    return Hypothesis(inputs, unimportant, name)


def _composed(name: str, table: Mapping[str, Step]) -> Callable[[Tensor], Any]:
    def feature(inputs: Tensor) -> Any:
        known: dict[str, Any] = {}

        def value(step: Step) -> Any:
            if step.name not in known:
                sources = step.inputs or (X,)
                given = [inputs if s == X else value(table[s]) for s in sources]
                known[step.name] = step.function(*given)
            return known[step.name]

        return value(table[name])

    feature.__name__ = name
    return feature


def _refuse_equal_names(where: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ClaimedTwiceError(
                f"Two inputs of {where} are called {name!r}. If they are different parts, give"
                " them different names; if they are the same, one claim is enough."
            )
