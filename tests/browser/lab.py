"""JupyterLab as a learner uses it: a server of its own, menus, clicks and keys."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser.chromium import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
START = "notebooks/00_start_here.ipynb"  # what README opens


def answer_of(exercise: str, notebook: str = START) -> str:
    """The solved cell of an exercise, without the marks of its region."""
    path = ROOT / "solutions" / Path(notebook).name
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["metadata"].get("exercise") == exercise:
            return re.sub(
                r"^ *### (BEGIN|END) SOLUTION\n?", "", "".join(cell["source"]), flags=re.M
            )
    raise LookupError(f"{path.name} has no exercise {exercise}")


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[str]:
    """README's command on a copy of the notebooks in `folder`; the address of the server.

    No token, this machine alone, a free port, and settings of its own: nothing of whoever runs
    this is read or written. Raises RuntimeError when it does not come up.
    """
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {
        name: str(folder / name.lower())
        for name in (
            "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
            "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR",
        )
    }  # fmt: skip
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, **own, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "jupyter", "lab", START, "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    command += ["--IdentityProvider.token=", "--ServerApp.password="]
    log = folder / "server.log"
    with log.open("wb") as said:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said)
    try:
        address = f"http://127.0.0.1:{port}/"
        _wait_for(address, server, log)
        yield address
    finally:
        server.terminate()  # takes its kernels with it
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(f"{address}api", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if server.poll() is not None or time.monotonic() > end:
                tail = log.read_text(encoding="utf-8", errors="replace")[-1500:]
                raise RuntimeError(f"JupyterLab does not answer; it said: {tail}") from None
            time.sleep(0.1)  # between two questions; nothing depends on how long


class Notebook:
    """A notebook open in JupyterLab in Playwright's `page`."""

    def __init__(self, page: Any, address: str, path: str = START) -> None:
        page.set_default_timeout(PATIENCE * 1000)
        self.page = page
        cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
        marks = [cell["metadata"].get("exercise") for cell in cells]
        self._places = {mark: place for place, mark in enumerate(marks) if mark}
        page.goto(f"{address}lab/tree/{Path(path).name}")  # the server's root is its folder
        self.panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        self.panel.locator(".jp-Notebook .jp-Cell").first.wait_for()
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """The kernel is there and has nothing left to do."""
        # the status bar: the notebook's own mark says idle before there is a kernel, and what is
        # run then is lost
        self.page.locator("#jp-main-statusbar").get_by_text(re.compile(r"\| Idle")).wait_for()
        waiting = self.panel.locator(".jp-InputPrompt", has_text="[*]")
        waiting.first.wait_for(state="detached")

    def run_all(self) -> None:
        """The menu's "Run All Cells", and the end of it: a number before each cell of code."""
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        last = self.panel.locator(".jp-CodeCell .jp-InputPrompt").last
        _expect(last).to_have_text(re.compile(r"\[\d+\]:"))
        self.wait_until_idle()

    def cell(self, exercise: str) -> Any:
        """The exercise's cell. By its place: off screen, an editor does not hold all its lines."""
        return self.panel.locator(".jp-Notebook .jp-Cell").nth(self._places[exercise])

    def result(self, exercise: str) -> Any:
        """What the check shows below the exercise."""
        return self.cell(exercise).locator('.jp-OutputArea-output [role="status"]')

    def answer(self, exercise: str, source: str) -> None:
        """Put `source` in the exercise's cell in place of what is there, and run the cell."""
        self._focus(exercise)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(source)
        self.page.keyboard.press("Shift+Enter")

    def run_above(self, exercise: str) -> None:
        """The menu's "Run All Above Selected Cell"; does not wait for its end."""
        self._focus(exercise)
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Run All Above Selected Cell").click()

    def _focus(self, exercise: str) -> None:
        editor = self.cell(exercise).locator(".cm-content")
        editor.scroll_into_view_if_needed()
        # no click: outputs that come above move what lies under the mouse
        editor.focus()
        _expect(editor).to_be_focused()


def _expect(locator: Any) -> Any:
    from playwright.sync_api import expect

    return expect(locator)
