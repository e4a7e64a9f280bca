"""Where grades go: a CSV with a row an exercise, one with a row a learner, JSON, Gradescope."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.lessons.places import to_json, write_text

COLUMNS = (
    "learner", "notebook", "exercise", "status", "points", "max_points", "message", "seconds",
    "peak_mb",
)  # fmt: skip


def rows(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One dict an exercise, the columns of the CSV and `hints`, `file`."""
    return [
        {"learner": one["learner"], "notebook": one["notebook"], "file": one["file"], **row}
        for one in results
        for row in one["rows"]
    ]


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts over the whole: submissions, learners, exercises by status, points."""
    every = rows(results)
    by_status: dict[str, int] = {}
    for row in every:
        by_status[row["status"]] = by_status.get(row["status"], 0) + 1
    return {
        "submissions": len(results),
        "learners": len({one["learner"] for one in results}),
        "exercises": len(every),
        "statuses": dict(sorted(by_status.items())),
        "points": sum(row["points"] for row in every),
        "max_points": sum(row["max_points"] for row in every),
    }


def by_learner(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One dict a learner: points, possible points, passed, attempted, hints, and points by notebook
    ("" where they handed none in)."""
    notebooks = sorted({one["notebook"] for one in results if one["rows"][0]["exercise"]})
    found: dict[str, dict[str, Any]] = {}
    for row in rows(results):
        line = found.setdefault(
            row["learner"],
            {"learner": row["learner"], "points": 0, "max_points": 0, "passed": 0, "attempted": 0,
             "hints": 0, **dict.fromkeys(notebooks, "")},
        )  # fmt: skip
        line["points"] = round(line["points"] + row["points"], 2)
        line["max_points"] += row["max_points"]
        line["passed"] += row["status"] == "passed"
        tried = bool(row["exercise"]) and row["status"] not in ("not attempted", "missing")
        line["attempted"] += tried
        line["hints"] += row["hints"]
        if row["notebook"] in notebooks:
            line[row["notebook"]] = round((line[row["notebook"]] or 0) + row["points"], 2)
    return [found[learner] for learner in sorted(found)]


def write(results: Sequence[dict[str, Any]], out: Path, notes: Sequence[str] = ()) -> list[Path]:
    """results.csv (a row an exercise), results.learners.csv, results.json beside each other."""
    out = Path(out)
    stem = out.with_suffix("")
    long, wide = rows(results), by_learner(results)
    paths = [out, Path(f"{stem}.learners.csv"), Path(f"{stem}.json")]
    write_text(paths[0], _csv(long, COLUMNS))
    write_text(paths[1], _csv(wide, tuple(wide[0]) if wide else ("learner",)))
    write_text(paths[2], to_json(as_json(results, notes), sort_keys=False))
    return paths


def as_json(results: Sequence[dict[str, Any]], notes: Sequence[str] = ()) -> dict[str, Any]:
    """What `grade --json` prints: rows, summary, and what was remarkable in each submission."""
    return {
        "rows": rows(results),
        "summary": summary(results),
        "notes": [*notes, *(f"{one['file']}: {n}" for one in results for n in one["notes"])],
    }


def write_gradescope(results: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """One results.json a learner, in the form that Gradescope's autograder reads."""
    paths = []
    for learner in sorted({one["learner"] for one in results}):
        tests = [
            {
                "name": f"{row['exercise'] or row['notebook']}",
                "number": row["exercise"],
                "score": row["points"],
                "max_score": row["max_points"],
                "status": "passed" if row["status"] == "passed" else "failed",
                "output": f"{row['status']}{': ' + row['message'] if row['message'] else ''}",
                "visibility": "visible",
            }
            for row in rows([one for one in results if one["learner"] == learner])
        ]
        score = round(sum(test["score"] for test in tests), 2)
        path = folder / safe_name(learner) / "results.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"score": score, "tests": tests}, indent=1) + "\n")
        paths.append(path)
    return paths


def safe_name(learner: str) -> str:
    """A learner's name as a file name: letters, digits, and a digest where that lost something."""
    import hashlib

    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in learner)[:60] or "learner"
    if plain != learner:
        plain += "-" + hashlib.sha256(learner.encode("utf-8", "replace")).hexdigest()[:8]
    return plain


def _csv(lines: Sequence[dict[str, Any]], columns: tuple[str, ...]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _cell(v) for k, v in line.items()} for line in lines)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A spreadsheet takes text that begins so for a formula, and runs it."""
    if isinstance(value, str):
        value = "".join(c if c.isprintable() else " " for c in value)
        if value[:1] in ("=", "+", "-", "@"):
            return "'" + value
    return value
