"""What a lesson prints: a plain line that nbval compares, and an accessible HTML version of it.

The HTML carries symbol and word beside the colour, and takes text and background from the page,
so that it reads in light and dark themes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Mid-tones with a contrast of 3:1 or more against white and against JupyterLab's dark ground.
_STYLES = {
    "passed": ("✔", "#2e8540"),
    "partly": ("◐", "#b8860b"),
    "failed": ("✘", "#d83933"),
    "not attempted": ("○", "#808080"),
    "hint": ("?", "#2378c3"),
    "note": ("→", "#2378c3"),
}


def show(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
    """Publish a bundle of MIME types in a notebook; elsewhere print its text."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.display import display

    if InteractiveShell.initialized():
        display(data, metadata=metadata or {}, raw=True)
    else:
        print(data["text/plain"])


def show_line(style: str, label: str, rest: str = "") -> None:
    """One line: `label: rest`, marked in the style's colour and with its symbol."""
    symbol, colour = _STYLES[style]
    plain = f"{label}: {rest}" if rest else label
    body = f"<strong>{symbol} {html.escape(label)}</strong>"
    if rest:
        body += f": {_inline(rest)}"
    box = f"border-left: 5px solid {colour}; padding: 4px 10px; margin: 4px 0"
    show({"text/plain": plain, "text/html": f'<div role="status" style="{box}">{body}</div>'})


def _inline(text: str) -> str:
    """Escaped text, with `code` between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def columns_of(table: Any) -> dict[str, list[Any]]:
    """A table as columns: from a dict of columns, a list of dicts, or a pandas DataFrame.

    Raises ValueError for anything else, for columns of different length, and for no rows.
    """
    if hasattr(table, "to_dict") and hasattr(table, "columns"):
        table = table.to_dict(orient="list")
    if isinstance(table, Mapping):
        columns = {str(k): _plain_list(v) for k, v in table.items()}
    elif isinstance(table, Sequence) and table and all(isinstance(r, Mapping) for r in table):
        names = list(dict.fromkeys(str(key) for row in table for key in row))
        columns = {name: [row.get(name, "") for row in table] for name in names}
    else:
        raise ValueError("a table is a dict of columns, a list of dicts, or a pandas DataFrame")
    if len({len(column) for column in columns.values()}) != 1 or not next(iter(columns.values())):
        raise ValueError("a table needs columns of one length, and at least one row")
    return columns


def _plain_list(column: Any) -> list[Any]:
    if isinstance(column, str) or not hasattr(column, "__iter__"):
        raise ValueError("each column of a table is a list")
    return column.tolist() if hasattr(column, "tolist") else list(column)


def cell_text(value: Any, digits: int) -> str:
    """A table's entry: floats with `digits` decimals, no negative zero, whole numbers as such."""
    if hasattr(value, "item") and getattr(value, "size", 1) != 0:
        try:
            value = value.item()  # tensors and numpy scalars
        except (ValueError, RuntimeError, TypeError):
            return str(value)
    if isinstance(value, float):
        text = f"{value:.{digits}f}"
        return text.lstrip("-") if float(text) == 0 else text
    return "" if value is None else str(value)


def table_data(table: Any, digits: int, caption: str, folded: bool = True) -> dict[str, str]:
    """A table as aligned text and as HTML under its caption, folded or open."""
    columns = columns_of(table)
    texts = {name: [cell_text(v, digits) for v in column] for name, column in columns.items()}
    numeric = {
        name: all(isinstance(v, int | float) and not isinstance(v, bool) for v in column)
        for name, column in columns.items()
    }
    widths = {name: max(len(name), *map(len, column)) for name, column in texts.items()}

    def line(entries: dict[str, str]) -> str:
        padded = (
            entries[n].rjust(widths[n]) if numeric[n] else entries[n].ljust(widths[n])
            for n in texts
        )
        return "  ".join(padded).rstrip()

    rows = [dict(zip(texts, row, strict=True)) for row in zip(*texts.values(), strict=True)]
    plain = "\n".join([caption, line({name: name for name in texts}), *map(line, rows)])
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in texts)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(row[name])}</td>" for name in texts) + "</tr>"
        for row in rows
    )
    page = (
        f"<details{'' if folded else ' open'}><summary>{html.escape(caption)}</summary>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></details>"
    )
    return {"text/plain": plain, "text/html": page}
