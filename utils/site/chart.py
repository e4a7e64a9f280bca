"""The map of lessons: what needs what, as a picture (inline SVG) and as a table."""

from __future__ import annotations

import html
import textwrap
from typing import Any

from utils.lessons.notebooks import dots
from utils.site.lessons import run_time

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 126, 78, 26, 16, 4  # pixels of a box and between boxes


def depths(lessons: dict[str, Any]) -> dict[str, int]:
    """Lesson -> the number of lessons on the longest way to it."""
    known: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in known:
            needed = [one for one in lessons[name]["prerequisites"] if one in lessons]
            known[name] = 1 + max((depth(one) for one in needed), default=-1)
        return known[name]

    return {name: depth(name) for name in sorted(lessons)}


def direct(name: str, lessons: dict[str, Any]) -> list[str]:
    """What a lesson needs and none of its other needs does: a line each keeps the picture clear."""
    needed = [one for one in lessons[name]["prerequisites"] if one in lessons]
    return [one for one in needed if not any(one in _way(other, lessons) for other in needed)]


def _way(name: str, lessons: dict[str, Any]) -> set[str]:
    """Everything on the way to a lesson, itself left out."""
    found: set[str] = set()
    for needed in lessons[name]["prerequisites"]:
        if needed in lessons:
            found |= {needed} | _way(needed, lessons)
    return found


def places_of(lessons: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Lesson -> (column, row): a column a depth, and in it an order that crosses few lines.

    A lesson stands near the mean row of what it needs (the barycentre heuristic of Sugiyama, Tagawa
    & Toda, "Methods for Visual Understanding of Hierarchical System Structures", 1981).
    """
    column = depths(lessons)
    row: dict[str, int] = {}
    for at in sorted(set(column.values())):
        here = [name for name in column if column[name] == at]

        def wish(name: str) -> tuple[float, str]:
            above = [row[one] for one in direct(name, lessons) if one in row]
            return (sum(above) / len(above) if above else 0.0, name)

        for number, name in enumerate(sorted(here, key=wish)):
            row[name] = number
    return {name: (column[name], row[name]) for name in column}


def svg(lessons: dict[str, Any]) -> str:
    """The picture: a box a lesson, linked to its page, and a line from what it needs. Colours come
    from the page (`site.css`), so that it reads in light and dark."""
    at = places_of(lessons)
    columns = 1 + max((x for x, _ in at.values()), default=0)
    rows = 1 + max((y for _, y in at.values()), default=0)
    count = {x: sum(1 for column, _ in at.values() if column == x) for x in range(columns)}
    wide = 2 * MARGIN + columns * WIDTH + (columns - 1) * GAP_X
    high = 2 * MARGIN + rows * HEIGHT + (rows - 1) * GAP_Y

    def corner(name: str) -> tuple[float, float]:
        x, y = at[name]
        shift = (rows - count[x]) / 2  # short columns stand in the middle
        return MARGIN + x * (WIDTH + GAP_X), MARGIN + (y + shift) * (HEIGHT + GAP_Y)

    lines, boxes = [], []
    for name, card in sorted(lessons.items()):
        x, y = corner(name)
        for needed in direct(name, lessons):
            if needed in at:
                fx, fy = corner(needed)
                fx, fy, ty = fx + WIDTH, fy + HEIGHT / 2, y + HEIGHT / 2
                bend = GAP_X / 2
                lines.append(
                    f'<path d="M{fx:g} {fy:g} C{fx + bend:g} {fy:g} {x - bend:g} {ty:g} {x:g}'
                    f' {ty:g}"/>'
                )
        words = textwrap.wrap(f"{name} {card['title']}", 16, max_lines=3, placeholder=" …")
        spans = "".join(
            f'<tspan x="{x + 8:g}" y="{y + 18 + 15 * k:g}">{html.escape(line)}</tspan>'
            for k, line in enumerate(words)
        )
        small = f"{card['minutes']} min  {'●' * card['difficulty']}{'○' * (5 - card['difficulty'])}"
        boxes.append(
            f'<a href="lessons/{card["slug"]}.html"'
            f' aria-label="{name} {html.escape(card["title"])}">'
            f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>'
            f"<text>{spans}</text>"
            f'<text class="small" x="{x + 8:g}" y="{y + HEIGHT - 9:g}">{small}</text></a>'
        )
    return (
        f'<svg viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}" role="group" '
        'aria-label="What needs what: the table below says the same">'
        f'<g class="needs">{"".join(lines)}</g>{"".join(boxes)}</svg>'
    )


def table(lessons: dict[str, Any], measured: dict[str, Any]) -> str:
    """The same in Markdown, with what a lesson costs you and the machine."""
    lines = [
        "| lesson | builds on | opens | minutes | difficulty | points | run time, memory |",
        "|---|---|---|--:|---|--:|--:|",
    ]
    for name, card in sorted(lessons.items()):
        opens = [one for one, its in sorted(lessons.items()) if name in its["prerequisites"]]
        lines.append(
            f"| [{name} {card['title']}](lessons/{card['slug']}.ipynb) "
            f"| {', '.join(card['prerequisites']) or 'nothing'} | {', '.join(opens) or 'nothing'} "
            f"| {card['minutes']} | {dots(card['difficulty'])} | {card['points']} "
            f"| {run_time(measured.get(name))} |"
        )
    return "\n".join(lines)
