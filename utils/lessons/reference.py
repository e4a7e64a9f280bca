"""Reference data: what later cells build on while an exercise is not solved yet.

Recorded from the solved notebook during a build: tensors and arrays in `NN.safetensors`, all else
in `NN.json`, where `{"$tensor": key}`, `{"$array": key}` and `{"$tuple": [...]}` stand for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save

from utils.errors import CourseError
from utils.lessons.places import read_json, to_json, write_bytes, write_text

_MARKS = {"$tensor", "$array", "$tuple"}


def files_of(lesson: str, folder: Path) -> tuple[Path, Path]:
    """The two files of a lesson: (safetensors, JSON)."""
    return folder / f"{lesson}.safetensors", folder / f"{lesson}.json"


def write_reference(lesson: str, values: dict[str, Any], folder: Path) -> None:
    """Write `values` by key; the same values give the same bytes. Unknown types: `CourseError`."""
    tensors: dict[str, torch.Tensor] = {}
    encoded = {key: _encode(value, key, tensors) for key, value in sorted(values.items())}
    tensor_file, json_file = files_of(lesson, folder)
    write_text(json_file, to_json(encoded))
    if tensors:
        write_bytes(tensor_file, save(tensors))
    else:
        tensor_file.unlink(missing_ok=True)


def read_reference(lesson: str, folder: Path) -> dict[str, Any]:
    """All reference data of a lesson by key; empty when none was recorded."""
    tensor_file, json_file = files_of(lesson, folder)
    encoded = read_json(json_file, default={})
    tensors = load_file(tensor_file) if tensor_file.exists() else {}
    return {key: _decode(value, tensors) for key, value in encoded.items()}


def _encode(value: Any, key: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        tensors[key] = value.detach().cpu().contiguous().clone()
        return {"$tensor": key}
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        tensors[key] = torch.from_numpy(np.ascontiguousarray(value).copy()).reshape(value.shape)
        return {"$array": key}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        items = [_encode(item, f"{key}/{n}", tensors) for n, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict) and all(isinstance(k, str) and k not in _MARKS for k in value):
        return {name: _encode(item, f"{key}/{name}", tensors) for name, item in value.items()}
    raise CourseError(
        f"lab.use({key.split('#')[0]!r}): {type(value).__name__} cannot be shipped as reference "
        "data; use tensors, arrays, numbers, texts, and lists, tuples or dicts of these."
    )


def _decode(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]].clone()
    if "$array" in value:
        return tensors[value["$array"]].numpy().copy()
    if "$tuple" in value:
        return tuple(_decode(item, tensors) for item in value["$tuple"])
    return {name: _decode(item, tensors) for name, item in value.items()}


def same(first: Any, second: Any) -> bool:
    """Whether two values are recorded as the same bytes."""
    kept: list[dict[str, torch.Tensor]] = [{}, {}]
    encoded = [_encode(v, "value", t) for v, t in zip((first, second), kept, strict=True)]
    return encoded[0] == encoded[1] and save(kept[0]) == save(kept[1])
