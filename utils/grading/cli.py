"""`python -m utils grade`: learners' notebooks in, a gradebook out."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from utils.console import Json, print_json
from utils.errors import CourseError
from utils.lessons.places import ROOT_VARIABLE


def grade(
    submissions: Annotated[Path, typer.Argument(help="Folder, zip or file of submissions.")],
    out: Annotated[
        Path, typer.Option(help="The CSV; a CSV by learner, a JSON and a journal go beside it.")
    ] = Path("results.csv"),
    workers: Annotated[int, typer.Option(min=1, help="Submissions graded at the same time.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="Grade on this Dask cluster, e.g. tcp://host:8786.")
    ] = None,
    roster: Annotated[
        Path | None, typer.Option(help="CSV with the column `learner` and how files name them.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Where the learner stands in a path: '{learner}/*.ipynb'.")
    ] = None,
    cell_seconds: Annotated[float, typer.Option(min=1, help="Time limit of each cell.")] = 60.0,
    memory_mb: Annotated[int, typer.Option(min=1024, help="Memory of each submission.")] = 6144,
    challenges: Annotated[
        Path | None,
        typer.Option(help="Folder with each learner's challenge, for explanations (.py)."),
    ] = None,
    course_key: Annotated[
        Path | None,
        typer.Option(help="The key that the learners' variants were released with."),
    ] = None,
    gradescope: Annotated[
        Path | None, typer.Option(help="Also write Gradescope's results.json here, by learner.")
    ] = None,
    feedback: Annotated[
        Path | None, typer.Option(help="Write pages here: one a learner, and index.html for you.")
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust-submissions", help="No sandbox: only if you have read every file."),
    ] = False,
    container: Annotated[
        bool,
        typer.Option("--container", help="Do it in podman or docker; docs/instructors says how."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Grade learners' notebooks: a row an exercise, in a sandbox, resumable."""
    from utils.challenges.envelope import read_course_key
    from utils.grading import batch, results
    from utils.grading import container as containers
    from utils.grading import submissions as files
    from utils.grading.job import Options
    from utils.grading.journal import Journal
    from utils.grading.sandbox import SandboxError, missing

    if not out.parent.is_dir():
        raise CourseError(f"There is no folder {out.parent} for {out.name}; make it first.")
    if container:
        if trust or scheduler is not None:
            raise CourseError("--container goes with neither --trust-submissions nor --scheduler.")
        read = {"--roster": roster, "--challenges": challenges, "--course-key": course_key}
        written = {"--gradescope": gradescope, "--feedback": feedback}
        plain = ["--workers", str(workers), "--cell-seconds", f"{cell_seconds:g}"]
        plain += ["--memory-mb", str(memory_mb), *(["--pattern", pattern] if pattern else [])]
        raise typer.Exit(
            containers.run(
                containers.command(
                    containers.engine(), containers.IMAGE, submissions, out,
                    read={name: path for name, path in read.items() if path is not None},
                    written={name: path for name, path in written.items() if path is not None},
                    plain=[*plain, *(["--json"] if as_json else [])],
                )
            )
        )  # fmt: skip
    if not trust and scheduler is None and (why := missing()) is not None:
        raise SandboxError(why)
    key = None if course_key is None else read_course_key(course_key)
    options = Options(
        cell_seconds=cell_seconds, memory_mb=memory_mb, trusted=trust,
        root=os.environ.get(ROOT_VARIABLE),
        challenges=None if challenges is None else str(challenges.resolve()),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="course-zip-") as scratch:
        found = files.find(submissions, Path(scratch), roster=roster, pattern=pattern)
        chosen, older = batch.newest(found.submissions)
        notes = [*found.notes, *older]
        journal = Journal(out.with_suffix(".journal.sqlite"))
        with _bar(len(chosen), as_json) as progress:
            graded = batch.grade_all(
                chosen, journal, options,
                workers=workers, scheduler=scheduler, course_key=key, progress=progress,
            )  # fmt: skip
        journal.close()
    written = results.write(graded, out, notes)
    if gradescope is not None:
        results.write_gradescope(graded, gradescope)
    if feedback is not None:
        from utils.grading import pages

        pages.write_feedback(graded, feedback / "learners")
        written.append(pages.write_overview(graded, feedback / "index.html"))
    if as_json:
        print_json(results.as_json(graded, notes))
        return
    for note in notes:
        print(f"note  {note}")
    total = results.summary(graded)
    print(
        f"{total['submissions']} files of {total['learners']} learners:"
        f" {total['points']:g} of {total['max_points']} points."
    )
    for status, count in total["statuses"].items():
        print(f"  {count:>6}  {status}")
    print("Written: " + ", ".join(str(path) for path in written))


def release(
    folder: Annotated[Path, typer.Argument(help="The folder to make; it must not exist.")],
    lessons: Annotated[
        list[str] | None, typer.Argument(help="Lessons, such as 02; all if none is given.")
    ] = None,
    roster: Annotated[
        Path | None,
        typer.Option(help="CSV with the column `learner`: give each of them their own variants."),
    ] = None,
    course_key: Annotated[
        Path | None, typer.Option(help="File of random bytes that the variants come from; yours.")
    ] = None,
    nbgrader: Annotated[
        bool, typer.Option("--nbgrader", help="An nbgrader course with the same lessons instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """A learner's copy of the course: no solutions, nothing of the grader's, searched for leaks."""
    from utils.challenges.envelope import read_course_key
    from utils.grading.release import release as run
    from utils.grading.release import release_variants, variants_of

    if (roster is None) != (course_key is None):
        raise CourseError("Variants need both: --roster with the learners, and --course-key.")
    if nbgrader:
        from utils.grading.nbgrader import write_course

        if roster is not None:
            raise CourseError("nbgrader gives every learner the same notebook: no --roster there.")
        made = write_course(folder, lessons or None)
        if as_json:
            print_json({"folder": str(folder), "files": len(made)})
            return
        print(f"{len(made)} assignments in {folder}/source; docs/instructors says how to go on.")
        return
    seeds: dict[str, dict[str, int]] = {}
    if roster is not None and course_key is not None:
        seeds = variants_of(roster, read_course_key(course_key))  # before anything is written
    files = run(folder, lessons or None)
    own: list[Path] = []
    if seeds:
        own = release_variants(folder.with_name(folder.name + ".variants"), seeds)
    if as_json:
        print_json({"folder": str(folder), "files": len(files), "variants": len(own)})
        return
    print(f"{len(files)} files in {folder}; no solution's text was found in them.")
    if own:
        print(
            f"{len(own)} learners' variants in {own[0].parent.parent}: each learner's file belongs"
        )
        print("beside their notebooks.")


@contextmanager
def _bar(total: int, quiet: bool) -> Iterator[Any]:
    """A bar with learners, failures and the time left, on standard error."""
    if quiet:
        yield lambda done, total, result: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    failures = 0
    if not console.is_terminal:

        def line(done: int, total: int, result: dict[str, Any]) -> None:
            points = sum(row["points"] for row in result["rows"])
            print(
                f"... {done} of {total}  {result['learner']}: {points:g} points",
                file=sys.stderr, flush=True,
            )  # fmt: skip

        yield line
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[failures]} without a grade"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("grading", total=total, failures=0)

        def advance(done: int, total: int, result: dict[str, Any]) -> None:
            nonlocal failures
            failures += not result["rows"][0]["exercise"]
            bar.update(task, completed=done, description=result["learner"], failures=failures)

        yield advance
