"""Figures: what is drawn is what was given, and both versions of a figure say the same."""

import matplotlib.pyplot as plt
import pytest
import torch

from utils import charts, plots


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def on_white(colour: str) -> float:
    """The contrast of a colour on white, as WCAG 2.2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 1.05 / (light + 0.05)


def test_what_names_a_curve_can_be_read():
    assert on_white("#000000") == pytest.approx(21)
    for colour in (plots.BLUE, plots.VERMILION, plots.GREEN, plots.PURPLE, plots.GREY):
        assert on_white(colour) >= 4.5, colour
    assert on_white(plots.ORANGE) < 4.5  # so it names none
    assert plots.ORANGE not in [look[0] for look in charts.LOOKS]


def test_pictures_draws_each_picture_under_its_title():
    grey, signed = torch.rand(4, 5), torch.randn(4, 5)
    figure = plots.pictures(
        [{"0": grey, "clue": grey}, {"map": signed}], ["a", "b"], signed=["map"]
    )
    axes = figure.axes
    assert [axis.get_title() for axis in axes] == ["", "clue", "map", ""]
    assert [axis.get_visible() for axis in axes] == [True, True, True, False]
    assert axes[0].get_ylabel() == "a" and axes[2].get_ylabel() == "b"
    assert torch.equal(torch.as_tensor(axes[1].images[0].get_array().data), grey)
    assert axes[1].images[0].get_clim() == (0, 1)
    low, high = axes[2].images[0].get_clim()
    assert low == -high == pytest.approx(-signed.abs().max().item())


def test_plane_shows_the_same_points_twice():
    points = torch.tensor([[0.0, 1.0], [2.04, 3.0], [4.0, -5.0]])
    interactive, static = plots.plane(points, torch.tensor([0, 1, 1]), ["a", "b", "c"])
    drawn = {
        trace.name: (list(trace.x), list(trace.y), list(trace.text)) for trace in interactive.data
    }
    assert [[round(v, 3) for v in column] for column in drawn["class 1"][:2]] == [[2, 4], [3, -5]]
    assert drawn["class 0"][2] == ["a"] and drawn["class 1"][2] == ["b", "c"]
    lines = {line.get_label(): line.get_xydata() for line in static.axes[0].lines}
    assert torch.allclose(
        torch.as_tensor(lines["class 1"]), torch.tensor([[2.0, 3], [4, -5]]).double()
    )
    assert static.axes[0].get_xlabel() == interactive.layout.xaxis.title.text


def test_plane_draws_no_more_points_than_asked():
    interactive, _ = plots.plane(torch.randn(50, 2), torch.zeros(50), ["x"] * 50, most=10)
    assert [len(trace.x) for trace in interactive.data] == [10, 0]


def test_grid_marks_the_same_errors_twice():
    labels, seen = torch.tensor([[0, 1], [1, 1]]), torch.tensor([[True, True], [False, False]])
    wrong = torch.tensor([[False, True], [True, False]])
    interactive, static = plots.grid(labels, wrong, seen)
    heat, marks = interactive.data
    assert [list(row) for row in heat.z] == labels.tolist()
    assert list(zip(marks.y, marks.x, strict=True)) == [(0, 1), (1, 0)]
    assert list(marks.text) == [
        "a 0, b 1: training pair, network says 0",
        "a 1, b 0: held-out pair, network says 0",
    ]
    (line,) = static.axes[0].lines
    assert line.get_xydata().tolist() == [[1, 0], [0, 1]]
    assert static.axes[0].get_ylim() == (1.5, -0.5)  # row 0 at the top, in both
    assert interactive.layout.yaxis.autorange == "reversed"


def test_maps_shows_the_same_numbers_twice():
    table = torch.tensor([[0.126, -0.001, 1.0], [-0.5, 0.0, 0.25]])
    interactive, static = plots.maps(
        {"one": table, "two": -table}, rows=["a", "b"], columns=["x", "y", "z"], label="place"
    )
    drawn = [torch.tensor(trace.z, dtype=torch.float64) for trace in interactive.data]
    still = [axis.images[0].get_array().data for axis in static.axes[:2]]
    for sign, left, right in zip((1, -1), drawn, still, strict=True):
        wanted = (sign * table.double()).round(decimals=2)
        assert torch.equal(left, wanted) and torch.equal(torch.as_tensor(right), wanted)
        assert not torch.signbit(left[wanted == 0]).any()
    assert list(interactive.data[0].y) == ["a", "b"]
    assert [trace.showscale for trace in interactive.data] == [True, False]
    assert [axis.get_title() for axis in static.axes[:2]] == ["one", "two"]
    assert static.axes[1].get_xlabel() == interactive.layout.xaxis2.title.text == "place"


def test_points_shows_every_group_twice_by_its_name():
    groups = {
        name: (torch.tensor([[n, 2.04 * n]]), [f"note {n}"]) for n, name in enumerate("abcde")
    }
    interactive, static = plots.points(groups, x="east (m)", y="north (m)")
    lines = static.axes[0].lines
    for trace, line, (name, (place, notes)) in zip(
        interactive.data, lines, groups.items(), strict=True
    ):
        assert trace.name == line.get_label() == name
        assert list(trace.text) == notes
        assert [trace.x[0], trace.y[0]] == pytest.approx(place.round(decimals=1)[0].tolist())
        assert line.get_xydata().tolist() == [[trace.x[0], trace.y[0]]]
    assert len({(line.get_marker(), line.get_color()) for line in lines}) == 5
    assert static.axes[0].get_ylabel() == interactive.layout.yaxis.title.text == "north (m)"


def test_rings_shows_one_plane_at_a_time_and_all_of_them_in_the_still():
    square = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1], [0.5, 0.5], [0.123, 0]])
    crowded = torch.cat([square[:1], square[:1] + 0.01, square[2:]])
    planes = {"one": square, "two": crowded}
    interactive, static = plots.rings(planes)
    assert [trace.visible for trace in interactive.data] == [True, False]
    (menu,) = interactive.layout.updatemenus
    assert [button.label for button in menu.buttons] == list(planes)
    assert menu.buttons[1].args[0]["visible"] == [False, True]
    for trace, axis, points in zip(interactive.data, static.axes, planes.values(), strict=False):
        wanted = points.double().round(decimals=2).T.tolist()
        assert [list(trace.x), list(trace.y)] == wanted
        assert axis.lines[0].get_xydata().T.tolist() == wanted
        assert list(trace.customdata) == list(range(6))
        names = ["0", "1", "2", "3"] if points is square else ["0", "2", "3"]
        assert [text.get_text() for text in axis.texts] == names
        assert [text for text in trace.text if text] == names


def test_attention_shows_the_same_shares_twice_with_the_token_and_its_place():
    patterns = {name: torch.rand(3, 3).tril() for name in ("head 0", "head 1", "head 2")}
    interactive, static = plots.attention(patterns, ["7", "7", "5"])
    for trace, axis, (name, pattern) in zip(
        interactive.data, static.axes, patterns.items(), strict=False
    ):
        wanted = pattern.double().round(decimals=2)
        assert torch.equal(torch.tensor(trace.z, dtype=torch.float64), wanted)
        assert torch.equal(torch.as_tensor(axis.images[0].get_array().data), wanted)
        assert list(trace.x) == list(trace.y) == ["7 at 0", "7 at 1", "5 at 2"]
        assert axis.get_title() == name and name in trace.hovertemplate
    assert [note.text for note in interactive.layout.annotations] == list(patterns)
    assert not static.axes[3].get_visible()


def test_maps_writes_its_numbers_into_the_cells_where_asked():
    table = torch.tensor([[0.126, 1.0]])
    interactive, static = plots.maps(
        {"one": table}, rows=["a"], columns=["x", "y"], label="", value="share", numbers=True
    )
    assert [text.get_text() for text in static.axes[0].texts] == ["0.13", "1.00"]
    assert interactive.data[0].texttemplate == "%{z:.2f}"
    assert interactive.data[0].colorbar.title.text == static.axes[1].get_ylabel() == "share"
