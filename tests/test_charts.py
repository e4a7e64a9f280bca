"""Charts: the interactive figure and its still twin are drawn from the same numbers."""

import torch

from utils import charts


def test_curves_shows_the_same_lines_twice():
    series = {"found": [0.1, 0.5, 0.9], "control": [0.1, 0.1, 0.88]}
    interactive, static = charts.curves(
        series,
        ["ten", "thirty", "hundred"],
        x="rows",
        y="share",
        ranges={"found": ([0.0, 0.4, 0.8], [0.2, 0.6, 1.0])},
        faint={"null": [[0.3] * 3, [0.5] * 3]},
    )
    drawn = {trace.name: list(trace.y) for trace in interactive.data if trace.mode != "lines"}
    assert drawn == series
    still = [list(line.get_ydata()) for line in static.axes[0].lines]
    assert still == [[0.3] * 3, [0.5] * 3, *series.values()]
    (band,) = (trace for trace in interactive.data if trace.fill == "toself")
    assert list(band.y) == [0.2, 0.6, 1.0, 0.8, 0.4, 0.0]
    (note,) = (trace.text[1] for trace in interactive.data if trace.name == "found")
    assert note == "found<br>thirty: 0.50, from 0.40 to 0.60"
    assert static.axes[0].get_xlabel() == interactive.layout.xaxis.title.text == "rows"
    assert list(interactive.layout.xaxis.ticktext) == ["ten", "thirty", "hundred"]


def test_curves_are_named_beside_their_ends_and_the_names_do_not_touch():
    series = {"one": [0.0, 0.99], "two": [1.0, 0.99], "three": [0.5, 1.0]}
    interactive, static = charts.curves(series, [0.0, 1.0], x="dose", y="share")
    labels = {note.text: note.y for note in interactive.layout.annotations}
    assert set(labels) == set(series) == {text.get_text() for text in static.axes[0].texts}
    heights = sorted(labels.values())
    assert all(b - a > 0.07 for a, b in zip(heights, heights[1:], strict=False))
    assert labels["three"] == heights[-1]  # the order is that of the ends
    low, high = interactive.layout.yaxis.range  # outside of it Plotly would draw no name
    assert low <= heights[0] and heights[-1] <= high


def test_heat_shows_the_same_numbers_twice():
    first, second = torch.tensor([[1.0, 0.126], [0.5, 0.25]]), torch.eye(2)
    interactive, static = charts.heat(
        {"a": first, "b": second}, x="restart", y="other restart", value="agreement",
        names={"a": ["7", "3"]},
    )  # fmt: skip
    drawn = [[list(row) for row in trace.z] for trace in interactive.data]
    assert drawn == [[[1.0, 0.13], [0.5, 0.25]], [[1, 0], [0, 1]]]
    assert list(interactive.data[0].x) == ["7", "3"] and interactive.data[1].x is None
    assert [trace.showscale for trace in interactive.data] == [False, True]
    assert static.axes[0].images[0].get_array().tolist() == [[1.0, 0.13], [0.5, 0.25]]
    assert [tick.get_text() for tick in static.axes[0].get_xticklabels()] == ["7", "3"]
    assert interactive.layout.yaxis.autorange == "reversed"  # row 0 at the top, in both
    assert static.axes[0].images[0].origin == "upper"


def test_heat_upwards_has_row_0_at_the_bottom_in_both():
    interactive, static = charts.heat({"": torch.eye(3)}, x="b", y="a", upwards=True)
    assert interactive.layout.yaxis.autorange is True
    assert static.axes[0].images[0].origin == "lower"


def test_clouds_draws_the_means_of_all_points_and_no_more_points_than_asked():
    points = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, -1.0]])
    interactive, static = charts.clouds(
        {"before": {"a": points, "b": points + 1}, "after": {"a": points, "b": points}},
        x="u", y="v", looks={"a": ("#000000", "circle"), "b": ("#111111", "triangle-up")},
        edges={("a", "b"): "dash"}, notes={"a": list("123"), "b": list("456")},
        limits=((-9, 9), (-9, 9)), most=2,
    )  # fmt: skip
    line, some, _, mean_a, mean_b = interactive.data[:5]
    assert list(some.x) == [0, 2] and list(some.text) == ["1", "2"]
    assert (mean_a.x, mean_a.y, mean_b.x, mean_b.y) == ((2,), (1,), (3,), (2,))
    assert (line.x, line.y, line.line.dash) == ((2, 3), (1, 2), "dash")
    assert static.axes[0].lines[0].get_xydata().tolist() == [[2, 1], [3, 2]]
    assert [axis.get_title() for axis in static.axes] == ["before", "after"]
    named = [trace.showlegend for trace in interactive.data if trace.name]
    assert named == [True, True, False, False]
