"""`grade --container`: the same command inside an image that holds the course and bubblewrap.

For machines without bubblewrap (macOS, Windows) and for who wants a second wall. The image is made
from `docs/instructors/Containerfile`; inside, every submission still has its own sandbox.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from utils.errors import CourseError

ENGINES = ("podman", "docker")
IMAGE = "course-for-mechanists"
BUILD = f"-f docs/instructors/Containerfile -t {IMAGE} ."


def engine() -> str:
    """The container program of this machine. Raises CourseError where there is none."""
    for name in ENGINES:
        if shutil.which(name):
            return name
    raise CourseError(
        "--container needs podman or docker, and neither is installed. On Linux, bubblewrap alone"
        " is enough: install the package `bubblewrap` and leave --container out."
    )


def command(
    program: str,
    image: str,
    submissions: Path,
    out: Path,
    *,
    read: Mapping[str, Path] | None = None,
    written: Mapping[str, Path] | None = None,
    plain: Sequence[str] = (),
) -> list[str]:
    """What to start. No network; submissions and what is only read are mounted read-only.

    read, written: options whose values are paths, e.g. {"--roster": path}. plain: other arguments.
    """
    mounts = ["-v", f"{submissions.resolve()}:/in/{submissions.name or 'submissions'}:ro"]
    mounts += ["-v", f"{out.parent.resolve()}:/out"]
    arguments = [f"/in/{submissions.name or 'submissions'}", "--out", f"/out/{out.name}"]
    for number, (option, path) in enumerate((read or {}).items()):
        place = f"/read/{number}/{path.name}"
        mounts += ["-v", f"{path.resolve()}:{place}:ro"]
        arguments += [option, place]
    for number, (option, path) in enumerate((written or {}).items()):
        path.mkdir(parents=True, exist_ok=True)
        mounts += ["-v", f"{path.resolve()}:/written/{number}"]
        arguments += [option, f"/written/{number}"]
    return [
        program, "run", "--rm", "--network", "none",
        # bubblewrap makes namespaces of its own inside, which engines forbid by default
        "--security-opt", "seccomp=unconfined", "--cap-add", "SYS_ADMIN",
        *mounts, image, "python", "-m", "utils", "grade", *arguments, *plain,
    ]  # fmt: skip


def run(started: Sequence[str]) -> int:
    """Start it and wait; its exit code. Raises CourseError for an image that is not there."""
    program, image = started[0], started[started.index("python") - 1]
    known = subprocess.run([program, "image", "inspect", image], capture_output=True)
    if known.returncode:
        raise CourseError(
            f"There is no image {image}. In the course's folder, run once: {program} build {BUILD}"
        )
    return subprocess.run(list(started)).returncode
