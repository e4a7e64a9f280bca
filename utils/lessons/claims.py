"""The index of claims: what each lesson claims, whose claim it is, and what is measured here.

`docs/claims/NN.toml` names a lesson's claims and `docs/claims/sources.toml` the papers. A figure
of ours is never typed there: a claim says where it is printed (a cell of the executed notebook, or
a section of `benchmarks/README.md`), and it is read from there. `python -m utils build` writes
`docs/claims.md`; `build --check` names each claim whose figure is not found any more, and each
paper or published figure in a lesson that no claim takes up.
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.errors import CourseError
from utils.lessons import places
from utils.lessons.citations import citations, numbers, published
from utils.lessons.hygiene import text_of
from utils.lessons.manifest import read_manifest
from utils.lessons.tables import ROW, figure

FOLDER, PAGE, SOURCES = "docs/claims", "docs/claims.md", "sources.toml"
KINDS = ("signature", "control", "")
_KNOWN = {"says", "cell", "ours", "shown", "found_in", "source", "part", "published"}
_KNOWN |= {"unverified", "kind"}
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A paper or post. `also`: shorter titles under which lessons cite it. `short`: for tables, by
    default the title up to a colon."""

    authors: str
    title: str
    year: int
    also: tuple[str, ...] = ()
    short: str = ""

    def __str__(self) -> str:
        return f"{self.authors}, “{self.title}” ({self.year})"

    def brief(self) -> str:
        """Authors, short title and year."""
        return f"{self.authors}, “{self.short or self.title.split(':')[0]}” ({self.year})"


@dataclass(frozen=True)
class Claim:
    """One claim of a lesson, its figures filled in.

    cell: where the lesson shows it; heading: the heading above that cell. sources: empty for what
    is claimed here alone. published, measured: "" where there is none.
    """

    lesson: str
    says: str
    cell: str
    heading: str
    kind: str = ""
    sources: tuple[Source, ...] = ()
    part: str = ""
    published: str = ""
    unverified: bool = False
    measured: str = ""
    elsewhere: str = ""


@dataclass
class Index:
    """All claims in the order of the lessons, and what is wrong with them, one line each."""

    claims: list[Claim] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def files(self, root: Path, lessons: dict[str, Any]) -> dict[Path, str]:
        """The generated page, path -> text; {} where the course has no claims."""
        from utils.lessons.claims_page import page  # which needs the classes above

        return {root / PAGE: page(self.claims, lessons)} if (root / FOLDER).is_dir() else {}


def read_index(root: Path | None = None, lessons: dict[str, Any] | None = None) -> Index:
    """The index of the course at `root`, with its faults; empty where there is no docs/claims.

    lessons: the manifest's cards. Faults: figures that are not found, cells that are not there, and
    citations and published figures of a lesson that stand in no claim.
    """
    root = root or places.course_root()
    index = Index()
    if not (root / FOLDER).is_dir():
        return index
    lessons = read_manifest(root) if lessons is None else lessons
    sources = {
        key: Source(**{**entry, "also": tuple(entry.get("also", ()))})
        for key, entry in _toml(root / FOLDER / SOURCES).items()
    }
    used: set[str] = set()
    for name in sorted(lessons):
        file = f"{FOLDER}/{name}.toml"
        if not (root / file).is_file():
            index.faults.append(f"{file}: missing, so lesson {name} has no claims in the index")
            continue
        cells = _cells(root / places.SOLUTIONS / f"{lessons[name]['slug']}.ipynb")
        entries = _toml(root / file).get("claim", [])
        for number, entry in enumerate(entries, 1):
            where = f"{file}: claim {number} ({str(entry.get('says', ''))[:60]})"
            try:
                index.claims.append(_claim(name, entry, cells, sources, root))
            except CourseError as error:
                index.faults.append(f"{where}: {error}")
            keys = entry.get("source", ())
            used |= {keys} if isinstance(keys, str) else set(keys)
        own = [claim for claim in index.claims if claim.lesson == name]
        index.faults += [f"{file}: {fault}" for fault in _left_out(own, cells)]
        for kind in ("signature", "control"):
            if not any(claim.kind == kind and not claim.sources for claim in own):
                index.faults.append(f"{file}: no claim of the kind {kind!r}")
    for key in sorted(set(sources) - used):
        index.faults.append(f"{FOLDER}/{SOURCES}: {key} is the source of no claim")
    return index


