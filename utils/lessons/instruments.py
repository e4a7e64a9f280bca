"""An instrument in a notebook: the page in a frame, then a still picture and a table.

JupyterLab shows the frame when the cell is run, or when the notebook is trusted. Where a viewer
takes frames out (GitHub, a notebook that is not trusted) the sentence, the picture and the table
are left.
"""

from __future__ import annotations

import html
import re

from utils.instruments import Instrument
from utils.lessons.display import show, table_data
from utils.lessons.figures import figure_png, image_html

# what the site looks for: it puts the page of the frame into a file
FRAME = re.compile(r'<iframe data-instrument="(\w+)" ([^>]*?) srcdoc="([^"]*)"></iframe>')
_STYLE = "width: 100%; border: 1px solid #8888; border-radius: 6px; background: #fff"


def show_instrument(made: Instrument) -> None:
    """Show it: three outputs, each with its text."""
    note = "Where no instrument shows here, the picture and the table below say the most of it."
    document = html.escape(made.document, quote=True).replace("&#x27;", "'")
    # no origin of its own: its scripts reach neither the notebook nor any address
    frame = (
        f'<iframe data-instrument="{made.name}" title="{html.escape(made.title)}" '
        f'sandbox="allow-scripts" loading="lazy" style="{_STYLE}; height: {made.height}px" '
        f'srcdoc="{document}"></iframe>'
    )
    plain = f"Instrument: {made.title}\n{made.sentence}"
    show({"text/plain": plain, "text/html": f"{frame}<p><small>{note}</small></p>"})
    picture = image_html(figure_png(made.still()), made.alt)
    summary = "The instrument as a still picture"
    folded = f"<details><summary>{summary}</summary>{picture}</details>"
    show({"text/plain": f"{summary}: {made.alt}", "text/html": folded})
    show(table_data(list(made.table), made.digits, "The instrument as a table"))
