"""The repository as a stranger finds it: README's commands, style, pins, licence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from utils.doctor import pins

ROOT = Path(__file__).resolve().parents[1]


def commands() -> list[str]:
    """The commands of README's quick start, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    start = text[text.index("## Quick start") : text.index("## The lessons")]
    return [block.strip() for block in re.findall(r"```\n(.*?)```", start, re.DOTALL)]


def test_quick_start_has_exactly_two_commands():
    assert commands() == [
        "python -m pip install -r requirements.txt && python -m utils solve cnn",
        "python -m pip install -r requirements.txt && python -m pytest",
    ]


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert commands()[1] in script.replace(" --quiet", "")


def test_the_lesson_that_readme_opens_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for notebook in re.findall(r"notebooks/\w+\.ipynb", text):
        assert (ROOT / notebook).is_file(), notebook


def test_the_examples_of_the_readme_run(capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 2
    found: dict[str, object] = {}
    for example in examples:
        exec(example, found)  # the second goes on from the first
    assert "loss recovered" in capsys.readouterr().out
    assert tuple(found["values"].shape) == (500, 3)
    assert tuple(found["logits"].shape) == (500, 2)


def test_every_requirement_is_pinned_exactly_and_explained():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines()]
    packages = [line for line in lines if line and line[0] not in "#-"]
    assert packages and all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in packages)
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in pins(ROOT):
        assert f"`{name}`" in guide, f"CONTRIBUTING.md does not say what {name} is for"


def test_constraints_agree_with_requirements():
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    fixed = dict(line.split("==") for line in text.split() if "==" in line)
    wanted = pins(ROOT)
    assert {name: fixed[name] for name in wanted if name in fixed} == {
        name: version for name, version in wanted.items() if name in fixed
    }


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_ruff_is_clean(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", str(ROOT)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_over_five_megabytes():
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if names.returncode:
        pytest.skip("this copy of the course is not a git checkout, so its files are not listed")
    for name in names.stdout.splitlines():
        path = ROOT / name
        assert not path.is_file() or path.stat().st_size < 5_000_000, name
