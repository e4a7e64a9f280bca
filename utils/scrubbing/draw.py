"""A hypothesis as a picture: the output at the top, what it reads below. With its text twin."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from utils.plots import BLUE, ORANGE
from utils.scrubbing.hypothesis import Hypothesis, Node

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Still
    from plotly.graph_objects import Figure

    from utils.scrubbing.report import ScrubReport

# How a node is resampled: within its feature's classes, not at all, from every input.
COLOURS = {"feature": BLUE, "exact": "#FFFFFF", "any": ORANGE}


def text_tree(hypothesis: Hypothesis, report: ScrubReport | None = None) -> str:
    """The tree as indented lines: name, feature, slots, and what is drawn together."""
    lines = [f"output  (unimportant inputs: {hypothesis.unimportant})"]

    def walk(prefix: str, indent: str, nodes: tuple[Node, ...]) -> None:
        for i, node in enumerate(nodes):
            path = f"{prefix}/{node.name}" if prefix else node.name
            last = i == len(nodes) - 1
            lines.append(f"{indent}{'└─' if last else '├─'} {node.name}  {_claim(node)}")
            if report is not None:
                lines[-1] += f"  {_numbers(report, path)}".rstrip()
            walk(path, indent + ("   " if last else "│  "), node.inputs)

    walk("", "", hypothesis.inputs)
    return "\n".join(lines)


def tree(hypothesis: Hypothesis, report: ScrubReport | None = None) -> Figure:
    """The tree as a plotly figure; save it with `write_html`, or `save_png` below.

    Blue nodes are resampled within their feature's classes, white ones keep their parent's own
    input ("exact"), orange ones are free ("any"). With a report, hovering shows the node's
    strength and marginals.
    """
    from plotly.graph_objects import Figure, Scatter

    places, links = _layout(hypothesis)
    nodes = dict(hypothesis.nodes())
    figure = Figure()
    x: list[float | None] = []
    y: list[float | None] = []
    for parent, child in links:
        x += [places[parent][0], places[child][0], None]
        y += [places[parent][1], places[child][1], None]
    figure.add_trace(
        Scatter(x=x, y=y, mode="lines", line={"color": "#888", "width": 1.5}, hoverinfo="skip",
                showlegend=False)
    )  # fmt: skip
    names = {
        "feature": "another input of the same class",
        "exact": "exact: the parent's own input",
        "any": "any: a random input",
    }
    for kind, colour in COLOURS.items():
        paths = [path for path, node in nodes.items() if _kind(node) == kind]
        if kind == "exact":
            paths = ["", *paths]
        if not paths:
            continue
        figure.add_trace(
            Scatter(
                x=[places[p][0] for p in paths], y=[places[p][1] for p in paths],
                mode="markers", name=names[kind],
                marker={"size": 18, "color": colour, "line": {"color": "#333", "width": 1.5}},
                hovertext=[_hover(p, nodes, report) for p in paths], hoverinfo="text",
                cliponaxis=False,
            )
        )  # fmt: skip
    for path, (across, up) in places.items():  # a white ground, so that no line crosses a name
        figure.add_annotation(
            x=across, y=up, yshift=-12, yanchor="top", text=_caption(path, nodes), showarrow=False,
            bgcolor="white", borderpad=1, font={"size": 11, "color": "#222"},
        )  # fmt: skip
    width = max(p[0] for p in places.values()) + 1
    depth = -min(p[1] for p in places.values())
    title = f"{hypothesis.name} (unimportant inputs: {hypothesis.unimportant})"
    if report is not None:
        title += f"<br><sup>loss recovered {report.recovered.text(report.report.digits)}</sup>"
    figure.update_layout(
        title=title, template="plotly_white", width=int(max(640, 130 * width)),
        height=int(220 + 130 * depth), margin={"l": 30, "r": 30, "t": 80, "b": 30},
        legend={"orientation": "h", "y": -0.02, "yanchor": "top", "x": 0},
    )  # fmt: skip
    figure.update_xaxes(visible=False, range=[-0.7, width - 0.3])
    figure.update_yaxes(visible=False, range=[-depth - 0.7, 0.4])
    return figure


def save_html(hypothesis: Hypothesis, path: str, report: ScrubReport | None = None) -> None:
    """A page that needs no network: the figure, the tree as text, and the report's tables."""
    import html

    drawing = tree(hypothesis, report).to_html(full_html=False, include_plotlyjs=True)
    tables = "" if report is None else report._repr_html_()
    page = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(hypothesis.name)}</title><style>"
        "body{font-family:sans-serif;margin:1.5em;max-width:70em}td,th{padding:.15em .6em}"
        "table{border-collapse:collapse;margin:1em 0}tr{border-bottom:1px solid #ddd}"
        "pre{overflow-x:auto}</style></head><body>"
        f"{drawing}<h2>The same as text</h2><pre>{html.escape(text_tree(hypothesis, report))}</pre>"
        f"{tables}</body></html>"
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)


