"""An instrument in a notebook: the frame, and what is left where frames are taken out."""

from __future__ import annotations

import base64
import html
import json
import re

import pytest

from utils.errors import CourseError
from utils.instruments import instrument
from utils.lessons import instruments, places
from utils.lessons.session import Lab


@pytest.fixture
def shown(monkeypatch):
    bundles = []
    monkeypatch.setattr(instruments, "show", bundles.append)
    return bundles


def test_the_frame_holds_the_document_and_can_reach_nothing(shown):
    Lab("12").instrument("paint")
    made, bundle = instrument("paint"), shown[0]
    name, attributes, document = instruments.FRAME.search(bundle["text/html"]).groups()
    assert name == "paint" and html.unescape(document) == made.document
    assert 'sandbox="allow-scripts"' in attributes and "allow-same-origin" not in attributes
    assert html.unescape(re.search(r'title="([^"]+)"', attributes).group(1)) == made.title
    assert bundle["text/plain"] == f"Instrument: {made.title}\n{made.sentence}"
    assert len(bundle["text/html"]) < 1_500_000


def test_without_the_frame_picture_and_numbers_are_left(shown):
    Lab("06").instrument("scrub")
    made = instrument("scrub")
    left = [instruments.FRAME.sub("", bundle["text/html"]) for bundle in shown]
    assert "the picture and the table below" in left[0]
    alt, encoded = re.search(r'<img alt="([^"]+)".* src="data:image/png;base64,([^"]+)"', left[1]
                             ).groups()  # fmt: skip
    assert html.unescape(alt) == made.alt and made.alt in shown[1]["text/plain"]
    assert base64.b64decode(encoded).startswith(b"\x89PNG")
    for row in made.table:
        assert f"<td>{row['claim']}</td>" in left[2]
        assert f"{row['recovered']:.3f}" in shown[2]["text/plain"]


def test_labels_of_one_s_own_reach_the_page(shown):
    Lab("03").instrument("grid", mine=lambda a, b: a > b)
    document = html.unescape(instruments.FRAME.search(shown[0]["text/html"]).group(3))
    assert '"mine":"' in document and "Your labels agree" in shown[0]["text/plain"]


def test_a_mistake_is_one_sentence():
    with pytest.raises(CourseError, match="there are: grid, scrub, paint"):
        Lab("03").instrument("map")
    with pytest.raises(CourseError, match="only the grid explorer"):
        Lab("06").instrument("scrub", mine=lambda a, b: a)


@pytest.mark.parametrize(("lesson", "name"), [("03", "grid"), ("06", "scrub"), ("12", "paint")])
def test_the_lesson_shows_the_instrument_as_it_is_now(lesson, name):
    (path,) = (places.PACKAGE_ROOT / places.SOLUTIONS).glob(f"{lesson}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    shown = [
        "".join(output["data"]["text/html"])
        for cell in cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    frames = [found for text in shown for found in instruments.FRAME.findall(text)]
    assert [found[0] for found in frames] == [name]
    kept, current = html.unescape(frames[0][2]), instrument(name).document
    data = re.compile(
        r'<details class="twin" open>.*</details>|<script id="data".*?</script>', re.S
    )
    # what was computed may differ in a last digit between processors, and by a learner's labels
    assert data.sub("", kept) == data.sub("", current), f"run python -m utils build {lesson}"
