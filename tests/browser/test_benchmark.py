"""What `python -m benchmarks site` measures, on a site of two small pages."""

from __future__ import annotations

import pytest

from benchmarks import site
from tests.browser import chromium

PAGE = """<!DOCTYPE html><title>x</title><link rel="stylesheet" href="../_static/a.css">
<main><article class="bd-article" role="main">{words}
<img alt="late" loading="lazy" src="../_static/late.png" style="position: absolute; top: 99999px">
</article></main>
"""


@pytest.fixture
def small(tmp_path):
    (tmp_path / "lessons").mkdir()
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a.css").write_text("p { color: red }" * 100)
    (tmp_path / "_static" / "late.png").write_bytes(b"no picture, but bytes" * 100)
    (tmp_path / "lessons" / "00_a.html").write_text(PAGE.format(words="<p>words</p>" * 1000))
    return tmp_path


def test_pages_stand_beside_an_empty_one(browser, small):
    with chromium.served(small) as base:
        empty, page = site._pages(browser, base, small, runs=1)
    assert (empty["what"], page["what"]) == ("blank", "00_a")
    assert empty["ratio"] == 1 and page["ratio"] == pytest.approx(page["peer"] / page["ours"])
    html = (small / "lessons" / "00_a.html").stat().st_size
    assert page["first"] == html + 1600 and page["whole"] == html + 1600 + 2100
    assert page["library"] == 0 and 2100 < page["compressed"] < page["whole"]
    assert empty["whole"] == empty["first"] < 2000


def test_the_table_holds_times_sizes_and_limits():
    rows = [
        site._row("build of 9 pages", 20.0, 180.0, kind="build"),
        {"what": "00_a", "kind": "page", "ours": 0.5, "peer": 0.25, "ratio": 0.5, "first": 9_000}
        | {"whole": 700_000, "library": 0, "compressed": 100_000},
        site._row("JupyterLab to a first pass", 30.0, 90.0, kind="lab"),
    ]
    text = site.table(rows)
    assert "| build of 9 pages | 20.0 | 180 |" in text
    assert "| 00_a | 500 | 2.0 | 9 | 700 | 0 | 100 |" in text
    assert "heaviest 0.70 MB, limit 1.5 MB" in text


def test_a_page_of_another_theme_is_refused(tmp_path):
    (tmp_path / "a.html").write_text("<main>no article</main>")
    with pytest.raises(ValueError, match="a.html"):
        site.blank(tmp_path / "a.html")


def test_without_a_browser_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("utils.site.command.require_sphinx", lambda: None)
    monkeypatch.setattr(chromium, "path", lambda: None)
    with pytest.raises(SystemExit, match="Chromium|pip install"):
        site.rows()


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(chromium, "NEEDED", ("playwright_is_not_here",))
    assert "playwright_is_not_here" in str(chromium.missing())
    assert chromium.REQUIREMENTS in str(chromium.missing())
    monkeypatch.setattr(chromium, "NEEDED", ())
    monkeypatch.setattr(chromium.shutil, "which", lambda name: None)
    assert "apt-get install chromium" in str(chromium.missing())
