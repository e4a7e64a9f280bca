"""Every page of the site as a reader meets it: in a browser, in both themes, narrow and wide."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.browser import chromium
from tests.browser.survey import KINDS, VIEWS, Seen, dead_links, visit

# kept for people to look at, outside the repository; where nobody asked for them, each width and
# each theme once, and half as large
ASKED = os.environ.get("COURSE_SCREENSHOTS")
SHOTS = Path(ASKED or Path(tempfile.gettempdir()) / "course-screenshots")
KEPT = VIEWS if ASKED else ("1440-light", "360-dark")
# in the dark as well; the others are made of the same parts
DARK = ("index.html", "map.html", "glossary.html", "api/sites.html")

BROKEN = """
<h2 id="twice">Broken</h2><p id="twice"></p>
<script>console.error("a message"); setTimeout(() => { throw new Error("thrown") })</script>
<img src="missing.png" style="width: 40px; height: 40px">
<img src="FOREIGN/pixel.png" alt="from elsewhere">
<a href="nowhere.html">a page that is not there</a> <a href="#nowhere">a place that is not</a>
<a href="index.html">fine</a> <a href="https://example.org/">elsewhere</a>
<p style="color: var(--faint)">hard to read</p>
<style>:root { --faint: #aaa } html[data-theme="dark"] { --faint: #444 }</style>
<p style="white-space: nowrap; font-size: 7px">LONG</p>
<div style="width: 2000px">a wide box</div>
<p style="width: 60px; overflow: hidden; white-space: nowrap">these words are cut off</p>
"""


def names(site: Path) -> list[str]:
    """The site's pages, as addresses in it; what is handed out as it is is no page."""
    found = (path.relative_to(site) for path in sorted(site.rglob("*.html")))
    return [path.as_posix() for path in found if path.parts[0] != "_static"]


@pytest.fixture(scope="module")
def context(browser):
    made = browser.new_context(viewport={"width": 1440, "height": 900})
    made.set_default_timeout(chromium.PATIENCE * 1000)
    yield made
    made.close()


@pytest.fixture(scope="module")
def address(built_site, browser):
    with chromium.served(built_site.folder) as base:
        yield base


@pytest.fixture(scope="module")
def seen(built_site, address, context) -> dict[str, Seen]:
    """Each page visited once; pictures of the lessons' pages are kept."""
    found = {}
    page = context.new_page()
    for name in names(built_site.folder):
        lesson = name.startswith("lessons/")
        found[name] = visit(
            page,
            address + name,
            dark=lesson or name in DARK,
            shots=SHOTS / Path(name).stem if lesson else None,
            views=KEPT,
            scale=1 if ASKED else 0.5,
        )
    page.close()
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_no_page_has_a_fault(seen, kind):
    assert {name: page.faults[kind] for name, page in seen.items() if page.faults[kind]} == {}


def test_every_link_leads_somewhere(seen, built_site, address):
    files = [path.relative_to(built_site.folder) for path in built_site.folder.rglob("*")]
    assert dead_links(seen, [path.as_posix() for path in files], address) == []
    assert built_site.faults == []
    followed = {link for page in seen.values() for link in page.links}
    assert len([link for link in followed if link.startswith(address)]) > 2 * len(seen)
    # where nobody can follow them without a network they are listed for people
    outside = sorted(link for link in followed if not link.startswith(address))
    assert all(link.startswith(("https://", "http://", "mailto:")) for link in outside)
    SHOTS.mkdir(parents=True, exist_ok=True)
    (SHOTS / "external-links.txt").write_text("\n".join(outside) + "\n", encoding="utf-8")


def test_every_page_can_be_reached_from_the_first(seen, address):
    reached, ahead = set(), ["index.html"]
    while ahead:
        name = ahead.pop()
        if name in seen and name not in reached:
            reached.add(name)
            ahead += [link.removeprefix(address).partition("#")[0] for link in seen[name].links]
    assert set(seen) - reached <= {"search.html"}  # the box in the sidebar leads there


def test_lessons_were_photographed(seen):
    lessons = [Path(name).stem for name in seen if name.startswith("lessons/")]
    assert lessons
    for lesson in lessons:
        for picture in KEPT:
            assert (SHOTS / lesson / f"{picture}.jpg").stat().st_size > 20_000


def test_each_kind_of_fault_is_found(built_site, address, context):
    """A page of the site with one fault of each kind put into it."""
    whole = (built_site.folder / "data.html").read_text(encoding="utf-8")
    foreign = address.replace("127.0.0.1", "127.0.0.2")  # another host, and no name to look up
    put = BROKEN.replace("FOREIGN/", foreign).replace("LONG", "a very long line " * 60)
    page = context.new_page()
    page.route(
        "**/broken.html",
        lambda route: route.fulfill(
            body=whole.replace("</article>", put + "</article>"), content_type="text/html"
        ),
    )
    found = visit(page, address + "broken.html")
    page.close()
    said = {kind: "\n".join(faults) for kind, faults in found.faults.items()}
    assert all(said.values()), [kind for kind in KINDS if not said[kind]]
    for words in ("a message", "thrown", "404"):
        assert words in said["console"]
    assert said["foreign"].splitlines() == [f"{foreign}pixel.png"]
    assert "image-alt" in said["structure"]
    for kind in ("contrast in light", "contrast in dark"):
        assert "hard to read" in said[kind]
    for width in (360, 1440):
        assert "the page is" in said[f"overflow at {width}"]
        assert "sticks out" in said[f"overflow at {width}"]
        assert "cut off at 60" in said[f"overflow at {width}"]
        assert "letters of 7.0 px" in said[f"legibility at {width}"]
        assert "a picture that does not load" in said[f"legibility at {width}"]
    there = names(built_site.folder)
    dead = dead_links({"broken.html": found}, [*there, "broken.html"], address)
    assert [one for one in dead if "nowhere" in one] == [
        "broken.html links to nowhere.html, which is not there",
        "broken.html links to broken.html#nowhere, but there is no such place",
    ]


def test_search_finds_a_word(address, context):
    page = context.new_page()
    page.goto(address)
    assert page.locator("script[src*=searchindex]").count() == 0  # a fifth of a page's bytes
    page.goto(f"{address}search.html?q=scrubbing")
    page.locator("#search-results li a").first.wait_for()
    assert page.locator("#search-results li").count() > 3
    page.close()
