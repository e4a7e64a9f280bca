"""`python -m utils site`: build the web site, look at it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib import util
from pathlib import Path
from typing import Annotated

import typer

from utils.console import Json, print_json, steps
from utils.errors import CourseError
from utils.site.openers import VARIABLE, Repository

NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme")
REQUIREMENTS = "docs/site/requirements.txt"
MARK = ".a-course-site"  # in a folder that this command made and may therefore replace


def site(
    out: Annotated[Path, typer.Option(help="Folder of the built site; replaced.")] = Path("site"),
    serve: Annotated[
        bool, typer.Option("--serve", help="Then show it to browsers on this machine.")
    ] = False,
    port: Annotated[int, typer.Option(help="The port of --serve.", min=0, max=65535)] = 8000,
    repository: Annotated[
        str | None,
        typer.Option(
            envvar=VARIABLE,
            help="owner/name[@branch] of a public copy on GitHub: links to Binder and Colab.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the course's web site from the built notebooks; needs no network.

    Exit code 1 where a page has a dead link or would load anything from elsewhere.
    """
    public = Repository.of(repository) if repository else None
    require_sphinx()
    with steps(quiet=as_json) as step:
        faults, pages = build(out, step, repository=public)
    if as_json:
        print_json({"folder": str(out), "pages": pages, "faults": faults})
    else:
        print(f"{pages} pages in {out}; open {out / 'index.html'}")
        for fault in faults:
            print(f"FAULT  {fault}")
    if faults:
        raise typer.Exit(1)
    if serve:
        _serve(out, port)


def require_sphinx() -> None:
    """Raises CourseError, which says what to install, where Sphinx or its parts are missing."""
    missing = [name for name in NEEDED if util.find_spec(name) is None]
    if missing:
        raise CourseError(
            f"The site needs {', '.join(missing)}: python -m pip install -r {REQUIREMENTS}"
        )


def build(
    out: Path,
    step: Callable[[str], object] = lambda text: None,
    only: Iterable[str] = (),
    repository: Repository | None = None,
) -> tuple[list[str], int]:
    """Build the site in `out`; returns what is wrong with it and the number of pages.

    step: told what is being done. only: the lessons to show; none given: all. repository: a public
    copy of the course, for links to Binder and Colab.

    Raises CourseError where `out` holds something else, and where Sphinx fails; what was in `out`
    stays until the new site is complete.
    """
    from utils.site.icons import keep_used
    from utils.site.sources import write
    from utils.site.verify import faults

    if out.exists() and not (out / MARK).is_file() and (out.is_file() or any(out.iterdir())):
        raise CourseError(f"{out} holds something else than a site; name another with --out.")
    with tempfile.TemporaryDirectory(prefix="course-site-") as scratch:
        source, draft = Path(scratch, "source"), Path(scratch, "html")
        step("writing pages from notebooks, manifest and docstrings")
        write(source, only=only, repository=repository)
        step("building HTML")
        command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-j", "auto"]
        command += ["-d", str(Path(scratch, "doctrees")), str(source), str(draft)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = [line.strip() for line in done.stderr.splitlines() if "rror:" in line]
            raise CourseError(f"Sphinx failed: {said[-1] if said else 'it gave no reason'}")
        (draft / MARK).touch()
        shutil.rmtree(draft / "_sources", ignore_errors=True)  # Sphinx leaves it there, empty
        keep_used(draft)
        step("following every link")
        said = [line.replace(f"{source}/", "") for line in done.stderr.splitlines() if line.strip()]
        found = said + faults(draft)
        if out.exists():
            shutil.rmtree(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(draft, out)
    return found, sum(1 for _ in out.rglob("*.html"))


def _serve(folder: Path, port: int) -> None:
    """Serve `folder` to this machine alone, until Ctrl-C."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(folder)))
    except OSError as error:
        raise CourseError(
            f"Port {port} cannot be used ({error.strerror}): name another with --port."
        ) from error
    with server:
        print(f"http://127.0.0.1:{server.server_address[1]}/ (Ctrl-C ends it)", flush=True)
        server.serve_forever()
