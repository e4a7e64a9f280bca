"""A journey as people see it: a table and two lines, and a page of HTML to be printed."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from utils.errors import CourseError
from utils.lessons import places
from utils.lessons.journey import Journey

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; background: #fff;
  max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; break-after: avoid; }
.soft { color: #57606a; }
.sums { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: 1.2rem 0; padding: 0; }
.sums div { display: flex; flex-direction: column-reverse; }
.sums dt { color: #57606a; }
.sums dd { margin: 0; font-size: 1.5rem; font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93em; }
caption { text-align: left; color: #57606a; padding-bottom: .3rem; }
th { white-space: nowrap; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid #d0d7de;
  vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.when { white-space: nowrap; font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; }
svg text { font: 13px system-ui, sans-serif; fill: #1b1f24; }
@page { margin: 16mm; }
@media print {
  body { font-size: 10.5pt; max-width: none; margin: 0; padding: 0; }
  tr, svg { break-inside: avoid; }
  thead { display: table-header-group; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
"""
ROW, LEFT, BAR, WIDE = 22, 300, 320, 720  # of the chart, in its own pixels
LONGEST = 38  # letters of a lesson's name beside its bar
STATUS = {"passed": "✔ passed", "partly": "◐ partly right", "failed": "✘ not yet"}


