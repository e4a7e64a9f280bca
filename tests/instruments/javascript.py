"""Runs the instruments' scripts: in node, else in Chromium, else the test skips and says why."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from typing import Any

import pytest

from utils.instruments.document import PAGES

NO_BROWSER = "no {}: install Chromium, and python -m pip install -r tests/browser/requirements.txt"


def missing() -> str:
    """What a browser test lacks here; empty where nothing is missing."""
    if util.find_spec("playwright") is None:
        return NO_BROWSER.format("Playwright")
    if not (shutil.which("chromium") or shutil.which("chromium-browser")):
        return NO_BROWSER.format("Chromium")
    return ""


@contextmanager
def browser() -> Iterator[Any]:
    """A Chromium without a window."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=path, args=flags)
        try:
            yield opened
        finally:
            opened.close()


def run(files: tuple[str, ...], function: str, given: Any) -> Any:
    """The value of `function` (JavaScript, one argument) after the scripts `files` of `pages/`."""
    scripts = "\n".join((PAGES / name).read_text(encoding="utf-8") for name in files)
    node = shutil.which("node")
    if node:
        tail = (
            f'const given = JSON.parse(require("fs").readFileSync(0, "utf8"));\n'
            f"process.stdout.write(JSON.stringify(({function})(given)));"
        )
        done = subprocess.run(
            [node, "-e", f'"use strict";\n{scripts}\n{tail}'],
            input=json.dumps(given), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)
    if missing():
        pytest.skip(f"neither node nor a browser runs JavaScript here; {missing()}")
    with browser() as opened:
        page = opened.new_page()
        return page.evaluate(f"(given) => {{ {scripts}\n return ({function})(given); }}", given)
