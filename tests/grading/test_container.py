"""`grade --container`: what is started, with a stand-in for the engine; no image is built here."""

from __future__ import annotations

import json
import sys

import pytest

from utils.__main__ import main

STAND_IN = """#!{python}
import json, sys
if sys.argv[1:3] == ["image", "inspect"]:
    sys.exit(0 if {there} else 1)
json.dump(sys.argv[1:], open({log!r}, "w"))
sys.exit(7)
"""


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """A function that puts a podman on PATH which writes down how it was started."""

    def make(there):
        folder = tmp_path / "bin"
        folder.mkdir()
        log = tmp_path / "started.json"
        program = folder / "podman"
        program.write_text(STAND_IN.format(python=sys.executable, there=there, log=str(log)))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return log

    return make


@pytest.fixture
def submissions(tmp_path):
    folder = tmp_path / "in class"
    folder.mkdir()
    return folder


def test_the_same_command_runs_inside_with_its_files_mounted(engine, submissions, tmp_path):
    log = engine(there=True)
    roster, out = tmp_path / "roster.csv", tmp_path / "r.csv"
    roster.write_text("learner\nanna\n")
    pages = tmp_path / "pages"
    given = ["grade", str(submissions), "--out", str(out), "--container", "--workers", "3"]
    assert main([*given, "--roster", str(roster), "--feedback", str(pages)]) == 7
    started = json.loads(log.read_text())
    mounts = [started[i + 1] for i, word in enumerate(started) if word == "-v"]
    assert mounts == [
        f"{submissions}:/in/in class:ro", f"{tmp_path}:/out",
        f"{roster}:/read/0/roster.csv:ro", f"{pages}:/written/0",
    ]  # fmt: skip
    assert started[started.index("--network") + 1] == "none"
    inside = started[started.index("python") :]
    assert inside[:6] == ["python", "-m", "utils", "grade", "/in/in class", "--out"]
    assert "--container" not in inside and "--trust-submissions" not in inside
    assert inside[inside.index("--workers") + 1] == "3"
    assert inside[inside.index("--roster") + 1] == "/read/0/roster.csv"


def test_what_is_missing_is_told(engine, submissions, tmp_path, monkeypatch, capsys):
    given = ["grade", str(submissions), "--out", str(tmp_path / "r.csv"), "--container"]
    assert main([*given, "--trust-submissions"]) == 2
    log = engine(there=False)
    assert main(given) == 2
    assert "podman build -f docs/instructors/Containerfile" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(given) == 2
    assert "podman or docker" in capsys.readouterr().err and not log.exists()


def test_the_image_names_files_that_are_there():
    from utils.lessons.places import PACKAGE_ROOT

    text = (PACKAGE_ROOT / "docs" / "instructors" / "Containerfile").read_text()
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ")]
    assert copied and all((PACKAGE_ROOT / name).exists() for line in copied for name in line)
    pins = (PACKAGE_ROOT / "requirements.txt").read_text()
    assert "torch==2.13.0" in pins and "torch==2.13.0" in text
