"""The web site: most of it without Sphinx, on the sources that Sphinx gets."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from utils.__main__ import main
from utils.errors import CourseError
from utils.grading.release import search
from utils.instruments import NAMES, instrument
from utils.lessons.hygiene import text_of
from utils.lessons.manifest import read_manifest
from utils.site import api, chart, command, verify
from utils.site.lessons import PLOTLY, WIDTH, Page, _output, hints_of, lesson_page
from utils.site.openers import VARIABLE, Repository, ways
from utils.site.sources import SPOILERS, write

ROOT = Path(__file__).resolve().parents[1]
LESSONS = read_manifest(ROOT)
FEW = ("00", "06")  # the first, and one with Plotly, formulas and the home page's figure


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "source"
    write(folder, ROOT)
    return folder


def cells(source: Path, name: str) -> list[dict]:
    text = (source / "lessons" / f"{LESSONS[name]['slug']}.ipynb").read_text(encoding="utf-8")
    return json.loads(text)["cells"]


# --- lessons ---------------------------------------------------------------------------------


def test_every_lesson_has_a_page_a_download_and_a_place_on_the_map(source):
    assert LESSONS
    overview = (source / "map.md").read_text(encoding="utf-8")
    for card in LESSONS.values():
        page = source / "lessons" / f"{card['slug']}.ipynb"
        assert page.is_file() and f"\nlessons/{card['slug']}\n" in overview
        assert f'href="lessons/{card["slug"]}.html"' in overview
        handed_out = source / "_static" / "notebooks" / f"{card['slug']}.ipynb"
        assert handed_out.read_bytes() == (ROOT / "notebooks" / handed_out.name).read_bytes()
        assert f'href="../_static/notebooks/{handed_out.name}"' in page.read_text().replace(
            "\\", ""
        )


def test_no_page_holds_the_text_of_a_solution(source, tmp_path):
    served = shutil.ignore_patterns("_static", "lessons")  # Plotly, pictures, learners' notebooks
    shutil.copytree(source, tmp_path, ignore=served, dirs_exist_ok=True)
    # in a folder of this name single lines are sought as well
    shutil.copytree(source / "lessons", tmp_path / "notebooks")
    assert search(tmp_path, ROOT) == []


def test_a_leaked_solution_would_be_found(source, tmp_path):
    shutil.copytree(source / "lessons", tmp_path / "notebooks")
    path = tmp_path / "notebooks" / f"{LESSONS['02']['slug']}.ipynb"
    shutil.copy(ROOT / "solutions" / path.name, path)
    assert {leak.exercise.split(".")[0] for leak in search(tmp_path, ROOT)} == {"2"}


@pytest.mark.parametrize("name", LESSONS)
def test_exercises_are_stubs_without_output_and_with_folded_hints(source, name):
    own = cells(source, name)
    hints = hints_of(ROOT / "utils" / "lessons" / "checks" / f"lesson_{name}.py")
    exercises = {
        cell["metadata"]["exercise"]: at
        for at, cell in enumerate(own)
        if cell["cell_type"] == "code" and "exercise" in cell["metadata"]
    }
    assert list(exercises) == list(LESSONS[name]["exercises"])
    assert set(hints) == set(exercises) and all(hints.values())
    for exercise, at in exercises.items():
        assert own[at]["outputs"] == [] and "exercise" in own[at]["metadata"]["tags"]
        assert own[at + 1]["source"].count('<details class="hint"><summary>') == len(
            hints[exercise]
        )
    shown = [one for cell in own for one in cell.get("outputs", [])]
    assert shown and not any("points. " in json.dumps(one) for one in shown)


def test_outputs_are_kept_light(source):
    pictures = 0
    for name in LESSONS:
        text = json.dumps(cells(source, name))
        assert "base64" not in text and PLOTLY not in text
        assert len(text) < 600_000, name
        for file in re.findall(r"\.\./_static/figures/([\w-]+\.png)", text):
            assert (source / "_static" / "figures" / file).is_file()
            pictures += 1
        assert not re.search(r"<img (?!alt=\\\"[^\\])", text), f"{name}: a picture without alt text"
    assert pictures > len(LESSONS)


def test_narrow_screens_break_no_interval_and_shrink_no_picture_out_of_reading(source):
    text = json.dumps(cells(source, "06"))
    assert re.search(r"<td>\[[\d.]+,&nbsp;[\d.]+\]</td>", text)
    assert not re.search(r"<td>\[[\d.]+, ", text)
    # how wide it was drawn, for the style sheet
    pictures = re.findall(r"<img [^>]*>", text)
    assert pictures and all("--drawn: " in one for one in pictures)


def test_printed_sentences_are_broken_and_printed_tables_are_not(source):
    found = {True: [], False: []}
    for name in LESSONS:
        for cell in cells(source, name):
            broken = "prose-output" in cell["metadata"].get("tags", [])
            for one in cell.get("outputs", []):
                found[broken] += text_of(one).split("\n")
    assert not any("  " in line.strip() for line in found[True])
    assert any(len(line) > WIDTH for line in found[True])
    # beside a table no sentence makes anybody scroll; a table may
    wide = [line for line in found[False] if len(line) > WIDTH]
    assert wide and all("  " in line.strip() for line in wide)
    assert any(re.search(r"^fc1 +noise +correlation", line) for line in found[False])


def test_plotly_figures_are_drawn_from_this_site_and_have_a_still_twin(source):
    plots = 0
    for name in LESSONS:
        for cell in cells(source, name):
            shown = [
                "".join(o.get("data", {}).get("text/html", "")) for o in cell.get("outputs", [])
            ]
            for at, text in enumerate(shown):
                if 'class="plot"' in text:
                    content = re.search(
                        r'<script type="application/json">(.*)</script>', text, re.S
                    )
                    assert set(json.loads(content.group(1))) == {"data", "layout"}
                    assert "<details>" in shown[at + 1] and "<img" in shown[at + 1]
                    plots += 1
    assert plots
    assert (source / "_static" / "plotly.min.js").stat().st_size > 1_000_000


def test_instruments_stand_in_frames_whose_documents_are_files_of_the_site(source):
    for name in NAMES:
        page = (source / "instruments" / f"{name}.md").read_text(encoding="utf-8")
        frame = re.search(r'<iframe class="instrument" src="\.\./(_static/[\w/]+\.html)"', page)
        assert (source / frame.group(1)).read_text(encoding="utf-8").rstrip() == (
            instrument(name).document.rstrip()
        )
        picture = re.search(r'<img alt="[^"]{40,}"[^>]* src="\.\./(_static/[\w/]+\.png)"', page)
        assert (source / picture.group(1)).is_file()
        assert f"](instruments/{name}.md)" in (source / "instruments.md").read_text("utf-8")
        lesson = LESSONS[instrument(name).lesson]["slug"]
        assert f"](../lessons/{lesson}.ipynb)" in page


def test_an_instrument_of_a_lesson_becomes_a_file(tmp_path):
    from utils.lessons import instruments

    bundles = []
    patch = pytest.MonkeyPatch()
    patch.setattr(instruments, "show", bundles.append)
    instruments.show_instrument(instrument("scrub"))
    patch.undo()
    page = Page({})
    outputs = [_output({"data": bundle}, page, "06") for bundle in bundles]
    text = "".join(one["data"]["text/html"] for one in outputs)
    assert 'src="../_static/instruments/06-scrub.html"' in text and "srcdoc" not in text
    assert 'href="../instruments/scrub.html"' in text and "base64" not in text
    assert page.instruments == {"06-scrub.html": instrument("scrub").document}
    assert page.alts == {"06-1.png": instrument("scrub").alt}


def test_notebooks_that_do_not_belong_together_are_refused(tmp_path):
    slug = LESSONS["00"]["slug"]
    for folder in ("notebooks", "solutions"):
        (tmp_path / folder).mkdir()
        shutil.copy(ROOT / folder / f"{slug}.ipynb", tmp_path / folder)
    page = lesson_page("00", LESSONS, {}, tmp_path)
    assert "not measured" in page.notebook["cells"][0]["source"]
    path = tmp_path / "notebooks" / f"{slug}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    del notebook["cells"][3]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    with pytest.raises(CourseError, match="python -m utils build"):
        lesson_page("00", LESSONS, {}, tmp_path)
    (tmp_path / "solutions" / f"{slug}.ipynb").unlink()
    with pytest.raises(CourseError, match="learner's copy"):
        lesson_page("00", LESSONS, {}, tmp_path)


# --- ways to open a lesson -------------------------------------------------------------------

BOOK = "notebooks/06_causal_scrubbing.ipynb"


def test_without_an_address_a_page_offers_the_download_alone(source):
    for name in LESSONS:
        text = cells(source, name)[0]["source"]
        assert text.count('<a class="download"') == 1 and "pip install -r requirements.txt" in text
        assert "binder" not in text.lower() and "colab" not in text.lower()


def test_with_an_address_it_offers_binder_and_colab_with_the_line_each_needs():
    page = lesson_page("06", LESSONS, {}, ROOT, Repository("example/course"))
    text = page.notebook["cells"][0]["source"]
    assert (
        f'href="https://colab.research.google.com/github/example/course/blob/main/{BOOK}"' in text
    )
    labpath = BOOK.replace("/", "%2F")
    assert f'href="https://mybinder.org/v2/gh/example/course/main?labpath={labpath}"' in text
    assert (
        "!git clone --depth 1 https://github.com/example/course course &amp;&amp;"
        " pip install -q -r course/docs/colab.txt ./course<" in text
    )
    assert "\n\n" not in text[text.index('<div class="lesson-facts">') : text.index("</ul>")]
    assert (ROOT / "docs" / "colab.txt").is_file() and (ROOT / ".binder").is_dir()


def test_a_branch_goes_into_every_address():
    place = Repository.of(" example/course@v2/spring ")
    assert place == Repository("example/course", "v2/spring")
    assert "/gh/example/course/v2%2Fspring?" in place.binder(BOOK)
    assert "/example/course/blob/v2/spring/notebooks/" in place.colab(BOOK)
    assert "--branch v2/spring https://github.com/example/course course" in place.colab_line()
    assert Repository.of("a/b").branch == "main"


@pytest.mark.parametrize(
    "text", ["course", "https://github.com/a/b", "a/b/c", "a/b@", 'a/"b', "a/b; rm"]
)
def test_what_names_no_repository_is_refused_before_anything_is_built(text, capsys, monkeypatch):
    monkeypatch.setattr(command, "build", lambda *_, **__: pytest.fail("built"))
    assert main(["site", "--repository", text]) == 2
    assert "owner/name" in capsys.readouterr().err


def test_the_address_is_an_option_or_an_environment_variable(monkeypatch, tmp_path):
    given = []

    def build(out, step, repository):
        given.append(repository)
        return [], 1

    monkeypatch.setattr(command, "NEEDED", ())
    monkeypatch.setattr(command, "build", build)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert main(["site"]) == 0
    monkeypatch.setenv(VARIABLE, "example/course@spring")
    assert main(["site"]) == 0
    assert main(["site", "--repository", "example/other"]) == 0
    assert given == [None, Repository("example/course", "spring"), Repository("example/other")]


def test_no_address_was_made_up():
    assert "github" not in ways(BOOK, None)
    for path in (ROOT / "docs" / "site").glob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert "mybinder.org" not in text and "colab.research" not in text


# --- the other pages -------------------------------------------------------------------------


def test_links_between_sources_lead_somewhere(source):
    followed = 0
    for path in source.rglob("*.md"):
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert "{{" not in text, f"{path.name} has a mark that nothing filled in"
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
            assert (path.parent / target).is_file(), f"{path.name} links to {target}"
            followed += 1
    for path in source.rglob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown" and "_static" not in path.parts:
                for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", "".join(cell["source"])):
                    assert (path.parent / target).is_file(), f"{path.name} links to {target}"
                    followed += 1
    assert followed > 30


def test_instructors_pages_do_not_spoil(source):
    names = {path.name for path in (source / "instructors").iterdir()}
    assert names == {"index.md", "schedules.md"} and not names & set(SPOILERS)
    assert "](exercises.md)" not in (source / "instructors" / "index.md").read_text()


def test_the_map_draws_what_needs_what_without_detours():
    chain = {
        "00": {"prerequisites": []},
        "01": {"prerequisites": ["00"]},
        "02": {"prerequisites": ["00", "01"]},
        "03": {"prerequisites": ["99"]},  # a lesson that has no page
    }
    for name, card in chain.items():
        card |= {"title": f"<{name}>", "slug": name, "minutes": 5, "difficulty": 1, "points": 1}
    assert chart.depths(chain) == {"00": 0, "01": 1, "02": 2, "03": 0}
    assert chart.direct("02", chain) == ["01"]
    picture = chart.svg(chain)
    assert picture.count("<path") == 2 and picture.count("<rect") == 4
    assert "&lt;00&gt;" in picture and "<00>" not in picture
    assert len(set(chart.places_of(LESSONS).values())) == len(LESSONS)  # no box on another


def test_the_glossary_gives_a_source_for_each_term():
    text = (ROOT / "docs" / "site" / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^((?:\S[^\n]*\n)+)((?:  [^\n]+\n?)+)", text, re.MULTILINE)
    assert len(entries) > 35
    for terms, meaning in entries:
        assert re.search(r'"\s*\(\d{4}\)|Lessons? \d\d|\{term\}', " ".join(meaning.split())), terms


# --- the reference ---------------------------------------------------------------------------


def test_the_reference_covers_the_package_and_spoils_nothing():
    pages = api.pages(ROOT)
    assert {"index.md", "sites.md", "reports.md", "scrubbing.md", "probing.md"} <= set(pages)
    assert "### `Site`" in pages["sites.md"] and "#### `Site.ablate`" in pages["sites.md"]
    assert not any("lessons.checks" in text for text in pages.values())


def test_docstrings_become_markdown():
    made = api.module_of(
        "m",
        '"""First *words*.\n\n    a drawing\n\nLast.\n"""\n'
        "def f(x: int, *rest: str, key: dict[str, int] = {}) -> list[int]:\n"
        '    """Does [batch, k] with `code_x`.\n\n    x: one, a\n        b.\n'
        "    y, z: two. key [n, 2]: three\n"
        '        of 4 * 5 * 6. other: no. Raises\n    E or F.\n    """\n'
        "def g(rest: int) -> None:\n"
        '    """A sentence. rest: four; and no other: five.\n\n'
        '    - one *two\n      three*\n    - 4_\n"""\n'
        "class C:\n"
        '    """A class."""\n'
        "    size: int\n"
        "    _hidden: int = 0\n"
        "    @property\n"
        '    def p(self) -> int:\n        """It."""\n'
        '    def _q(self):\n        """No."""\n'
        "def bare(): pass\n",
    )
    assert made.summary == "First *words*.\n\n```text\na drawing\n```\n\nLast."
    assert "f(x: int, *rest: str, key: dict[str, int]={}) -> list[int]" in made.text
    assert "Does \\[batch, k\\] with `code_x`." in made.text
    assert "- `x`: one, a b.\n- `y`, `z`: two.\n- `key` \\[n, 2\\]: three of" in made.text
    assert "of 4 \\* 5 \\* 6. other: no.\n\nRaises E or F.\n\n" in made.text
    assert "A sentence.\n\n- `rest`: four; and no other: five.\n\n" in made.text
    assert "\n\n- one *two three*\n- 4\\_" in made.text
    assert "class C:\n    size: int\n```" in made.text and "C.p: int" in made.text
    assert "_q" not in made.text and "bare" not in made.text


