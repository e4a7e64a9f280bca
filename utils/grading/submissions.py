"""Which files are submissions, and whose: a folder or zip in any nesting, mapped to learners.

Nothing in a submission is trusted: links are not followed, zips are unpacked with limits, and a
name is only ever used as a name.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from utils.errors import CourseError

MOST_FILES = 100_000
LARGEST_ZIP = 4 * 2**30  # bytes, unpacked
SKIPPED = {".ipynb_checkpoints", "__MACOSX", "__pycache__", ".git"}
KINDS = {".ipynb": "notebook", ".py": "explanation"}


class RosterError(CourseError):
    """A roster or pattern that says nothing about the files."""


@dataclass(frozen=True)
class Submission:
    """One file of one learner. `shown`: its path as it is named to people."""

    learner: str
    path: Path
    shown: str
    kind: str  # notebook or explanation

    def digest(self) -> str:
        """SHA-256 of the file, by which a second run knows that nothing changed."""
        sha = hashlib.sha256()
        with open(self.path, "rb") as file:
            while part := file.read(2**20):
                sha.update(part)
        return sha.hexdigest()

    def hints_file(self) -> Path | None:
        """The learner's own record beside the notebook: what it says is a claim, not a fact."""
        path = self.path.with_name("progress.json")
        return path if path.is_file() and not path.is_symlink() else None


@dataclass
class Found:
    """The submissions in order, and one sentence for each file that was passed over."""

    submissions: list[Submission]
    notes: list[str] = field(default_factory=list)


def find(
    source: Path,
    scratch: Path,
    *,
    roster: Path | None = None,
    pattern: str | None = None,
) -> Found:
    """Submissions under `source`, a folder, a zip or one file.

    scratch: an empty folder for what zips hold. Learners are told apart by, in this order:
    roster: a CSV with the column `learner` and any other columns (folder, email, id ...); a file
        belongs to the learner one of whose entries is a folder above it or a word of its name.
    pattern: a path below `source` with `{learner}` in it, `*` for anything, e.g.
        "{learner}/*.ipynb" or "late/{learner}_*.ipynb".
    else the first folder below `source` that is not alone there, else the file's name without the
    lesson's.
    Raises CourseError for a source that is absent, RosterError for a roster nobody can use.
    """
    source = Path(source)
    if not source.exists():
        raise CourseError(f"There is nothing at {source}; name the folder or zip of submissions.")
    notes: list[str] = []
    if source.is_file() and not zipfile.is_zipfile(source):
        files = [(source, source.name)]
    else:
        folder = source
        if source.is_file():
            folder = scratch / "zip"
            _unpack(source, folder, notes)
        files = list(_files(folder, scratch, notes))
    people = _Roster(roster) if roster is not None else None
    wanted = _expression(pattern) if pattern is not None else None
    files = _without_common_folder(files)
    found = []
    for path, shown in files:
        kind = KINDS.get(path.suffix.lower())
        if kind is None:
            continue
        learner = _learner(shown, people, wanted)
        if learner is None:
            notes.append(f"{shown}: no learner is known for it; it was left out.")
            continue
        found.append(Submission(learner, path, shown, kind))
    if not found:
        raise CourseError(
            f"There is no notebook (.ipynb) and no explanation (.py) to grade in {source}."
            + (f" {notes[0]}" if notes else "")
        )
    return Found(sorted(found, key=lambda s: (s.learner, s.shown)), notes)


# --- files -----------------------------------------------------------------------------------


def _files(folder: Path, scratch: Path, notes: list[str], depth: int = 0) -> Iterator[tuple]:
    """(path, shown) of regular files; zips inside are unpacked, twice deep at most."""
    seen = 0
    for here, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(f for f in folders if f not in SKIPPED)
        for name in list(folders):
            if Path(here, name).is_symlink():
                folders.remove(name)
                notes.append(f"{_shown(Path(here, name), folder)}: a link; it was not followed.")
        for name in sorted(names):
            seen += 1
            if seen > MOST_FILES:
                raise CourseError(f"There are more than {MOST_FILES} files under {folder}.")
            path = Path(here, name)
            shown = _shown(path, folder)
            if path.is_symlink() or not path.is_file():
                notes.append(f"{shown}: a link or no regular file; it was left out.")
            elif path.suffix.lower() == ".zip" and depth < 2:
                inner = scratch / f"inner-{depth}-{hashlib.sha256(shown.encode()).hexdigest()[:16]}"
                try:
                    _unpack(path, inner, notes)
                except CourseError as error:
                    notes.append(f"{shown}: {error}")
                    continue
                stem = shown[: -len(path.suffix)]
                for deeper, below in _files(inner, scratch, notes, depth + 1):
                    yield deeper, f"{stem}/{below}"
            elif not name.startswith("."):
                yield path, shown


