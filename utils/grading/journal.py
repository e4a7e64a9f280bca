"""What has been graded, kept as it arrives: a SQLite file beside the results.

One row a submission, under a key made of the learner, the file and the course as it was: whatever
changes is graded again, whatever did not is not. A crash between two rows loses neither.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from utils.errors import CourseError

_TABLE = """
CREATE TABLE IF NOT EXISTS graded (
    key TEXT PRIMARY KEY, learner TEXT NOT NULL, file TEXT NOT NULL, result TEXT NOT NULL,
    at TEXT NOT NULL
)
"""


class Journal:
    """The results so far. Raises CourseError for a file that is no journal, or one in use."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self._database = sqlite3.connect(self.path, timeout=10, isolation_level=None)
            # a result is on the disk before the next one is begun
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(_TABLE)
        except sqlite3.DatabaseError as error:
            raise CourseError(
                f"{path} cannot be used as the journal ({error}): another run may be writing to"
                " it. Wait for it, or give another --out."
            ) from None

    def get(self, key: str) -> dict[str, Any] | None:
        """The result under a key, if there is one."""
        row = self._database.execute("SELECT result FROM graded WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, learner: str, file: str, result: dict[str, Any]) -> None:
        """Keep a result; one that is there already stays as it is."""
        self._database.execute(
            "INSERT OR IGNORE INTO graded VALUES (?, ?, ?, ?, ?)",
            (key, learner, file, json.dumps(result), datetime.now(UTC).isoformat()),
        )

    def __len__(self) -> int:
        return self._database.execute("SELECT COUNT(*) FROM graded").fetchone()[0]

    def close(self) -> None:
        """Everything put is on the disk already."""
        self._database.close()
