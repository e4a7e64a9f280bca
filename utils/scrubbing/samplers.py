"""Which input stands in for which: the random half of causal scrubbing.

Draws are index tables, made before the model runs. Every table has its own random numbers, keyed by
the seed, the round of resampling and the node's path, so adding a branch moves no other draw.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from utils.scrubbing.hypothesis import (
    EmptyClassError,
    FeatureError,
    Hypothesis,
    HypothesisError,
    Node,
)


@dataclass(frozen=True)
class Classes:
    """A feature over the data set: `of` [N], the class of each input; members sorted by class.

    members: [N], inputs ordered by class; class c is members[start[c] : start[c] + size[c]].
    """

    of: Tensor
    members: Tensor
    start: Tensor
    size: Tensor

    @classmethod
    def from_values(cls, values: Tensor, order: Tensor | None = None) -> Classes:
        """values: [N] or [N, k]. order: [N], the inputs in the order members shall be kept."""
        n = len(values)
        if values.ndim > 1 and values[0].numel() != 1:
            _, of = torch.unique(values.reshape(n, -1), dim=0, return_inverse=True)
        else:
            _, of = torch.unique(values.reshape(n), return_inverse=True)
        order = torch.arange(n) if order is None else order
        members = order[torch.argsort(of[order], stable=True)]
        size = torch.bincount(of)
        return cls(of, members, size.cumsum(0) - size, size)

    @classmethod
    def one(cls, n: int, order: Tensor | None = None) -> Classes:
        """All n inputs in one class."""
        return cls.from_values(torch.zeros(n, dtype=torch.int64), order)

    def __len__(self) -> int:
        return len(self.size)

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """For each input of `like` [B] a random member of its class: uniform, itself allowed.

        One uniform number an input, so that draws are the same whatever the classes are called.
        """
        share = torch.rand(len(like), generator=generator, dtype=torch.float64)
        label = self.of[like]
        size = self.size[label]
        rank = (share * size).long().clamp(max=size - 1)
        return self.members[self.start[label] + rank]


def classes_of(feature: Any, inputs: Tensor, name: str, order: Tensor | None = None) -> Classes:
    """The classes of `feature` over the inputs [N, ...].

    Raises FeatureError when the function fails, or gives another length, NaN, or no numbers.
    """
    n = len(inputs)
    if feature == "any":
        return Classes.one(n, order)
    if feature == "exact":
        return Classes.from_values(torch.arange(n), order)
    try:
        with torch.no_grad():
            values = feature(inputs)
    except Exception as error:
        raise FeatureError(
            f"The feature of {name} failed on the data: {type(error).__name__}: {error}"
        ) from error
    try:
        values = torch.as_tensor(values).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise FeatureError(
            f"The feature of {name} gave {type(values).__name__}, not numbers."
        ) from None
    if values.ndim < 1 or len(values) != n:
        raise FeatureError(
            f"The feature of {name} gave shape {list(values.shape)} for {n} inputs; the first axis"
            " must be the input."
        )
    if values.is_floating_point() and values.isnan().any():
        raise FeatureError(
            f"The feature of {name} is NaN for {int(values.isnan().sum())} values; NaN equals"
            " nothing, so those inputs belong to no class."
        )
    return Classes.from_values(values, order)


@dataclass(frozen=True)
class Draws:
    """Index tables, each [B] into the data, one row a reference and round of resampling.

    refs: whose loss is measured. drawn: path -> the input a node's value comes from. others:
    path -> the input of what the node reads beside its claims ("" is the output), and with
    separate draws (path, component) -> the same for one component.
    """

    refs: Tensor
    drawn: Mapping[str, Tensor]
    others: Mapping[str | tuple[str, str], Tensor]

    def rows(self, index: Tensor | slice) -> Draws:
        """Some of the rows."""
        return Draws(
            self.refs[index],
            {k: v[index] for k, v in self.drawn.items()},
            {k: v[index] for k, v in self.others.items()},
        )

    def __len__(self) -> int:
        return len(self.refs)


def joined(rounds: Sequence[Draws]) -> Draws:
    """Several rounds of one hypothesis' draws, one after the other."""
    first = rounds[0]
    return Draws(
        torch.cat([d.refs for d in rounds]),
        {k: torch.cat([d.drawn[k] for d in rounds]) for k in first.drawn},
        {k: torch.cat([d.others[k] for d in rounds]) for k in first.others},
    )


