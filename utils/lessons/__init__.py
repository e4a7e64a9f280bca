"""The lessons: the pipeline that generates the notebooks, and what a notebook imports.

A notebook begins with `from utils.lessons import lab` and `lab = lab("02")`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utils.lessons.session import Lab


def lab(lesson: str) -> Lab:
    """Open lesson `lesson` ("02") for a notebook. Raises `CourseError` for an unknown lesson."""
    from utils.lessons.session import Lab  # imports torch: kept off the command line's start

    return Lab(lesson)


__all__ = ["lab"]
