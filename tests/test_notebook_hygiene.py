"""Every generated notebook is clean, and the rules themselves do catch what they are for."""

import copy

import nbformat
import pytest

from utils.lessons.hygiene import compared, learner_faults, solved_faults
from utils.lessons.places import PACKAGE_ROOT

SOLVED = sorted((PACKAGE_ROOT / "solutions").glob("*.ipynb"))
LEARNER = sorted((PACKAGE_ROOT / "notebooks").glob("*.ipynb"))


def names(paths):
    return [path.name for path in paths]


def test_each_lesson_has_both_notebooks():
    sources = sorted(path.stem for path in (PACKAGE_ROOT / "solutions").glob("[0-9]*.py"))
    assert [path.stem for path in SOLVED] == [path.stem for path in LEARNER] == sources


@pytest.mark.parametrize("path", SOLVED, ids=names(SOLVED))
def test_a_solved_notebook_is_clean(path):
    assert path.stat().st_size < 5_000_000
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert solved_faults(notebook) == []


@pytest.mark.parametrize("path", LEARNER, ids=names(LEARNER))
def test_a_learners_notebook_is_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert learner_faults(notebook) == []


def text_output(text, name="stdout"):
    return nbformat.v4.new_output("stream", text=text, name=name)


def image_output(**metadata):
    data = {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure size 1x1 with 1 Axes>"}
    return nbformat.v4.new_output("display_data", data, metadata=metadata)


def html_output(page):
    return nbformat.v4.new_output("display_data", {"text/html": page, "text/plain": "a b c"})


@pytest.fixture
def notebook():
    """Four cells with output, all of them compared, and one of text."""
    cells = [nbformat.v4.new_markdown_cell("# Title", id="text")]
    for number in range(1, 5):
        cell = nbformat.v4.new_code_cell(f"print({number})", execution_count=number)
        cell.id, cell.outputs = f"cell-{number}", [text_output(f"{number}\n")]
        cells.append(cell)
    return nbformat.v4.new_notebook(cells=cells)


def test_a_clean_notebook_has_no_faults(notebook):
    assert solved_faults(notebook) == [] and compared(notebook) == (4, 4)
    bare = copy.deepcopy(notebook)
    for cell in bare.cells[1:]:
        cell.outputs, cell.execution_count = [], None
    assert learner_faults(bare) == []
    assert len(learner_faults(notebook)) == 4


SOURCES = {
    "### BEGIN SOLUTION\nprint(1)": "solution mark",
    "### STUB": "solution mark",
    "# NBVAL_SKIP\nprint(1)": "unknown mark",
    "# NBVAL_IGNORE_OUTPUT (slow)": "unknown mark",
    "!ls": "shell line or magic",
    "    %timeit x": "shell line or magic",
    "%%bash": "shell line or magic",
    'open("/home/me/x")': "absolute path",
    r'open("C:\\data")': "absolute path",
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_fault_in_a_source_is_found(notebook, source):
    notebook.cells[1].source = source
    assert SOURCES[source] in "\n".join(solved_faults(notebook))


OUTPUTS = {
    "stderr": (text_output("careful", name="stderr"), "writes to stderr"),
    "address": (text_output("<function f at 0x7f12ab34cd56>"), "prints an address"),
    "path": (text_output("saved in /tmp/x.png"), "absolute path"),
    "windows path": (text_output("saved in C:\\Users\\me"), "absolute path"),
    "image": (image_output(), "without alt text"),
    "empty alt": (image_output(**{"image/png": {"alt": " "}}), "without alt text"),
    "html image": (html_output('<img src="data:image/png;base64,x">'), "<img> without alt"),
    "error": (nbformat.v4.new_output("error", ename="E", evalue="x"), "error output"),
}


@pytest.mark.parametrize("fault", OUTPUTS)
def test_a_fault_in_an_output_is_found(notebook, fault):
    output, words = OUTPUTS[fault]
    notebook.cells[1].outputs = [output]
    assert words in "\n".join(solved_faults(notebook))


def test_images_with_alt_text_are_fine(notebook):
    page = '<img alt="Two bars." src="data:image/png;base64,x">'
    notebook.cells[1].outputs = [image_output(**{"image/png": {"alt": "x"}}), html_output(page)]
    assert solved_faults(notebook) == []


def test_counts_ids_tags_and_size(notebook):
    broken = copy.deepcopy(notebook)
    broken.cells[2].execution_count = None
    assert "execution counts" in solved_faults(broken)[0]
    broken = copy.deepcopy(notebook)
    broken.cells[2].id = broken.cells[1].id
    assert "cell ids are not unique" in solved_faults(broken)
    broken = copy.deepcopy(notebook)
    broken.cells[2].metadata.tags = ["raises-exception"]
    assert "unknown tag 'raises-exception'" in solved_faults(broken)[0]
    broken = copy.deepcopy(notebook)
    broken.cells[2].outputs = [text_output("x" * 5_000_001)]
    assert "larger than 5 MB" in solved_faults(broken)


@pytest.mark.parametrize("kind", ["ignored", "tagged", "image", "null count"])
def test_what_nbval_does_not_compare_does_not_count(notebook, kind):
    for cell in notebook.cells[1:3]:
        if kind == "ignored":
            cell.source = "# NBVAL_IGNORE_OUTPUT\n" + cell.source
        elif kind == "tagged":
            cell.metadata.tags = ["nbval-ignore-output"]
        elif kind == "image":
            cell.outputs = [image_output(**{"image/png": {"alt": "x"}})]
        else:
            cell.execution_count = None
    assert compared(notebook) == (2, 4)
    assert any("only 2 of 4" in fault for fault in solved_faults(notebook))
