"""The part of a solved lesson that its answers hang on, so that tests need not run the rest.

A backward slice by names, statement by statement: what the exercises' cells read, what that reads,
and so on. What a statement changes in place (`x[i] = ...`, `x.append(...)`) counts as written by
it. Figures and tables between the exercises fall away; nbval runs those.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from utils.lessons.source import Lesson

THROWN_AWAY = {"_", "lab"}


def needed(lesson: Lesson) -> Iterator[tuple[int, ast.Module]]:
    """(number of the cell, its needed statements) up to the last exercise, in order."""
    last = max((n for n, cell in enumerate(lesson.cells) if cell.exercise), default=-1)
    wanted: set[str] = set()
    kept: list[tuple[int, ast.Module]] = []
    for number in range(last, -1, -1):
        cell = lesson.cells[number]
        if cell.kind != "code":
            continue
        tree = ast.parse(cell.solved)
        body: list[ast.stmt] = []
        for statement in reversed(tree.body):
            read, written = _names(statement)
            opens = isinstance(statement, ast.Assign) and "lab" in written
            imports = isinstance(statement, ast.Import | ast.ImportFrom)
            if cell.exercise or imports or opens or (written - THROWN_AWAY) & wanted:
                wanted |= read
                body.append(statement)
        tree.body = body[::-1]
        kept.append((number, tree))
    yield from reversed(kept)


def _names(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """What a statement reads and what it writes for others to read.

    Loop variables and a function's own names are written for nobody else.
    """
    read = {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
    written: set[str] = set()
    # a method called for its effect; one whose value is used is taken for a question
    effects = isinstance(statement, ast.Expr | ast.For | ast.While | ast.With | ast.If)
    for node in _outside_functions(statement):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            written.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            written |= {(a.asname or a.name).split(".")[0] for a in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            written.add(node.id)
        elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            written |= _root(node)
        elif effects and isinstance(node, ast.Call):
            written |= _root(node.func)
    return read, written


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement without function bodies, comprehensions and loop variables."""
    yield node
    hidden = (ast.FunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp)
    if isinstance(node, (*hidden, ast.GeneratorExp, ast.ClassDef)):
        return
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.For) and child is node.target):
            yield from _outside_functions(child)


def _root(node: ast.expr) -> set[str]:
    """The name that an attribute or an item belongs to; a plain name is nobody's."""
    if isinstance(node, ast.Name):
        return set()
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return {node.id} if isinstance(node, ast.Name) else set()
