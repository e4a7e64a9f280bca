"""Copies up to names, and the pages that people read."""

from __future__ import annotations

import re

from utils.grading.copies import SMALLEST, form, suspected
from utils.grading.pages import write_feedback, write_overview
from utils.grading.results import by_learner, safe_name, summary, write, write_gradescope

LONG = """
def shares(digits, size=10):
    rows = []
    for digit in range(size):
        held = (digits == digit).any(dim=1)
        rows.append(held.double().mean())
    return torch.stack(rows)


lab.check("0.3", shares)
"""
RENAMED = """
def shares(digits, size=10):
    '''Mine.'''
    out = []  # my own work
    for d in range(size):
        h = (digits == d).any(dim=1)

        out.append(h.double().mean())
    return torch.stack(out)

lab.check("0.3", shares)
"""


def _row(exercise, status="passed", points=3, message="", hints=0):
    return {
        "exercise": exercise, "status": status, "points": points, "max_points": 3,
        "message": message, "seconds": 0.5, "peak_mb": 300.0, "hints": hints,
    }  # fmt: skip


def _result(learner, rows, answers=None, notes=()):
    return {
        "learner": learner, "file": f"{learner}/00.ipynb", "notebook": "00_start_here",
        "rows": rows, "notes": list(notes), "answers": answers or {}, "seconds": 1.0,
    }  # fmt: skip


EVIL = "<script>alert(1)</script>"
RESULTS = [
    _result("anna", [_row("0.1"), _row("0.3")], {"0.3": LONG}),
    _result("bert", [_row("0.1", "failed", 1.5, "off by 12 rows"), _row("0.3")], {"0.3": RENAMED}),
    _result("clara", [_row("0.1", "failed", 0, "off by 7 rows", 2), _row("0.3", "missing", 0)],
            {"0.3": LONG.replace("append", "insert")}, ["1 cells were added."]),
    _result(EVIL, [_row("0.1", "failed", 0, EVIL), _row("0.3", "tampered", 0, "`lab` is gone")]),
    _result("dora", [{**_row("", "error", 0, "The file is empty."), "max_points": 0}]),
]  # fmt: skip


def test_the_form_of_an_answer_forgets_names_and_comments():
    assert RENAMED != LONG and form(RENAMED) == form(LONG) is not None
    assert form(LONG.replace("dim=1", "dim=0")) != form(LONG)
    assert form("x = 1") is None and form("def f(:") is None and SMALLEST > 10


def test_pairs_that_share_a_rare_and_long_answer():
    assert [(p.first, p.second, p.exercises) for p in suspected(RESULTS)] == [
        ("anna", "bert", ("0.3",))
    ]
    common = [_result(f"l{i}", [_row("0.3")], {"0.3": LONG}) for i in range(20)]
    assert suspected(common) == []  # what everybody writes is no copy


def test_pages_hold_what_is_needed_and_run_nothing(tmp_path):
    paths = write_feedback(RESULTS, tmp_path / "learners")
    paths.append(write_overview(RESULTS, tmp_path / "index.html"))
    assert len(paths) == len(RESULTS) + 1
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text and not re.search(r"(src|href)=|url\(|@import", text)
        assert "<html lang='en'>" in text and "viewport" in text
        for image in re.findall(r"<svg[^>]*>", text):
            assert "aria-label=" in image and "role='img'" in image
    index = (tmp_path / "index.html").read_text()
    assert "2 of 4" in index and "off by" in index  # two learners were told the same
    assert "anna" in index and "The file is empty." in index
    clara = (tmp_path / "learners" / "clara.html").read_text()
    assert "has 1 more for you" in clara and "1 cells were added." in clara
    assert "insert" not in clara and "off by 7 rows" in clara


def test_tables_add_up(tmp_path):
    assert summary(RESULTS)["statuses"] == {
        "error": 1, "failed": 3, "missing": 1, "passed": 3, "tampered": 1,
    }  # fmt: skip
    lines = {line["learner"]: line for line in by_learner(RESULTS)}
    assert lines["bert"]["points"] == lines["bert"]["00_start_here"] == 4.5
    assert lines["dora"]["attempted"] == 0 and lines["clara"]["hints"] == 2
    paths = write(RESULTS, tmp_path / "r.csv")
    header, *rows = paths[0].read_text().splitlines()
    assert header == "learner,notebook,exercise,status,points,max_points,message,seconds,peak_mb"
    assert len(rows) == 9 and len(paths[1].read_text().splitlines()) == 6


def test_a_spreadsheet_is_given_no_formula(tmp_path):
    evil = _result("=1+1", [_row("0.1", "failed", 0, "@SUM(A1)\n+2")])
    text = write([evil], tmp_path / "r.csv")[0].read_text()
    assert "'=1+1" in text and "'@SUM(A1) +2" in text and len(text.splitlines()) == 2


def test_any_name_is_a_file_name(tmp_path):
    names = ["anna", "../../etc/passwd", "a/b", "Ünal", "x" * 300, "", "CON", "a b", "a_b"]
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names) and all(
        "/" not in name and ".." not in name for name in safe
    )
    assert all(0 < len(name) < 80 for name in safe)
    write_gradescope([_result(name, [_row("0.1")]) for name in names], tmp_path)
    assert len(list(tmp_path.iterdir())) == len(names)
