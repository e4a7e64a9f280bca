"""Figures: text alternative, text twin, the same bytes each time."""

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas
import plotly.graph_objects
import pytest
import torch
from nbconvert import HTMLExporter

from utils.errors import CourseError
from utils.lessons import figures
from utils.lessons.display import cell_text, columns_of, show_line, table_data

TABLE = {"step": [1, 2], "loss": [0.51234, -0.0001]}


def draw():
    figure, axes = plt.subplots(figsize=(2, 1))
    axes.plot(TABLE["step"], TABLE["loss"])
    return figure


@pytest.fixture
def shown(monkeypatch):
    bundles = []
    monkeypatch.setattr(
        figures, "show", lambda data, metadata=None: bundles.append((data, metadata))
    )
    return bundles


def test_image_alt_and_twin(shown):
    figure = draw()
    figures.show_figure(figure, 'Loss falls "fast"\n and <far>.', TABLE)
    (image, metadata), (twin, _) = shown
    assert image["text/plain"] == 'Figure: Loss falls "fast" and <far>.'
    assert metadata["image/png"]["alt"] == 'Loss falls "fast" and <far>.'
    assert image["text/html"].startswith('<img alt="Loss falls &quot;fast&quot; and &lt;far&gt;."')
    assert twin["text/plain"] == (
        "The numbers in this figure\nstep   loss\n   1  0.512\n   2  0.000"
    )
    assert "<details><summary>" in twin["text/html"] and "<td>0.512</td>" in twin["text/html"]
    assert not plt.fignum_exists(figure.number)


def test_png_bytes_repeat_and_say_nothing_of_the_software():
    first, second = figures.figure_png(draw()), figures.figure_png(draw())
    assert first == second
    assert b"Software" not in first and b"tEXt" not in first and b"tIME" not in first


def test_plotly_goes_out_with_its_static_fallback(shown):
    figure = plotly.graph_objects.Figure(plotly.graph_objects.Bar(x=[1, 2], y=[3, 4]))
    with pytest.raises(CourseError, match="needs fallback="):
        figures.show_figure(figure, "Two bars.", TABLE)
    figures.show_figure(figure, "Two bars.", TABLE, fallback=draw())
    (interactive, _), (still, _), (twin, _) = shown
    # Nothing but text beside it: JupyterLab would show HTML or PNG instead.
    assert set(interactive) == {"text/plain", figures.PLOTLY}
    assert interactive[figures.PLOTLY]["data"][0]["type"] == "bar"
    assert 'alt="Two bars."' in still["text/html"]
    assert "data:image/png;base64,iVBOR" in still["text/html"]
    assert "loss" in twin["text/plain"]


@pytest.mark.parametrize(
    "alt, table, words",
    [
        ("", TABLE, "needs alt="),
        (None, TABLE, "needs alt="),
        ("Text.", None, "needs table="),
        ("Text.", {"a": [1], "b": [1, 2]}, "columns of one length"),
        ("Text.", {}, "columns of one length"),
        ("Text.", [], "a table is"),
        ("Text.", {"a": 3}, "each column of a table is a list"),
    ],
)
def test_what_is_missing_is_named(shown, alt, table, words):
    with pytest.raises(CourseError, match=words):
        figures.show_figure(draw(), alt, table)
    assert shown == []
    plt.close("all")


def test_no_figure(shown):
    with pytest.raises(CourseError, match="a matplotlib figure, got str"):
        figures.show_figure("picture", "Text.", TABLE)


def test_nbconvert_writes_the_alt_text(shown):
    figures.show_figure(draw(), "Loss falls.", TABLE)
    data, metadata = shown[0]
    output = nbformat.v4.new_output("display_data", data, metadata=metadata)
    cell = nbformat.v4.new_code_cell("x", outputs=[output], execution_count=1)
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert 'alt="Loss falls."' in page
    assert "No description has been provided" not in page


def test_tables_in_three_forms_and_tensors():
    rows = [{"step": 1, "loss": 0.51234}, {"step": 2, "loss": -0.0001}]
    frame = pandas.DataFrame(TABLE)
    tensors = {"step": np.array([1, 2]), "loss": torch.tensor([0.51234, -0.0001])}
    texts = {table_data(t, 3, "x")["text/plain"] for t in (TABLE, rows, frame, tensors)}
    assert len(texts) == 1
    assert columns_of([{"a": 1}, {"b": 2}]) == {"a": [1, ""], "b": ["", 2]}


def test_entries():
    entries = [-0.0004, 1.5, float("nan"), 3, True, None, "a", torch.tensor(0.25), np.float32(2)]
    assert [cell_text(value, 2) for value in entries] == [
        "0.00", "1.50", "nan", "3", "True", "", "a", "0.25", "2.00",
    ]  # fmt: skip


def test_a_line_has_symbol_and_word_and_no_colour_of_its_own_text(monkeypatch, capsys):
    seen = {}
    monkeypatch.setattr("utils.lessons.display.show", lambda data: seen.update(data))
    show_line("failed", "2.1 failed", "use `x < y` & go")
    assert seen["text/plain"] == "2.1 failed: use `x < y` & go"
    assert "✘ 2.1 failed" in seen["text/html"]
    assert "<code>x &lt; y</code> &amp; go" in seen["text/html"]
    assert "background" not in seen["text/html"] and " color:" not in seen["text/html"]
