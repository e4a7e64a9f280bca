"""The browser that the system has, driven by Playwright, and why there may be none."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import util
from pathlib import Path
from typing import Any

PATIENCE = 180  # seconds for anything that must come: a crowded machine is no fault
REQUIREMENTS = "tests/browser/requirements.txt"
NEEDED = ("playwright", "axe_playwright_python")
# no sandbox of its own: containers have no user namespaces, and every page here is ours
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
    "--disable-component-update", "--no-first-run", "--hide-scrollbars",
)  # fmt: skip


def path() -> str | None:
    """Chromium as Debian and others install it; never a browser that Playwright downloads."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def missing() -> str | None:
    """What keeps a browser from being driven here, or None."""
    absent = [name for name in NEEDED if util.find_spec(name) is None]
    if absent:
        return f"no {' and no '.join(absent)} here: python -m pip install -r {REQUIREMENTS}"
    if path() is None:
        return "no Chromium here (Debian: apt-get install chromium)"
    return None


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium, as Playwright's `Browser`. What is expected of a page is awaited for
    `PATIENCE`, not for Playwright's five seconds."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path(), args=list(FLAGS))
        try:
            yield launched
        finally:
            launched.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """`folder` on a free port of this machine; the address, with a slash at its end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
