"""`manifest.json`, `measured.json` and the README's table: what is known of every lesson."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import nbformat

from utils.lessons import places
from utils.lessons.hygiene import compared
from utils.lessons.notebooks import learner_path, solved_path
from utils.lessons.reference import files_of
from utils.lessons.source import Lesson

TABLE_BEGIN, TABLE_END = "<!-- lessons:begin -->", "<!-- lessons:end -->"
_TABLE = re.compile(f"{TABLE_BEGIN}.*?{TABLE_END}", re.DOTALL)


def read_manifest(root: Path | None = None) -> dict[str, Any]:
    """The manifest's lessons by id; empty before the first build."""
    path = (root or places.course_root()) / places.MANIFEST
    return places.read_json(path, default={}).get("lessons", {})


def manifest_text(lessons: dict[str, Any], root: Path | None = None) -> str:
    """The manifest's file: the lessons in order, and the hash of what was measured in `root`."""
    content: dict[str, Any] = {"generated_by": "python -m utils build"}
    if root is not None and (root / places.MEASURED).is_file():
        content["sha256"] = {places.MEASURED: sha256(root / places.MEASURED)}
    content["lessons"] = {name: lessons[name] for name in sorted(lessons)}
    return places.to_json(content, sort_keys=False)


def card_of(lesson: Lesson) -> dict[str, Any]:
    """What the manifest says of a lesson from its source alone; `lab` reads this."""
    return {
        "slug": lesson.slug,
        "title": lesson.title,
        "minutes": lesson.minutes,
        "difficulty": lesson.difficulty,
        "prerequisites": list(lesson.prerequisites),
        "objectives": list(lesson.objectives),
        "signature": lesson.signature,
        "points": lesson.points,
        "exercises": {name: exercise.card() for name, exercise in lesson.exercises.items()},
        "predictions": lesson.predictions,
    }


def generated_files(lesson: Lesson, root: Path) -> list[Path]:
    """Every file a build makes for a lesson, whether it is there or not."""
    reference = files_of(lesson.id, root / places.REFERENCE)
    return [learner_path(lesson, root), solved_path(lesson, root), *reference]


def full_card(lesson: Lesson, root: Path) -> dict[str, Any]:
    """`card_of` with what the generated files on disk show: coverage and hashes."""
    card = card_of(lesson)
    path = solved_path(lesson, root)
    real, total = compared(nbformat.read(path, as_version=4)) if path.is_file() else (0, 0)
    card["outputs"] = {"compared": real, "cells": total}
    card["sha256"] = {
        file.relative_to(root).as_posix(): sha256(file)
        for file in generated_files(lesson, root)
        if file.is_file()
    }
    return card


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_measured(root: Path) -> dict[str, Any]:
    return places.read_json(root / places.MEASURED, default={})


def lessons_table(lessons: dict[str, Any], measured: dict[str, Any]) -> str:
    """The README's table, marks included."""
    rows = [
        "| lesson | minutes | exercises | points | outputs compared | run time | peak memory |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, card in sorted(lessons.items()):
        outputs, cost = card["outputs"], measured.get(name)
        ratio = f"{outputs['compared']} of {outputs['cells']}"
        run = f"{cost['seconds']:.0f} s" if cost else "not measured"
        memory = f"{cost['peak_mb']:.0f} MB" if cost else "not measured"
        rows.append(
            f"| [{name} {card['title']}]({places.NOTEBOOKS}/{card['slug']}.ipynb) "
            f"| {card['minutes']} | {len(card['exercises'])} | {card['points']} "
            f"| {ratio} | {run} | {memory} |"
        )
    return "\n".join([TABLE_BEGIN, *rows, TABLE_END])


def with_table(readme: str, table: str) -> str | None:
    """The README with `table` in its place; None when it has no place for it."""
    if not _TABLE.search(readme):
        return None
    return _TABLE.sub(lambda match: table, readme, count=1)
