"""What several test modules share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock

from tests.browser import chromium
from utils.errors import CourseError
from utils.site import command
from utils.site.openers import Repository


class Site(NamedTuple):
    """The built site: its folder, what its own build found wrong, its number of pages."""

    folder: Path
    faults: list[str]
    pages: int


@pytest.fixture(scope="module")
def browser():
    """Chromium, as Playwright's `Browser`; skips where it, or Playwright, is missing.

    One for a module's tests, not for the whole run: Playwright does not start a second time in a
    process where it is on, and other modules start it as well.
    """
    if chromium.missing():
        pytest.skip(str(chromium.missing()))
    with chromium.browser() as launched:
        yield launched


def shared_folder(tmp_path_factory) -> Path:
    """The temporary folder of this test run, the same in all workers of xdist."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def built_site(tmp_path_factory) -> Site:
    """The whole site, built once in a test run, whichever worker of xdist comes first."""
    try:
        command.require_sphinx()
    except CourseError as error:
        pytest.skip(str(error))
    base = shared_folder(tmp_path_factory)
    out, said = base / "site", base / "site.json"
    with FileLock(base / "site.lock"):
        if not said.is_file():
            # with an address, so that every page has all that it can have
            made = command.build(out, repository=Repository("example/course"))
            said.write_text(json.dumps(made), encoding="utf-8")
    return Site(out, *json.loads(said.read_text(encoding="utf-8")))
