"""Runs the instruments' scripts: in node, else in Chromium, else the test skips and says why."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.browser import chromium
from utils.instruments.document import PAGES


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
    if chromium.missing():
        pytest.skip(f"neither node nor a browser runs JavaScript here; {chromium.missing()}")
    with chromium.browser() as opened:
        page = opened.new_page()
        return page.evaluate(f"(given) => {{ {scripts}\n return ({function})(given); }}", given)