def _shown(path: Path, folder: Path) -> str:
    # a file name need not be text in UTF-8; what is shown and stored must be
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "replace")


def _unpack(archive: Path, folder: Path, notes: list[str]) -> None:
    """Regular files of a zip below `folder`; nothing outside it, no links, within limits."""
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = [m for m in zipped.infolist() if not m.is_dir()]
            if len(members) > MOST_FILES or sum(m.file_size for m in members) > LARGEST_ZIP:
                raise CourseError(f"{archive.name} unpacks to more than is allowed.")
            left = LARGEST_ZIP
            for member in members:
                parts = Path(member.filename.replace("\\", "/")).parts
                kind = (member.external_attr >> 16) & 0o170000
                if ".." in parts or Path(member.filename).is_absolute() or kind == 0o120000:
                    notes.append(f"{archive.name}: {member.filename!r} was not unpacked.")
                    continue
                target = folder.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(member) as inside, open(target, "wb") as outside:
                    while part := inside.read(2**20):
                        left -= len(part)
                        if left < 0:
                            raise CourseError(f"{archive.name} unpacks to more than is allowed.")
                        outside.write(part)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError) as error:
        raise CourseError(f"{archive.name} is no zip that can be read ({error}).") from None


def _without_common_folder(files: list[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Folders that hold everything (as an LMS or a zip program adds) tell no learner apart."""
    graded = [shown.split("/") for path, shown in files if path.suffix.lower() in KINDS]
    common = 0
    while len(graded) > 1 and all(len(parts) > common + 1 for parts in graded):
        if len({parts[common] for parts in graded}) > 1:
            break
        common += 1
    return [(path, "/".join(shown.split("/")[common:]) or shown) for path, shown in files]


# --- learners --------------------------------------------------------------------------------


def learners_of(roster: Path) -> list[str]:
    """The learners of a roster, in its order, each once. Raises RosterError."""
    return list(dict.fromkeys(name for row in _rows(roster) if (name := _name(row))))


def _name(row: dict[str, str]) -> str:
    return (row["learner"] or "").strip()


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RosterError(f"The roster {path} cannot be read ({error}).") from None
    if not rows or "learner" not in rows[0]:
        raise RosterError(f"The roster {path} needs a first line with the column `learner`.")
    return rows


class _Roster:
    def __init__(self, path: Path) -> None:
        self._of: dict[str, str] = {}
        for row in _rows(path):
            learner = _name(row)
            for entry in row.values():
                key = entry.strip().casefold() if isinstance(entry, str) else ""
                if key and self._of.setdefault(key, learner) != learner:
                    raise RosterError(f"The roster {path} gives {key!r} to two learners.")

    def learner(self, shown: str) -> str | None:
        *folders, name = shown.casefold().split("/")
        for part in (*folders, name, name.rsplit(".", 1)[0]):
            if part in self._of:
                return self._of[part]
        stem = name.rsplit(".", 1)[0]
        hits = {
            learner
            for key, learner in self._of.items()
            if re.search(rf"(?<![^\W_]){re.escape(key)}(?![^\W_])", stem)
        }
        return hits.pop() if len(hits) == 1 else None


def _expression(pattern: str) -> re.Pattern[str]:
    if pattern.count("{learner}") != 1:
        raise RosterError(f"The pattern {pattern!r} needs {{learner}} once, e.g. '{{learner}}_*'.")
    text = re.escape(pattern).replace(r"\{learner\}", r"(?P<learner>[^/]+?)").replace(r"\*", ".*")
    return re.compile(text)


def _learner(shown: str, people: _Roster | None, wanted: re.Pattern[str] | None) -> str | None:
    if people is not None:
        return people.learner(shown)
    if wanted is not None:
        match = wanted.fullmatch(shown)
        return match["learner"] if match else None
    folders = shown.split("/")[:-1]
    if folders:
        return folders[0]
    stem = Path(shown).stem
    words = re.sub(r"(?:^|(?<=[_\W]))\d\d_[a-z0-9_]*?(?=$|[-. (])", "", stem)
    short = re.split(r"[_\-\s]*\d\d_", stem)[0]
    return short.strip("_- ") or words.strip("_- ") or stem