# --- reading built pages ---------------------------------------------------------------------


def test_faults_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="b.html">x</a><a href="#there">x</a><a href="#here">x</a>'
        '<a href="https://example.org">fine</a><script src="https://cdn.example/x.js"></script>'
        '<img src="//cdn.example/x.png"><img src="data:image/png;base64,AA"><img src="no.png">'
        '<link rel="stylesheet" href="https://fonts.example/x.css"><a href="c/">x</a>'
    )
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "index.html").write_text(
        '<a href="../a.html#here">x</a><a href="../a.html#no">'
    )
    (tmp_path / "s.css").write_text("body { background: url(https://cdn.example/x.png) }")
    found = "\n".join(verify.faults(tmp_path))
    assert found.count("\n") == 7
    for word in ("b.html", "#there", "x.js", "x.png", "no.png", "x.css", "a.html#no", "s.css"):
        assert word in found


# --- the command -----------------------------------------------------------------------------


def test_without_sphinx_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(command, "NEEDED", ("sphinx_is_not_here",))
    assert main(["site"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "sphinx_is_not_here" in err and f"pip install -r {command.REQUIREMENTS}" in err
    assert (ROOT / command.REQUIREMENTS).is_file()


def test_requirements_are_exact_and_move_nothing():
    lines = (ROOT / command.REQUIREMENTS).read_text(encoding="utf-8").split("\n")
    given = [line for line in lines if line and line[0] != "#"]
    assert given[0] == "-c ../../constraints.txt"
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in given[1:])


def test_another_folder_is_not_overwritten(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "NEEDED", ())
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["site", "--out", str(tmp_path)]) == 2
    assert "--out" in capsys.readouterr().err and (tmp_path / "thesis.txt").is_file()


