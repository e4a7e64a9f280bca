"""`build --check`: which generated files are not what the sources say, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

from utils.errors import CourseError
from utils.lessons import claims, instructors, notebooks, places
from utils.lessons.manifest import (
    full_card,
    generated_files,
    lessons_table,
    manifest_text,
    read_manifest,
    read_measured,
    sha256,
    with_table,
)
from utils.lessons.source import Lesson, read_lesson, sources


def find_drift(root: Path, wanted: set[str] | None = None) -> list[str]:
    """One line for each drifted file, `path: why`; with `wanted`, of these lessons alone."""
    try:
        recorded = read_manifest(root)
    except CourseError as error:
        return [f"{places.MANIFEST}: {error}"]
    found: list[str] = []
    cards: dict[str, Any] = {}
    for name, path in sources(root).items():
        if wanted is not None and name not in wanted:
            continue
        try:
            lesson = read_lesson(path)
        except CourseError as error:
            found.append(str(error))  # names file and line
            continue
        if name not in recorded:
            found.append(f"{places.SOLUTIONS}/{path.name}: never built")
            continue
        drifted = _lesson_drift(lesson, root, recorded[name].get("sha256", {}))
        found += drifted
        try:
            cards[name] = full_card(lesson, root)
        except Exception:  # the notebook is no notebook any more, which is listed already
            cards[name] = recorded[name]
        # a file that drifted is named itself; the manifest is not blamed for it
        cards[name]["sha256"] = recorded[name].get("sha256", {})
        if drifted:
            cards[name]["outputs"] = recorded[name].get("outputs")
    if wanted is None:
        found += _orphans(root)
        found += _shared_drift(root, cards, recorded)
    else:
        found += [
            f"{places.MANIFEST}: the entry of lesson {name} is not what its source says"
            for name, card in cards.items()
            if card != recorded[name]
        ]
    return found


def _lesson_drift(lesson: Lesson, root: Path, hashes: dict[str, str]) -> list[str]:
    found: list[str] = []
    learner, solved = notebooks.learner_path(lesson, root), notebooks.solved_path(lesson, root)
    for path in generated_files(lesson, root):
        name = path.relative_to(root).as_posix()
        if not path.is_file():
            if name in hashes or path in (learner, solved):
                found.append(f"{name}: missing")
        elif name not in hashes:
            found.append(f"{name}: not in the manifest")
        elif sha256(path) != hashes[name]:
            found.append(f"{name}: changed since it was built (its SHA-256 differs)")
        elif path == learner and path.read_bytes() != notebooks.to_bytes(
            notebooks.learner_notebook(lesson, root)
        ):
            found.append(f"{name}: the source has changed since")
        elif path == solved:
            stored = nbformat.read(path, as_version=4)
            if notebooks.without_outputs(stored) != notebooks.solved_notebook(lesson, root):
                found.append(f"{name}: the source has changed since")
    return found


def _orphans(root: Path) -> list[str]:
    """Generated files whose source is gone."""
    known = {path.stem for path in sources(root).values()}
    files = [
        *(root / places.NOTEBOOKS).glob("*.ipynb"),
        *(root / places.SOLUTIONS).glob("*.ipynb"),
    ]
    ids = {name[:2] for name in known}
    files = [path for path in files if path.stem not in known]
    files += [p for p in (root / places.REFERENCE).glob("[0-9]*") if p.stem not in ids]
    return [f"{path.relative_to(root).as_posix()}: has no source" for path in sorted(files)]


def _shared_drift(root: Path, cards: dict[str, Any], recorded: dict[str, Any]) -> list[str]:
    found = []
    if (root / places.MANIFEST).is_file():
        text = (root / places.MANIFEST).read_bytes().decode("utf-8")
        known = {name: cards.get(name, recorded.get(name)) for name in sources(root)}
        expected = manifest_text({name: card for name, card in known.items() if card}, root)
        if text != expected:
            found.append(f"{places.MANIFEST}: not what the sources and notebooks say")
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    expected_readme = with_table(text, lessons_table(recorded, read_measured(root)))
    if expected_readme is None:
        found.append("README.md: lacks the lines <!-- lessons:begin --> and <!-- lessons:end -->")
    elif expected_readme != text:
        found.append("README.md: the table of lessons is not current")
    try:
        pages = instructors.files(recorded, root)
    except CourseError as error:
        return [*found, f"{instructors.FOLDER}: {error}"]
    for path, expected_page in pages.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != expected_page:
            found.append(f"{path.relative_to(root).as_posix()}: not what the lessons say")
    return found + _claims_drift(root, recorded)


def _claims_drift(root: Path, recorded: dict[str, Any]) -> list[str]:
    """Claims whose figure is gone, citations without a claim, and a page that is not current."""
    try:
        index = claims.read_index(root, recorded)
    except CourseError as error:
        return [f"{claims.FOLDER}: {error}"]
    found = list(index.faults)
    for path, expected in index.files(root, recorded).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != expected:
            name = path.relative_to(root).as_posix()
            found.append(f"{name}: not current; python -m utils.lessons.claims writes it")
    return found
