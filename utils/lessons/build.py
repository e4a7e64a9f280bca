"""`build`: sources in `solutions/NN_topic.py`, out come the notebooks and what is known of them.

Writes `notebooks/NN_topic.ipynb`, `solutions/NN_topic.ipynb`, `utils/lessons/reference/NN.*`,
`utils/lessons/manifest.json`, the README's table of lessons, the pages in `docs/instructors/` and
the index of claims, `docs/claims.md`.
The same sources give the same bytes; only `measure=True` touches `utils/lessons/measured.json`, and
it alone also looks whether another processor would print the same.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from utils.errors import CourseError
from utils.lessons import claims, hygiene, instructors, notebooks, places
from utils.lessons.drift import find_drift
from utils.lessons.execute import CellFailed, Cost, run_notebook
from utils.lessons.manifest import (
    card_of,
    full_card,
    lessons_table,
    manifest_text,
    read_manifest,
    read_measured,
    with_table,
)
from utils.lessons.materials import check_module, registered
from utils.lessons.portable import PLAIN, differences
from utils.lessons.reference import files_of
from utils.lessons.source import Lesson, SourceError, read_lesson, sources


@dataclass
class BuildResult:
    """What a build did: files written (relative to the root), files that drifted, errors."""

    written: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 when all is well, 1 when something drifted or a lesson did not build."""
        return 1 if self.drift or self.errors else 0


def build(
    names: Iterable[str | int] | None = None,
    check: bool = False,
    measure: bool = False,
    root: Path | None = None,
    say: Callable[[str], None] = print,
) -> BuildResult:
    """Build the lessons `names` (all of them by default), or only look for drift with `check`.

    A lesson that fails keeps its old files and is listed under `errors`; the others are built.
    Raises `CourseError` for an unknown lesson, and for `check` together with `measure`.
    """
    root = (root or places.course_root()).resolve()
    found = sources(root)
    wanted = [places.lesson_id(name) for name in names] if names else sorted(found)
    for name in wanted:
        if name not in found:
            known = ", ".join(sorted(found)) or "none"
            raise CourseError(f"There is no lesson {name!r} in {root.name}. Lessons: {known}.")
    if check and measure:
        raise CourseError("--check never runs a notebook, so it cannot measure: drop one of both.")
    if check:
        result = BuildResult(drift=find_drift(root, set(wanted) if names else None))
        for line in result.drift:
            say(line)
        if not result.drift:
            say(f"{len(wanted)} lesson{'s' * (len(wanted) != 1)}: every generated file is current.")
        return result

    result, costs = BuildResult(), {}
    for name in wanted:
        say(f"{found[name].stem}: building")
        try:
            lesson = read_lesson(found[name])
            costs[name] = _build_lesson(lesson, root, result, portable=measure)
        except CourseError as error:
            result.errors.append(str(error))
            say(f"{found[name].stem}: not built\n  {error}")
            continue
        took = f"{costs[name].seconds:.1f} s, {costs[name].peak_mb:.0f} MB"
        say(f"{found[name].stem}: built ({took})")
    if measure:
        _write_measured(root, costs, result)
    _write_shared(root, {n: found[n] for n in wanted if n in costs}, set(found), result, say)
    if measure:
        for name in costs:
            if fault := blank_fault(read_lesson(found[name]), root):
                result.errors.append(fault)
                say(f"{found[name].stem}: built, but {fault}")
    return result


