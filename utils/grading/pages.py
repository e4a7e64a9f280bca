"""What people read: a page of feedback for each learner, and one page for who teaches.

Each is one self-contained HTML file, without scripts and without anything loaded from elsewhere.
All text that came from a submission is escaped.
"""

from __future__ import annotations

import html
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.grading.copies import suspected
from utils.grading.results import by_learner, rows, safe_name, summary
from utils.lessons import places

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --paper: #ffffff;
  --line: #d0d7de; --good: #1a7f37; --part: #9a6700; --bad: #b42318; --none: #6e7781; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b1; --paper: #0d1117;
  --line: #30363d; --good: #56d364; --part: #e3b341; --bad: #ff7b72; --none: #8b949e; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .7rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
.good { color: var(--good); } .part { color: var(--part); } .bad { color: var(--bad); }
.none { color: var(--none); } .soft { color: var(--soft); }
.title { min-width: 12rem; }
svg text { fill: var(--ink); font: 13px system-ui, sans-serif; }
@media print { body { max-width: none; } }
"""

_NEXT = {
    "failed": "Read what the check found, change the cell, and run it: the check answers at once.",
    "error": "Run the cell by itself and read the last line of what it prints.",
    "timeout": "Something does not end. Try it on a few rows first.",
    "out of memory": "Something grows. Look for a list or a product that holds everything at once.",
    "not attempted": "The stub is still there.",
    "missing": "Open the notebook as it was handed out, and put the answer into its own cell.",
    "tampered": "Leave `lab` and the check's line as they are: the answer alone is graded.",
}


def write_feedback(results: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """One page a learner. Nothing in it tells an answer: the checks' words, and a next step."""
    folder.mkdir(parents=True, exist_ok=True)
    titles = _titles()
    paths = []
    for learner in sorted({one["learner"] for one in results}):
        own = [one for one in results if one["learner"] == learner]
        path = folder / f"{safe_name(learner)}.html"
        places.write_text(path, _page(f"Feedback for {learner}", _feedback(own, titles)))
        paths.append(path)
    return paths


def write_overview(results: Sequence[dict[str, Any]], path: Path) -> Path:
    """The page for who teaches: points, exercises, frequent wrong answers, hints, likely copies."""
    places.write_text(path, _page("How the class did", _overview(results, _titles())))
    return path


# --- feedback --------------------------------------------------------------------------------


def _feedback(own: Sequence[dict[str, Any]], titles: dict[str, dict[str, str]]) -> str:
    line = by_learner(own)[0]
    parts = [f"<p><strong>{line['points']:g} of {line['max_points']} points.</strong></p>"]
    for one in own:
        lesson = titles.get(one["notebook"][:2], {})
        parts.append(f"<h2>{_text(lesson.get('', one['notebook']))}</h2>")
        if one["rows"][0]["exercise"]:
            parts.append(
                _bars([(r["exercise"], r["points"], r["max_points"]) for r in one["rows"]])
            )
        lines = []
        for row in one["rows"]:
            advice = _NEXT.get(row["status"], "")
            if row["status"] in ("failed", "not attempted", "error") and row["exercise"]:
                left = 3 - row["hints"]
                if left > 0:
                    advice += f' `lab.hint("{row["exercise"]}")` has {left} more for you.'
            lines.append(
                f"<tr><td>{_text(row['exercise'])}</td>"
                f"<td>{_text(lesson.get(row['exercise'], ''))}</td>"
                f"<td class='{_tone(row)}'>{_text(_label(row))}</td>"
                f"<td class='n'>{row['points']:g} of {row['max_points']}</td>"
                f"<td>{_code(row['message'])}"
                + (f"<br><span class='soft'>{_code(advice)}</span>" if advice else "")
                + "</td></tr>"
            )
        parts.append(
            "<div class='wide'><table><thead><tr><th>exercise</th><th class='title'></th><th>result</th>"
            "<th class='n'>points</th><th>what the check says, and what next</th></tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table></div>"
        )
        for note in one["notes"]:
            parts.append(f"<p class='soft'>{_text(note)}</p>")
    return "".join(parts)


