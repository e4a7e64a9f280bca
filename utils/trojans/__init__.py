"""Trojans: planted, looked for, and scored against what was planted."""

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
from utils.trojans.triggers import Invert, Names, Patch, Thicken, Trigger, TrojanError

__all__ = [
    "TROJANS",
    "Invert",
    "Names",
    "Patch",
    "Sample",
    "Thicken",
    "Trigger",
    "Trojan",
    "TrojanError",
    "World",
    "accuracy",
    "known",
    "logits",
    "planting",
    "predict",
    "success",
    "train_pair",
]
