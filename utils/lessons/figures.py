"""A figure with its text alternative and its text twin: the table that it draws.

JupyterLab 4.6 and nbconvert's default template ignore `alt` in an output's metadata, so the image
also goes out as HTML, `<img alt=...>`, which both prefer and which keeps the text.
"""

from __future__ import annotations

import base64
import html
import io
import json
import struct
from typing import Any

from utils.errors import CourseError
from utils.lessons.display import show, table_data

DPI = 100
PLOTLY = "application/vnd.plotly.v1+json"


def show_figure(
    figure: Any, alt: str, table: Any, digits: int = 3, fallback: Any = None, title: str = ""
) -> None:
    """Show a matplotlib figure, or a Plotly one with its static `fallback`, then its table.

    `alt` says in a sentence or two what the figure shows; `table` (dict of columns, list of dicts
    or DataFrame) holds the numbers it draws, printed with `digits` decimals. Closes the figure.
    Raises `CourseError` when alt, table or fallback is missing.
    """
    if not isinstance(alt, str) or not alt.strip():
        raise CourseError("lab.figure needs alt=: a sentence that says what the figure shows.")
    if table is None:
        raise CourseError("lab.figure needs table=: the numbers that the figure draws.")
    alt = " ".join(alt.split())
    try:
        twin = table_data(table, digits, title or "The numbers in this figure")
    except ValueError as error:
        raise CourseError(f"lab.figure: {error}.") from error
    interactive = None
    if hasattr(figure, "to_plotly_json"):
        if fallback is None:
            raise CourseError("A Plotly figure needs fallback=: the same as a matplotlib figure.")
        interactive, figure = json.loads(figure.to_json()), fallback
    if not hasattr(figure, "savefig"):
        raise CourseError(f"lab.figure shows a matplotlib figure, got {type(figure).__name__}.")
    png = figure_png(figure)
    image = image_html(png, alt)
    described = f"Figure: {alt}"
    if interactive is None:
        encoded = base64.b64encode(png).decode("ascii")
        bundle = {"text/plain": described, "text/html": image, "image/png": encoded}
        width, height = _size(png)
        show(bundle, {"image/png": {"alt": alt, "width": width, "height": height}})
    else:
        # Apart, because JupyterLab prefers HTML and PNG to a Plotly figure in the same bundle.
        show({"text/plain": described, PLOTLY: interactive})
        summary = "The same as a still picture, where the figure above does not show"
        folded = f"<details><summary>{summary}</summary>{image}</details>"
        show({"text/plain": f"{summary}.", "text/html": folded})
    show(twin)


def image_html(png: bytes, alt: str) -> str:
    """An `<img>` with the picture in it, its size, and what it says to those who do not see it."""
    width, height = _size(png)
    encoded = base64.b64encode(png).decode("ascii")
    return (
        f'<img alt="{html.escape(alt)}" width="{width}" height="{height}" '
        f'style="max-width: 100%; height: auto" src="data:image/png;base64,{encoded}">'
    )


def _size(png: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the file's header."""
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def figure_png(figure: Any) -> bytes:
    """The figure as PNG with nothing in it that differs from run to run; closes the figure."""
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=DPI,
        bbox_inches="tight",
        facecolor="white",
        metadata={"Software": None},
        pil_kwargs={"optimize": True},
    )
    plt.close(figure)
    return buffer.getvalue()