def save_png(hypothesis: Hypothesis, path: str, report: ScrubReport | None = None) -> None:
    """The picture of `still` as a file."""
    still(hypothesis, report).savefig(path, dpi=130)


def still(hypothesis: Hypothesis, report: ScrubReport | None = None) -> Still:
    """The same picture as `tree` by matplotlib, which needs no browser."""
    from matplotlib.figure import Figure as Plain

    places, links = _layout(hypothesis)
    nodes = dict(hypothesis.nodes())
    width = max(p[0] for p in places.values()) + 1
    depth = -min(p[1] for p in places.values())
    figure = Plain(figsize=(max(6.5, 1.05 * width), 1.4 + 1.4 * depth), layout="constrained")
    axes = figure.add_subplot()
    for parent, child in links:
        ends = [places[parent], places[child]]
        axes.plot(*zip(*ends, strict=True), color="#888", linewidth=1.5, zorder=1)
    for where, (x, y) in places.items():
        kind = _kind(nodes[where]) if where else "exact"
        axes.scatter([x], [y], s=170, color=COLOURS[kind], edgecolor="#333", zorder=2)
        label = _caption(where, nodes).replace("<br>", "\n")
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
        axes.text(x, y - 0.13, label, ha="center", va="top", fontsize=8, zorder=3, bbox=box)
    title = f"{hypothesis.name} (unimportant inputs: {hypothesis.unimportant})"
    if report is not None:
        title += f"\nloss recovered {report.recovered.text(report.report.digits)}"
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlim(-0.7, width - 0.3)
    axes.set_ylim(-depth - 0.75, 0.35)
    axes.axis("off")
    return figure


def _layout(hypothesis: Hypothesis) -> tuple[dict[str, tuple[float, float]], list[tuple[str, str]]]:
    """path -> (x, y), leaves side by side and parents above their middle; and the links."""
    places: dict[str, tuple[float, float]] = {}
    links: list[tuple[str, str]] = []
    free = 0.0

    def walk(path: str, nodes: tuple[Node, ...], depth: int) -> float:
        nonlocal free
        xs = []
        for node in nodes:
            child = f"{path}/{node.name}" if path else node.name
            links.append((path, child))
            xs.append(walk(child, node.inputs, depth + 1))
        if xs:
            x = (xs[0] + xs[-1]) / 2
        else:
            x, free = free, free + 1
        places[path] = (x, -float(depth))
        return x

    walk("", hypothesis.inputs, 0)
    return places, links


def _kind(node: Node) -> str:
    return node.feature if isinstance(node.feature, str) else "feature"


def _claim(node: Node) -> str:
    text = node.label
    if node.via is not None:
        text += f" via {'+'.join(node.via)}"
    if node.together is not None:
        text += f", together: {node.together}"
    return f"[{text}]"


def _caption(path: str, nodes: dict[str, Node]) -> str:
    if not path:
        return "output"
    node = nodes[path]
    name = "<br>".join(textwrap.wrap(node.name, 18)[:3])
    label = "<br>".join(textwrap.wrap(node.label[:30].replace("_", " "), 11))
    return f"{name}<br>{label}" + (f"<br>via {'+'.join(node.via)}" if node.via else "")


def _hover(path: str, nodes: dict[str, Node], report: ScrubReport | None) -> str:
    if not path:
        return "output"
    node = nodes[path]
    lines = [path, str(node.site), _claim(node)]
    if report is not None:
        lines.append(_numbers(report, path))
    return "<br>".join(lines)


def _numbers(report: ScrubReport, path: str) -> str:
    s = report.strength[path]
    text = f"{s.classes} classes, {s.bits:.1f} bits, moved {s.moved:.2f}"
    if path in report.marginals:
        digits = report.report.digits
        exact, free = (f"{e.value:.{digits}f}" for e in report.marginals[path])
        text += f", recovered {exact} if exact, {free} if any"
    return text