def _bars(lines: Sequence[tuple[str, float, float]]) -> str:
    """Points by exercise as a small picture; the table under it says the same in words."""
    most = max((top for _, _, top in lines), default=1) or 1
    step, wide = 22, 320
    shapes = []
    for i, (name, got, top) in enumerate(lines):
        y = i * step
        shapes.append(
            f"<text x='0' y='{y + 15}'>{_text(name)}</text>"
            f"<rect x='60' y='{y + 3}' width='{wide * top / most:.0f}' height='14' fill='none'"
            " stroke='var(--line)'/>"
            f"<rect x='60' y='{y + 3}' width='{wide * got / most:.0f}' height='14'"
            " fill='var(--good)'/>"
        )
    told = ", ".join(f"{name}: {got:g} of {top:g}" for name, got, top in lines)
    return (
        f"<svg role='img' aria-label='Points by exercise. {_text(told)}' width='400'"
        f" height='{len(lines) * step + 4}' viewBox='0 0 400 {len(lines) * step + 4}'>"
        f"{''.join(shapes)}</svg>"
    )


# --- overview --------------------------------------------------------------------------------


def _overview(results: Sequence[dict[str, Any]], titles: dict[str, dict[str, str]]) -> str:
    total = summary(results)
    parts = [
        f"<p>{total['submissions']} notebooks of {total['learners']} learners,"
        f" {total['points']:g} of {total['max_points']} points.</p>"
    ]
    by_exercise: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows(results):
        by_exercise[row["notebook"], row["exercise"]].append(row)
    parts += ["<h2>Exercises</h2>", _exercises(by_exercise, titles)]
    parts += ["<h2>Frequent wrong answers</h2>", _frequent(by_exercise)]
    parts += ["<h2>Learners</h2>", _learners(results)]
    parts += ["<h2>Answers that are the same up to names</h2>", _copies(results)]
    broken = [one for one in results if not one["rows"][0]["exercise"]]
    if broken:
        parts.append("<h2>Files without a grade</h2><ul>")
        parts += [
            f"<li>{_text(one['file'])}: {_text(one['rows'][0]['message'])}</li>" for one in broken
        ]
        parts.append("</ul>")
    return "".join(parts)


