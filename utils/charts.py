"""Curves, heat maps and clouds of points that a reader may explore: Plotly, each with a still twin.

Every function gives two figures for `lab.figure(interactive, fallback=static, ...)`, drawn from the
same numbers, with labels beside what they name instead of a legend wherever there is room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from utils.plots import BLUE, GREEN, GREY, PURPLE, VERMILION

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from plotly.graph_objects import Figure as Interactive

# Colour, matplotlib's mark and line, Plotly's symbol and dash: each alone tells the lines apart.
LOOKS = (
    (BLUE, "o", "-", "circle", "solid"),
    (VERMILION, "s", "--", "square", "dash"),
    (GREEN, "^", "-.", "triangle-up", "dashdot"),
    (PURPLE, "D", ":", "diamond", "dot"),
    (GREY, "v", "-", "triangle-down", "solid"),
)


def curves(
    series: Mapping[str, Sequence[float]],
    points: Sequence[float] | Sequence[str],
    *,
    x: str,
    y: str,
    ranges: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    faint: Mapping[str, Sequence[Sequence[float]]] | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
) -> tuple[Interactive, Figure]:
    """Lines over the same points, named at their right ends: interactive, and its still twin.

    series: from a name to a value for each point; a sixth line looks like the first. points:
    numbers, or texts, which stand in even steps. x, y: what the axes are, with units. ranges: from
    a name to the low and the high ends of its values, drawn as a band. faint: from a name to many
    lines drawn thin and grey, such as a null. limits: of the y axis.
    """
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

    spots = list(range(len(points))) if isinstance(points[0], str) else list(points)
    interactive = go.Figure()
    static = Figure(figsize=(7.8, 3.6), layout="constrained")
    axis = static.subplots()
    ends: dict[str, tuple[float, str]] = {}
    for name, many in (faint or {}).items():
        for line in many:
            axis.plot(spots, line, color=GREY, linewidth=1, alpha=0.7)
            interactive.add_scatter(
                x=spots, y=_short(line), mode="lines", line={"color": GREY, "width": 1},
                name=name, hoverinfo="skip",
            )  # fmt: skip
        ends[name] = sum(line[-1] for line in many) / len(many), GREY
    for n, (name, values) in enumerate(series.items()):
        colour, mark, stroke, symbol, dash = LOOKS[n % len(LOOKS)]
        low, high = (ranges or {}).get(name, (values, values))
        if name in (ranges or {}):
            axis.fill_between(spots, low, high, color=colour, alpha=0.15, linewidth=0)
            interactive.add_scatter(
                x=spots + spots[::-1], y=_short(high) + _short(low)[::-1], fill="toself",
                fillcolor=colour, opacity=0.15, line={"width": 0}, mode="lines", hoverinfo="skip",
            )  # fmt: skip
        axis.plot(spots, values, mark, linestyle=stroke, color=colour, markersize=6)
        notes = [f"{name}<br>{point}: {v:.2f}" for point, v in zip(points, values, strict=True)]
        if name in (ranges or {}):
            notes = [
                f"{note}, from {a:.2f} to {b:.2f}"
                for note, a, b in zip(notes, low, high, strict=True)
            ]
        interactive.add_scatter(
            x=spots, y=_short(values), mode="lines+markers", name=name, text=notes,
            hoverinfo="text", line={"color": colour, "dash": dash},
            marker={"symbol": symbol, "size": 8},
        )  # fmt: skip
        ends[name] = values[-1], colour
    margin = 0.02 * (limits[1] - limits[0])
    shown = limits[0] - margin, limits[1] + margin
    heights = _apart(
        [height for height, _ in ends.values()], 0.075 * (limits[1] - limits[0]), shown
    )
    for (name, (_, colour)), height in zip(ends.items(), heights, strict=True):
        axis.annotate(
            name, (1.02, height), xycoords=("axes fraction", "data"), color=colour, va="center",
        )  # fmt: skip
        interactive.add_annotation(
            x=1.01, xref="paper", xanchor="left", y=height, text=name, showarrow=False,
            font={"color": colour, "size": 13},
        )  # fmt: skip
    axis.set(xlabel=x, ylabel=y, ylim=shown)
    axis.set_xticks(spots, [str(point) for point in points])
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    interactive.update_layout(
        template="simple_white", width=760, height=400, showlegend=False,
        margin={"t": 20, "r": 30 + 7 * max(map(len, ends))},
        xaxis={"title": x, "tickvals": spots, "ticktext": [str(point) for point in points]},
        yaxis={"title": y, "range": shown, "showgrid": True},
    )  # fmt: skip
    return interactive, static


def heat(
    pictures: Mapping[str, Tensor],
    *,
    x: str,
    y: str,
    value: str = "",
    limits: tuple[float, float] = (0.0, 1.0),
    names: Mapping[str, Sequence[str]] | None = None,
    upwards: bool = False,
) -> tuple[Interactive, Figure]:
    """Square heat maps side by side, white to blue: interactive, and its still twin.

    pictures: from a title to [n, n]. x, y: what columns and rows are. value: what the colours are;
    without it there is no colour bar. limits: the values at either end. names: from a title to what
    its rows and columns are called, else they are numbered. upwards: row 0 at the bottom.
    """
    from matplotlib.figure import Figure
    from plotly.subplots import make_subplots

    count = len(pictures)
    interactive = make_subplots(1, count, subplot_titles=list(pictures))
    size = (4.2, 3.9) if count == 1 else (2.9 * count, 3.3)
    static = Figure(figsize=size, layout="constrained")
    axes = static.subplots(1, count, squeeze=False)
    for n, ((title, picture), axis) in enumerate(zip(pictures.items(), axes[0], strict=True)):
        values = picture.detach().double().round(decimals=2)
        called = list((names or {}).get(title, ())) or None
        whole = bool((values == values.round()).all())
        interactive.add_heatmap(
            z=(values.long() if whole else values).tolist(), x=called, y=called, zmin=limits[0],
            zmax=limits[1], colorscale="Blues", showscale=bool(value) and n == count - 1,
            colorbar={"title": {"text": value, "side": "right"}},
            hovertemplate=f"{y} %{{y}}, {x} %{{x}}: %{{z}}<extra></extra>", row=1, col=n + 1,
        )  # fmt: skip
        kind = {"type": "category"} if called else {}
        interactive.update_xaxes(title=x, constrain="domain", row=1, col=n + 1, **kind)
        interactive.update_yaxes(
            title=y if n == 0 else "", scaleanchor=f"x{n + 1 if n else ''}", row=1, col=n + 1,
            constrain="domain", autorange=True if upwards else "reversed", **kind,
        )  # fmt: skip
        image = axis.imshow(
            values.numpy(), cmap="Blues", vmin=limits[0], vmax=limits[1], interpolation="nearest",
            origin="lower" if upwards else "upper",
        )  # fmt: skip
        axis.set_title(title, fontsize=11)
        axis.set(xlabel=x, ylabel=y if n == 0 else "")
        if called:
            axis.set_xticks(range(len(called)), called, fontsize=8)
            axis.set_yticks(range(len(called)), called, fontsize=8)
    if value:
        static.colorbar(image, ax=axes[0].tolist(), shrink=0.8, label=value)
    interactive.update_layout(
        template="simple_white", width=460 if count == 1 else 80 + 260 * count,
        height=460 if count == 1 else 360, margin={"t": 40, "r": 20},
    )  # fmt: skip
    return interactive, static


def clouds(
    panels: Mapping[str, Mapping[str, Tensor]],
    *,
    x: str,
    y: str,
    looks: Mapping[str, tuple[str, str]],
    edges: Mapping[tuple[str, str], str],
    notes: Mapping[str, Sequence[str]],
    limits: tuple[tuple[float, float], tuple[float, float]],
    most: int = 100,
) -> tuple[Interactive, Figure]:
    """Clouds of points with their means and lines between these, two panels a row.

    panels: from a title to a cloud of each kind, [n, 2]. looks: from a kind to its colour and its
    shape, "circle" or "triangle-up". edges: from two kinds to the line that joins their means,
    "solid" or "dash". notes: from a kind to n texts, shown on hover. limits: of x and of y.
    most: points drawn of each cloud; the mean is that of all. Gives the interactive figure, and its
    still twin.
    """
    from matplotlib.figure import Figure
    from plotly.subplots import make_subplots

    down = (len(panels) + 1) // 2
    interactive = make_subplots(
        down, 2, subplot_titles=list(panels), vertical_spacing=0.3 / down, horizontal_spacing=0.09
    )
    static = Figure(figsize=(7.4, 2.9 * down + 0.3))
    axes = static.subplots(down, 2, squeeze=False, sharex=True, sharey=True)
    for n, ((title, kinds), axis) in enumerate(zip(panels.items(), axes.flat, strict=False)):
        place = {"row": n // 2 + 1, "col": n % 2 + 1}
        means = {kind: cloud.double().mean(0).tolist() for kind, cloud in kinds.items()}
        for ends, dash in edges.items():
            line = list(zip(*(means[kind] for kind in ends), strict=True))
            axis.plot(*line, color="black", linestyle="-" if dash == "solid" else "--", zorder=2)
            interactive.add_scatter(
                x=_short(line[0]), y=_short(line[1]), mode="lines", hoverinfo="skip",
                line={"color": "black", "dash": dash}, showlegend=False, **place,
            )  # fmt: skip
        for kind, cloud in kinds.items():
            colour, shape = looks[kind]
            mark = {"circle": "o", "triangle-up": "^"}[shape]
            across, up = cloud[:most].double().round(decimals=2).T.tolist()
            axis.scatter(across, up, s=9, alpha=0.3, color=colour, marker=mark, linewidths=0)
            interactive.add_scatter(
                x=across, y=up, text=list(notes[kind][:most]), mode="markers", hoverinfo="text",
                marker={"color": colour, "symbol": shape, "size": 5, "opacity": 0.4},
                showlegend=False, **place,
            )  # fmt: skip
        for kind, (u, v) in means.items():
            colour, shape = looks[kind]
            mark = {"circle": "o", "triangle-up": "^"}[shape]
            axis.scatter(
                [u], [v], s=80, color=colour, marker=mark, edgecolors="black", label=kind, zorder=3
            )
            interactive.add_scatter(
                x=_short([u]), y=_short([v]), mode="markers", name=kind, showlegend=n == 0,
                marker={"color": colour, "symbol": shape, "size": 13,
                        "line": {"color": "black", "width": 1}},
                text=[f"mean of {kind}"], hoverinfo="text", **place,
            )  # fmt: skip
        axis.set(title=title, xlim=limits[0], ylim=limits[1])
        axis.set(xlabel=x if n // 2 == down - 1 else "", ylabel=y if n % 2 == 0 else "")
        interactive.update_xaxes(title=x if n // 2 == down - 1 else "", range=limits[0], **place)
        interactive.update_yaxes(title=y if n % 2 == 0 else "", range=limits[1], **place)
    handles, called = axes.flat[0].get_legend_handles_labels()
    static.legend(handles, called, loc="lower center", ncols=len(called), frameon=False)
    static.tight_layout(rect=(0, 0.05, 1, 1))
    interactive.update_layout(
        template="simple_white", width=760, height=60 + 300 * down, margin={"t": 40, "r": 20},
        legend={"orientation": "h", "y": -0.12},
    )  # fmt: skip
    return interactive, static


def _short(values: Sequence[float]) -> list[float]:
    """Three decimals: a figure is read to two, and the file stays small."""
    return [round(float(value), 3) + 0.0 for value in values]


def _apart(heights: Sequence[float], gap: float, within: tuple[float, float]) -> list[float]:
    """The same heights moved so that no two are nearer than `gap`, in their order and `within`.

    Plotly does not draw a note outside of its axis, so within matters more than the gap.
    """
    placed, order = list(heights), sorted(range(len(heights)), key=lambda i: heights[i])
    for _ in range(100):
        for below, above in zip(order, order[1:], strict=False):
            short = gap - (placed[above] - placed[below])
            if short > 1e-9:
                placed[below] -= short / 2
                placed[above] += short / 2
    ceiling = within[1]
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    floor = within[0]
    for i in order:
        placed[i] = max(placed[i], floor)
        floor = placed[i] + gap
    return placed