def _claim(
    lesson: str,
    entry: dict[str, Any],
    cells: dict[str, tuple[str, str, str]],
    sources: dict[str, Source],
    root: Path,
) -> Claim:
    """Raises CourseError where a key is unknown or a figure is not found."""
    if unknown := set(entry) - _KNOWN:
        raise CourseError(f"unknown {', '.join(sorted(unknown))}")
    says, cell = entry.get("says", ""), entry.get("cell", "")
    if not says or cell not in cells:
        raise CourseError(f"there is no cell {cell!r} in the lesson" if says else "says nothing")
    keys = entry.get("source", ())
    keys = (keys,) if isinstance(keys, str) else tuple(keys)
    if missing := [key for key in keys if key not in sources]:
        raise CourseError(f"{SOURCES} has no {missing[0]!r}")
    if entry.get("kind", "") not in KINDS:
        raise CourseError(f"kind {entry['kind']!r} is none of {', '.join(KINDS[:-1])}")
    found_in = entry.get("found_in", cell)
    if found_in in cells:
        text = cells[found_in][1]
    elif "#" in found_in:
        text = section(root, found_in)
    else:
        raise CourseError(f"there is no cell {found_in!r} in the lesson")
    patterns = entry.get("ours", [])
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not patterns and not keys:
        raise CourseError("a claim of the course's own needs a figure of ours")
    try:
        ours = [figure(text, pattern) for pattern in patterns]
    except CourseError as error:
        raise CourseError(f"{error} in {found_in}") from error
    given = entry.get("published", "")
    if given.startswith(ROW):
        given = figure(cells[cell][1], given)
    try:
        measured = entry.get("shown", ", ".join("{}" for _ in ours)).format(*ours)
    except IndexError as error:
        raise CourseError("shown has more places than ours has patterns") from error
    return Claim(
        lesson,
        says,
        cell,
        cells[cell][2],
        entry.get("kind", ""),
        tuple(sources[key] for key in keys),
        entry.get("part", ""),
        given,
        bool(entry.get("unverified")),
        measured,
        found_in if "#" in found_in else "",
    )


def _left_out(claims: list[Claim], cells: dict[str, tuple[str, str, str]]) -> list[str]:
    """What a lesson cites or calls published and no claim of it takes up."""
    papers = {source for claim in claims for source in claim.sources}
    told = " ".join(f"{claim.says} {claim.published}" for claim in claims)
    found = []
    for cell, (kind, prose, _) in cells.items():
        if kind != "markdown":
            continue
        for one in citations(cell, prose):
            if not any(one.is_of(p.authors, [p.title, *p.also], p.year) for p in papers):
                name = f'"{one.title}" ({one.year})' if one.title else f"...{one.words[-50:]}"
                found.append(f"no claim for the paper {name}, cited in cell {cell}")
        for number in published(prose):
            if not numbers(number) <= numbers(told):
                found.append(f"no claim for the published figure {number}, in cell {cell}")
    return found


def section(root: Path, place: str) -> str:
    """The text of `file.md#Heading`, from below the heading to the next of its level or above."""
    file, _, name = place.partition("#")
    text = (root / file).read_text(encoding="utf-8") if (root / file).is_file() else ""
    found = re.search(rf"^(#+) +{re.escape(name)}\s*$", text, re.MULTILINE)
    if not found:
        raise CourseError(f"there is no heading {name!r} in {file}")
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def _cells(path: Path) -> dict[str, tuple[str, str, str]]:
    """Cell id -> its kind, its text (what a code cell printed), the last heading above or in it."""
    import nbformat

    found, heading = {}, ""
    for cell in nbformat.read(path, as_version=4).cells if path.is_file() else ():
        headings = _HEADING.findall(cell.source) if cell.cell_type == "markdown" else []
        if cell.cell_type == "code":
            text = "\n\n".join(text_of(output) for output in cell.outputs)
        else:
            text = cell.source
        found[cell.id] = (cell.cell_type, text, headings[0] if headings else heading)
        heading = headings[-1] if headings else heading
    return found


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"{path} is no TOML: {error}") from error


def main() -> int:
    """`python -m utils.lessons.claims`: write docs/claims.md again and list the faults."""
    root = places.course_root()
    lessons = read_manifest(root)
    index = read_index(root, lessons)
    for path, text in index.files(root, lessons).items():
        places.write_text(path, text)
    print("\n".join([*index.faults, f"{len(index.claims)} claims, {len(index.faults)} faults"]))
    return 1 if index.faults else 0


if __name__ == "__main__":
    sys.exit(main())
