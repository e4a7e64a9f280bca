"""The part of a solved lesson that its answers hang on, so that tests need not run the rest.

A backward slice by names, statement by statement: what the exercises' cells read, what that reads,
and so on. What a statement changes in place (`x[i] = ...`, `x.append(...)`) counts as written by
it; a name that is bound anew is wanted from nobody before. Figures and tables between the exercises
fall away; nbval runs those.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterable, Iterator

from utils.lessons.source import Lesson

THROWN_AWAY = {"_", "lab"}
MAY_BIND_NOTHING = ast.For | ast.While | ast.If | ast.Try


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
            bound = _bound(statement)
            opens = isinstance(statement, ast.Assign) and "lab" in bound
            imports = isinstance(statement, ast.Import | ast.ImportFrom)
            written = (bound | _changed(statement)) - THROWN_AWAY
            if cell.exercise or imports or opens or written & wanted:
                if not isinstance(statement, MAY_BIND_NOTHING):
                    wanted -= bound  # those may bind nothing
                wanted |= _read([statement])
                body.append(statement)
        tree.body = body[::-1]
        kept.append((number, tree))
    yield from reversed(kept)


def _read(statements: Iterable[ast.stmt]) -> set[str]:
    """Names that the statements, in this order, take from before them."""
    read: set[str] = set()
    own: set[str] = set()
    for one in statements:
        bodies = [getattr(one, part, []) for part in ("body", "orelse", "finalbody")]
        if isinstance(one, ast.For | ast.While | ast.If | ast.With):
            heads = [getattr(one, part, None) for part in ("iter", "test")]
            heads += [item.context_expr for item in getattr(one, "items", [])]
            targets = _stored(getattr(one, "target", None))
            for item in getattr(one, "items", []):
                targets |= _stored(item.optional_vars)
            found = set().union(*(_globals(ast.Expr(head)) for head in heads if head))
            found |= set().union(*map(_read, bodies)) - targets
        else:
            found = _globals(one)
        read |= found - own
        if not isinstance(one, MAY_BIND_NOTHING):
            own |= _bound(one)
    return read


def _globals(statement: ast.stmt) -> set[str]:
    """Names that a statement, its functions and comprehensions included, looks up outside."""

    def walk(table: symtable.SymbolTable, top: bool) -> Iterator[str]:
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (top or symbol.is_global()):
                yield symbol.get_name()
        for child in table.get_children():
            yield from walk(child, top=False)

    found = set(walk(symtable.symtable(ast.unparse(statement), "cell", "exec"), top=True))
    if isinstance(statement, ast.AugAssign):
        found |= _stored(statement.target)
    return found


def _bound(statement: ast.stmt) -> set[str]:
    """The names that a statement binds. Loop variables and a function's own are for nobody else."""
    found: set[str] = set()
    for node in _outside_functions(statement):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(a.asname or a.name).split(".")[0] for a in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def _changed(statement: ast.stmt) -> set[str]:
    """The names of what a statement changes in place: by an item, an attribute, or a method that
    is called for its effect. One whose value is used is taken for a question."""
    found: set[str] = set()
    for node in _outside_functions(statement):
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
            found |= _root(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            found |= _root(node.value.func)
    return found


def _stored(target: ast.AST | None) -> set[str]:
    return {n.id for n in ast.walk(target) if isinstance(n, ast.Name)} if target else set()


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
