"""Editing one fact: a rank-one change of the linear map behind a Site, and what it does next door.

    cov = covariance(model, site, prompts)
    with edit(model, request, site, cov) as change:
        print(change.report())

After "Locating and Editing Factual Associations in GPT" (Meng, Bau, Andonian & Belinkov 2022), for
any linear map of any hooked model.
"""

from utils.editing.edits import Edit, edit, find_changes, fine_tuned, mean_key
from utils.editing.maps import (
    Covariance,
    EditingError,
    LinearMap,
    covariance,
    keys,
    linear_behind,
    rank_one,
)
from utils.editing.measure import Comparison, compare
from utils.editing.requests import Request, fact, random_facts
from utils.editing.sequence import Sequential, sequential

__all__ = [
    "Comparison",
    "Covariance",
    "Edit",
    "EditingError",
    "LinearMap",
    "Request",
    "Sequential",
    "compare",
    "covariance",
    "edit",
    "fact",
    "find_changes",
    "fine_tuned",
    "keys",
    "linear_behind",
    "mean_key",
    "random_facts",
    "rank_one",
    "sequential",
]