def blank_fault(lesson: Lesson, root: Path) -> str | None:
    """Why the learner's notebook does not run untouched to its end, every exercise not attempted;
    None when it does. It needs the files of a build: reference data stand in for the answers."""
    notebook = nbformat.read(notebooks.learner_path(lesson, root), as_version=4)
    with tempfile.TemporaryDirectory(prefix="course-blank-") as name:
        variables = {places.ROOT_VARIABLE: str(root), places.NO_PROGRESS_VARIABLE: ""}
        try:
            executed, _ = run_notebook(notebook, Path(name), variables)
        except CellFailed as error:
            return f"the blank notebook stops at {_where(lesson, error.index)}: {error}"
        kept = places.read_json(Path(name) / "progress.json", default={"exercises": {}})
    printed = "\n".join(
        hygiene.text_of(output)
        for cell in executed.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    for exercise in lesson.exercises:
        if f"{exercise} not attempted" not in printed:
            return f"the blank notebook does not say that {exercise} was not attempted."
    if " failed" in printed or " passed:" in printed:
        return "the blank notebook says that something passed or failed."
    if any("last" in entry for entry in kept["exercises"].values()):
        return "the blank notebook keeps results of exercises that nobody tried."
    return None


def check_registry(lesson: Lesson, root: Path) -> None:
    """Every exercise has a check and every check an exercise. Raises `SourceError`."""
    checks = registered(check_module(lesson.id, root))
    for name, exercise in lesson.exercises.items():
        if name not in checks:
            raise SourceError(lesson.path, exercise.line, f"exercise {name} has no check")
    for name, check in checks.items():
        if name not in lesson.exercises:
            code = check.function.__code__
            raise SourceError(
                Path(code.co_filename), code.co_firstlineno, f"check {name} has no exercise"
            )


def _build_lesson(lesson: Lesson, root: Path, result: BuildResult, portable: bool) -> Cost:
    """Make all files of one lesson; nothing is written before everything went well.

    portable: also run it without newer vector instructions, and refuse if it prints other text.
    """
    check_registry(lesson, root)
    for name in lesson.prerequisites:
        if name not in sources(root):
            raise SourceError(lesson.path, 1, f"prerequisite {name!r} is no lesson")
    learner = notebooks.learner_notebook(lesson, root)
    with tempfile.TemporaryDirectory(prefix="course-build-") as name:
        folder = Path(name)
        card = {lesson.id: card_of(lesson)}
        places.write_text(folder / "manifest.json", manifest_text(card))
        variables = {
            places.ROOT_VARIABLE: str(root),
            places.BUILD_VARIABLE: str(folder),
            places.NO_PROGRESS_VARIABLE: "1",
        }
        try:
            executed, cost = run_notebook(
                notebooks.solved_notebook(lesson, root), root / places.SOLUTIONS, variables
            )
        except CellFailed as error:
            _refuse_failed_checks(lesson, folder, finished=False)  # the cause comes first
            raise CourseError(f"{_where(lesson, error.index)}: {error}") from error
        solved = notebooks.settle(executed)
        _refuse_failed_checks(lesson, folder, finished=True)
        faults = hygiene.solved_faults(solved) + hygiene.learner_faults(learner)
        if faults:
            raise CourseError(f"{lesson.path.name}: " + "\n  ".join(faults))
        if portable:
            _refuse_other_text(lesson, root, solved, variables)
        ready = {
            notebooks.learner_path(lesson, root): notebooks.to_bytes(learner),
            notebooks.solved_path(lesson, root): notebooks.to_bytes(solved),
        }
        recorded = files_of(lesson.id, folder / "reference")
        for target, source in zip(
            files_of(lesson.id, root / places.REFERENCE), recorded, strict=True
        ):
            if source.exists():
                ready[target] = source.read_bytes()
            else:
                target.unlink(missing_ok=True)
    for path, content in ready.items():
        if places.write_bytes(path, content):
            result.written.append(path.relative_to(root).as_posix())
    return cost


def _refuse_other_text(
    lesson: Lesson, root: Path, solved: NotebookNode, variables: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory(prefix="course-plain-") as name:
        manifest = Path(variables[places.BUILD_VARIABLE]) / "manifest.json"
        places.write_bytes(Path(name) / "manifest.json", manifest.read_bytes())
        elsewhere, _ = run_notebook(
            notebooks.solved_notebook(lesson, root),
            root / places.SOLUTIONS,
            {**variables, places.BUILD_VARIABLE: name, **PLAIN},
        )
    other = differences(solved, notebooks.settle(elsewhere))
    if other:
        lines = [f"{_where(lesson, i)}: {here!r}, elsewhere {there!r}" for i, here, there in other]
        raise CourseError(
            "without newer vector instructions it prints other text; print fewer digits, or what"
            " does not hang on the last ones:\n  " + "\n  ".join(lines)
        )


def _where(lesson: Lesson, index: int) -> str:
    """`02_cnn.py:210 (exercise 2.3)` or the nearest heading, for a cell that failed."""
    if index < 0:
        return f"{lesson.path.name}: the kernel did not start"
    cell = lesson.cells[index]
    place = f"exercise {cell.exercise}" if cell.exercise else "the first section"
    if not cell.exercise:
        for earlier in reversed(lesson.cells[:index]):
            if earlier.kind == "markdown" and (
                heading := re.search(r"^#+ +(.+)$", earlier.source, re.MULTILINE)
            ):
                place = f"under '{heading.group(1)}'"
                break
    return f"solutions/{lesson.path.name}:{cell.line} ({place})"


def _refuse_failed_checks(lesson: Lesson, folder: Path, finished: bool) -> None:
    found = places.read_json(folder / "results.json", default={})
    for name, exercise in lesson.exercises.items():
        status, message = found.get(name, ["never checked" if finished else "passed", ""])
        if status != "passed":
            raise SourceError(
                lesson.path, exercise.line, f"the solution of {name}: {status} {message}".strip()
            )


def _write_measured(root: Path, costs: dict[str, Cost], result: BuildResult) -> None:
    measured = read_measured(root)
    for name, cost in costs.items():
        measured[name] = {
            "seconds": round(cost.seconds, 1),
            "peak_mb": round(cost.peak_mb),
            "machine": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
        }
    measured = {name: measured[name] for name in measured if name in sources(root)}
    if places.write_text(root / places.MEASURED, places.to_json(measured)):
        result.written.append(places.MEASURED)


def _write_shared(
    root: Path,
    built: dict[str, Path],
    present: set[str],
    result: BuildResult,
    say: Callable[[str], None],
) -> None:
    """The manifest and the README's table, keeping the entries of lessons not built now."""
    lessons = {name: card for name, card in read_manifest(root).items() if name in present}
    for name, path in built.items():
        lessons[name] = full_card(read_lesson(path), root)
    if places.write_text(root / places.MANIFEST, manifest_text(lessons, root)):
        result.written.append(places.MANIFEST)
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    updated = with_table(text, lessons_table(lessons, read_measured(root)))
    if updated is None:
        say("README.md has no '<!-- lessons:begin -->' and '<!-- lessons:end -->' lines: no table.")
    elif places.write_text(readme, updated):
        result.written.append("README.md")
    index = claims.read_index(root, lessons)
    for path, page in (instructors.files(lessons, root) | index.files(root, lessons)).items():
        if places.write_text(path, page):
            result.written.append(path.relative_to(root).as_posix())
    for fault in index.faults:
        result.errors.append(fault)
        say(fault)


def main(arguments: list[str] | None = None) -> int:
    """`python -m utils.lessons.build [NN ...] [--check] [--measure]`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m utils build", description=build.__doc__)
    parser.add_argument("lessons", nargs="*", metavar="NN")
    parser.add_argument("--check", action="store_true", help="only look for drift, run nothing")
    parser.add_argument("--measure", action="store_true", help="keep run time and memory")
    given = parser.parse_args(arguments)
    try:
        return build(given.lessons or None, given.check, given.measure).exit_code
    except CourseError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
