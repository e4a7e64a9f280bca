"""What a lesson works with: its checks, its model and data, and the settings of the numerics."""

from __future__ import annotations

import importlib
import importlib.util
import random
import sys
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from utils.errors import CourseError
from utils.lessons import places
from utils.lessons.checking import Check, own_randomness


def make_deterministic() -> None:
    """One thread, fixed seeds, deterministic kernels: the same bits on every run of a machine."""
    torch.set_num_threads(1)  # sums differ in the last bits between thread counts
    # as `use_deterministic_algorithms` does, without the second that its import of Inductor takes
    torch.set_deterministic_debug_mode("warn")
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, guards nothing here
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def check_module(lesson: str, root: Path) -> ModuleType:
    """The lesson's check module. Raises `CourseError` when there is none."""
    path = root / places.CHECKS / f"lesson_{lesson}.py"
    if not path.is_file():
        raise CourseError(f"Lesson {lesson} has no checks: write {places.CHECKS}/{path.name}.")
    if root == places.PACKAGE_ROOT:
        return importlib.import_module(f"utils.lessons.checks.lesson_{lesson}")
    spec = importlib.util.spec_from_file_location(f"course_checks_{lesson}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass looks its own module up
    spec.loader.exec_module(module)
    return module


def registered(module: ModuleType) -> dict[str, Check]:
    """The checks that a module registers, by exercise. Raises `CourseError` for a double id."""
    found: dict[str, Check] = {}
    for value in vars(module).values():
        check = getattr(value, "course_check", None)
        if isinstance(check, Check) and check.function.__module__ == module.__name__:
            if check.id in found:
                raise CourseError(f"{module.__name__}: two checks of exercise {check.id}.")
            found[check.id] = check
    return found


class Materials:
    """A lesson's model and data, loaded once, when first asked for, and the learner's variants."""

    def __init__(self, lesson: str, module: ModuleType, seeds: dict[str, int] | None = None):
        self.lesson = lesson
        self._module = module
        self._seeds = dict(seeds or {})

    def variant(self, exercise: str) -> int:
        """The seed of an exercise marked `variant`. Raises CourseError for any other."""
        if exercise not in self._seeds:
            raise CourseError(f"Exercise {exercise} is the same for everybody: it has no variant.")
        return self._seeds[exercise]

    @cached_property
    def model(self) -> Any:
        return self._load("model")

    @cached_property
    def data(self) -> Any:
        return self._load("data")

    def _load(self, what: str) -> Any:
        load = getattr(self._module, f"load_{what}", None)
        if load is None:
            raise CourseError(
                f"Lesson {self.lesson} declares no {what}: lab.{what} is not used in it."
            )
        with own_randomness():
            return load()
