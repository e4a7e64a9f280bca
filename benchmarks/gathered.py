"""A benchmark made of parts, each a module `NAME_PART` with `rows(quick)` and `table(rows)`."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any


class Gathered:
    """The parts of one benchmark that are installed, under one `rows` and one `table`."""

    def __init__(self, name: str, parts: tuple[str, ...]) -> None:
        self._modules = {part: f"benchmarks.{name}_{part}" for part in parts}

    def parts(self) -> dict[str, ModuleType]:
        """The parts that are there, by name."""
        return {
            part: importlib.import_module(module)
            for part, module in self._modules.items()
            if importlib.util.find_spec(module) is not None
        }

    def rows(self, quick: bool = False) -> list[dict[str, Any]]:
        """The rows of every part, each marked with its part."""
        found = self.parts().items()
        return [{"part": part, **row} for part, module in found for row in module.rows(quick=quick)]

    def table(self, rows: list[dict[str, Any]]) -> str:
        """The parts' own tables, one under the other."""
        texts = []
        for part, module in self.parts().items():
            own = [row for row in rows if row["part"] == part]
            if own:
                texts.append(f"{part}\n\n{module.table(own)}")
        return "\n\n".join(texts)
