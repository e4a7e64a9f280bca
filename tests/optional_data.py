"""Where tests find the data that the course does not ship, and why they skip without it."""

import os
from pathlib import Path

import pytest

_named = os.environ.get("COURSE_DATA")
FOLDER = Path(_named).expanduser() if _named else None

needs_data = pytest.mark.skipif(
    FOLDER is None,
    reason="needs files of the original challenges: set COURSE_DATA to a folder as in docs/data.md",
)
