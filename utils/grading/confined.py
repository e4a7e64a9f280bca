"""A learner's process, the channel to it, and the watch over what it uses."""

from __future__ import annotations

import functools
import glob
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from utils.grading import sandbox
from utils.grading.codec import Channel
from utils.grading.sandbox import Limits

NOISE = 2**20  # bytes of standard output and error that are kept; the rest is thrown away


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


class Confined:
    """`python ARGUMENTS` in a sandbox of its own (or, if `trusted`, under the limits alone).

    It inherits one end of `channel`. With `pipes` its standard input and output are for whoever
    started it; else they are drained, and their beginning kept. folders, writable: as for
    `sandbox.command`; `writable` is watched for its size.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        limits: Limits | None = None,
        *,
        trusted: bool = False,
        pipes: bool = False,
        folders: Mapping[str, Path] | None = None,
        writable: Path | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.ended_for: str | None = None  # "memory", "processes" or "disk": why the watch ended it
        self._writable = writable
        self._group = _pids_group(self.limits.processes)
        self._home = tempfile.TemporaryDirectory(prefix="course-") if trusted else None
        ours, theirs = socket.socketpair()
        try:
            self.process = self._start(arguments, theirs, pipes, folders)
        finally:
            theirs.close()
        self.channel = Channel(ours)
        self._noise = bytearray()
        self._peak = 0
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._watch, daemon=True)]
        self._drains = None if pipes else threading.Thread(target=self._drain, daemon=True)
        if self._drains is not None:
            self._threads.append(self._drains)
        for thread in self._threads:
            thread.start()

    def _start(
        self,
        arguments: Sequence[str],
        theirs: socket.socket,
        pipes: bool,
        folders: Mapping[str, Path] | None,
    ) -> subprocess.Popen[bytes]:
        handed = [theirs.fileno()]
        path = _fonts()
        with open(path or os.devnull, "rb") as fonts:
            if self._home is not None:
                folder = self._home.name
                given = sandbox.environment(str(sandbox.ROOT), folder, theirs.fileno())
                command, environment = [sys.executable, *arguments], {**os.environ, **given}
            else:
                listed = None
                if path is not None:
                    listed = (fonts.fileno(), path.name)
                    handed.append(fonts.fileno())
                command = sandbox.command(
                    arguments, self.limits, channel=theirs.fileno(), fonts=listed,
                    folders=folders, writable=self._writable,
                )  # fmt: skip
                folder, environment = "/", {"PATH": "/usr/bin:/bin"}
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if pipes else subprocess.STDOUT,
                env=environment, cwd=folder, pass_fds=handed, preexec_fn=self._enter_limits,
                start_new_session=True, text=pipes,
            )  # fmt: skip

    def _enter_limits(self) -> None:
        if self._group is not None:
            (self._group / "cgroup.procs").write_text(str(os.getpid()))
        self.limits.apply()

    @property
    def noise(self) -> str:
        """The beginning of what it wrote to standard output and error; all of it once it ended."""
        if self.process.poll() is not None and self._drains is not None:
            self._drains.join(timeout=5)  # what it wrote last may still be on its way
        return bytes(self._noise).decode("utf-8", "replace")

    def peak_mb(self) -> float:
        """The most memory resident at once since this was last asked, all processes together."""
        peak, self._peak = self._peak, 0
        return peak / 2**20

    def close(self) -> None:
        """End it and everything it started."""
        self._done.set()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.channel.close()
        for thread in self._threads:
            thread.join(timeout=5)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        if self._home is not None:
            with suppress(OSError):
                self._home.cleanup()
        for _ in range(50):  # the last of the namespace may take a moment to go
            if self._group is None or not self._group.exists():
                break
            with suppress(OSError):
                self._group.rmdir()
                break
            time.sleep(0.02)

    def __enter__(self) -> Confined:
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
        while not self._done.wait(0.05):  # each look reads all of /proc
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
            elif self._writable is not None and _size(self._writable) > self.limits.scratch_mb:
                self._end("disk", family)

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


def _size(folder: Path) -> float:
    """Megabytes of the files in a folder, those below it included."""
    total = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(here, name)).st_blocks * 512
    return total / 2**20
