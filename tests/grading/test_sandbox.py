"""The sandbox: refused where it cannot be had, and never left out silently."""

from __future__ import annotations

import sys
import time

import pytest

from tests.grading.conftest import left, named, needs_sandbox
from utils.__main__ import main
from utils.grading import sandbox
from utils.grading.confined import Confined
from utils.grading.sandbox import Limits, SandboxError


@pytest.fixture
def without(monkeypatch, tmp_path):
    """A machine on which bubblewrap is not installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox.missing.cache_clear()
    yield
    monkeypatch.undo()
    sandbox.missing.cache_clear()


def test_without_bubblewrap_grading_refuses_and_says_how_to_get_it(without, tmp_path, capsys):
    (tmp_path / "anna").mkdir()
    (tmp_path / "anna" / "00.ipynb").write_text("{}")
    assert main(["grade", str(tmp_path), "--out", str(tmp_path / "r.csv")]) == 2
    told = capsys.readouterr().err
    assert "bubblewrap" in told and "--trust-submissions" in told and not told.count("\n") > 1
    assert not (tmp_path / "r.csv").exists()
    with pytest.raises(SandboxError):
        sandbox.command(["-c", "pass"], Limits())


def test_a_bubblewrap_that_does_not_work_is_no_sandbox(monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    sandbox.missing.cache_clear()
    try:
        assert "No permissions to create new namespace" in (sandbox.missing() or "")
    finally:
        monkeypatch.undo()
        sandbox.missing.cache_clear()


@needs_sandbox
def test_what_it_uses_is_measured_and_what_it_says_is_kept():
    code = "x = bytearray(60 * 2**20)\nprint('here', flush=True)\nimport time\ntime.sleep(1.5)"
    with Confined(["-S", "-c", code], Limits(memory_mb=1024)) as confined:
        confined.process.wait(120)
        assert confined.noise == "here\n" and 60 < confined.peak_mb() < 200
    assert confined.process.returncode == 0


@needs_sandbox
def test_nothing_is_left_of_it_when_it_is_closed():
    code = (
        "import subprocess, time\nsubprocess.Popen(['/usr/bin/sleep', '7654322'])\ntime.sleep(60)"
    )
    with Confined(["-S", "-c", code], Limits(memory_mb=1024)) as confined:
        for _ in range(200):
            if named("7654322"):
                break
            time.sleep(0.05)
        assert named("7654322")
        group = confined._group
    assert not left(lambda: named("7654322"))
    assert group is None or not group.exists()


def test_trusted_is_the_same_protocol_without_a_sandbox():
    with Confined(["-c", "print('plain', flush=True)"], trusted=True) as confined:
        confined.process.wait(120)
        assert "plain" in confined.noise and confined.process.args[0] == sys.executable
