"""What a generated notebook must never hold, and how much of it nbval really compares."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from nbformat import NotebookNode

from utils.lessons.regions import BEGIN, END, STUB
from utils.lessons.source import KNOWN_TAGS

LEAST_COMPARED = 0.7
MOST_BYTES = 5_000_000
IGNORE_MARK = "# NBVAL_IGNORE_OUTPUT"
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{6,}")
_ABSOLUTE = re.compile(
    r"(?<![\w.:/>-])/(?:home|root|tmp|Users|work|usr|var|opt|mnt|content)/[\w.-]|\b[A-Z]:\\\\?\w"
)
_EMPTY_TEXT = re.compile(r"^<Figure size |^Figure: |^<[\w.]+( object)?>$")


def text_of(output: Mapping[str, Any]) -> str:
    """The text of an output that a reader or nbval sees, without images and HTML.

    As nbformat gives it or as plain JSON, where a text may be a list of its lines.
    """
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}"
    return "".join(output.get("text", output.get("data", {}).get("text/plain", "")))


def ignored(cell: NotebookNode) -> bool:
    """Whether nbval is told not to compare this cell."""
    marked = any(line.strip() == IGNORE_MARK for line in cell.source.split("\n"))
    return marked or "nbval-ignore-output" in cell.metadata.get("tags", [])


def compared(notebook: NotebookNode) -> tuple[int, int]:
    """(cells whose text nbval really compares, code cells with output)."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    real = [
        cell
        for cell in cells
        if cell.execution_count is not None
        and not ignored(cell)
        and any((text := text_of(o).strip()) and not _EMPTY_TEXT.match(text) for o in cell.outputs)
    ]
    return len(real), len(cells)


def solved_faults(notebook: NotebookNode) -> list[str]:
    """Faults of a solved notebook, one line each: counts, outputs, images, paths, coverage."""
    faults = _common_faults(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        faults.append(f"execution counts are {counts}, not 1 to {len(code)}")
    for cell in code:
        for output in cell.outputs:
            faults += [f"cell {cell.id}: {fault}" for fault in _output_faults(output)]
    real, total = compared(notebook)
    if total and real / total < LEAST_COMPARED:
        faults.append(f"only {real} of {total} cells with output are compared; print more as text")
    return faults


def learner_faults(notebook: NotebookNode) -> list[str]:
    """Faults of a learner's notebook, one line each."""
    faults = _common_faults(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code" and (cell.outputs or cell.execution_count is not None):
            faults.append(f"cell {cell.id}: has outputs or a count")
    return faults


def _common_faults(notebook: NotebookNode) -> list[str]:
    faults = []
    names = [cell.id for cell in notebook.cells]
    if len(set(names)) != len(names):
        faults.append("cell ids are not unique")
    if len(json.dumps(notebook)) > MOST_BYTES:
        faults.append(f"larger than {MOST_BYTES // 1_000_000} MB")
    for cell in notebook.cells:
        for tag in cell.metadata.get("tags", []):
            if tag not in KNOWN_TAGS:
                faults.append(f"cell {cell.id}: unknown tag {tag!r}")
        for line in cell.source.split("\n") if cell.cell_type == "code" else []:
            text = line.strip()
            if text in {BEGIN, END, STUB}:
                faults.append(f"cell {cell.id}: solution mark {text!r}")
            if "NBVAL" in text and text != IGNORE_MARK:
                faults.append(f"cell {cell.id}: unknown mark {text!r}")
            if re.match(r"!|%{1,2}[A-Za-z]", text):
                faults.append(f"cell {cell.id}: shell line or magic {text!r}")
        if match := _ABSOLUTE.search(cell.source):
            faults.append(f"cell {cell.id}: absolute path near {match.group(0)!r}")
    return faults


def _output_faults(output: NotebookNode) -> list[str]:
    faults = []
    text = text_of(output)
    if output.output_type == "error":
        faults.append(f"error output {text!r}")
    if output.output_type == "stream" and output.name == "stderr":
        faults.append(f"writes to stderr: {text.strip()[:200]!r}")
    if match := _ADDRESS.search(text):
        faults.append(f"prints an address, {match.group(0).strip()!r}, which changes every run")
    if match := _ABSOLUTE.search(text):
        faults.append(f"prints an absolute path near {match.group(0)!r}")
    metadata, data = output.get("metadata", {}), output.get("data", {})
    for kind in data:
        if kind.startswith("image/"):
            alt = metadata.get(kind, {}).get("alt") or metadata.get("alt")
            if not str(alt or "").strip():
                faults.append(f"{kind} without alt text; show figures with lab.figure")
    if "<img" in str(data.get("text/html", "")):
        for tag in re.findall(r"<img\b[^>]*?(?=src=)|<img\b[^>]*>", str(data["text/html"])):
            if not re.search(r"alt=\"[^\"]+\"", tag):
                faults.append("an <img> without alt text")
    return faults
