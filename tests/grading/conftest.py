"""The pipeline's small lesson as a course whose submissions are graded."""

from __future__ import annotations

import json
import time

import psutil
import pytest

from tests.lessons.conftest import built_once  # noqa: F401  the fixture itself
from utils.grading import sandbox
from utils.lessons import places

needs_sandbox = pytest.mark.skipif(
    sandbox.missing() is not None, reason=f"no sandbox here: {sandbox.missing()}"
)

RIGHT = {
    "7.1": 'def centre(x):\n    return x - x.mean(dim=0)\n\n\nlab.check("7.1", centre)',
    "7.2": 'rows = data["x"].shape[0]\nlab.check("7.2", rows)',
}


def left(found, seconds=60.0):
    """The processes that `found()` still finds alive after as long as a busy machine may need."""
    until = time.monotonic() + seconds
    while (living := [one for one in found() if _lives(one)]) and time.monotonic() < until:
        time.sleep(0.05)
    return living


def _lives(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def named(argument):
    """All processes of this machine with this word on their command line."""
    every = psutil.process_iter(["cmdline"])
    return [one for one in every if argument in (one.info["cmdline"] or [])]


@pytest.fixture
def course(built_once, monkeypatch):  # noqa: F811
    """The built course as the one that is graded."""
    monkeypatch.setenv(places.ROOT_VARIABLE, str(built_once))
    return built_once


@pytest.fixture
def notebook(course):
    """A function: answers by exercise -> the learner's notebook with them, as plain JSON."""

    def make(**answers):
        path = next((course / places.NOTEBOOKS).glob("07_*.ipynb"))
        made = json.loads(path.read_text(encoding="utf-8"))
        for cell in made["cells"]:
            exercise = cell["metadata"].get("exercise")
            if exercise in RIGHT:
                name = "a" + exercise.replace(".", "")
                cell["source"] = answers.get(name, RIGHT[exercise])
        return made

    return make
