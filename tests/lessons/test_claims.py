"""The index of claims: complete, current, and its guards can fail."""

from __future__ import annotations

import json
import re

import nbformat
import pytest

from utils.errors import CourseError
from utils.lessons import claims, drift, places
from utils.lessons.citations import citations, numbers, published
from utils.lessons.claims_page import page
from utils.lessons.manifest import read_manifest
from utils.lessons.tables import figure, rows
from utils.reports import Estimate, Report, Row

ROOT = places.PACKAGE_ROOT
LESSONS = read_manifest(ROOT)


@pytest.fixture(scope="module")
def index():
    return claims.read_index(ROOT, LESSONS)


# --- the course's own ------------------------------------------------------------------------


def test_every_figure_is_found_and_every_paper_is_indexed(index):
    assert index.faults == []


def test_every_lesson_is_covered(index):
    by_lesson = {name: [c for c in index.claims if c.lesson == name] for name in LESSONS}
    assert all(len(found) >= 8 for found in by_lesson.values())
    for name, found in by_lesson.items():
        assert {"signature", "control"} <= {claim.kind for claim in found}, name
        assert all(claim.measured for claim in found if not claim.sources), name
    assert sum(bool(claim.published) for claim in index.claims) > 15
    assert sum(bool(claim.elsewhere) for claim in index.claims) > 5


def test_the_page_is_current(index):
    ((path, text),) = index.files(ROOT, LESSONS).items()
    assert path.read_text(encoding="utf-8") == text
    assert text.count("\n| ") == len(index.claims) + len(LESSONS)
    assert all(f"## Lesson {name}: " in text for name in LESSONS)


