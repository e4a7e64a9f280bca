"""Figures that more than one cell needs: matplotlib, with Plotly where exploring helps.

Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart; every figure
says the same thing twice, by colour and by shape or label. The caller gives the text twin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Interactive

BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
GREY = "#767676"  # 4.5:1 on white


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


def plane(
    coordinates: Tensor, classes: Tensor, notes: Sequence[str], most: int = 500
) -> tuple[Interactive, Figure]:
    """Points of a plane by class: an interactive figure, and its static fallback.

    coordinates: [n, 2]. classes: [n] of 0 and 1. notes: [n], shown on hover.
    most: at most so many points of each class are drawn.
    """
    import matplotlib.pyplot as plt
    import plotly.graph_objects as go

    interactive = go.Figure()
    static, axis = plt.subplots(figsize=(6, 3.6))
    for value, colour, shape, mark in ((0, VERMILION, "circle", "o"), (1, BLUE, "diamond", "D")):
        chosen = (classes == value).nonzero()[:most, 0]
        x, y = coordinates[chosen].round(decimals=1).T.tolist()
        interactive.add_scatter(
            x=x,
            y=y,
            text=[notes[i] for i in chosen.tolist()],
            mode="markers",
            marker={"color": colour, "symbol": shape, "size": 5},
            name=f"class {value}",
            hoverinfo="text+name",
        )
        axis.plot(x, y, mark, color=colour, markersize=3, label=f"class {value}")
    names = {"x": "first principal direction", "y": "second principal direction"}
    interactive.update_layout(
        template="simple_white",
        width=680,
        height=400,
        margin={"t": 20, "r": 20},
        xaxis_title=names["x"],
        yaxis_title=names["y"],
    )
    axis.set(xlabel=names["x"], ylabel=names["y"])
    axis.legend(frameon=False)
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
) -> tuple[Interactive, Figure]:
    """Heat maps one above the other, in one diverging scale: interactive, and its static fallback.

    pictures: from title to [row, column]. rows, columns: what to call them, shown on hover.
    label: what the columns are. limit: the value at either end of the scale.
    """
    import matplotlib.pyplot as plt
    from plotly.subplots import make_subplots

    interactive = make_subplots(len(pictures), 1, subplot_titles=list(pictures))
    width, height = 2.5 + 0.32 * len(columns), 0.9 + 0.3 * len(rows)
    static, axes = plt.subplots(
        len(pictures), 1, figsize=(width, height * len(pictures)), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for n, (title, picture) in enumerate(pictures.items()):
        values = picture.detach().double().round(decimals=2) + 0.0  # no minus before zero
        interactive.add_heatmap(
            z=values.tolist(), x=list(columns), y=list(rows), zmin=-limit, zmax=limit,
            colorscale="RdBu_r", hovertemplate="%{y} at %{x}: %{z}<extra></extra>",
            showscale=n == 0, row=n + 1, col=1,
        )  # fmt: skip
        interactive.update_yaxes(autorange="reversed", row=n + 1, col=1)
        interactive.update_xaxes(type="category", row=n + 1, col=1)
        axis = axes[n][0]
        image = axis.imshow(values.numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        axis.set_title(title, fontsize=10)
        axis.set_yticks(range(len(rows)), rows, fontsize=8)
        axis.set_xticks(range(len(columns)), columns, fontsize=7)
    axes[-1][0].set_xlabel(label)
    interactive.update_xaxes(title_text=label, row=len(pictures), col=1)
    static.colorbar(image, ax=axes[:, 0].tolist(), shrink=0.8)
    interactive.update_layout(
        template="simple_white", width=800, height=120 + 190 * len(pictures), margin={"t": 40}
    )
    return interactive, static
