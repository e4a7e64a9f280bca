"""Three instruments to play with: a web page each, with nothing to install and nothing fetched.

`grid` explores the answers of lesson 03's network, `scrub` builds hypotheses for lesson 06's, and
`paint` paints triggers for lesson 12's. Each is one HTML document made from a template in `pages/`
and from what the course's package computes. The same document stands in a notebook
(`lab.instrument("grid")`), on the web site and in a file (`python -m utils instrument grid`).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from utils.errors import CourseError
from utils.instruments.document import Instrument

NAMES = ("grid", "scrub", "paint")


def instrument(name: str, **options: Any) -> Instrument:
    """The instrument `name`; the options are those of its module's `make`.

    Raises CourseError, naming the three, for an unknown name, and for an option it does not take.
    """
    if name not in NAMES:
        raise CourseError(f"There is no instrument {name!r}; there are: {', '.join(NAMES)}.")
    given = {key: value for key, value in options.items() if value is not None}
    if given and name != "grid":
        raise CourseError(
            f"The instrument {name!r} takes no {', '.join(given)}=: only the grid explorer shows "
            "labels of your own."
        )
    return import_module(f"utils.instruments.{name}").make(**given)


__all__ = ["NAMES", "Instrument", "instrument"]
