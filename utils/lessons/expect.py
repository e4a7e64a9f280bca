"""Helpers of checks: each returns the value in one usable form or raises `CheckFailed`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from utils.lessons.checking import CheckFailed, describe

_KINDS = {
    "float": lambda dtype: dtype.is_floating_point,
    "bool": lambda dtype: dtype == torch.bool,
    "int": lambda dtype: (
        not dtype.is_floating_point and not dtype.is_complex and dtype != torch.bool
    ),
}


def expect_tensor(
    value: Any,
    shape: Sequence[int | str | None] | None = None,
    dtype: str | None = "float",
    name: str = "your answer",
    finite: bool = True,
) -> torch.Tensor:
    """`value` as a detached tensor: tensors, numpy arrays, and (nested) lists of numbers.

    `shape` entries may be sizes, None for any size, or a name ("batch") for any size that must be
    the same wherever the name stands. `dtype` is "float", "int", "bool" or None for any of them;
    whole numbers in a Python list count as floats where floats are expected.
    """
    wanted = _wanted(shape, dtype)
    if isinstance(value, torch.Tensor):
        tensor = value.detach().clone()
    elif isinstance(value, str | bytes | dict | set) or value is None:
        raise CheckFailed(f"{name} is {describe(value)}; expected {wanted}.")
    else:
        try:
            array = np.asarray(value)
            if dtype == "float" and array.dtype.kind in "iu" and not isinstance(value, np.ndarray):
                array = array.astype(np.float64)
            tensor = torch.from_numpy(np.array(array))
        except Exception:
            raise CheckFailed(f"{name} is {describe(value)}; expected {wanted}.") from None
    if dtype is not None and not _KINDS[dtype](tensor.dtype):
        raise CheckFailed(f"{name} is {describe(tensor)}; expected {wanted}.")
    if shape is not None and not _shape_fits(tensor.shape, shape):
        raise CheckFailed(f"{name} is {describe(tensor)}; expected {wanted}.")
    if finite and not torch.isfinite(tensor).all():
        bad = int((~torch.isfinite(tensor)).sum())
        raise CheckFailed(
            f"{name} holds {bad} value{'s' * (bad != 1)} that {'are' if bad != 1 else 'is'} NaN or "
            f"infinite; expected {wanted} with finite values."
        )
    return tensor


def _wanted(shape: Sequence[int | str | None] | None, dtype: str | None) -> str:
    kind = {"float": "a floating-point", "int": "a whole-number", "bool": "a true/false"}
    text = f"{kind.get(dtype or '', 'a')} tensor"
    if shape is None:
        return text
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    return f"{text} of shape ({sizes}{',' if len(shape) == 1 else ''})"


def _shape_fits(found: Sequence[int], wanted: Sequence[int | str | None]) -> bool:
    names: dict[str, int] = {}
    return len(found) == len(wanted) and all(
        size is None or (names.setdefault(size, got) if isinstance(size, str) else size) == got
        for got, size in zip(found, wanted, strict=True)
    )


def expect_number(
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    what: str = "your answer",
    reveal: bool = True,
) -> float:
    """`value` as a float between `low` and `high` (both included); one-element tensors count.

    With `reveal=False` the message says only "too low" or "too high".
    """
    if isinstance(value, torch.Tensor | np.ndarray) and value.size and _elements(value) == 1:
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise CheckFailed(f"{what} is {describe(value)}; expected a number.")
    number = float(value)
    if math.isnan(number):
        raise CheckFailed(f"{what} is NaN; expected a number. Was something divided by zero?")
    if not low <= number <= high:
        side = "low" if number < low else "high"
        bounds = {
            (True, True): f"expected a number from {low:.4g} to {high:.4g}",
            (True, False): f"expected at least {low:.4g}",
            (False, True): f"expected at most {high:.4g}",
        }[(low > -math.inf, high < math.inf)]
        raise CheckFailed(f"{what} is {number:.4g}: too {side}{'; ' + bounds if reveal else ''}.")
    return number


def _elements(value: torch.Tensor | np.ndarray) -> int:
    return value.numel() if isinstance(value, torch.Tensor) else value.size


def expect_close(
    value: Any,
    target: Any,
    atol: float = 1e-5,
    rtol: float = 1e-4,
    name: str = "your answer",
    hint: str = "",
) -> torch.Tensor:
    """`value` as a float tensor of `target`'s shape whose entries agree with it.

    The message gives the first entry that differs most; `hint` names the likely misconception.
    """
    wanted = torch.as_tensor(target).detach().double()
    found = expect_tensor(value, tuple(wanted.shape), dtype=None, name=name).double()
    excess = (found - wanted).abs() - (atol + rtol * wanted.abs())
    if excess.numel() and excess.max() > 0:
        flat = int(excess.argmax())
        where = tuple(int(i) for i in np.unravel_index(flat, tuple(wanted.shape)))
        place = f" at index {where if len(where) > 1 else where[0]}" if where else ""
        message = (
            f"{name} is {found.flatten()[flat].item():.4g}{place}; "
            f"expected {wanted.flatten()[flat].item():.4g}."
        )
        raise CheckFailed(f"{message} {hint}".strip())
    return found


def expect_choice(value: Any, options: Iterable[Any], name: str = "your answer") -> Any:
    """`value` when it is one of `options` (texts: case and outer spaces do not matter)."""
    options = list(options)
    for option in options:
        if isinstance(value, str) and isinstance(option, str):
            if value.strip().lower() == option.strip().lower():
                return option
        elif type(value) is type(option) and value == option:
            return option
    listed = ", ".join(repr(option) for option in options)
    raise CheckFailed(f"{name} is {describe(value)}; expected one of {listed}.")


def expect_type(value: Any, kind: type | tuple[type, ...], name: str = "your answer") -> Any:
    """`value` when it is an instance of `kind`, for answers such as a dict, a tuple or a Site."""
    if isinstance(value, kind):
        return value
    kinds = kind if isinstance(kind, tuple) else (kind,)
    wanted = " or ".join(k.__name__ for k in kinds)
    raise CheckFailed(f"{name} is {describe(value)}; expected a {wanted}.")


def expect_keys(value: Any, keys: Iterable[str], name: str = "your answer") -> dict[str, Any]:
    """`value` when it is a dict that has exactly `keys`."""
    wanted = list(keys)
    found = expect_type(value, dict, name)
    missing = [key for key in wanted if key not in found]
    extra = [key for key in found if key not in wanted]
    if missing or extra:
        raise CheckFailed(
            f"{name} has the keys {sorted(map(str, found))}; expected {sorted(wanted)}."
        )
    return found
