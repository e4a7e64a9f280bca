"""Results that cannot be given alone: estimates with intervals, reports with their controls.

An `Estimate` is a number with a 95 % interval and the count behind it. A `Report` is a table of
estimates with the protocol that made them; it must hold at least one row that is not a result
(a baseline, null, ceiling or control), because a number that cannot be compared says nothing.
Only the standard library is loaded here; numpy and matplotlib come in when they are needed.
"""

from __future__ import annotations

import html
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from utils.estimates import (
    Estimate,
    ReportError,
    _number,
    bootstrap,
    jackknife,
    paired_difference,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Role = Literal["result", "baseline", "null", "ceiling", "control"]
__all__ = [
    "ROLES",
    "Estimate",
    "Report",
    "ReportError",
    "Role",
    "Row",
    "bootstrap",
    "jackknife",
    "paired_difference",
]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True)
class Row:
    """One line of a report. `role`: result, baseline, null, ceiling or control."""

    name: str
    estimate: Estimate
    role: Role
    note: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise ReportError("A row needs a name.")
        if not isinstance(self.estimate, Estimate):
            raise ReportError(
                f"Row {self.name!r} holds {self.estimate!r}; give it an Estimate"
                " (Estimate.exact for a number without sampling)."
            )
        if self.role not in ROLES:
            raise ReportError(f"Role {self.role!r} is not one of {', '.join(ROLES)}.")