def since(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago that was, in words for people; "never" where it was not."""
    if moment is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // size)
        if count >= 1:
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return "just now"


def table(found: Journey, now: datetime | None = None) -> list[dict[str, Any]]:
    """A row a lesson for people, the total last."""
    rows = [
        {
            "lesson": one.name,
            "title": one.title,
            "passed": f"{one.passed} of {one.exercises}",
            "points": f"{one.points:g} of {one.max_points}",
            "hints": one.hints,
            "last result": since(one.touched, now) if one.tried else "",
        }
        for one in found.lessons
    ]
    total = {
        "lesson": "all",
        "title": "",
        "passed": f"{found.passed} of {sum(one.exercises for one in found.lessons)}",
        "points": f"{found.points:g} of {found.max_points}",
        "hints": found.hints,
        "last result": since(found.touched, now) if found.exercises else "",
    }
    return [*rows, total]


def closing(found: Journey) -> list[str]:
    """The lines under the table: predictions, and what comes next."""
    scored = sum(one.brier is not None for one in found.predictions)
    lines = []
    if found.brier is not None:
        lines.append(
            f"{scored} prediction{'' if scored == 1 else 's'} scored, mean Brier score"
            f" {found.brier:.2f} (0 is best, a coin flip scores 0.25)."
        )
    lines.append(f"Next: {found.next or 'nothing, every exercise is passed'}.")
    return lines


# --- the page -----------------------------------------------------------------------------------


def save(found: Journey, path: Path) -> None:
    """Write the page to `path`, which ends in .html. Raises CourseError where it cannot be."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise CourseError(f"{path} would be no page: give --html a name that ends in .html.")
    try:
        places.write_text(path, page(found))
    except OSError as error:
        raise CourseError(f"{path} cannot be written ({error.strerror}).") from error


def page(found: Journey, now: datetime | None = None) -> str:
    """The whole page; times are those of this machine's clock."""
    done = [one for one in found.exercises if one.attempts or one.hints]
    parts = [
        "<h1>Your way through the course</h1>",
        f'<p class="soft">A course for mechanists, as of {_when(now or datetime.now(UTC))}.</p>',
        _sums(found),
        "<h2>Points by lesson</h2>",
        chart(found),
        "<h2>Lesson by lesson</h2>",
        _table(
            "What is passed of each lesson, and when you last worked on it.",
            ("lesson", "passed", "points", "hints", "last result"),
            (
                (
                    f"{one.name} {one.title}",
                    f"{one.passed} of {one.exercises}",
                    f"{one.points:g} of {one.max_points}",
                    str(one.hints),
                    _when(one.touched) if one.touched else "",
                )
                for one in found.lessons
            ),
            numbers=(1, 2, 3),
        ),
        "<h2>Exercise by exercise, in the order of time</h2>",
        _table(
            "Each exercise with its best result, and when you had it.",
            ("when", "exercise", "result", "points", "attempts", "hints"),
            (
                (
                    _when(one.solved or one.touched),
                    f"{one.name} {one.title}",
                    STATUS.get(one.status, "○ not attempted"),
                    f"{one.points:g} of {one.max_points}",
                    str(one.attempts),
                    str(one.hints),
                )
                for one in done
            ),
            numbers=(3, 4, 5),
        )
        if done
        else "<p>Nothing is recorded yet.</p>",
    ]
    if found.predictions:
        parts += ["<h2>What you foretold</h2>", _predictions(found)]
    *_, last = closing(found)
    parts.append(f"<p>{html.escape(last)}</p>")
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Your way through the course</title><style>{STYLE}</style></head>"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def chart(found: Journey) -> str:
    """Points by lesson as bars in an outline of all there are; the table below says the same."""
    most = max((one.max_points for one in found.lessons), default=0) or 1
    lines = []
    for at, one in enumerate(found.lessons):
        y, scale = 4 + at * ROW, BAR / most
        name = f"{one.name} {one.title}"
        name = name if len(name) <= LONGEST else name[: LONGEST - 1].rstrip(" ,:") + "…"
        lines.append(
            f'<text x="{LEFT - 8}" y="{y + 14}" text-anchor="end">{html.escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y + 3}" width="{one.max_points * scale:.1f}" height="14"'
            ' fill="#fff" stroke="#6e7781"/>'
            f'<rect x="{LEFT}" y="{y + 3}" width="{one.points * scale:.1f}" height="14"'
            ' fill="#0072b2"/>'
            f'<text x="{LEFT + one.max_points * scale + 8:.1f}" y="{y + 14}">'
            f"{one.points:g} of {one.max_points}</text>"
        )
    high = 8 + len(found.lessons) * ROW
    return (
        f'<svg viewBox="0 0 {WIDE} {high}" role="img" aria-label="Points by lesson: bars in an'
        f' outline of all there are. The next table says the same.">{"".join(lines)}</svg>'
    )


def _sums(found: Journey) -> str:
    exercises = sum(one.exercises for one in found.lessons)
    sums = {
        "points": f"{found.points:g} of {found.max_points}",
        "exercises passed": f"{found.passed} of {exercises}",
        "hints used": str(found.hints),
    }
    if found.brier is not None:
        sums["mean Brier score"] = f"{found.brier:.2f}"
    items = "".join(f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in sums.items())
    return f'<dl class="sums">{items}</dl>'


def _predictions(found: Journey) -> str:
    rows = (
        (
            f"{one.name} {one.question}",
            "nothing" if one.probability is None else f"{100 * one.probability:.3g} %",
            {True: "yes", False: "no", None: "not seen yet"}[one.happened],
            "" if one.brier is None else f"{one.brier:.2f}",
        )
        for one in found.predictions
    )
    return _table(
        "The Brier score is the squared error of a stated probability: 0 is best, and whoever"
        " always says 50 % gets 0.25.",
        ("question", "you said", "it happened", "Brier score"),
        rows,
        numbers=(1, 3),
    )


def _table(
    caption: str, names: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int]
) -> str:
    """A table; `numbers` are the columns that are set to the right."""

    def cell(tag: str, at: int, text: str) -> str:
        kind = (
            "n"
            if at in numbers
            else "when"
            if names[at] in ("when", "last result", "result")
            else "t"
        )
        return f'<{tag} class="{kind}">{html.escape(text)}</{tag[:2]}>'

    head = "".join(cell('th scope="col"', at, name) for at, name in enumerate(names))
    body = "".join(
        f"<tr>{''.join(cell('td', at, text) for at, text in enumerate(row))}</tr>" for row in rows
    )
    return (
        f'<div class="wide"><table><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _when(moment: datetime | None) -> str:
    return "time unknown" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M")
