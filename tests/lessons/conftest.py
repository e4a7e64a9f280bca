"""The pipeline's own small lesson, in a course folder that a test may spoil."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import shared_folder
from utils.lessons import places
from utils.lessons.build import build

FIXTURE = Path(__file__).parent / "fixture_root"


@pytest.fixture
def fresh_root(tmp_path):
    """An unbuilt copy of the course folder with lesson 07."""
    return Path(shutil.copytree(FIXTURE, tmp_path / "course"))


@pytest.fixture(scope="session")
def built_once(tmp_path_factory):
    """For reading only. Built by the first worker of xdist that needs it."""
    base = shared_folder(tmp_path_factory)
    root = base / "built" / "course"
    with FileLock(base / "built.lock"):
        if not root.is_dir():
            draft = Path(shutil.copytree(FIXTURE, base / "built" / "draft"))
            result = build(measure=True, root=draft, say=lambda line: None)
            assert not result.errors, result.errors
            draft.rename(root)
    return root


@pytest.fixture
def built_root(built_once, tmp_path):
    """A built copy of the course folder with lesson 07, measured as well."""
    return Path(shutil.copytree(built_once, tmp_path / "course"))


@pytest.fixture
def course(built_root, tmp_path, monkeypatch):
    """`built_root` as the course that `Lab` sees, in a current folder that keeps progress."""
    folder = tmp_path / "learner"
    folder.mkdir()
    monkeypatch.setenv(places.ROOT_VARIABLE, str(built_root))
    monkeypatch.delenv(places.NO_PROGRESS_VARIABLE)
    monkeypatch.chdir(folder)
    return built_root
