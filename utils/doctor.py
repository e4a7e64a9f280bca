"""The doctor: is this machine ready for the course, and if not, what is the one thing to do?

Every check answers with what it found and, where that is a fault, one line of advice. Reads only.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from utils.errors import CourseError

ROOT = Path(__file__).resolve().parents[1]
NEEDED_GB = 2.0  # what the largest lesson may take


@dataclass(frozen=True)
class Finding:
    """One check: `ok` is True (fine), False (a fault) or None (only worth knowing)."""

    name: str
    ok: bool | None
    found: str
    advice: str = ""


def examine(data: str | None = None, root: Path = ROOT) -> list[Finding]:
    """All checks. data: folder with optional data, else the environment variable COURSE_DATA."""
    checks: tuple[Callable[[], Finding], ...] = (
        _python,
        lambda: _packages(root),
        lambda: _course(root),
        _torch,
        _memory,
        _kernel,
        _weights,
        lambda: _data(data),
    )
    return [_without_traceback(check) for check in checks]


def _without_traceback(check: Callable[[], Finding]) -> Finding:
    """What a check finds; a package that it needs and that is not there is a finding as well."""
    try:
        return check()
    except ImportError as error:
        advice = "Run: python -m pip install -r requirements.txt"
        return Finding("Packages", False, f"{error.name or error} cannot be imported", advice)


def healthy(findings: list[Finding]) -> bool:
    return all(finding.ok is not False for finding in findings)


def as_dict(findings: list[Finding]) -> dict[str, Any]:
    return {"healthy": healthy(findings), "findings": [asdict(finding) for finding in findings]}


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding("Python", ok, found, "" if ok else "Install Python 3.11, 3.12 or 3.13.")


def pins(root: Path) -> dict[str, str]:
    """Package -> version, as `requirements.txt` pins it. CourseError where there is no file."""
    path = root / "requirements.txt"
    if not path.is_file():
        raise CourseError(f"{path} is missing: run the doctor from a full copy of the course.")
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==", 1) for line in lines if "==" in line)


def _packages(root: Path) -> Finding:
    try:
        wanted = pins(root)
    except CourseError as error:
        return Finding("Packages", False, "no requirements.txt", str(error))
    wrong = []
    for name, version in wanted.items():
        try:
            # "2.13.0+cpu" is 2.13.0 built for the CPU.
            installed = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            installed = "missing"
        if installed != version:
            wrong.append(f"{name} {installed} (pinned {version})")
    if wrong:
        advice = "Run: python -m pip install -r requirements.txt"
        return Finding("Packages", False, "; ".join(wrong), advice)
    return Finding("Packages", True, f"{len(wanted)} packages at their pinned versions")


def _course(root: Path) -> Finding:
    if not (root / "notebooks").is_dir():  # a learner's copy has no solutions
        advice = "Get the course as a whole; the folder `utils` alone is not enough."
        return Finding("Course", False, f"no notebooks in {root}", advice)
    # What a notebook started elsewhere would import, which need not be this very copy. Only a new
    # Python without the current folder on its path (-P) can tell: here `utils` is loaded already.
    code = "import utils; print(utils.__file__ or '')"
    asked = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        advice = "Run in the course folder: python -m pip install -r requirements.txt"
        return Finding("Course", False, "`utils` is not installed for notebooks", advice)
    place = Path(asked.stdout.strip()).resolve().parent.parent
    if place != root.resolve():
        advice = f"Uninstall the other `utils`, or run in {root}: python -m pip install -e ."
        return Finding("Course", False, f"`import utils` finds {place}", advice)
    return Finding("Course", True, f"imported from {root}")


def _torch() -> Finding:
    advice = "Install torch again: python -m pip install --force-reinstall torch==2.13.0"
    try:
        import torch

        total = float(torch.ones(3) @ torch.ones(3))
    except Exception as error:  # a broken install may raise anything, ImportError to OSError
        return Finding("torch", False, f"{type(error).__name__}: {error}", advice)
    if total != 3.0:
        return Finding("torch", False, f"{torch.__version__} says 1 + 1 + 1 = {total}", advice)
    found = f"{torch.__version__}, {os.cpu_count()} cores; lessons use one thread"
    return Finding("torch", True, found)


def _memory() -> Finding:
    import psutil

    free = psutil.virtual_memory().available / 1e9
    found = f"{free:.1f} GB free, a lesson needs up to {NEEDED_GB:.0f}"
    advice = "" if free >= NEEDED_GB else "Close other programs, or shut down unused kernels."
    return Finding("Memory", free >= NEEDED_GB, found, advice)


def _kernel() -> Finding:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    advice = "Run: python -m ipykernel install --sys-prefix --name python3"
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return Finding("Kernel", False, "Jupyter has no kernel named python3", advice)
    program = spec.argv[0]
    # A bare "python" is resolved by Jupyter to the interpreter it runs under itself.
    if os.path.isabs(program) and os.path.realpath(program) != os.path.realpath(sys.executable):
        return Finding("Kernel", False, f"python3 starts {program}, not this Python", advice)
    return Finding("Kernel", True, "python3 starts this Python")


def _weights() -> Finding:
    from utils.models import zoo

    try:
        names = list(zoo.manifest())
        for name in names:
            zoo.verify(name)
    except (OSError, ValueError, CourseError) as error:
        return Finding("Weights", False, str(error), "Run: git checkout -- utils/models/weights")
    return Finding("Weights", True, f"{len(names)} networks, SHA-256 as recorded")


def _data(folder: str | None) -> Finding:
    from utils.data import mnist

    try:
        place = mnist.data_folder(folder)
        for name in mnist.FILES:
            mnist.find(name, place)
    except CourseError as error:
        if folder is None and not os.environ.get(mnist.VARIABLE):
            return Finding("Extra data", None, "none, and no lesson needs it")
        return Finding("Extra data", False, str(error), "docs/data.md lists the files.")
    return Finding("Extra data", None, f"MNIST in {place}")
