"""Graphs of a few lines whose scrubbed losses are known in closed form."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from utils.scrubbing import Component, FunctionGraph, Hypothesis, Node, expectation


def signs(k: int) -> Tensor:
    """All rows of k signs: [2**k, k]."""
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=k)))


def column(i: int):
    """The feature "coordinate i of the input", named for reports."""

    def feature(x: Tensor) -> Tensor:
        return x[:, i]

    feature.__name__ = f"x{i}"
    return feature


def two_parts(a, b, combine=torch.add) -> FunctionGraph:
    """input -> A, B -> output = combine(A, B); a, b: functions of the input [B, k]."""
    return FunctionGraph(
        [
            Component("A", a, ("input",)),
            Component("B", b, ("input",)),
            Component("output", combine, ("A", "B")),
        ]
    )


def squared(output: Tensor, target: Tensor) -> Tensor:
    return (output - target) ** 2


def claim(*nodes: Node, unimportant="shared") -> Hypothesis:
    return Hypothesis(nodes, unimportant)


def recovered(graph, hypothesis, x, y, loss=squared) -> float:
    """The exact share of loss recovered, by enumeration."""
    base = expectation(graph, Hypothesis((), "shared"), x, y, loss)
    own = expectation(graph, Hypothesis((), "exact"), x, y, loss)
    return (expectation(graph, hypothesis, x, y, loss) - base) / (own - base)
