"""Probes with their controls, contrast pairs, and erasure, over several networks each.

Gathers the parts that are installed; each is a module here with `rows(quick)` and `table(rows)`.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any

PARTS = ("selectivity", "contrast", "erasure")


def parts() -> dict[str, ModuleType]:
    """The parts that are there, by name."""
    names = {part: f"benchmarks.probing_{part}" for part in PARTS}
    return {
        part: importlib.import_module(name)
        for part, name in names.items()
        if importlib.util.find_spec(name) is not None
    }


def rows(quick: bool = False) -> list[dict[str, Any]]:
    """The rows of every part, each marked with its part."""
    found = parts().items()
    return [{"part": part, **row} for part, module in found for row in module.rows(quick=quick)]


def table(rows: list[dict[str, Any]]) -> str:
    """The parts' own tables, one under the other."""
    texts = []
    for part, module in parts().items():
        own = [row for row in rows if row["part"] == part]
        if own:
            texts.append(f"{part}\n\n{module.table(own)}")
    return "\n\n".join(texts)
