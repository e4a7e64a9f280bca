"""Measuring a program's text: its syntax tree, and whatever it carries with it.

`utils.challenges.bits` says what costs how much.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import inspect
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from utils.challenges.explanation import ExplanationError

NODE, LIBRARY, GIVEN, WEIGHT = 6.0, 11.0, 8.0, 32.0
LIBRARIES = (
    "torch", "math", "numpy", "operator", "itertools", "functools", "collections", "zlib",
    "base64",
)  # fmt: skip


class SourceError(ExplanationError):
    """A step whose length cannot be measured: no source, or it holds what no text describes."""


def number_bits(value: float) -> float:
    """A number at the precision it is written with."""
    if isinstance(value, bool):
        return 1.0
    if isinstance(value, int):
        return 2 * math.log2(abs(value) + 1) + 2
    if not math.isfinite(value):
        return 2.0
    mantissa, _, exponent = f"{value!r}e0".partition("e")
    digits = mantissa.replace("-", "").replace(".", "").strip("0") or "0"
    places = len(mantissa.partition(".")[2].rstrip("0"))
    shift = int(exponent.partition("e")[0]) - places
    return number_bits(int(digits)) + number_bits(shift)


class Book:
    """What has been counted so far: each function and constant once."""

    def __init__(self, given: Mapping[str, Tensor]) -> None:
        self.given = given
        self.fixed = 0.0  # bits of nodes and constants
        self.names: list[Any] = []  # every mention of a name, made anonymous if it is one's own
        self.libraries: set[str] = set()
        self.record: list[Any] = []  # what was counted, for the digest
        self._seen: dict[int, int] = {}  # id of a function or object -> its number
        self._keep: list[Any] = []  # so that no id is used twice

    def bits(self) -> float:
        kinds = len(set(self.names)) + 1
        return self.fixed + len(self.names) * math.log2(kinds) + LIBRARY * len(self.libraries)

    # --- functions -----------------------------------------------------------------------------

    def function(self, function: Any, where: str) -> None:
        """Count a function of one's own (once), a library's (its name), or a callable object."""
        if isinstance(function, functools.partial):
            self.function(function.func, where)
            for value in (*function.args, *function.keywords.values()):
                self.constant(value, where)
            return
        if isinstance(function, types.MethodType):
            self.constant(function.__self__, where)
            function = function.__func__
        if isinstance(function, nn.Module):
            self.constant(function, where)
            return
        if _of_library(function):
            self.library(getattr(function, "__name__", str(function)))
            return
        if self.number(function):
            return
        if isinstance(function, type):
            self.tree(_tree_of_class(function, where), vars(inspect.getmodule(function)), {}, where)
            return
        if not isinstance(function, types.FunctionType):
            raise SourceError(
                f"The function of {where} is {type(function).__name__}, whose length cannot be"
                " measured; write a function."
            )
        tree = tree_of(function, where)
        free = inspect.getclosurevars(function).nonlocals
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        for value in defaults:  # `lambda x, table=table: ...` is a constant all the same
            self.constant(value, where)
        self.tree(tree, function.__globals__, free, where)

    def number(self, thing: Any) -> bool:
        """Whether the thing was counted before; it is given a number if not."""
        if id(thing) in self._seen:
            self.record.append(("again", self._seen[id(thing)]))
            return True
        self._seen[id(thing)] = len(self._seen)
        self._keep.append(thing)
        return False

    def tree(
        self, tree: ast.AST, names: Mapping[str, Any], free: Mapping[str, Any], where: str
    ) -> None:
        """Count a syntax tree, then whatever it refers to outside itself."""
        own = _bound(tree)
        alias: dict[str, int] = {}
        outside: list[tuple[str, Any]] = []
        for node in _nodes(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._import(node, where)
            if isinstance(node, ast.Constant):
                self.fixed += NODE
                self.constant(node.value, where)
                continue
            self.fixed += NODE
            self.record.append(type(node).__name__)
            for name in _names(node):
                if isinstance(node, ast.Attribute | ast.keyword):
                    self.mention(name)
                elif name in own:
                    self.mention(alias.setdefault(name, len(alias)), own=True)
                elif name in free or name in names:
                    target = free[name] if name in free else names[name]
                    self.mention(alias.setdefault(name, len(alias)), own=True)
                    outside.append((name, target))
                else:
                    self.mention(name)  # a builtin
        chains = _chains(tree)
        for name, target in outside:
            self._outside(name, target, chains, where)

    def _outside(self, name: str, target: Any, chains: list[tuple[str, ...]], where: str) -> None:
        """What a name of the surroundings stands for."""
        if isinstance(target, types.ModuleType):
            if target.__name__.partition(".")[0] in LIBRARIES:
                self.library(target.__name__)
                return
            for chain in chains:  # one's own module, or the course's: count what is taken from it
                if chain[0] != name:
                    continue
                value: Any = target
                for part in chain[1:]:
                    value = getattr(value, part, None)
                    if not isinstance(value, types.ModuleType):
                        break
                if value is not None and not isinstance(value, types.ModuleType):
                    self._thing(value, where)
            return
        self._thing(target, where)

    def _thing(self, value: Any, where: str) -> None:
        if callable(value) and not isinstance(value, nn.Module) and not _is_record(value):
            self.function(value, where)
        else:
            self.constant(value, where)

    def _import(self, node: ast.Import | ast.ImportFrom, where: str) -> None:
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [
            alias.name for alias in node.names
        ]  # fmt: skip
        for name in names:
            if name.partition(".")[0] not in LIBRARIES:
                raise SourceError(
                    f"{where} imports {name or 'a module of its own'}; inside a step only"
                    f" {', '.join(LIBRARIES)} can be imported."
                )
            self.library(name)

    # --- names and constants -------------------------------------------------------------------

    def mention(self, name: Any, own: bool = False) -> None:
        self.names.append(("own", name) if own else name)
        self.record.append(name)
        if not own:
            self.libraries.add(str(name))

    def library(self, name: str) -> None:
        self.libraries.add(name)
        self.record.append(name)

    def constant(self, value: Any, where: str) -> None:
        """Count a value that the program carries with it."""
        if value is None or isinstance(value, bool) or value is Ellipsis:
            self.fixed += 1.0
            self.record.append(repr(value))
        elif isinstance(value, int | float):
            self.fixed += number_bits(value)
            self.record.append(repr(value))
        elif isinstance(value, str | bytes):
            self.fixed += 8.0 * len(value)
            self.record.append(value)
        elif isinstance(value, torch.dtype | torch.device | slice):
            self.fixed += NODE
            self.record.append(str(value))
        elif isinstance(value, complex):
            self.constant(value.real, where)
            self.constant(value.imag, where)
        elif isinstance(value, Tensor) or type(value).__module__ == "numpy":
            self._array(torch.as_tensor(value), where)
        elif self.number(value):
            pass
        elif isinstance(value, nn.Module):
            count = sum(p.numel() for p in value.parameters())
            self.fixed += WEIGHT * count
            self.record.append(("network", count))
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                self.constant(key, where)
                self._thing(inner, where)
        elif isinstance(value, list | tuple | set | frozenset | range):
            for inner in value:
                self._thing(inner, where)
        elif _is_record(value):
            self.function(type(value), where)
            for field in dataclasses.fields(value):
                self._thing(getattr(value, field.name, None), where)
        elif callable(value):
            self.function(value, where)
        else:
            raise SourceError(
                f"{where} uses an object of type {type(value).__name__}, whose length cannot be"
                " measured; use numbers, text, tensors and functions."
            )

    def _array(self, value: Tensor, where: str) -> None:
        value = value.detach().cpu()
        for name, tensor in self.given.items():
            if tensor.shape == value.shape and torch.equal(tensor.to(value.dtype), value):
                self.fixed += GIVEN
                self.record.append(("given", name))
                return
        flat = value.reshape(-1)
        kinds = torch.view_as_real(flat).unique(dim=0) if flat.is_complex() else flat.unique()
        self.fixed += flat.numel() * math.log2(max(len(kinds), 1)) + sum(
            number_bits(int(k) if not kinds.is_floating_point() else round(float(k), 9))
            for k in kinds.reshape(-1)[:4096].tolist()
        )
        self.fixed += WEIGHT * max(0, kinds.numel() - 4096)
        digest = hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
        self.record.append(("array", tuple(value.shape), digest))


def _of_library(function: Any) -> bool:
    module = getattr(function, "__module__", None) or ""
    builtin = isinstance(function, types.BuiltinFunctionType | types.MethodDescriptorType)
    return module.partition(".")[0] in (*LIBRARIES, "builtins") or builtin


def _is_record(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


# --- syntax trees -------------------------------------------------------------------------------


def tree_of(function: Callable[..., Any], where: str) -> ast.AST:
    """The syntax tree of a function or lambda, without docstring and type hints. SourceError."""
    try:
        lines, _ = inspect.findsource(function)
        module = ast.parse("".join(lines))
    except (OSError, TypeError, SyntaxError):
        raise SourceError(
            f"The source of {where} cannot be found, so its length cannot be measured; define it in"
            " a notebook cell or a file."
        ) from None
    code = function.__code__
    found: list[ast.AST] = []
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            same_kind = isinstance(node, ast.Lambda) == (code.co_name == "<lambda>")
            if first == code.co_firstlineno and same_kind:
                found.append(node)
    if len(found) > 1:  # several lambdas in one line: the one that compiles to the same
        found = [node for node in found if _code_of(node) == _shape(code)] or found[:1]
    if not found:
        raise SourceError(
            f"The source of {where} has changed since it was defined; define it anew."
        )
    return found[0]


def _tree_of_class(kind: type, where: str) -> ast.AST:
    try:
        lines, start = inspect.findsource(kind)
        module = ast.parse("".join(lines))
    except (OSError, TypeError, SyntaxError):
        raise SourceError(f"The source of class {kind.__name__} in {where} is not there.") from None
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef) and node.name == kind.__name__:
            return node
    raise SourceError(f"The source of class {kind.__name__} in {where} is not there.")


def _code_of(node: ast.AST) -> tuple[Any, ...]:
    if not isinstance(node, ast.Lambda):
        return ()
    code = compile(ast.Expression(node), "", "eval")
    return next(_shape(c) for c in code.co_consts if isinstance(c, types.CodeType))


def _shape(code: types.CodeType) -> tuple[Any, ...]:
    consts = tuple(c for c in code.co_consts if not isinstance(c, types.CodeType))
    return (code.co_names, code.co_varnames, consts, len(code.co_code))


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that count: no contexts, docstrings, type hints or decorators."""
    skip: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            skip |= {id(d) for d in node.decorator_list}
            body = node.body
            if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                skip.add(id(body[0]))
        if isinstance(node, ast.FunctionDef) and node.returns is not None:
            skip.add(id(node.returns))
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            skip.add(id(node.annotation))

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        if id(node) in skip or isinstance(node, ast.expr_context | ast.arguments | ast.alias):
            if not isinstance(node, ast.arguments):
                return
        else:
            yield node
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    return walk(tree)


def _names(node: ast.AST) -> Sequence[str]:
    """The names a node carries itself."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.arg):
        return [node.arg]
    if isinstance(node, ast.keyword) and node.arg is not None:
        return [node.arg]
    return []


def _bound(tree: ast.AST) -> set[str]:
    """Names that the function itself gives: parameters, assignments, loops, inner functions."""
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
        if isinstance(node, ast.FunctionDef) and node is not tree:
            bound.add(node.name)
        if isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
    return bound


def _chains(tree: ast.AST) -> list[tuple[str, ...]]:
    """Every dotted name in the tree, as its parts."""
    chains = []
    for node in ast.walk(tree):
        parts: list[str] = []
        inner: Any = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if parts and isinstance(inner, ast.Name):
            chains.append((inner.id, *reversed(parts)))
    return chains