def _exercises(
    by_exercise: dict[tuple[str, str], list[dict[str, Any]]], titles: dict[str, dict[str, str]]
) -> str:
    lines = []
    for (notebook, exercise), found in sorted(by_exercise.items(), key=lambda kv: _order(kv[0])):
        if not exercise:
            continue
        count = Counter(row["status"] for row in found)
        n = len(found)
        partly = sum(row["status"] == "failed" and row["points"] > 0 for row in found)
        seconds = sorted(row["seconds"] for row in found)[n // 2]
        hints = sum(row["hints"] for row in found) / n
        rest = n - count["passed"] - count["failed"] - count["not attempted"]
        title = titles.get(notebook[:2], {}).get(exercise, "")
        lines.append(
            f"<tr><td>{_text(exercise)}</td><td>{_text(title)}</td>"
            f"<td class='n'>{count['passed']}</td><td class='n'>{partly}</td>"
            f"<td class='n'>{count['failed'] - partly}</td>"
            f"<td class='n'>{count['not attempted']}</td><td class='n'>{rest}</td>"
            f"<td>{_stack(count['passed'] / n, partly / n, count['failed'] / n - partly / n)}</td>"
            f"<td class='n'>{hints:.1f}</td><td class='n'>{seconds:.1f}</td></tr>"
        )
    return (
        "<div class='wide'><table><thead><tr><th>exercise</th><th class='title'></th><th class='n'>passed</th>"
        "<th class='n'>partly</th><th class='n'>failed</th><th class='n'>not tried</th>"
        "<th class='n'>other</th><th>share</th><th class='n'>hints each</th>"
        f"<th class='n'>median s</th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _stack(passed: float, partly: float, failed: float) -> str:
    shapes, x = [], 0.0
    for share, tone in ((passed, "good"), (partly, "part"), (failed, "bad")):
        shapes.append(
            f"<rect x='{x:.1f}' y='2' width='{100 * share:.1f}' height='12' fill='var(--{tone})'/>"
        )
        x += 100 * share
    told = f"{passed:.0%} passed, {partly:.0%} partly, {failed:.0%} failed"
    return (
        f"<svg role='img' aria-label='{told}' width='102' height='16' viewBox='0 0 102 16'>"
        f"{''.join(shapes)}<rect x='0' y='2' width='100' height='12' fill='none'"
        " stroke='var(--line)'/></svg>"
    )


def _frequent(by_exercise: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    lines = []
    for (_, exercise), found in sorted(by_exercise.items(), key=lambda kv: _order(kv[0])):
        wrong = [row for row in found if row["status"] in ("failed", "error") and exercise]
        # numbers differ from answer to answer; what is meant is the same
        kinds = Counter(re.sub(r"-?\d[\d.e+-]*", "#", row["message"]) for row in wrong)
        shown = {re.sub(r"-?\d[\d.e+-]*", "#", row["message"]): row["message"] for row in wrong}
        for kind, count in kinds.most_common(3):
            if count > 1:
                lines.append(
                    f"<tr><td>{_text(exercise)}</td><td class='n'>{count} of {len(found)}</td>"
                    f"<td>{_code(shown[kind])}</td></tr>"
                )
    if not lines:
        return "<p>No two learners were told the same.</p>"
    return (
        "<div class='wide'><table><thead><tr><th>exercise</th><th class='n'>learners</th>"
        f"<th>they were told</th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _learners(results: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"<tr><td>{_text(one['learner'])}</td><td class='n'>{one['points']:g} of"
        f" {one['max_points']}</td><td class='n'>{one['passed']}</td>"
        f"<td class='n'>{one['attempted']}</td><td class='n'>{one['hints']}</td></tr>"
        for one in by_learner(results)
    ]
    return (
        "<div class='wide'><table><caption>Hints are what each learner's own record says."
        "</caption><thead><tr><th>learner</th><th class='n'>points</th><th class='n'>passed</th>"
        "<th class='n'>attempted</th><th class='n'>hints</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _copies(results: Sequence[dict[str, Any]]) -> str:
    pairs = suspected(results)[:50]
    if not pairs:
        return "<p>No two learners share a long and rare answer.</p>"
    lines = [
        f"<tr><td>{_text(p.first)}</td><td>{_text(p.second)}</td>"
        f"<td class='n'>{len(p.exercises)}</td><td>{_text(', '.join(p.exercises))}</td></tr>"
        for p in pairs
    ]
    return (
        "<p>A reason to look, no proof: people learn together, and short exercises have one"
        " answer.</p><div class='wide'><table><thead><tr><th>learner</th><th>learner</th>"
        "<th class='n'>exercises</th><th>which</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


# --- words -----------------------------------------------------------------------------------


def _page(title: str, body: str) -> str:
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{_text(title)}</h1>{body}</main></body></html>\n"
    )


def _titles() -> dict[str, dict[str, str]]:
    """Titles by lesson and exercise; the lesson's own under ""."""
    manifest = places.read_json(places.course_root() / places.MANIFEST, default={})
    return {
        lesson: {"": f"{lesson} {card['title']}"}
        | {name: entry["title"] for name, entry in card["exercises"].items()}
        for lesson, card in manifest.get("lessons", {}).items()
    }


def _order(place: tuple[str, str]) -> tuple[str, list[int]]:
    return place[0], [int(part) for part in re.findall(r"\d+", place[1])]


def _label(row: dict[str, Any]) -> str:
    return "partly right" if row["status"] == "failed" and row["points"] else row["status"]


def _tone(row: dict[str, Any]) -> str:
    if row["status"] == "passed":
        return "good"
    if row["status"] in ("not attempted", "missing"):
        return "none"
    return "part" if row["points"] else "bad"


def _text(value: Any) -> str:
    return html.escape("".join(c if c.isprintable() else " " for c in str(value)))


def _code(text: str) -> str:
    """Escaped, with `code` and *stress* as the checks write them."""
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", _text(text))
    return re.sub(r"(?<![\w*])\*([\w ]+)\*(?![\w*])", r"<em>\1</em>", text)
