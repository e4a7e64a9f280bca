"""Settings for every test, notebooks under nbval included (hence at the root, above both)."""

import importlib.util
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OFFLINE = ROOT / "tests" / "offline"

# Kernels and subprocesses inherit these. No test may leave a progress file in the repository, and
# none may reach the network: `tests/offline/sitecustomize.py` blocks it wherever Python starts.
os.environ["COURSE_NO_PROGRESS"] = "1"
# More workers than cores: a linear algebra library with threads of its own would wait for a core
# that another worker has (lesson 09 took 100 s instead of 45).
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# The C library keeps the memory of large tensors instead of asking the system for it each time:
# a tenth of the time of walks that go through many of them.
for _name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
    os.environ.setdefault(_name, str(2**30))
os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
_paths = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
if str(OFFLINE) not in _paths:
    os.environ["PYTHONPATH"] = os.pathsep.join([str(OFFLINE), *_paths])

_spec = importlib.util.spec_from_file_location("offline", OFFLINE / "sitecustomize.py")
_spec.loader.exec_module(importlib.util.module_from_spec(_spec))  # and in this process

# A learner's notebook has nothing to compare; tests/test_notebooks.py runs it.
collect_ignore_glob = ["notebooks/*"]

SKIPPED_TYPES = ("text/html", "image/svg+xml", "application/vnd.plotly.v1+json")


def pytest_collectstart(collector):
    """Compare text only: beside each image, table and Plotly figure stands its text twin."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += SKIPPED_TYPES


LONG = (  # whole lessons in one test, many sandboxes or every page of the site in one module
    "tests/browser/test_pages.py",
    "tests/grading/test_batch.py",
    "tests/grading/test_hostile.py",
    "tests/grading/test_nbgrader.py",
    "tests/grading/test_weak.py",
    "tests/trojans/test_walk.py",
    "tests/test_main.py",
    "tests/test_nbval.py",
    "tests/test_notebooks.py",
)


def pytest_collection_modifyitems(items):
    """Long modules first, then the lessons, so that no worker waits for another at the end."""
    items.sort(key=lambda i: (not i.nodeid.startswith(LONG), not i.nodeid.startswith("solutions")))
