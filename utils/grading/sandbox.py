"""A process that can see a Python installation and the course, and nothing else.

On Linux through bubblewrap: namespaces of its own for files, processes, users, IPC and network, a
scratch folder in memory, an empty environment. What it uses is watched from outside, by `confined`.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from utils.errors import CourseError
from utils.lessons import places

try:
    import resource
except ImportError:  # Windows: no limits there, and no sandbox either
    resource = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parents[2]
COURSE, LESSONS = "/course", "/lessons"  # where the sandbox sees the package, and another course
INSIDE = ("__init__.py", "codec.py", "inside.py")  # of this package: all that is shown inside


class SandboxError(CourseError):
    """There is no sandbox to be had on this machine."""


@dataclass(frozen=True)
class Limits:
    """What one sandbox may use. memory_mb: address space of a process, and resident in all."""

    memory_mb: int = 6144
    cpu_seconds: int = 1800
    file_mb: int = 256
    scratch_mb: int = 512
    processes: int = 128

    def apply(self) -> None:
        """Set on the calling process, for it and what it starts."""
        if resource is None:
            return
        for what, size in (
            (resource.RLIMIT_AS, self.memory_mb * 2**20),
            (resource.RLIMIT_CPU, self.cpu_seconds),
            (resource.RLIMIT_FSIZE, self.file_mb * 2**20),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NOFILE, 512),
        ):
            with suppress(ValueError, OSError):  # a lower hard limit is in force already
                resource.setrlimit(what, (size, size))


@functools.cache
def missing() -> str | None:
    """Why there is no sandbox on this machine, and what to do; None when there is one."""
    advice = (
        "`--container` does all of this in podman or docker, and `--trust-submissions` grades"
        " without a sandbox, if you have read every submission or run it in a virtual machine that"
        " holds nothing else"
    )
    if not sys.platform.startswith("linux"):
        return f"The sandbox needs Linux. Or: {advice}."
    if shutil.which("bwrap") is None:
        return (
            "The sandbox needs bubblewrap: install the package `bubblewrap` (Debian, Ubuntu,"
            f" Fedora, Arch) and run the command again. Or: {advice}."
        )
    command = [*_namespaces(), *_system(), "--", sys.executable, "-S", "-c", "pass"]
    tried = subprocess.run(command, capture_output=True, text=True)
    if tried.returncode:
        return (
            f"bubblewrap does not work here ({tried.stderr.strip() or 'no reason given'}): user"
            f" namespaces may be turned off. Ask who runs the machine. Or: {advice}."
        )
    return None


def _namespaces() -> list[str]:
    return [
        "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv",
        "--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--cap-drop", "ALL",
    ]  # fmt: skip


def _system() -> list[str]:
    """Read-only binds of what Python needs: the system's libraries, its home, its environment."""
    binds: list[str] = []
    for name in ("bin", "lib", "lib32", "lib64", "libx32", "sbin"):
        path = Path("/", name)
        if path.is_symlink():
            binds += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            binds += ["--ro-bind", str(path), str(path)]
    seen = {Path("/usr")}
    binds += ["--ro-bind", "/usr", "/usr"]
    for cache in ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d"):
        binds += ["--ro-bind-try", cache, cache]
    homes = [Path(p) for p in (sys.base_prefix, sys.base_exec_prefix, sys.prefix, sys.exec_prefix)]
    homes.append(Path(os.path.realpath(sys.executable)).parent.parent)
    for home in homes:
        if not any(home == known or known in home.parents for known in seen):
            binds += ["--ro-bind", str(home), str(home)]
            seen.add(home)
    return [*binds, "--proc", "/proc", "--dev", "/dev"]


def command(
    arguments: Sequence[str],
    limits: Limits,
    *,
    channel: int | None = None,
    fonts: tuple[int, str] | None = None,
    folders: Mapping[str, Path] | None = None,
    writable: Path | None = None,
) -> list[str]:
    """What to start for `python ARGUMENTS` in a sandbox of its own.

    channel: number of the file descriptor it inherits. fonts: one with Matplotlib's list, and its
    name. folders: {place inside: file or folder here}, read-only. writable: a folder that has the
    same place inside. Raises SandboxError where there is no sandbox.
    """
    if (why := missing()) is not None:
        raise SandboxError(why)
    size = str(limits.scratch_mb * 2**20)
    parts = [
        # the scratch folder first: Python's own environment may lie in /tmp, and shows through then
        *_namespaces(), "--size", size, "--tmpfs", "/tmp", *_system(), "--dir", "/tmp/home",
        # /dev/shm is memory too: it gets a size like the scratch folder
        "--size", size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
        "--ro-bind", str(ROOT / "utils"), f"{COURSE}/utils",
        "--tmpfs", f"{COURSE}/utils/grading",
    ]  # fmt: skip
    for name in INSIDE:
        parts += [
            "--ro-bind",
            str(ROOT / "utils" / "grading" / name),
            f"{COURSE}/utils/grading/{name}",
        ]
    parts += ["--remount-ro", f"{COURSE}/utils/grading"]
    course = places.course_root()
    if course != ROOT:  # another course with the same package
        parts += ["--dir", LESSONS, "--setenv", places.ROOT_VARIABLE, LESSONS]
        for name in (places.MANIFEST, places.CHECKS, places.REFERENCE):
            parts += ["--ro-bind-try", str(course / name), f"{LESSONS}/{name}"]
    for inside, here in (folders or {}).items():
        parts += ["--ro-bind", str(here), inside]
    if writable is not None:
        parts += ["--bind", str(writable), str(writable)]
    if fonts is not None:
        parts += ["--file", str(fonts[0]), f"/tmp/fonts/{fonts[1]}"]
    for name, value in environment(COURSE, "/tmp", channel).items():
        parts += ["--setenv", name, value]
    return [*parts, "--remount-ro", "/", "--chdir", "/tmp", "--", sys.executable, *arguments]


def environment(course: str, home: str, channel: int | None = None) -> dict[str, str]:
    """The variables a learner's process has, and no others in a sandbox."""
    found = {
        "PATH": "/usr/bin:/bin",
        "HOME": f"{home}/home" if home == "/tmp" else home,
        "TMPDIR": home,
        "MPLCONFIGDIR": f"{home}/fonts",
        "MPLBACKEND": "agg",
        "IPYTHONDIR": f"{home}/ipython",
        "PYTHONPATH": course,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "LANG": "C.UTF-8",
        "COURSE_NO_PROGRESS": "1",
    }
    return found if channel is None else {**found, "COURSE_CHANNEL": str(channel)}
