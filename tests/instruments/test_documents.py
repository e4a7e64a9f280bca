"""The documents: whole in themselves, light, and saying what the course's package computes."""

from __future__ import annotations

import html
import json
import re

import pytest

from utils.__main__ import main
from utils.errors import CourseError
from utils.instruments import NAMES, instrument
from utils.instruments.document import MOST_BYTES

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module", params=NAMES)
def made(request):
    return instrument(request.param)


def test_a_document_is_light_and_loads_nothing(made):
    page = made.document
    assert len(page.encode()) < MOST_BYTES
    assert "{{" not in page
    outside = re.sub(r"(?<=[\":])[A-Za-z0-9+/]{200,}={0,2}", "", page)  # weights and pixels
    for word in ("http:", "https:", "//cdn", "url(", "@import", "fetch(", "XMLHttp", "eval(",
                 "import(", "Function(", "<link", "<img", "<iframe", "localStorage"):  # fmt: skip
        assert word not in outside, word
    assert not re.search(r"<\w+[^>]*\s(?:src|href)=", outside)
    assert "default-src 'none'" in page


def test_the_text_twin_says_what_the_table_says(made):
    twin = re.search(r'<details class="twin" open>(.*?)</details>', made.document, re.S).group(1)
    assert html.escape(made.sentence, quote=False) in twin
    shown = [html.unescape(cell) for cell in re.findall(r"<td>(.*?)</td>", twin)]
    wanted = [
        f"{value:.{made.digits}f}" if isinstance(value, float) else str(value)
        for row in made.table
        for value in row.values()
    ]
    assert shown == wanted and len(wanted) > 10


def test_data_arrive_whole_and_the_same_twice(made):
    kept = re.search(
        r'<script id="data" type="application/json">(.*?)</script>', made.document, re.S
    )
    assert json.loads(kept.group(1)) == json.loads(json.dumps(made.data))
    assert instrument(made.name).document == made.document


def test_a_document_says_what_it_is_to_those_who_do_not_see_it(made):
    page = made.document
    assert '<html lang="en">' in page and "<title>" in page and 'aria-live="polite"' in page
    assert made.alt and made.summary and made.lesson in ("03", "06", "12")
    for kind in re.findall(r"<(?:input|select|canvas|button)\b[^>]*>", page):
        named = re.search(r'aria-label(?:ledby)?="', kind)
        own = re.search(r' id="([\w-]+)"', kind)
        wrapped = 'type="radio"' in kind or 'type="checkbox"' in kind or kind.startswith("<button")
        assert named or wrapped or (own and f'for="{own.group(1)}"' in page), kind


def test_the_colours_are_those_of_the_course():
    from utils import plots

    page = instrument("scrub").document
    for colour in (plots.BLUE, plots.VERMILION, plots.GREEN, plots.ORANGE):
        assert f"light-dark({colour}," in page


def test_unknown_names_and_options_are_refused():
    with pytest.raises(CourseError, match="grid, scrub, paint"):
        instrument("gird")
    with pytest.raises(CourseError, match="only the grid explorer"):
        instrument("paint", mine=lambda a, b: a)


def test_stills_are_drawn(made):
    import matplotlib.pyplot as plt

    figure = made.still()
    assert figure.axes
    plt.close(figure)


def test_the_command_writes_a_page(tmp_path, capsys, made):
    path = tmp_path / "page.html"
    assert main(["instrument", made.name, "--out", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == made.document
    assert str(path) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["gird"], "there are: grid, scrub, paint"),
        (["grid", "--refresh"], "Only the instrument scrub"),
        (["grid", "--out", "no/such/folder/page.html"], "--out"),
    ],
)
def test_the_command_refuses_in_one_line(arguments, word, capsys):
    assert main(["instrument", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and word in err
