"""Answers that are the same up to names: what two learners share that few others have.

The same answer is no proof. An exercise of one line has one right answer; so a shared form counts
only where it is long enough to have been written in many ways and rare among those who answered.
"""

from __future__ import annotations

import ast
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

SMALLEST = 40  # nodes of the syntax tree: about five lines
RAREST = 0.2  # share of the answers that have the same form, above which it says nothing


@dataclass(frozen=True)
class Pair:
    """Two learners and the exercises in which they share a rare form."""

    first: str
    second: str
    exercises: tuple[str, ...]


def form(source: str) -> str | None:
    """A digest that is the same for the same code under other names; None for code too small.

    Names are numbered in order of appearance; comments, blank space and docstrings fall away.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    number: dict[str, str] = {}

    def plain(name: str) -> str:
        return number.setdefault(name, f"n{len(number)}")

    size = 0
    for node in ast.walk(tree):
        size += 1
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.Name):
            node.id = plain(node.id)
        elif isinstance(node, ast.arg):
            node.arg = plain(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.name = plain(node.name)
    if size < SMALLEST:
        return None
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def suspected(results: Sequence[dict[str, Any]]) -> list[Pair]:
    """Pairs of learners who share rare forms, the most exercises first."""
    holders: dict[tuple[str, str], set[str]] = defaultdict(set)
    answered: dict[str, set[str]] = defaultdict(set)
    for one in results:
        for exercise, source in one.get("answers", {}).items():
            answered[exercise].add(one["learner"])
            if (found := form(source)) is not None:
                holders[exercise, found].add(one["learner"])
    shared: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (exercise, _), learners in holders.items():
        if 1 < len(learners) <= max(2, RAREST * len(answered[exercise])):
            for pair in combinations(sorted(learners), 2):
                shared[pair].append(exercise)
    pairs = [Pair(a, b, tuple(sorted(names))) for (a, b), names in shared.items()]
    return sorted(pairs, key=lambda p: (-len(p.exercises), p.first, p.second))