class Sampler:
    """Draws for one hypothesis over one data set [N, ...]; features are computed once.

    ids: [N], fixed names of the inputs: with them a shuffled data set gives the same draws.
    """

    def __init__(
        self,
        hypothesis: Hypothesis,
        inputs: Tensor,
        *,
        seed: int = 0,
        ids: Tensor | None = None,
    ) -> None:
        if len(inputs) < 1:
            raise EmptyClassError("The data set is empty, so there is nothing to draw.")
        self.hypothesis, self.seed, self.n = hypothesis, seed, len(inputs)
        if ids is not None and (ids.shape != (self.n,) or len(ids.unique()) != self.n):
            raise HypothesisError("ids needs one different number for each input.")
        self.order = None if ids is None else torch.argsort(ids)
        self.everything = Classes.one(self.n, self.order)
        known: dict[Any, Classes] = {}
        self.classes: dict[str, Classes] = {}
        for path, node in hypothesis.nodes():
            if node.feature not in known:
                known[node.feature] = classes_of(node.feature, inputs, path, self.order)
            self.classes[path] = known[node.feature]
        self.keys = _keys(hypothesis, self.classes)

    def with_classes(self, classes: Mapping[str, Classes]) -> Sampler:
        """The same draws, but with other classes at some paths; for nulls."""
        other = copy.copy(self)
        other.classes = {**self.classes, **classes}
        return other

    def draw(self, refs: Tensor, round: int, separate: Callable[[str], list[str]]) -> Draws:
        """One round of resampling for the references [B]; `separate`: path -> components read."""
        tables: dict[str, Tensor] = {"": refs}

        def random(key: str, like: Tensor, classes: Classes) -> Tensor:
            if key not in tables:
                digest = hashlib.sha256(f"{self.seed}|{round}|{key}".encode()).digest()
                generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
                tables[key] = classes.draw(like, generator)
            return tables[key]

        drawn: dict[str, Tensor] = {}
        for path, node in self.hypothesis.nodes():
            parent = drawn[path.rpartition("/")[0]] if "/" in path else refs
            if node.feature == "exact":
                drawn[path] = parent
            else:
                drawn[path] = random(self.keys[path], parent, self.classes[path])
        others: dict[str | tuple[str, str], Tensor] = {}
        for path, own in self._internal(drawn, refs):
            key = self.keys.get(path, "")
            if self.hypothesis.unimportant == "exact":
                others[path] = own
            elif self.hypothesis.unimportant == "shared":
                others[path] = random(f"{key}|other", own, self.everything)
            else:
                for component in separate(path):
                    others[path, component] = random(
                        f"{key}|other|{component}", own, self.everything
                    )
        return Draws(refs, drawn, others)

    def _internal(self, drawn: Mapping[str, Tensor], refs: Tensor) -> list[tuple[str, Tensor]]:
        """Nodes that read something, the output first, each with the input drawn for it."""
        inner = [(path, drawn[path]) for path, node in self.hypothesis.nodes() if node.inputs]
        return [("", refs), *inner]

    def enumerate(
        self, separate: Callable[[str], list[str]], limit: int = 200_000
    ) -> tuple[Draws, Tensor]:
        """Every combination of reference and draws, with its probability [B].

        For small data sets only: HypothesisError when there are more than `limit` combinations.
        """
        quantities: list[tuple[str, str, Classes | None]] = []  # key, key it depends on, classes
        seen = {""}
        source: dict[str, str] = {"": ""}
        for path, node in self.hypothesis.nodes():
            parent = source[path.rpartition("/")[0] if "/" in path else ""]
            if node.feature == "exact":
                source[path] = parent
                continue
            source[path] = key = self.keys[path]
            if key not in seen:
                seen.add(key)
                quantities.append((key, parent, self.classes[path]))
        inner = ["", *(path for path, node in self.hypothesis.nodes() if node.inputs)]
        keys_of: dict[str | tuple[str, str], str] = {}
        for path in inner:
            key = self.keys.get(path, "")
            if self.hypothesis.unimportant == "exact":
                keys_of[path] = source[path]
                continue
            names = [None] if self.hypothesis.unimportant == "shared" else separate(path)
            for component in names:
                full = f"{key}|other" + ("" if component is None else f"|{component}")
                keys_of[path if component is None else (path, component)] = full
                if full not in seen:
                    seen.add(full)
                    quantities.append((full, "", self.everything))
        tables = {"": torch.arange(self.n)}
        weight = torch.full((self.n,), 1 / self.n, dtype=torch.float64)
        for key, depends, classes in quantities:
            label = classes.of[tables[depends]]
            size = classes.size[label]
            if int(size.sum()) > limit:
                raise HypothesisError(
                    f"Exact enumeration needs more than {limit} combinations; use fewer inputs or"
                    " nodes, or sample."
                )
            rows = torch.arange(len(weight)).repeat_interleave(size)
            first = (size.cumsum(0) - size).repeat_interleave(size)
            rank = torch.arange(len(rows)) - first
            tables = {k: v[rows] for k, v in tables.items()}
            tables[key] = classes.members[classes.start[label][rows] + rank]
            weight = (weight / size)[rows]
        drawn = {path: tables[source[path]] for path, _ in self.hypothesis.nodes()}
        return Draws(tables[""], drawn, {k: tables[v] for k, v in keys_of.items()}), weight


def _keys(hypothesis: Hypothesis, classes: Mapping[str, Classes]) -> dict[str, str]:
    """The name under which each node draws: its path, or a common one for those drawn together."""
    keys: dict[str, str] = {}
    first: dict[str, str] = {}

    def walk(prefix: str, key: str, nodes: tuple[Node, ...]) -> None:
        for node in nodes:
            path = f"{prefix}/{node.name}" if prefix else node.name
            mine = f"{key}/{node.name if node.together is None else '&' + node.together}"
            if node.together is not None:
                other = first.setdefault(mine, path)
                if not torch.equal(classes[other].of, classes[path].of):
                    raise FeatureError(
                        f"{other} and {path} are drawn together ({node.together!r}), but their"
                        " features differ; one input cannot serve both."
                    )
            keys[path] = mine
            walk(path, mine, node.inputs)

    walk("", "", hypothesis.inputs)
    return keys
