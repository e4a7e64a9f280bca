"""What a walk of `python -m utils solve` gives back: reports, a verdict, pictures, JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from utils.reports import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Walk:
    """Reports by name, and what they say. A walk of its own names itself in `name`."""

    name: ClassVar[str]
    reports: Mapping[str, Report]
    verdict: str
    reasons: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: every row of every report as an estimate."""
        return {
            "name": self.name,
            "rows": {
                name: {row.name: row.estimate.as_dict() for row in report}
                for name, report in self.reports.items()
            },
            "verdict": self.verdict,
            "reasons": list(self.reasons),
        }

    def texts(self) -> list[str]:
        """The reports as a reader wants them, in order."""
        return [str(report) for report in self.reports.values()]

    def figure(self, name: str) -> Figure:
        """The picture of one report."""
        return self.reports[name].figure()

    def draw(self, folder: Path) -> list[Path]:
        """One picture a report, as PNG in `folder`, which exists; returns the files."""
        files = []
        for name in self.reports:
            files.append(folder / f"{self.name}-{name.replace(' ', '-')}.png")
            self.figure(name).savefig(files[-1], dpi=110, facecolor="white")
        return files
