"""Exercises that differ from learner to learner, in data that no two of them can pass on.

An exercise marked `variant=1` asks `lab.variant(exercise)` for a seed. A learner's seeds come from
HMAC-SHA256 over their id and the exercise, under a key that only the course's owner has: they lie
in `variants.json` beside the notebooks, and a grader derives them again instead of reading it.
Without that file every seed is 0, and everybody has the same exercise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from utils.errors import CourseError
from utils.lessons.places import to_json, write_text

FILE_NAME = "variants.json"


def of(exercises: dict[str, Any]) -> list[str]:
    """Which exercises of a lesson's card are marked `variant`, in order."""
    return [name for name, exercise in exercises.items() if exercise.get("variant")]


def marked(lessons: dict[str, Any]) -> list[str]:
    """The same over all lessons of a manifest."""
    return [name for card in lessons.values() for name in of(card["exercises"])]


def seeds_of(course_key: bytes, learner: str, exercises: Iterable[str]) -> dict[str, int]:
    """The seed of each exercise for one learner, from 1 to 2^62.

    Raises LearnerError for an empty id and for a course key under 16 bytes.
    """
    from utils.challenges.envelope import learner_seed

    learner_seed(course_key, learner)  # the id is looked at before an exercise is added to it
    return {
        name: 1 + learner_seed(course_key, f"{learner.strip()}\0exercise {name}")
        for name in exercises
    }


def write_variants(folder: Path, learner: str, seeds: dict[str, int]) -> Path:
    """Write `variants.json` into `folder`; returns its path."""
    path = Path(folder) / FILE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, to_json({"learner": learner, "seeds": seeds}))
    return path


def read_variants(folder: Path) -> dict[str, int]:
    """The seeds in `folder`; {} where there is no file. Raises CourseError for a damaged one."""
    path = Path(folder) / FILE_NAME
    try:
        seeds = json.loads(path.read_text(encoding="utf-8"))["seeds"]
        if not all(type(seed) is int and seed >= 0 for seed in seeds.values()):
            raise ValueError("a seed is no whole number")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CourseError(
            f"{FILE_NAME} beside your notebooks is damaged: fetch it again from whoever runs your"
            " course, or take it away to work on the common variant."
        ) from None
    return dict(seeds)
