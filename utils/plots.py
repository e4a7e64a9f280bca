"""Figures that more than one cell needs: matplotlib, with Plotly where exploring helps.

The hues are those of Okabe and Ito (2008), which colour-blind readers can tell apart, dark enough
for text on white; every figure says the same thing twice, by colour and by shape or label. The
caller gives the text twin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Interactive

# Each at least 4.5:1 on white, since curves are named beside them in their own colour.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#BF5400", "#007F5C", "#A64D82"
GREY = "#767676"
ORANGE = "#E69F00"  # for areas and marks, never for letters
# Colour and shape (Plotly's name, matplotlib's mark) of the groups of a scatter, in this order.
_LOOKS = (
    (VERMILION, "circle", "o"),
    (BLUE, "diamond", "D"),
    (GREEN, "square", "s"),
    (GREY, "x", "x"),
    (PURPLE, "triangle-up", "^"),
)


def pictures(
    rows: Sequence[Mapping[str, Tensor]],
    labels: Sequence[str] = (),
    *,
    signed: Sequence[str] = (),
    size: float = 1.2,
) -> Figure:
    """A grid of pictures, each [height, width], titled by its key.

    rows: one mapping a row, from title to picture; titles may differ from row to row.
    labels: what to write before each row. signed: titles drawn in a diverging scale around 0 (red
    positive, blue negative) instead of grey (white is 1).
    """
    import matplotlib.pyplot as plt

    columns = max(len(row) for row in rows)
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(size * columns, 1.25 * size * len(rows)), squeeze=False
    )
    for y, row in enumerate(rows):
        for axis, (title, picture) in zip(axes[y], row.items(), strict=False):
            values = picture.detach().numpy()
            if title in signed:
                limit = float(abs(values).max())
                axis.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
            else:
                axis.imshow(values, cmap="gray", vmin=0, vmax=1)
            # A title that is only a number keeps pictures apart in the mapping, no more.
            axis.set_title("" if title.isdigit() else title, fontsize=9)
            axis.set(xticks=[], yticks=[])
        for axis in axes[y][len(row) :]:
            axis.set_visible(False)
        if labels:
            axes[y][0].set_ylabel(labels[y])
    figure.tight_layout()
    return figure


def points(
    groups: Mapping[str, tuple[Tensor, Sequence[str]]],
    *,
    x: str,
    y: str,
    most: int = 500,
    decimals: int = 1,
) -> tuple[Interactive, Figure]:
    """Points of a plane by group: an interactive figure, and its static fallback.

    groups: from a group's name to its coordinates [n, 2] and to n notes, shown on hover; up to five
    groups, each with a colour and a shape of its own. x, y: what the axes are, with units.
    most: at most so many points of each group are drawn. decimals: kept of the coordinates.
    """
    import matplotlib.pyplot as plt
    import plotly.graph_objects as go

    interactive = go.Figure()
    static, axis = plt.subplots(figsize=(6.4, 4.2))
    for (name, (coordinates, notes)), (colour, shape, mark) in zip(
        groups.items(), _LOOKS, strict=False
    ):
        across, up = coordinates[:most].double().round(decimals=decimals).T.tolist()
        interactive.add_scatter(
            x=across, y=up, text=list(notes[:most]), mode="markers", name=name,
            marker={"color": colour, "symbol": shape, "size": 6, "opacity": 0.8},
            hoverinfo="text+name", hoverlabel={"namelength": -1},
        )  # fmt: skip
        axis.plot(across, up, mark, color=colour, markersize=3.5, alpha=0.8, label=name)
    interactive.update_layout(
        template="simple_white", width=700, height=480, margin={"t": 60, "r": 20},
        xaxis_title=x, yaxis_title=y, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )  # fmt: skip
    axis.set(xlabel=x, ylabel=y)
    axis.legend(
        frameon=False, ncols=len(groups), loc="lower center", bbox_to_anchor=(0.5, 1.0),
        handletextpad=0.1, columnspacing=1.2,
    )  # fmt: skip
    return interactive, static


def plane(
    coordinates: Tensor, classes: Tensor, notes: Sequence[str], most: int = 500
) -> tuple[Interactive, Figure]:
    """Points of a principal plane by class: an interactive figure, and its static fallback.

    coordinates: [n, 2]. classes: [n] of 0 and 1. notes: [n], shown on hover.
    most: at most so many points of each class are drawn.
    """
    groups = {}
    for value in (0, 1):
        chosen = (classes == value).nonzero()[:most, 0]
        groups[f"class {value}"] = coordinates[chosen], [notes[i] for i in chosen.tolist()]
    return points(groups, x="first principal direction", y="second principal direction", most=most)


def rings(planes: Mapping[str, Tensor]) -> tuple[Interactive, Figure]:
    """Points of several planes, one at a time by a menu; the static fallback has them all.

    planes: from a title to coordinates [n, 2]; row n belongs to the number n, which shows on hover.
    The first four numbers stand out, and are named where they do not lie on top of each other.
    """
    import matplotlib.pyplot as plt
    import plotly.graph_objects as go

    interactive = go.Figure()
    down = (len(planes) + 2) // 3
    static, axes = plt.subplots(down, 3, figsize=(7.2, 2.6 * down), squeeze=False)
    for n, ((title, coordinates), axis) in enumerate(zip(planes.items(), axes.flat, strict=False)):
        across, up = coordinates.double().round(decimals=2).T.tolist()
        named = _apart(coordinates[:4])
        interactive.add_scatter(
            x=across, y=up, customdata=list(range(len(across))), visible=n == 0, showlegend=False,
            text=[str(i) if i in named else "" for i in range(len(across))],
            mode="markers+text", textposition="top center", textfont={"size": 15},
            marker={
                "size": [11 if i < 4 else 6 for i in range(len(across))],
                "color": [VERMILION if i < 4 else BLUE for i in range(len(across))],
            },
            hovertemplate="number %{customdata}<extra></extra>",
        )  # fmt: skip
        axis.plot(across, up, "o", color=BLUE, markersize=2)
        axis.plot(across[:4], up[:4], "o", color=VERMILION, markersize=4)
        for i in named:
            axis.annotate(str(i), (across[i], up[i]), xytext=(4, 4), textcoords="offset points")
        axis.set_title(title, fontsize=10)
        axis.set(xticks=[], yticks=[], xlabel="first direction", ylabel="second direction")
        axis.set_aspect("equal", adjustable="datalim")
        axis.margins(0.2)
    for axis in axes.flat[len(planes) :]:
        axis.set_visible(False)
    static.tight_layout()
    buttons = [
        {
            "label": title,
            "method": "update",
            "args": [{"visible": [other == title for other in planes]}],
        }
        for title in planes
    ]
    menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    interactive.update_layout(
        template="simple_white", width=480, height=500, margin={"t": 60, "r": 20},
        updatemenus=[menu], xaxis={"title": "first direction of the plane", "constrain": "domain"},
        yaxis={"title": "second direction of the plane", "scaleanchor": "x"},
    )  # fmt: skip
    return interactive, static


def _apart(points: Tensor) -> list[int]:
    """Rows of points [n, 2] that lie a good step away from every such row before them."""
    kept: list[int] = []
    least = 0.3 * float(points.norm(dim=1).max())
    for i, point in enumerate(points):
        if all(float((point - points[j]).norm()) > least for j in kept):
            kept.append(i)
    return kept


def attention(patterns: Mapping[str, Tensor], tokens: Sequence[str]) -> tuple[Interactive, Figure]:
    """Attention patterns of one row, two beside each other: interactive, and its static fallback.

    patterns: from a head's name to [position, key] of shares. tokens: what stands where.
    """
    import matplotlib.pyplot as plt
    from plotly.subplots import make_subplots

    size, down = len(tokens), (len(patterns) + 1) // 2
    names = [f"{token} at {place}" for place, token in enumerate(tokens)]
    gap = {"horizontal_spacing": 0.12, "vertical_spacing": 0.2 / down}
    interactive = make_subplots(down, 2, subplot_titles=list(patterns), **gap)
    static, axes = plt.subplots(down, 2, figsize=(8, 4.2 * down), squeeze=False)
    for n, ((title, pattern), axis) in enumerate(zip(patterns.items(), axes.flat, strict=False)):
        place = {"row": n // 2 + 1, "col": n % 2 + 1}
        values = pattern.detach().double().round(decimals=2)
        interactive.add_heatmap(
            z=values.tolist(), x=names, y=names, zmin=0, zmax=1, colorscale="Blues",
            colorbar={"title": "share"}, showscale=n == 0,
            hovertemplate="%{y} gives %{z} of its attention<br>to %{x}<extra>" + title + "</extra>",
            **place,
        )  # fmt: skip
        ticks = {"tickvals": names, "ticktext": list(tokens), "tickfont": {"size": 11}}
        below = "token looked at" if n // 2 == down - 1 else ""
        interactive.update_xaxes(title=below, tickangle=90, **ticks, **place)
        interactive.update_yaxes(
            title="token that looks" if n % 2 == 0 else "", autorange="reversed", **ticks, **place
        )
        axis.imshow(values.numpy(), cmap="Blues", vmin=0, vmax=1)
        axis.set_title(title)
        axis.set_xticks(range(size), tokens, fontsize=7)
        axis.set_yticks(range(size), tokens, fontsize=7)
        axis.set(xlabel="token looked at", ylabel="token that looks")
    for axis in axes.flat[len(patterns) :]:
        axis.set_visible(False)
    static.tight_layout()
    interactive.update_layout(
        template="simple_white", width=760, height=60 + 360 * down, margin={"t": 40, "r": 10}
    )
    return interactive, static


def grid(labels: Tensor, wrong: Tensor, seen: Tensor) -> tuple[Interactive, Figure]:
    """A grid of pairs with the errors of a network on it: interactive, and its static fallback.

    labels: [p, p] of 0 and 1, row a and column b. wrong, seen: [p, p] bool, where the network errs
    and what it was trained on. Row 0 is at the top.
    """
    import matplotlib.pyplot as plt
    import plotly.graph_objects as go

    size = len(labels)
    down, right = (x.tolist() for x in wrong.nonzero(as_tuple=True))
    interactive = go.Figure(
        go.Heatmap(
            z=labels.tolist(),
            colorscale=[[0, "#FFFFFF"], [1, "#9CC5E0"]],
            showscale=False,
            hovertemplate="a %{y}, b %{x}: label %{z}<extra></extra>",
        )
    )
    half = {True: "training", False: "held-out"}
    notes = [
        f"a {a}, b {b}: {half[bool(seen[a, b])]} pair, network says {1 - int(labels[a, b])}"
        for a, b in zip(down, right, strict=True)
    ]
    interactive.add_scatter(
        x=right, y=down, text=notes, mode="markers", name="network errs", hoverinfo="text",
        marker={"color": VERMILION, "symbol": "x", "size": 6},
    )  # fmt: skip
    interactive.update_layout(
        template="simple_white", width=620, height=620, margin={"t": 20, "r": 20},
        xaxis={"title": "b, second number", "constrain": "domain"},
        yaxis={"title": "a, first number", "autorange": "reversed", "scaleanchor": "x"},
    )  # fmt: skip
    static, axis = plt.subplots(figsize=(6.4, 6.4))
    colours = plt.matplotlib.colors.ListedColormap(["#FFFFFF", "#9CC5E0"])
    axis.imshow(labels.numpy(), cmap=colours, vmin=0, vmax=1)
    axis.plot(right, down, "x", color=VERMILION, markersize=3.5, label="network errs")
    axis.set(xlabel="b, second number", ylabel="a, first number")
    axis.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
    axis.legend(loc="upper left", bbox_to_anchor=(0, 1.08), frameon=False)
    return interactive, static


def maps(
    pictures: Mapping[str, Tensor],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    limit: float = 1.0,
    value: str = "",
    numbers: bool = False,
) -> tuple[Interactive, Figure]:
    """Heat maps one above the other, in one diverging scale: interactive, and its static fallback.

    pictures: from title to [row, column]. rows, columns: what to call them, shown on hover.
    label: what the columns are. limit: the value at either end of the scale. value: what the
    colours are. numbers: whether each cell also holds its value.
    """
    import matplotlib.pyplot as plt
    import numpy as np
    from plotly.subplots import make_subplots

    interactive = make_subplots(len(pictures), 1, subplot_titles=list(pictures))
    wide = 0.55 if numbers else 0.32
    width, height = 2.5 + wide * len(columns), 0.9 + 0.3 * len(rows)
    static, axes = plt.subplots(
        len(pictures), 1, figsize=(width, height * len(pictures)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for n, (title, picture) in enumerate(pictures.items()):
        values = picture.detach().double().round(decimals=2) + 0.0  # no minus before zero
        interactive.add_heatmap(
            z=values.tolist(), x=list(columns), y=list(rows), zmin=-limit, zmax=limit,
            colorscale="RdBu_r", hovertemplate="%{y} at %{x}: %{z}<extra></extra>",
            showscale=n == 0, row=n + 1, col=1, texttemplate="%{z:.2f}" if numbers else None,
            colorbar={"title": {"text": value, "side": "right"}},
        )  # fmt: skip
        interactive.update_yaxes(autorange="reversed", row=n + 1, col=1)
        interactive.update_xaxes(type="category", row=n + 1, col=1)
        axis = axes[n][0]
        image = axis.imshow(values.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        axis.set_title(title, fontsize=10)
        axis.set_yticks(range(len(rows)), rows, fontsize=8)
        axis.set_xticks(range(len(columns)), columns, fontsize=7)
        if numbers:
            for (i, j), number in np.ndenumerate(values.numpy()):
                ink = "white" if abs(number) > 0.6 * limit else "black"
                axis.text(j, i, f"{number:.2f}", ha="center", va="center", color=ink, fontsize=8)
    axes[-1][0].set_xlabel(label)
    interactive.update_xaxes(title_text=label, row=len(pictures), col=1)
    static.colorbar(image, ax=axes[:, 0].tolist(), shrink=0.8, label=value)
    tall = max(190, 34 * len(rows))
    interactive.update_layout(
        template="simple_white", width=800, height=120 + tall * len(pictures), margin={"t": 40}
    )
    return interactive, static
