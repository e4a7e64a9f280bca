"""A safety filter to reverse-engineer: hidden concepts, from outside and from inside.

`make` draws a filter, `Gate` answers questions about images, `from_outside` and `from_inside`
recover a rule, `agreement`, `let_through` and `dilution` say what the rule is worth.
"""

from utils.safety_filter.attack import dilute, dilution
from utils.safety_filter.filter import Gate, GateError, Planted, SafetyFilter, like, make, nameless
from utils.safety_filter.judging import agreement, balanced, let_through, looks, missed, nearest
from utils.safety_filter.naming import best_match, naming, null_matches
from utils.safety_filter.outside import (
    Border,
    Rule,
    Survey,
    bisect,
    borders,
    candidates,
    emptied,
    explained,
    fade,
    shortlist,
    showing,
    survey,
)
from utils.safety_filter.recover import Recovered, from_inside, from_outside, listing
from utils.safety_filter.special import adjustment, companions, special_threshold

__all__ = [
    "Border", "Gate", "GateError", "Planted", "Recovered", "Rule", "SafetyFilter", "Survey",
    "adjustment", "agreement", "balanced", "best_match", "bisect", "borders", "candidates",
    "companions", "dilute", "dilution", "emptied", "explained", "fade", "from_inside",
    "from_outside", "let_through", "like", "listing", "looks", "make", "missed", "nameless",
    "naming", "nearest", "null_matches", "shortlist", "showing", "special_threshold", "survey",
]  # fmt: skip