def test_the_finder_sees_every_citation():
    """Every year in brackets in a lesson's prose is a citation, and most quote a title."""
    found = []
    for card in LESSONS.values():
        notebook = json.loads((ROOT / "solutions" / f"{card['slug']}.ipynb").read_text("utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                prose = "".join(cell["source"])
                its = citations(cell["id"], prose)
                years = re.findall(r"\b((?:1[89]|20)\d\d)\)", prose)
                assert {int(year) for year in years} <= {one.year for one in its}, cell["id"]
                found += its
    assert len(found) > 90 and sum(bool(one.title) for one in found) > 80


# --- a small course --------------------------------------------------------------------------

PROSE = """## A section

Doe and others ("A Long Title: With More", 2020) published .75 here. It is *known*.
"""
CLAIM = """[[claim]]
says = "A thing holds."
source = "doe2020"
published = ".75"
cell = "a-section-2"
ours = "row: it"

[[claim]]
says = "It holds here."
kind = "signature"
cell = "a-section-2"
ours = ['the count: (\\d+)', "row: it"]
shown = "{} of {}"

[[claim]]
says = "It need not."
kind = "control"
cell = "a-section-2"
found_in = "pages.md#Lower"
ours = "row: other | share"
"""
SOURCE = '[doe2020]\nauthors = "Doe and others"\ntitle = "A Long Title: With More"\nyear = 2020\n'
REPORT = Report(
    "A table",
    [
        Row("it", Estimate(0.5, 0.4, 0.6, 10, "Wilson 95 %"), "result"),
        Row("it, chance", Estimate.exact(0.1), "null"),
    ],
    {"rows": 10},
    digits=2,
)


@pytest.fixture
def course(tmp_path):
    def write(prose=PROSE, claim=CLAIM, source=SOURCE):
        code = nbformat.v4.new_code_cell("1")
        code.id, code.outputs = (
            "a-section-2",
            [
                nbformat.v4.new_output("stream", text="the count: 3\n"),
                nbformat.v4.new_output("display_data", data={"text/plain": str(REPORT)}),
            ],
        )
        text = nbformat.v4.new_markdown_cell(prose)
        text.id = "a-section-1"
        (tmp_path / "solutions").mkdir(exist_ok=True)
        nbformat.write(
            nbformat.v4.new_notebook(cells=[text, code]), tmp_path / "solutions" / "00_x.ipynb"
        )
        folder = tmp_path / claims.FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "00.toml").write_text(claim)
        (folder / claims.SOURCES).write_text(source)
        (tmp_path / "pages.md").write_text(
            "# Top\n\n## Lower\n\n| what | share |\n|---|--:|\n| **other** | 7 % |\n\n"
            "## After\n\n| what | share |\n|---|--:|\n| other | 8 % |\n"
        )
        return claims.read_index(tmp_path, {"00": {"slug": "00_x", "title": "X"}})

    return write


def test_figures_are_filled_in(course):
    index = course()
    assert index.faults == []
    assert [claim.measured for claim in index.claims] == [
        "0.50 [0.40, 0.60]",
        "3 of 0.50 [0.40, 0.60]",
        "7 %",
    ]
    text = page(index.claims, {"00": {"slug": "00_x", "title": "X"}})
    assert "| A thing holds. *Doe and others, “A Long Title” (2020).* [A section](../sol" in text
    assert "| **Control.** It need not. [A section](../solutions/00_x.ipynb) | – | 7 % (b" in text


FAULTS = {
    "a figure is gone": ("count: (", "total: (", "claim", "a-section-2", "finds nothing"),
    "two figures": ("row: it\"]", "(0\\\\.\\\\d)\"]", "claim 2", "and also"),
    "no such row": ('ours = "row: it"', 'ours = "row: they"', "claim 1 (A thing", "a-section-2"),
    "no such cell": ('cell = "a-section-2"', 'cell = "b-1"', "no cell 'b-1'"),
    "no such heading": ("pages.md#Lower", "pages.md#Upper", "no heading 'Upper'"),
    "no such source": ('"doe2020"', '"roe2021"', "has no 'roe2021'", "the paper"),
    "no such key": ("shown", "show", "unknown show"),
    "a word too many": ("{} of {}", "{} of {} {}", "more places"),
    "no control": ('kind = "control"', "", "of the kind 'control'"),
    "no such kind": ('kind = "control"', 'kind = "null"', "kind 'null'"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_the_claim(course, name):
    old, new, *words = FAULTS[name]
    assert CLAIM.count(old)
    found = "\n".join(course(claim=CLAIM.replace(old, new)).faults)
    assert all(word in found for word in words), found


def test_what_is_not_indexed_is_found(course):
    cited = course(prose=PROSE + '\nRoe, "Another" (1999), agrees, as does Doe (2020).').faults
    assert len(cited) == 1 and '"Another" (1999), cited in cell a-section-1' in cited[0]
    number = course(prose=PROSE.replace(".75", ".85")).faults
    assert number == [
        "docs/claims/00.toml: no claim for the published figure .85, in cell a-section-1"
    ]
    unused = course(source=SOURCE + SOURCE.replace("2020", "2021")).faults
    assert unused == ["docs/claims/sources.toml: doe2021 is the source of no claim"]
    (missing,) = claims.read_index(ROOT, {**LESSONS, "99": {"slug": "99_x"}}).faults
    assert "docs/claims/99.toml: missing" in missing


def test_damaged_toml_is_one_sentence(course):
    with pytest.raises(CourseError, match="no TOML"):
        course(claim="[[claim")


def test_check_reports_claims(course, tmp_path):
    cards = {"00": {"slug": "00_x", "title": "X"}}
    index = course()
    (current,) = index.files(tmp_path, cards).items()
    current[0].write_text(current[1])
    assert drift._claims_drift(tmp_path, cards) == []
    current[0].write_text("none")
    course(source="")
    first, *_, last = drift._claims_drift(tmp_path, cards)
    assert "has no 'doe2020'" in first
    assert last == f"{claims.PAGE}: not current; python -m utils.lessons.claims writes it"
    assert (
        claims.read_index(tmp_path / "elsewhere", cards).files(tmp_path / "elsewhere", cards) == {}
    )


# --- reading ---------------------------------------------------------------------------------


def test_tables_are_read():
    twin = "The numbers\nkind   a thing  share\none        0.1    0.2\none b      0.3       \n"
    text = f"said\n\n{REPORT}\n\n{twin}\n\n| a | `b` |\n|---|--:|\n| *x* | 1 |\n"
    assert [len(row) for row in rows(text)] == [5, 5, 3, 3, 2]
    assert figure(text, "row: it") == "0.50 [0.40, 0.60]"
    assert figure(text, "row: it, chance") == "0.10"
    assert figure(text, "row: one | a thing") == "0.1"
    assert figure(text, "row: one b | a thing") == "0.3"
    assert figure(text, "row: x | b") == "1"
    for pattern, said in (("row: two", "nothing"), ("no group", "group"), (r"(0\.\d)", "and also")):
        with pytest.raises(CourseError, match=said):
            figure(text, pattern)


def test_citations_are_found_as_lessons_write_them():
    text = """In 2022 Ann Doe wrote ("One, Two: Three", 2019), (Roe and others, "Shorter",
    2020, found so) and "Fourth" (Poe and others, 2021). "No effect" (Moe and Roe, 2018) holds. A
    model of 2018. Doe and others (2019), cited above. [See](x.md) (3 of 5)."""
    found = [(one.year, one.title) for one in citations("c", text)]
    assert found == [
        (2019, "One, Two: Three"),
        (2020, "Shorter"),
        (2021, "Fourth"),
        (2018, "No effect"),
        (2019, ""),
    ]
    last = citations("c", text)[-1]
    assert last.is_of("Doe and others", ["One, Two: Three"], 2019)
    assert not last.is_of("Coe", ["One"], 2019) and not last.is_of("Doe", ["One"], 2020)
    first = citations("c", text)[0]
    assert not first.is_of("Doe", ["Another, by the same author"], 2019)


def test_published_figures_are_found():
    text = """It was published (.5 there) in lesson 02.

| a | published | ours |
|---|---|---|
| x | 1,234 / 5 % | 6 |
| y | not done | 7 |

- Ours is 0.7. They published `1 - 2 * 3` for 8 % of 12.
- Nothing was at 9 %."""
    assert published(text) == [".5", "1,234 / 5 %", "8 %"]
    assert numbers("1,234 of .5 or 0.50; 8 %, lesson 02") == {1234.0, 0.5, 8.0, 2.0}
