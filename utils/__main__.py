"""The command line of the course: `python -m utils COMMAND`.

Long work shows progress on standard error; `--json` leaves exactly one object on standard output.
A mistake by the user ends in one line and exit code 2. Nothing heavy is imported before a command
runs, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from utils.challenges.cli import app as challenge_app
from utils.console import Data, Json, make_folder, print_json
from utils.errors import CourseError
from utils.solve import solve

app = typer.Typer(
    name="python -m utils",
    help="The command line of the course. Begin with `doctor`, then `solve cnn`.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(challenge_app, name="challenge")


@app.command()
def doctor(data: Data = None, as_json: Json = False) -> None:
    """Is this machine ready? Versions, memory, kernel, weights, data; exit code 1 if not."""
    from utils import doctor as doc

    findings = doc.examine(data)
    if as_json:
        print_json(doc.as_dict(findings))
    else:
        marks = {True: "ok   ", False: "FAULT", None: "note "}
        for finding in findings:
            print(f"{marks[finding.ok]}  {finding.name:<10}  {finding.found}")
            if finding.advice:
                print(f"       {'':<10}  -> {finding.advice}")
        print("Healthy." if doc.healthy(findings) else "Not healthy: follow the arrows above.")
    raise typer.Exit(0 if doc.healthy(findings) else 1)


app.command()(solve)


@app.command()
def retrain(
    name: Annotated[str, typer.Argument(help="A shipped network, as `doctor` counts them.")],
    out: Annotated[Path, typer.Option(help="Folder for the new weights.")] = Path("retrained"),
    install: Annotated[
        bool, typer.Option("--install", help="Replace the shipped weights instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a network of the course again and compare its figures with the shipped ones.

    Stopped on the way, it goes on from where it was when you run it again.
    """
    from utils.models import zoo
    from utils.models.recipes import RECIPES

    if name not in RECIPES:
        raise CourseError(f"There is no network {name!r}; there are: {', '.join(sorted(RECIPES))}.")
    make_folder(out)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, quiet=as_json)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(f"training {name}", total=None)

        def tick(done: int, total: int, loss: float) -> None:
            description = f"training {name}, loss {loss:.4f}"
            bar.update(task, completed=done, total=total, description=description)

        model, figures = zoo.retrain(name, tick, out / f"{name}.checkpoint")
    shipped = zoo.manifest().get(name, {}).get("figures", {})
    if install:
        path = zoo.install(name, model, figures)
        with suppress(OSError):
            out.rmdir()  # it was for the checkpoint alone, unless something else is in it
    else:
        path = out / f"{name}.safetensors"
        zoo.save(model, path)
    if as_json:
        print_json(
            {"name": name, "weights": str(path), "figures": figures, "shipped_figures": shipped}
        )
        return
    for what, value in figures.items():
        before = f", shipped {shipped[what]:.4f}" if what in shipped else ""
        print(f"{what}: {value:.4f}{before}")
    print(f"Weights written to {path}.")


@app.command()
def build(
    lessons: Annotated[
        list[str] | None, typer.Argument(help="Lessons, such as 02; all if none is given.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only look for drift; run nothing, write nothing.")
    ] = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also record run time and memory.")
    ] = False,
) -> None:
    """Generate the notebooks, the manifest and the README's table from solutions/*.py."""
    from utils.lessons.build import build as run

    raise typer.Exit(run(lessons or None, check=check, measure=measure).exit_code)


@app.command()
def progress(
    folder: Annotated[Path, typer.Argument(help="Folder of the notebooks.")] = Path("notebooks"),
    page: Annotated[
        Path | None, typer.Option("--html", help="Also write it as a page to be printed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What you have solved so far, lesson by lesson, and what comes next."""
    from utils.lessons import journey, journey_views

    found = journey.read(folder)
    if page is not None:
        journey_views.save(found, page)
    if as_json:
        print_json(found.as_dict() | ({"html": str(page)} if page else {}))
        return
    if found.exercises or found.predictions:
        from utils.lessons.display import table_data

        print(table_data(journey_views.table(found), 0, f"Progress in {folder}")["text/plain"])
    else:
        print(f"No progress is recorded in {folder} yet.")
    for line in [*journey_views.closing(found), *([f"Page written to {page}."] if page else [])]:
        print(line)


@app.command()
def instrument(
    name: Annotated[str, typer.Argument(help="grid, scrub or paint.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; else NAME.html in this folder.")
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="scrub: first scrub every claim anew (minutes).")
    ] = False,
) -> None:
    """Write an instrument as one page that any browser opens, without a server or a network."""
    from utils.instruments import instrument as make

    if refresh:
        if name != "scrub":
            raise CourseError("Only the instrument scrub has results to --refresh.")
        from rich.console import Console
        from rich.progress import Progress

        from utils.instruments import scrub

        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("scrubbing every claim", total=None)
            scrub.write(
                scrub.compute(lambda done, total: bar.update(task, completed=done, total=total))
            )
        scrub.table.cache_clear()
        print(f"Written to {scrub.TABLE}.")
    page = make(name).document
    path = out or Path(f"{name}.html")
    try:
        path.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise CourseError(
            f"{path} cannot be written ({error.strerror}): name another with --out."
        ) from error
    print(f"Written to {path}: open it with a browser.")


with suppress(ModuleNotFoundError):  # a learner's copy of the course holds neither
    from utils.site.command import site

    app.command()(site)

with suppress(ModuleNotFoundError):
    from utils.grading.cli import grade, release

    app.command()(grade)
    app.command()(release)


def main(arguments: list[str] | None = None) -> int:
    """Run it; returns the exit code: 0, 1 (a finding), 2 (a mistake), 130 (Ctrl-C)."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        try:
            code = app(given, prog_name="python -m utils", standalone_mode=False)
        finally:
            sys.stdout.flush()  # so that a reader who has left is noticed here, not at exit
        if code == 130:  # what Typer makes of Ctrl-C
            print("Stopped.", file=sys.stderr)
        return int(code or 0)
    except CourseError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, typer.Abort):
        print("Stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain again while flushing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # Typer keeps its usage errors in a private module; they all know how to print themselves.
        if not hasattr(error, "format_message"):
            raise
        # Where a command is missing the message is the whole help text.
        text = error.format_message()
        helps = not given or text.startswith("Usage:")
        print(text if helps else f"Error: {' '.join(text.split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
