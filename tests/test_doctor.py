"""The doctor: healthy here, and every fault that it looks for is found when it is there."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

from utils import doctor
from utils.__main__ import main
from utils.data import mnist
from utils.models import zoo

NAMES = ["Python", "Packages", "Course", "torch", "Memory", "Kernel", "Weights", "Extra data"]


@pytest.fixture(autouse=True)
def steady(monkeypatch):
    """No data named, and memory enough whatever else runs on this machine."""
    monkeypatch.delenv(mnist.VARIABLE, raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=8e9))


@pytest.fixture
def course(tmp_path):
    """A folder that looks like the course, with its requirements.txt."""
    (tmp_path / "notebooks").mkdir()  # and no solutions: a learner's copy is as good
    shutil.copy(doctor.ROOT / "requirements.txt", tmp_path)
    return tmp_path


def finding(name, **options):
    """The one finding of that name; the doctor must be unhealthy exactly if it is a fault."""
    findings = doctor.examine(**options)
    (one,) = [f for f in findings if f.name == name]
    if one.ok is False:
        assert one.advice and "\n" not in one.advice and not doctor.healthy(findings)
    return one


def fault(name, **options):
    one = finding(name, **options)
    assert one.ok is False, one
    return one


def test_healthy_here():
    findings = doctor.examine()
    assert [f.name for f in findings] == NAMES
    assert doctor.healthy(findings), findings
    assert [f.name for f in findings if f.ok is None] == ["Extra data"]
    assert not any(f.advice for f in findings)


def test_pins_are_read_from_requirements(course):
    (course / "requirements.txt").write_text(
        "# torch==0.1\n-c constraints.txt\ntorch==2.13.0  # why\n\nrich==15.0.0\n-e .\n"
    )
    assert doctor.pins(course) == {"torch": "2.13.0", "rich": "15.0.0"}
    assert {"torch", "transformer-lens", "nbval"} <= set(doctor.pins(doctor.ROOT))


def test_a_wrong_pin(course):
    (course / "requirements.txt").write_text("rich==1.2.3\ntyper==0.29.2\n")
    one = fault("Packages", root=course)
    installed = importlib.metadata.version("rich")
    assert one.found == f"rich {installed} (pinned 1.2.3)"
    assert "pip install -r requirements.txt" in one.advice


def test_a_missing_package(course):
    (course / "requirements.txt").write_text("no-such-package-of-the-course==1.0\n")
    assert "no-such-package-of-the-course missing" in fault("Packages", root=course).found


def test_a_build_for_the_cpu_is_the_pinned_version(course, monkeypatch):
    (course / "requirements.txt").write_text("torch==2.13.0\n")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.0+cpu")
    assert finding("Packages", root=course).ok is True
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.13.1+cpu")
    assert fault("Packages", root=course).found == "torch 2.13.1 (pinned 2.13.0)"


def test_no_requirements(course):
    (course / "requirements.txt").unlink()
    assert "full copy of the course" in fault("Packages", root=course).advice


@pytest.mark.parametrize("module, blocked", [("psutil", "Memory"), ("jupyter_client", "Kernel")])
def test_a_package_that_the_doctor_needs_itself(monkeypatch, module, blocked):
    for name in [n for n in sys.modules if n.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, name, None)
    findings = doctor.examine()
    assert blocked not in [f.name for f in findings] and not doctor.healthy(findings)
    (one,) = [f for f in findings if f.ok is False]
    assert module in one.found and "pip install -r requirements.txt" in one.advice


def test_half_a_course(course):
    (course / "notebooks").rmdir()
    one = fault("Course", root=course)
    assert "no notebooks in" in one.found and "as a whole" in one.advice


def test_another_utils_would_be_imported(course):
    one = fault("Course", root=course)  # what is installed is the copy that runs these tests
    assert str(doctor.ROOT) in one.found and "pip install -e ." in one.advice


def test_utils_is_not_installed(monkeypatch):
    def failing(command, **options):
        assert command[:2] == [sys.executable, "-P"]
        return subprocess.CompletedProcess(command, 1, "", "ModuleNotFoundError")

    monkeypatch.setattr(subprocess, "run", failing)
    assert "not installed" in fault("Course").found


def test_a_shadowing_utils(monkeypatch, tmp_path):
    """A real one, on the path before the course: `utils` is a common name."""
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert str(tmp_path) in fault("Course").found


def test_the_folder_that_one_stands_in_does_not_count(monkeypatch, tmp_path):
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    assert finding("Course").ok is True


@pytest.mark.parametrize("version, ok", [((3, 10), False), ((3, 11), True), ((3, 14), False)])
def test_python(monkeypatch, version, ok):
    monkeypatch.setattr(doctor.sys, "version_info", (*version, 0, "final", 0))
    one = finding("Python")
    assert one.ok is ok and ("3.12" in one.advice) is not ok


def test_a_broken_torch(monkeypatch):
    import torch

    def broken(*shape):
        raise OSError("libtorch_cpu.so: cannot open shared object file")

    monkeypatch.setattr(torch, "ones", broken)
    one = fault("torch")
    assert "libtorch_cpu.so" in one.found and "pip install --force-reinstall torch" in one.advice
    full = torch.full
    monkeypatch.setattr(torch, "ones", lambda n: full((n,), 2.0))
    assert "12.0" in fault("torch").found


@pytest.mark.parametrize("free, ok", [(0.5e9, False), (1.99e9, False), (2.01e9, True)])
def test_memory(monkeypatch, free, ok):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    assert finding("Memory").ok is ok


def test_no_kernel(monkeypatch):
    def missing(self, name):
        raise NoSuchKernel(name)

    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", missing)
    assert "ipykernel install" in fault("Kernel").advice


@pytest.mark.parametrize("program, ok", [(sys.executable, True), ("python", True), (None, False)])
def test_the_kernel_of_another_python(monkeypatch, tmp_path, program, ok):
    spec = SimpleNamespace(argv=[program or str(tmp_path / "python"), "-m", "ipykernel_launcher"])
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda self, name: spec)
    assert finding("Kernel").ok is ok


@pytest.mark.parametrize("damage", ["byte", "file", "manifest"])
def test_weights(monkeypatch, tmp_path, damage):
    folder = shutil.copytree(zoo.WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(zoo, "WEIGHTS", folder)
    assert finding("Weights").ok is True
    path = folder / "induction.safetensors"
    if damage == "byte":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        (path if damage == "file" else folder / "manifest.json").unlink()
    assert "git checkout -- utils/models/weights" in fault("Weights").advice


def test_data(monkeypatch, tmp_path):
    assert finding("Extra data").ok is None
    assert "does not exist" in fault("Extra data", data=str(tmp_path / "nowhere")).found
    one = fault("Extra data", data=str(tmp_path))  # there, and empty
    assert "train-images" in one.found and "docs/data.md" in one.advice
    monkeypatch.setenv(mnist.VARIABLE, str(tmp_path))
    fault("Extra data")
    for name in mnist.FILES:
        (tmp_path / f"{name}.gz").touch()
    assert finding("Extra data").ok is None and str(tmp_path) in finding("Extra data").found


# --- through the command line ----------------------------------------------------------------


def test_exit_code_and_text_when_healthy(capsys):
    assert main(["doctor"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.endswith("Healthy.\n") and "FAULT" not in out
    assert len(out.splitlines()) == len(NAMES) + 1


def test_exit_code_and_text_with_a_fault(capsys, tmp_path):
    assert main(["doctor", "--data", str(tmp_path / "nowhere")]) == 1
    out, err = capsys.readouterr()
    assert err == "" and "FAULT  Extra data" in out and "-> docs/data.md" in out
    assert out.splitlines()[-1].startswith("Not healthy")


@pytest.mark.parametrize("ok", [True, False])
def test_json(capsys, tmp_path, ok):
    arguments = [] if ok else ["--data", str(tmp_path / "nowhere")]
    assert main(["doctor", "--json", *arguments]) == (0 if ok else 1)
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert err == "" and set(result) == {"healthy", "findings"} and result["healthy"] is ok
    assert [f["name"] for f in result["findings"]] == NAMES
    assert all(set(f) == {"name", "ok", "found", "advice"} for f in result["findings"])
    assert all(f["ok"] in (True, False, None) for f in result["findings"])
