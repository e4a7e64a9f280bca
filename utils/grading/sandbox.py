"""A process that can see a Python installation and the course, and nothing else.

On Linux through bubblewrap: namespaces of its own for files, processes, users, IPC and network, a
scratch folder in memory, an empty environment. What it costs is watched from outside: a sandbox
that holds too many processes or too much memory is ended whole, by killing the first process of
its namespace, so that no descendant is left.
"""

from __future__ import annotations

import functools
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from utils.errors import CourseError
from utils.grading.codec import Channel
from utils.lessons import places

try:
    import resource
except ImportError:  # Windows: no limits there, and no sandbox either
    resource = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parents[2]
COURSE, LESSONS = "/course", "/lessons"  # where the sandbox sees the package, and another course
HIDDEN = ("challenges/practice.key.json", "grading")  # under utils/: keys, and how we grade
CHANNEL = 3  # the file descriptor of the channel inside
NOISE = 2**20  # bytes of standard output and error that are kept; the rest is thrown away


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
        "use the container of docs/Containerfile (`--container` prints the command), or"
        " `--trust-submissions` if you have read every submission"
    )
    if not sys.platform.startswith("linux"):
        return f"The sandbox needs Linux; {advice}."
    if shutil.which("bwrap") is None:
        return (
            "The sandbox needs bubblewrap: install the package `bubblewrap` (Debian, Ubuntu,"
            f" Fedora, Arch) and run the command again; or {advice}."
        )
    command = [*_namespaces(), *_system(), "--", sys.executable, "-S", "-c", "pass"]
    tried = subprocess.run(command, capture_output=True, text=True)
    if tried.returncode:
        return (
            f"bubblewrap does not work here ({tried.stderr.strip() or 'no reason given'}): user"
            f" namespaces may be turned off. Ask who runs the machine; or {advice}."
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


def _pids_group(most: int) -> Path | None:
    """A control group that holds at most so many processes, where we may make one.

    RLIMIT_NPROC does not hold against root. Where there is no group the watch has to be enough.
    """
    for parent in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")):
        if not (parent / "cgroup.procs").is_file():
            continue
        group = parent / f"course-{uuid.uuid4().hex}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / "pids.max").write_text(str(most))
            return group
        except OSError:  # the pids controller is not handed down
            with suppress(OSError):
                group.rmdir()
    return None


@functools.cache
def _fonts() -> Path | None:
    """Matplotlib's list of fonts, which takes seconds to make: made here once, by ourselves."""
    import matplotlib
    import matplotlib.font_manager

    found = glob.glob(os.path.join(matplotlib.get_cachedir(), "fontlist-*.json"))
    return Path(found[0]) if found else None


class Sandbox:
    """One process in a sandbox of its own, the channel to it, and the watch over it.

    arguments: what the Python inside is started with. trusted: no sandbox at all, only the limits;
    for submissions somebody has read. folders: {place inside: folder here}, read-only.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        limits: Limits | None = None,
        *,
        trusted: bool = False,
        folders: dict[str, Path] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._group = _pids_group(self.limits.processes)
        self.ended_for: str | None = None  # "memory" or "processes": why the watch ended it
        ours, theirs = socket.socketpair()
        self._home = tempfile.TemporaryDirectory(prefix="course-") if trusted else None
        fonts = _fonts()
        handed = [theirs.fileno()]
        if trusted:
            command = [sys.executable, *arguments]
            folder = self._home.name  # type: ignore[union-attr]
            environment = {**os.environ, **_environment(str(ROOT), folder, theirs.fileno())}
        else:
            if (why := missing()) is not None:
                raise SandboxError(why)
            environment, folder = {"PATH": "/usr/bin:/bin"}, "/"
            command = [*_namespaces(), *_system(), *self._scratch()]
            command += ["--ro-bind", str(ROOT / "utils"), f"{COURSE}/utils"]
            for name in HIDDEN:
                place = ROOT / "utils" / name
                if name == "grading":
                    command += ["--tmpfs", f"{COURSE}/utils/grading"]
                    for part in ("__init__.py", "codec.py", "inside.py"):
                        command += [
                            "--ro-bind",
                            str(place / part),
                            f"{COURSE}/utils/grading/{part}",
                        ]
                    command += ["--remount-ro", f"{COURSE}/utils/grading"]
                elif place.exists():
                    command += ["--ro-bind", "/dev/null", f"{COURSE}/utils/{name}"]
            course = places.course_root()
            if course != ROOT:  # another course with the same package
                command += ["--dir", LESSONS, "--setenv", places.ROOT_VARIABLE, LESSONS]
                for name in (places.MANIFEST, places.CHECKS, places.REFERENCE):
                    command += ["--ro-bind-try", str(course / name), f"{LESSONS}/{name}"]
            for inside, here in (folders or {}).items():
                command += ["--ro-bind", str(here), inside]
            if fonts is not None:
                self._font_file = open(fonts, "rb")  # noqa: SIM115  bubblewrap reads it
                handed.append(self._font_file.fileno())
                command += ["--file", str(self._font_file.fileno()), f"/tmp/fonts/{fonts.name}"]
            for name, value in _environment(COURSE, "/tmp", theirs.fileno()).items():
                command += ["--setenv", name, value]
            command += ["--remount-ro", "/", "--chdir", "/tmp"]
            command += ["--", sys.executable, *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment, cwd=folder, pass_fds=handed, preexec_fn=self._enter_limits,
            start_new_session=True,
        )  # fmt: skip
        theirs.close()
        if not trusted and fonts is not None:
            self._font_file.close()
        self.channel = Channel(ours)
        self._noise = bytearray()
        self._peak = 0
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._drain, daemon=True),
            threading.Thread(target=self._watch, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _enter_limits(self) -> None:
        if self._group is not None:
            (self._group / "cgroup.procs").write_text(str(os.getpid()))
        self.limits.apply()

    def _scratch(self) -> list[str]:
        size = str(self.limits.scratch_mb * 2**20)
        # /dev/shm is memory too: it gets a size like the scratch folder
        return [
            "--size", size, "--tmpfs", "/tmp", "--dir", "/tmp/home",
            "--size", size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
        ]  # fmt: skip

    @property
    def noise(self) -> str:
        """The beginning of what it wrote to standard output and error."""
        return bytes(self._noise).decode("utf-8", "replace")

    def peak_mb(self) -> float:
        """The most memory resident at once since this was last asked, all processes together."""
        peak, self._peak = self._peak, 0
        return peak / 2**20

    def close(self) -> int | None:
        """End it and everything it started; its exit code, negative for a signal."""
        self._done.set()
        code = self.process.poll()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.channel.close()
        for thread in self._threads:
            thread.join(timeout=5)
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self._home is not None:
            with suppress(OSError):
                self._home.cleanup()
        if self._group is not None:
            with suppress(OSError):
                self._group.rmdir()
        return code

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- threads -----------------------------------------------------------------------------

    def _drain(self) -> None:
        assert self.process.stdout is not None
        with suppress(OSError, ValueError):
            while part := os.read(self.process.stdout.fileno(), 2**16):
                self._noise += part[: max(0, NOISE - len(self._noise))]

    def _watch(self) -> None:
        try:
            first = psutil.Process(self.process.pid)
        except psutil.Error:
            return
        while not self._done.wait(0.02):
            used = count = 0
            try:
                family = [first, *first.children(recursive=True)]
            except psutil.Error:
                return
            for member in family:
                with suppress(psutil.Error):
                    used += member.memory_info().rss
                    count += 1
            self._peak = max(self._peak, used)
            if count > self.limits.processes:
                self._end("processes", family)
            elif used > self.limits.memory_mb * 2**20 and self._really_uses(family):
                self._end("memory", family)

    def _really_uses(self, family: list[psutil.Process]) -> bool:
        """Whether it is over its memory when what forks share is counted once (dear to ask)."""
        used = 0
        for member in family:
            with suppress(psutil.Error, AttributeError):
                used += member.memory_full_info().pss
        return used > self.limits.memory_mb * 2**20

    def _end(self, why: str, family: list[psutil.Process]) -> None:
        self.ended_for = why
        # the second of the family is the first process of the namespace: with it all go at once
        for member in (family[0], *family[1:3]):
            with suppress(psutil.Error):
                member.kill()


def _environment(course: str, home: str, channel: int) -> dict[str, str]:
    return {
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
        "COURSE_CHANNEL": str(channel),
    }