@dataclass(frozen=True, repr=False)
class Report:
    """A table of estimates, never a result alone, with the protocol that made it.

    `protocol`: what was sampled, how often, against what. `digits`: decimals shown everywhere, so
    that printed numbers are rounded at the source. `report["name"]` is a row's estimate.
    """

    title: str
    rows: Sequence[Row]
    protocol: Mapping[str, str | int | float]
    notes: Sequence[str] = ()
    digits: int = field(default=3, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(self.rows))
        object.__setattr__(self, "notes", tuple(self.notes))
        object.__setattr__(self, "protocol", dict(self.protocol))
        if not self.title:
            raise ReportError("A report needs a title.")
        if not self.rows:
            raise ReportError(f"Report {self.title!r} has no rows.")
        if all(row.role == "result" for row in self.rows):
            raise ReportError(
                f"Report {self.title!r} holds results only; add at least one baseline, null,"
                " ceiling or control to compare them with."
            )
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ReportError(f"Report {self.title!r} has two rows called {twice!r}.")
        if not self.protocol:
            raise ReportError(
                f"Report {self.title!r} has no protocol; say what was sampled, how often and"
                " against what."
            )
        for key, value in self.protocol.items():
            if not isinstance(key, str) or not isinstance(value, str | int | float):
                raise ReportError(f"Protocol entry {key!r}: {value!r} is not text or a number.")

    def __getitem__(self, name: str) -> Estimate:
        for row in self.rows:
            if row.name == name:
                return row.estimate
        raise ReportError(
            f"No row {name!r} in report {self.title!r}; it has {', '.join(self._names())}."
        )

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def _names(self) -> list[str]:
        return [row.name for row in self.rows]

    def _cells(self) -> list[list[str]]:
        """One list a row: name, role, value, interval, n, note."""
        table = []
        for row in self.rows:
            e = row.estimate
            interval = f"[{_number(e.low, self.digits)}, {_number(e.high, self.digits)}]"
            table.append(
                [
                    row.name,
                    row.role,
                    _number(e.value, self.digits),
                    "exact" if e.method == "exact" else interval,
                    str(e.n),
                    row.note,
                ]
            )
        return table

    def __str__(self) -> str:
        table = [list(_HEADER), *self._cells()]
        if not any(cells[-1] for cells in table[1:]):
            table = [cells[:-1] for cells in table]
        widths = [max(len(cells[i]) for cells in table) for i in range(len(table[0]))]
        lines = [self.title]
        for cells in table:
            padded = [
                c.rjust(w) if i in (2, 4) else c.ljust(w)
                for i, (c, w) in enumerate(zip(cells, widths, strict=True))
            ]
            lines.append("  ".join(padded).rstrip())
        lines.insert(2, "  ".join("-" * w for w in widths))
        lines.extend(self._below())
        return "\n".join(lines)

    def _below(self) -> list[str]:
        """The lines under the table: protocol, how the intervals were made, notes."""
        shown = [f"{key}: {_plain(v, self.digits)}" for key, v in self.protocol.items()]
        lines = [f"Protocol: {'; '.join(shown)}."]
        methods = {row.estimate.method: None for row in self.rows}
        made = [m for m in methods if m not in ("", "exact")]
        if made:
            lines.append(f"Intervals: {'; '.join(made)}.")
        return lines + [f"Note: {note}" for note in self.notes]

    __repr__ = __str__  # what a notebook stores beside the HTML, and what its test compares

    def _repr_html_(self) -> str:
        """An accessible table without colours of its own: it follows the notebook's theme."""
        rows = self._cells()
        width = len(_HEADER) if any(cells[-1] for cells in rows) else len(_HEADER) - 1
        left = 'style="text-align: left"'
        head = "".join(f'<th scope="col" {left}>{h}</th>' for h in _HEADER[:width])
        body = []
        for name, *cells in rows:
            rest = "".join(f"<td>{html.escape(c)}</td>" for c in cells[: width - 1])
            body.append(f'<tr><th scope="row" {left}>{html.escape(name)}</th>{rest}</tr>')
        return (
            f"<table><caption {left}>{html.escape(self.title)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
            + "".join(f"<p>{html.escape(line)}</p>" for line in self._below())
        )

    def figure(self, xlabel: str = "") -> Figure:
        """Dots with their intervals, one line a row: results filled, everything else hollow.

        xlabel: what the numbers are, with their unit.
        A plain matplotlib Figure outside pyplot: save it, or show it with `lab.figure`.
        """
        from matplotlib.figure import Figure

        from utils.plots import BLUE, VERMILION

        names, n = self._names(), len(self.rows)
        figure = Figure(figsize=(7.0, 0.9 + 0.42 * n), layout="constrained")
        axes = figure.add_subplot()
        for y, row in enumerate(self.rows):
            e = row.estimate
            result = row.role == "result"
            colour = BLUE if result else VERMILION  # the fill says the same without colour
            axes.plot([e.low, e.high], [y, y], color=colour, linewidth=2, solid_capstyle="butt")
            face = colour if result else "white"
            axes.plot(
                e.value, y, "o", markersize=8, markerfacecolor=face, color=colour, clip_on=False
            )
            axes.annotate(
                f"{_number(e.value, self.digits)} ({row.role})",
                (max(e.high, e.value), y),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(range(n), names)
        axes.set_ylim(n - 0.5, -0.5)
        ends = [x for row in self.rows for x in (row.estimate.low, row.estimate.high)]
        if min(ends) >= 0 and 0.1 < max(ends) <= 1:
            axes.set_xlim(0, 1)
        axes.set_title(self.title, loc="left")
        axes.set_xlabel(xlabel)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0, pad=10)  # a mark at the left end touches no name
        return figure

    def to_json(self) -> str:
        """One JSON object; `from_json` gives an equal report back."""
        rows = [
            {
                "name": row.name,
                "role": row.role,
                "estimate": row.estimate.as_dict(),
                "method": row.estimate.method,
                "note": row.note,
            }
            for row in self.rows
        ]
        return json.dumps(
            {
                "title": self.title,
                "rows": rows,
                "protocol": self.protocol,
                "notes": list(self.notes),
                "digits": self.digits,
            },
            indent=2,
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Raises ReportError when the text is not a report."""
        try:
            data = json.loads(text)
            rows = [
                Row(
                    r["name"],
                    Estimate(**r["estimate"], method=r.get("method", "")),
                    r["role"],
                    r.get("note", ""),
                )
                for r in data["rows"]
            ]
            return cls(
                data["title"],
                rows,
                data["protocol"],
                data.get("notes", ()),
                digits=data.get("digits", 3),
            )
        except ReportError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ReportError(f"This is not a report ({type(error).__name__}: {error}).") from None

    def save(self, path: str | Path) -> Path:
        """Write the JSON in one step: a reader sees the old file or the new one, never a half."""
        path = Path(path)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(self.to_json() + "\n")
            os.replace(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
        return path

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Raises ReportError, naming the file, when it is missing or damaged."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ReportError(f"There is no report at {path}.") from None
        except (ReportError, UnicodeDecodeError) as error:
            raise ReportError(f"The report {path} is damaged: {error}") from None


_HEADER = ("row", "role", "value", "interval", "n", "note")


def _plain(value: str | int | float, digits: int) -> str:
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)
