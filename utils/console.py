"""What the commands share: steps shown to people on standard error, and one JSON object.

Imports nothing heavy, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from utils.errors import CourseError

Data = Annotated[
    str | None,
    typer.Option(help="Folder with optional data; else the environment variable COURSE_DATA."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@contextmanager
def steps(quiet: bool) -> Iterator[Any]:
    """A function that shows what is being done; on standard error, and only for people."""
    if quiet:
        yield lambda text: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: print(f"... {text}", file=sys.stderr, flush=True)
        return
    with console.status("starting") as status:
        yield lambda text: status.update(text)


def print_json(value: dict[str, Any]) -> None:
    """One object on standard output."""
    print(json.dumps(value, indent=2, allow_nan=False))


def make_folder(out: Path) -> None:
    """Make the folder of results. CourseError where that cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)  # before the minutes of work, not after
    except OSError as error:
        raise CourseError(
            f"{out} cannot be a folder ({error.strerror}): name another with --out."
        ) from error
