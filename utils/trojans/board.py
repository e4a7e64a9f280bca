"""The board: methods x trojans, filled by runs, with a row that looks at nothing inside to beat."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from utils.reports import Estimate
from utils.trojans.detect import VERDICTS, transfer, verdict
from utils.trojans.plant import known
from utils.trojans.triggers import Trigger, TrojanError

NOTHING = "no trigger"


@dataclass(frozen=True)
class Entry:
    """One run. success, twin: attack success on held-out rows of the network and of its twin; None
    where no trigger came out. passes: forward passes of one input. verdict: one of VERDICTS or
    NOTHING. inside: whether the method looked inside the network."""

    method: str
    trojan: str
    verdict: str
    target: int | None
    success: Estimate | None
    twin: Estimate | None
    passes: int
    inside: bool

    @property
    def solved(self) -> bool:
        """It works on held-out rows, for the planted class, and not on the clean twin."""
        return self.verdict in VERDICTS[:3]

    def cell(self) -> str:
        """E.g. `0.87 / 0.00 *`: success, on the twin; a star where it counts, two in place."""
        if self.success is None or self.twin is None:
            return "nothing"
        stars = " **" if self.verdict == VERDICTS[0] else " *" if self.solved else ""
        return f"{self.success.value:.2f} / {self.twin.value:.2f}{stars}"


class Board:
    """Entries by method and trojan; a method run again on the same trojan replaces its entry."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = {(e.method, e.trojan): e for e in entries}

    def __iter__(self) -> Any:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, key: tuple[str, str]) -> Entry:
        if key not in self._entries:
            raise TrojanError(f"The board has no run of {key[0]!r} on {key[1]!r}.")
        return self._entries[key]

    def enter(
        self,
        method: str,
        trojan: str,
        found: Trigger | None,
        target: int | None,
        model: nn.Module,
        twin: nn.Module,
        *,
        passes: int,
        inside: bool = True,
    ) -> Entry:
        """Score a run by `transfer` on held-out rows and keep it.

        found: the trigger, None if the method gave none; target: the class it is for.
        """
        if not method or passes < 0:
            raise TrojanError("A run needs the name of its method, and passes >= 0.")
        if found is None or target is None:
            entry = Entry(method, trojan, NOTHING, target, None, None, passes, inside)
            known(trojan)
        else:
            report = transfer(found, target, known(trojan), model, twin)
            entry = Entry(
                method, trojan, verdict(report), target, report["attack success"],
                report["attack success, clean twin"], passes, inside,
            )  # fmt: skip
        self._entries[method, trojan] = entry
        return entry

    @property
    def methods(self) -> list[str]:
        """In order of entry, those that do not look inside first."""
        names = dict.fromkeys(e.method for e in sorted(self, key=lambda e: e.inside))
        return list(names)

    @property
    def trojans(self) -> list[str]:
        """In order of entry."""
        return list(dict.fromkeys(e.trojan for e in self))

    def beats(self) -> list[str]:
        """The trojans that a look inside found and no method without one did."""
        found = {
            inside: {e.trojan for e in self if e.solved and e.inside == inside}
            for inside in (True, False)
        }
        return [name for name in self.trojans if name in found[True] - found[False]]

    def __str__(self) -> str:
        head = ["method", *self.trojans, "solved"]
        lines = []
        for method in self.methods:
            runs = [self._entries.get((method, trojan)) for trojan in self.trojans]
            own = [e for e in runs if e is not None]
            mark = "" if own[0].inside else " (no look inside)"
            solved = f"{sum(e.solved for e in own)} of {len(own)}"
            lines.append([method + mark, *("" if e is None else e.cell() for e in runs), solved])
        widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
        shown = [
            "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in [head, ["-" * w for w in widths], *lines]
        ]
        beaten = ", ".join(self.beats()) or "none"
        return "\n".join(
            [
                *shown,
                "Attack success on held-out rows / on the clean twin. * counts: the planted class,"
                " 0.8 or more, at most 0.2 on the twin; ** lies in the planted place as well.",
                f"Found by a look inside and by nothing else: {beaten}.",
            ]
        )

    __repr__ = __str__

    def as_dict(self) -> list[dict[str, Any]]:
        """One object an entry, with estimates as in every JSON of the course."""
        return [
            {
                **{k: v for k, v in asdict(e).items() if k not in ("success", "twin")},
                "solved": e.solved,
                "success": None if e.success is None else e.success.as_dict(),
                "twin": None if e.twin is None else e.twin.as_dict(),
            }
            for e in self
        ]

    def save(self, path: str | Path) -> None:
        """Write the runs as JSON, for a board of several people."""
        text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n"
        Path(path).write_text(text, encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, path: str | Path) -> Board:
        """A board that was saved. TrojanError, naming the file, if it is none."""
        try:
            rows = json.loads(Path(path).read_text(encoding="utf-8"))
            entries = []
            for row in rows:
                row.pop("solved")
                for name in ("success", "twin"):
                    row[name] = None if row[name] is None else Estimate(**row[name])
                entries.append(Entry(**row))
            return cls(entries)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise TrojanError(
                f"{path} is no board that was saved ({type(error).__name__})."
            ) from None
