"""The ways in that are not README's: a container, Binder, a dev container, one for all three."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from utils.doctor import pins

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "Dockerfile",
    "docs/instructors/Containerfile",
    ".binder/runtime.txt",
    ".binder/requirements.txt",
    ".devcontainer/devcontainer.json",
    "docs/colab.txt",
)
IMAGES = FILES[:2]
needs_sh = pytest.mark.skipif(shutil.which("sh") is None, reason="no POSIX shell here")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def instructions(name: str) -> list[tuple[str, str]]:
    """(instruction, what follows) of a Dockerfile, comments out, continued lines joined."""
    lines = [line for line in text_of(name).splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def dev() -> dict:
    return json.loads(text_of(".devcontainer/devcontainer.json"))


def test_all_name_one_python_that_the_course_supports():
    found = {name: re.findall(r"\bpython[:-](\d+\.\d+)", text_of(name)) for name in IMAGES}
    found["Binder"] = [text_of(".binder/runtime.txt").strip().removeprefix("python-")]
    found["dev container"] = re.findall(r"python:(\d+\.\d+)", dev()["image"])
    assert all(versions == ["3.11"] for versions in found.values()), found
    assert 'requires-python = ">=3.11' in text_of("pyproject.toml")


def test_every_base_is_named_by_registry_and_tag():
    bases = [rest for name in IMAGES for word, rest in instructions(name) if word == "FROM"]
    for base in [*bases, dev()["image"]]:
        assert re.fullmatch(r"[\w.-]+\.\w+/[\w./-]+:[\w.-]*\d[\w.-]*", base), base


@pytest.mark.parametrize("name", FILES)
def test_pins_are_those_of_the_course(name):
    constraints = dict(line.split("==") for line in text_of("constraints.txt").split())
    known = {**constraints, **pins(ROOT)}
    asked = re.findall(r"([\w-]+)==([\w.]+)", text_of(name))
    assert all(known[package] == version for package, version in asked), asked


@pytest.mark.parametrize("name", [*IMAGES, ".devcontainer/devcontainer.json"])
def test_the_whole_list_is_installed_after_the_small_torch(name):
    text = text_of(name)
    torch = text.index("torch==")
    assert "--index-url https://download.pytorch.org/whl/cpu" in text[torch : torch + 90]
    assert "-r requirements.txt" in text[torch:]


def test_binder_installs_the_same_list_with_the_small_torch():
    lines = [line for line in text_of(".binder/requirements.txt").splitlines() if line[0] != "#"]
    assert lines == [
        "--extra-index-url https://download.pytorch.org/whl/cpu",
        "-r ../requirements.txt",
    ]


def test_colab_gets_what_it_lacks_at_our_versions_and_keeps_what_it_has():
    lines = [line for line in text_of("docs/colab.txt").splitlines() if line[0] != "#"]
    pinned = [line for line in lines if "==" in line]
    assert [line.split("==")[0] for line in pinned] == ["transformer-lens", "concept-erasure"]
    known = {line.split("==")[0].lower() for line in text_of("constraints.txt").split()}
    assert {line for line in lines if line not in pinned} <= known | set(pins(ROOT))
    assert not {"jupyter", "ipykernel", "numpy"} & set(lines), "its kernel would need a restart"


def test_nobody_is_root():
    words = instructions("Dockerfile")
    users = [rest for word, rest in words if word == "USER"]
    assert users == ["1000"]
    at = words.index(("USER", "1000"))
    as_root = [rest for word, rest in words[:at] if word == "RUN"]
    assert len(as_root) == 1 and as_root[0].startswith("useradd ") and "pip" not in as_root[0]
    assert "--uid 1000 " in as_root[0]
    assert dev()["remoteUser"] not in ("", "root")


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_copied_is_there_reaches_the_image_and_spoils_nothing(name):
    kept = {line[1:] for line in text_of(".dockerignore").splitlines() if line.startswith("!")}
    assert "*" in text_of(".dockerignore").splitlines()
    copied = set()
    for word, rest in instructions(name):
        if word == "COPY":
            copied |= {one for one in rest.split()[:-1] if not one.startswith("--")}
    assert copied and all((ROOT / one).exists() for one in copied)
    assert copied <= kept, "the .dockerignore keeps it out"
    assert not {"solutions", "tests", "docs", "."} & copied


@pytest.mark.parametrize("name", [*FILES, ".dockerignore"])
def test_no_secret_and_no_place_of_one_machine(name):
    text = text_of(name)
    assert not re.search(r"(?i)password|secret|token|api.?key|BEGIN [A-Z ]*KEY", text)
    assert str(ROOT) not in text
    for place in re.findall(r"(?<![\w.:/$}*])/[a-z][\w/.-]*", text):
        assert place.startswith(("/opt/", "/home/jovyan", "/bin/", "/course", "/var/lib/apt")), (
            place
        )


@needs_sh
def test_shell_lines_are_shell():
    lines = [rest for name in IMAGES for word, rest in instructions(name) if word == "RUN"]
    lines.append(dev()["postCreateCommand"])
    assert len(lines) >= 5
    for line in lines:
        done = subprocess.run(["sh", "-n", "-c", line], capture_output=True, text=True)
        assert done.returncode == 0 and shlex.split(line), (line, done.stderr)


@needs_sh
def test_the_image_hands_out_notebooks_once_and_runs_what_it_is_told(tmp_path):
    (entry,) = [
        json.loads(rest) for word, rest in instructions("Dockerfile") if word == "ENTRYPOINT"
    ]
    shipped, home = tmp_path / "course" / "notebooks", tmp_path / "a home"
    shipped.mkdir(parents=True)
    (home / "notebooks").mkdir(parents=True)
    for name in ("one", "two"):
        (shipped / name).write_text("shipped")
    (home / "notebooks" / "one").write_text("mine")
    here = [word.replace("/opt/course", str(tmp_path / "course")) for word in entry]
    done = subprocess.run(
        [*here, "echo", "a b", "c"],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "a b c\n")
    assert (home / "notebooks" / "one").read_text() == "mine"
    assert (home / "notebooks" / "two").read_text() == "shipped"


def test_what_a_dev_container_opens_is_there():
    opened = dev()["customizations"]["codespaces"]["openFiles"]
    assert opened and all((ROOT / name).is_file() for name in opened)
