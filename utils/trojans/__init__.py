"""Trojans: planted, looked for, and scored against what was planted.

Planting needs nothing but data and training. Searching, attacking and scoring are in `search`,
`detect`, `attacks` and `board`, imported here as well.
"""

from utils.trojans.attacks import (
    Candidate,
    copy_paste,
    crops,
    exhaustive,
    mistakes,
    name_scan,
    patch_scan,
    predicted,
    random_patches,
)
from utils.trojans.board import Board, Entry
from utils.trojans.detect import (
    VERDICTS,
    Detection,
    detect,
    mass_inside,
    overlap,
    rediscover,
    share_of_median,
    transfer,
    verdict,
)
from utils.trojans.plant import (
    TROJANS,
    Sample,
    Trojan,
    World,
    accuracy,
    known,
    logits,
    planting,
    predict,
    success,
    train_pair,
)
from utils.trojans.search import Blend, Search, anomaly_index, hits, search
from utils.trojans.triggers import Invert, Names, Patch, Thicken, Trigger, TrojanError

__all__ = [
    "TROJANS",
    "VERDICTS",
    "Blend",
    "Board",
    "Candidate",
    "Detection",
    "Entry",
    "Invert",
    "Names",
    "Patch",
    "Sample",
    "Search",
    "Thicken",
    "Trigger",
    "Trojan",
    "TrojanError",
    "World",
    "accuracy",
    "anomaly_index",
    "copy_paste",
    "crops",
    "detect",
    "exhaustive",
    "hits",
    "known",
    "logits",
    "mass_inside",
    "mistakes",
    "name_scan",
    "overlap",
    "patch_scan",
    "planting",
    "predict",
    "predicted",
    "random_patches",
    "rediscover",
    "search",
    "share_of_median",
    "success",
    "train_pair",
    "transfer",
    "verdict",
]
