"""A stated probability before a result, scored after it (Brier 1950: the squared error)."""

from __future__ import annotations

import math
from typing import Any

from utils.errors import CourseError
from utils.lessons.checking import describe
from utils.lessons.display import show_line
from utils.lessons.progress import Progress


def predict(progress: Progress, name: str, question: str, probability: Any) -> None:
    """Record `probability` that `question` will be answered yes. After the outcome: late."""
    if probability is ... or probability is None:
        show_line("not attempted", f"{name} not attempted", "write a probability from 0 to 1")
        return
    number = _as_number(probability)
    if number is None or not 0 <= number <= 1:
        came = describe(probability)
        show_line("failed", f"{name} failed", f"a probability is a number from 0 to 1; got {came}.")
        return
    before = progress.prediction(name)
    if "happened" not in before:
        progress.record_prediction(name, {"question": question, "probability": number})
        show_line("note", f"{name} predicted", f"{_percent(number)} for “{question}”")
    elif before.get("probability") == number:
        show_line("note", f"{name} predicted", f"{_percent(number)}, before the result was shown.")
    else:
        progress.record_prediction(name, {"late": number})
        rest = f"{_percent(number)} was said after the result was shown and is not scored."
        if "probability" in before:
            rest += f" Your first prediction, {_percent(before['probability'])}, counts."
        show_line("note", f"{name} late", rest)


def outcome(progress: Progress, name: str, happened: Any) -> None:
    """Show whether it happened, and score the prediction made before."""
    if hasattr(happened, "item"):
        happened = happened.item()  # a tensor or numpy truth value
    if not isinstance(happened, bool):
        raise CourseError(
            f"lab.outcome({name!r}, happened) needs True or False, got {describe(happened)}."
        )
    word = "it happened" if happened else "it did not happen"
    probability = progress.prediction(name).get("probability")
    changes: dict[str, Any] = {"happened": happened}
    if probability is None:
        rest = f"{word}; nothing was predicted before, so nothing is scored."
    else:
        changes["brier"] = round((probability - happened) ** 2, 4)
        rest = (
            f"{word}; you said {_percent(probability)}. Brier score {changes['brier']:.2f} "
            "(0 is best, a coin flip scores 0.25)."
        )
    progress.record_prediction(name, changes)
    show_line("note", f"{name} outcome", rest)


def _as_number(value: Any) -> float | None:
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return round(float(value), 6)  # a float32 0.8 is meant as 0.8


def _percent(probability: float) -> str:
    return f"{100 * probability:.3g} %"
