"""Run a notebook from the first cell to the last in a fresh kernel, and measure it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from utils.errors import CourseError

CELL_TIMEOUT = 300


class CellFailed(CourseError):
    """A cell raised, ran out of time or killed the kernel; `index` counts all cells from 0."""

    def __init__(self, index: int, message: str):
        super().__init__(message)
        self.index = index


@dataclass(frozen=True)
class Cost:
    """What a run took: wall seconds without the kernel's start, and the kernel's peak memory."""

    seconds: float
    peak_mb: float


def run_notebook(
    notebook: NotebookNode, folder: Path, variables: dict[str, str], timeout: int = CELL_TIMEOUT
) -> tuple[NotebookNode, Cost]:
    """Execute a copy of `notebook` with `folder` as current folder. Raises `CellFailed`.

    `variables` are set in the kernel's environment on top of this process's own.
    """
    notebook = nbformat.from_dict(notebook)
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    watch = _Watch(client)
    client.on_cell_start = watch.cell_starts
    client.on_cell_complete = watch.cell_ends
    try:
        # the kernel's own log lines are no part of the notebook
        client.execute(env={**os.environ, **variables}, stderr=subprocess.DEVNULL)
    except CellExecutionError as error:
        raise CellFailed(watch.index, f"{error.ename}: {error.evalue}") from error
    except CellTimeoutError as error:
        message = f"ran longer than {timeout} s"
        raise CellFailed(watch.index, message) from error
    except DeadKernelError as error:
        raise CellFailed(watch.index, "the kernel died (out of memory?)") from error
    finally:
        watch.stop()
    return notebook, watch.cost


class _Watch(threading.Thread):
    """Follows the cells, and samples the kernel's resident memory, children included."""

    def __init__(self, client: NotebookClient):
        super().__init__(daemon=True)
        self._client = client
        self._done = threading.Event()
        self._peak = 0
        self._began = self._ended = time.perf_counter()
        self.index = -1  # no cell yet: the kernel itself did not come up

    @property
    def cost(self) -> Cost:
        return Cost(self._ended - self._began, self._peak / 2**20)

    def cell_starts(self, cell: NotebookNode, cell_index: int) -> None:
        self.index = cell_index
        if self.ident is None:
            self._began = time.perf_counter()
            self.start()

    def cell_ends(self, cell: NotebookNode, cell_index: int) -> None:
        self._ended = time.perf_counter()

    def run(self) -> None:
        try:
            kernel = psutil.Process(self._client.km.provisioner.pid)
            while not self._done.wait(0.02):
                family = [kernel, *kernel.children(recursive=True)]
                used = sum(process.memory_info().rss for process in family)
                self._peak = max(self._peak, used)
        except (psutil.Error, AttributeError):
            return  # the kernel has gone: what was seen so far counts

    def stop(self) -> None:
        self._done.set()
        if self.ident is not None:
            self.join()
