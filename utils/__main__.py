"""The command line of the course: `python -m utils COMMAND`.

Long work shows progress on standard error; `--json` leaves exactly one object on standard output.
A mistake by the user ends in one line and exit code 2. Nothing heavy is imported before a command
runs, so that `--help` answers at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from utils.challenges.cli import app as challenge_app
from utils.console import Json, print_json, steps
from utils.errors import CourseError

app = typer.Typer(
    name="python -m utils",
    help="The command line of the course. Begin with `doctor`, then `solve cnn`.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Data = Annotated[
    str | None,
    typer.Option(help="Folder with optional data; else the environment variable COURSE_DATA."),
]


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


@app.command()
def solve(
    name: Annotated[
        str, typer.Argument(help="Which: cnn, pairs, brackets, modular, sequence or trojan.")
    ],
    original: Annotated[
        bool, typer.Option("--original", help="The published network (cnn, pairs); needs --data.")
    ] = False,
    data: Data = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures (brackets, trojan).")] = Path(
        "solved"
    ),
    as_json: Json = False,
) -> None:
    """The reference walk through a challenge, from the network to a verdict with its evidence."""
    known = ("brackets", "cnn", "modular", "pairs", "sequence", "trojan")
    if name not in known:
        raise CourseError(
            f"There is no challenge {name!r} to solve; there are: {', '.join(known)}."
        )
    if name in ("brackets", "modular", "sequence", "trojan"):
        if original or data is not None:
            raise CourseError(
                "--original and --data belong to `solve cnn` and `solve pairs`: leave them out."
            )
        if name == "brackets":
            _solve_brackets(out, as_json)
        elif name == "trojan":
            _solve_trojan(out, as_json)
        else:
            _solve_controlled(name, as_json)
        return
    if data is not None and not original:
        raise CourseError("--data is only used together with --original: add that, or leave both.")
    if original:
        from utils.data import mnist

        mnist.data_folder(data)  # a missing folder is told at once, before anything is loaded
    if name == "pairs":
        _solve_pairs(data, original, as_json)
        return
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        from utils.challenges import cnn
        from utils.challenges import original as published

        torch.set_num_threads(1)
        case = published.original_case(data, step) if original else cnn.held_out_case(progress=step)
        solution = cnn.solve(case, step)
        rows = published.compare(case, solution.reports) if original else []
        literal, code = published.erratum(case) if original else (0.0, 0.0)
    if as_json:
        result = solution.as_dict()
        if original:
            result["published"] = [vars(row) for row in rows]
            result["erratum"] = {"formula_as_printed": literal, "formula_as_run": code}
        print_json(result)
        return
    for report in solution.reports.values():
        print(report, end="\n\n")
    if original:
        print("Published figures and ours")
        for row in rows:
            print(f"  {row.what:<58}  {row.published:>10.6g}  {row.ours:>10.6g}")
        print(
            f"  The formula as printed in the write-up agrees with the network for {literal:.2%} of"
            f" images;\n  the code behind it, with twice the template, for {code:.4%}.\n"
        )
    _print_verdict(solution)
    print("\nNow find it yourself: python -m jupyter lab notebooks/00_start_here.ipynb")


def _solve_pairs(data: str | None, original: bool, as_json: bool) -> None:
    found, rows = {}, []
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        from utils.challenges import original_pairs as published
        from utils.challenges import pairs, pairs_inside

        torch.set_num_threads(1)
        case = published.original_case(data) if original else pairs.course_case()
        if original:
            step("looking for the split in the errors")
            found["split"], rows = published.split_report(case), published.compare(case)
            found["exact"] = published.exact_report(case)
            replica = published.replica_case(case, step)
            found["replica"] = published.replica_report(case, replica)
            found["replica's gaps"] = pairs.gap_report(replica)
            found["inside the replica"] = pairs_inside.inside_report(replica)
        solution = pairs.solve(case, progress=step)
    if as_json:
        result = solution.as_dict()
        if original:
            result["published"] = [vars(row) for row in rows]
            for key, report in found.items():
                result["rows"][key] = {row.name: row.estimate.as_dict() for row in report}
        print_json(result)
        return
    for report in (*found.values(), *solution.reports.values()):
        print(report, end="\n\n")
    if original:
        print("Published figures and ours")
        for row in rows:
            print(f"  {row.what:<66}  {row.published:>9.6g}  {row.ours:>9.6g}")
        print()
    _print_verdict(solution)
    print("\nNow find it yourself: python -m jupyter lab notebooks/03_challenge_transformer.ipynb")


def _solve_brackets(out: Path, as_json: bool) -> None:
    _folder(out)
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        from utils.challenges import brackets
        from utils.models import zoo
        from utils.scrubbing import save_html, save_png, text_tree

        torch.set_num_threads(1)
        solution = brackets.solve(zoo.load("brackets"), step)
        best = solution.scrubbed["both ends, refined"]
        page, picture = out / "brackets.html", out / "brackets.png"
        step("drawing the hypothesis")
        save_html(best.hypothesis, str(page), best)
        save_png(best.hypothesis, str(picture), best)
    if as_json:
        print_json({**solution.as_dict(), "files": [str(page), str(picture)]})
        return
    print(solution.agreement, end="\n\n")
    print(text_tree(best.hypothesis), end="\n\n")
    for report in solution.scrubbed.values():
        print(report, end="\n\n")
    print(solution.necessity, end="\n\n")
    _print_verdict(solution)
    print(f"\nThe tree was written to {page} and {picture}.")


def _solve_trojan(out: Path, as_json: bool) -> None:
    _folder(out)
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        from utils.trojans import walk

        torch.set_num_threads(1)
        found = walk.solve(step)
        step("drawing")
        files = [str(path) for path in walk.draw(found, out)]
    if as_json:
        print_json({**found.as_dict(), "files": files})
        return
    for report in found.reports.values():
        print(report, end="\n\n")
    print(found.board)
    print(f"\nFigures: {', '.join(files)}.")
    print("Now find them yourself: python -m jupyter lab notebooks/12_trojans.ipynb")


def _solve_controlled(name: str, as_json: bool) -> None:
    """A walk of a mechanism, its verdict and its controls: modular and sequence."""
    with steps(as_json) as step:
        step("loading PyTorch and TransformerLens")
        import torch

        torch.set_num_threads(1)
        solution = importlib.import_module(f"utils.challenges.{name}").solve(step)
    if as_json:
        print_json(solution.as_dict())
        return
    print(solution.mechanism, end="\n\n")
    print(solution.verdict)
    for what, control in solution.controls.items():
        _print_verdict(control, f"\nControl: {what}. ")


def _print_verdict(judged: Any, before: str = "") -> None:
    """The verdict and its reasons; `judged` has both."""
    print(f"{before}VERDICT: {judged.verdict}")
    for reason in judged.reasons:
        print(f"  - {reason}")


def _folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)  # before the minutes of work, not after
    except OSError as error:
        raise CourseError(
            f"{out} cannot be a folder ({error.strerror}): name another with --out."
        ) from error


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
    _folder(out)
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
    as_json: Json = False,
) -> None:
    """What you have solved so far, lesson by lesson."""
    from utils.lessons.progress import overview

    rows = overview(folder)
    if as_json:
        print_json({"rows": rows})
        return
    if not rows:
        print(f"No progress is recorded in {folder} yet.")
    for row in rows:
        print(
            f"{row['lesson']}  {row['title']:<44}  {row['passed']:>2} of {row['exercises']} passed"
            f"  {row['points']:g} of {row['max_points']} points  {row['hints']} hints"
        )


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
