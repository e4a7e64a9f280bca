"""Where the files of the lessons are, and the environment variables that move or guard them."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from utils.errors import CourseError

ROOT_VARIABLE = "COURSE_ROOT"  # another course folder with the same layout (tests use it)
BUILD_VARIABLE = "COURSE_BUILD"  # set while building: read the manifest there, record data there
NO_PROGRESS_VARIABLE = "COURSE_NO_PROGRESS"  # set while building and testing: keep no progress file

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS, NOTEBOOKS = "solutions", "notebooks"
CHECKS = "utils/lessons/checks"
REFERENCE = "utils/lessons/reference"
MANIFEST = "utils/lessons/manifest.json"
MEASURED = "utils/lessons/measured.json"


def course_root() -> Path:
    """The folder that holds `solutions/`, `notebooks/` and `utils/`."""
    return Path(os.environ.get(ROOT_VARIABLE) or PACKAGE_ROOT).resolve()


def build_folder() -> Path | None:
    """The folder a running build records into, or None outside a build."""
    folder = os.environ.get(BUILD_VARIABLE)
    return Path(folder) if folder else None


def lesson_id(lesson: str | int) -> str:
    """`2`, `"2"` and `"02"` all name lesson "02"; anything else is returned as it was given."""
    text = str(lesson).strip()
    return text.zfill(2) if text.isdigit() else text


def read_json(path: Path, default: Any = None) -> Any:
    """The JSON in `path`, or `default` when there is no such file. Damaged: `CourseError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CourseError(
            f"{path} is damaged ({error}); restore it with git, or run python -m utils build."
        ) from error


def to_json(value: Any, sort_keys: bool = True) -> str:
    """Canonical JSON: the same value always gives the same bytes."""
    return json.dumps(value, indent=1, sort_keys=sort_keys, ensure_ascii=False) + "\n"


def write_bytes(path: Path, content: bytes) -> bool:
    """Replace `path` in one step, so that no reader sees half a file. True when it changed."""
    if path.is_file() and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        with contextlib.suppress(OSError):  # mkstemp makes private files; a course is shared
            os.chmod(temporary, path.stat().st_mode if path.exists() else 0o644)
        for attempt in range(20):  # Windows refuses to replace a file that somebody reads
            try:
                os.replace(temporary, path)
                break
            except PermissionError:
                if attempt == 19:
                    raise
                time.sleep(0.05)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
    return True


def write_text(path: Path, content: str) -> bool:
    """`write_bytes` for text: UTF-8, line ends as they stand in `content`."""
    return write_bytes(path, content.encode("utf-8"))