def test_serving_is_for_this_machine_alone(tmp_path, capsys, monkeypatch):
    (tmp_path / "index.html").write_text("hello")
    servers = []
    monkeypatch.setattr(
        "http.server.ThreadingHTTPServer.serve_forever", lambda self: servers.append(self)
    )
    command._serve(tmp_path, 0)
    assert servers[0].server_address[0] == "127.0.0.1"
    assert re.match(r"http://127\.0\.0\.1:\d+/", capsys.readouterr().out)


def test_built_pages_are_whole_and_load_nothing_from_elsewhere(built_site):
    out = built_site.folder
    assert built_site.faults == [] and built_site.pages > len(LESSONS) + 9
    for name in FEW:
        page = (out / "lessons" / f"{LESSONS[name]['slug']}.html").read_text(encoding="utf-8")
        assert len(page) < 1_500_000 and "NotImplementedError" in page
        assert ("<math " in page) == (name == "06") and "MathJax" not in page
        assert ('class="plot"' in page) == (name == "06")
        # the width it is drawn with, below which it scrolls
        assert ('px; --drawn: 640px" aria-label="Three nodes in a line' in page) == (name == "06")
        assert 'class="colab" href="https://colab' in page and "!git clone" in page
    assert (out / "search.html").is_file() and (out / "searchindex.js").is_file()
    assert not (out / "_sources").exists()
    # what people read, marks of the highlighter taken out
    text = re.sub(r"<[^>]+>", "", page)
    assert "BEGIN SOLUTION" not in text
