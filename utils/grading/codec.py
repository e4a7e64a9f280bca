"""What travels between the sandbox and the referee: frames of JSON with tensors beside them.

From the sandbox only data come back: numbers, text, tensors, containers of them, and a short list
of the course's own records, each built by its own constructor. No pickle is ever loaded from there.
A function stays where it is; the other side gets a stand-in that asks it.

Towards the sandbox the arguments of a learner's function are cloudpickled: models, places, lambdas.
That direction is harmless, since the sandbox trusts the referee.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from utils.errors import CourseError

HEADER = struct.Struct(">II")
LARGEST = 512 * 2**20  # bytes of one frame: no answer of the course comes near
DEEPEST = 40  # containers inside containers

# The course's own records that an answer may be, or hold. Nothing else is ever constructed.
RECORDS = {
    "utils.sites": ("Site",),
    "utils.estimates": ("Estimate",),
    "utils.reports": ("Row", "Report"),
    "utils.scrubbing.hypothesis": ("Node", "Hypothesis", "Step"),
    "utils.challenges.explanation": ("Explanation",),
}


class ChannelError(CourseError):
    """A frame that breaks the rules of the channel."""


class Foreign:
    """Stands for a value that does not travel: its type by name, and nothing else."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"<{self.kind} in the learner's process>"


# --- frames ----------------------------------------------------------------------------------


class Channel:
    """Frames over a socket, one at a time, in both directions."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(
        self, message: dict[str, Any], blob: bytes = b"", seconds: float | None = None
    ) -> None:
        """Write one frame. EOFError if the other end is gone, TimeoutError if it does not read."""
        text = json.dumps(message).encode()
        self._socket.settimeout(seconds)
        try:
            self._socket.sendall(HEADER.pack(len(text), len(blob)) + text + blob)
        except TimeoutError:
            raise
        except OSError:
            raise EOFError from None

    def receive(self, seconds: float | None = None) -> tuple[dict[str, Any], bytes]:
        """Read one frame, waiting for all of it no longer than `seconds`.

        Raises TimeoutError, EOFError where the other end is gone, ChannelError for a frame that is
        malformed or too long.
        """
        end = None if seconds is None else time.monotonic() + seconds
        text_size, blob_size = HEADER.unpack(self._exactly(HEADER.size, end))
        if text_size + blob_size > LARGEST:
            raise ChannelError(f"A frame of {text_size + blob_size} bytes is longer than allowed.")
        text, blob = self._exactly(text_size, end), self._exactly(blob_size, end)
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise ChannelError("A frame holds no JSON.") from None
        if not isinstance(message, dict):
            raise ChannelError("A frame holds no JSON object.")
        return message, blob

    def _exactly(self, size: int, end: float | None) -> bytes:
        parts, missing = [], size
        while missing:
            if end is not None:
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._socket.settimeout(left)
            else:
                self._socket.settimeout(None)
            try:
                part = self._socket.recv(min(missing, 2**20))
            except TimeoutError:
                raise
            except OSError:
                part = b""
            if not part:
                raise EOFError
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """The other end sees the end of the stream."""
        self._socket.close()


# --- values ----------------------------------------------------------------------------------


def encode(value: Any, keep: Callable[[Any], int]) -> tuple[Any, bytes]:
    """A value as (JSON tree, tensors as safetensors bytes).

    keep: called with each function found; returns the number under which it can be called.
    """
    tensors: dict[str, torch.Tensor] = {}

    def tensor(t: torch.Tensor) -> str:
        name = str(len(tensors))
        tensors[name] = t.detach().cpu().contiguous().clone()
        return name

    def walk(v: Any, depth: int) -> Any:
        if depth > DEEPEST:
            raise ChannelError("The value is nested too deeply.")
        if (
            v is None
            or isinstance(v, bool | int | float | str)
            and type(v).__module__ == "builtins"
        ):
            return v if not isinstance(v, int) or abs(v) < 2**63 else {"is": "int", "text": str(v)}
        if v is ...:
            return {"is": "..."}
        if isinstance(v, torch.Tensor):
            if v.layout != torch.strided or v.dtype.is_complex or v.is_quantized:
                return {"is": "foreign", "kind": f"{v.dtype} tensor"}
            return {"is": "tensor", "key": tensor(v), "grad": bool(v.requires_grad)}
        if isinstance(v, np.ndarray | np.generic):
            try:
                return {"is": "array", "key": tensor(torch.as_tensor(np.ascontiguousarray(v))),
                        "scalar": isinstance(v, np.generic)}  # fmt: skip
            except TypeError:
                return {"is": "foreign", "kind": f"numpy array of {v.dtype}"}
        if isinstance(v, list | tuple | set | frozenset):
            kind = next(k for k in (list, tuple, set, frozenset) if isinstance(v, k)).__name__
            return {"is": kind, "items": [walk(one, depth + 1) for one in v]}
        if isinstance(v, dict):
            return {
                "is": "dict",
                "items": [[walk(k, depth + 1), walk(x, depth + 1)] for k, x in v.items()],
            }
        if isinstance(v, slice | range):
            parts = [v.start, v.stop, v.step]
            return {"is": type(v).__name__, "items": [walk(p, depth + 1) for p in parts]}
        if isinstance(v, complex):
            return {"is": "complex", "items": [v.real, v.imag]}
        if isinstance(v, torch.dtype):
            return {"is": "dtype", "name": str(v).removeprefix("torch.")}
        kind, module = type(v).__name__, type(v).__module__
        if kind in RECORDS.get(module, ()):
            fields = {f.name: getattr(v, f.name) for f in dataclasses.fields(v) if f.init}
            plain = {name: walk(x, depth + 1) for name, x in fields.items()}
            return {"is": "record", "type": f"{module}:{kind}", "fields": plain}
        if callable(v) and not isinstance(v, type):
            return {"is": "function", "number": keep(v), "name": _name(v, kind)}
        return {"is": "foreign", "kind": kind}

    tree = walk(value, 0)
    return tree, save_tensors(tensors) if tensors else b""


def _name(function: Any, kind: str) -> str:
    name = getattr(function, "__name__", kind)
    return name if type(name) is str else kind


def decode(tree: Any, blob: bytes, function: Callable[[int, str], Any]) -> Any:
    """The value again. `function(number, name)` makes the stand-in for a function.

    Raises ChannelError for a tree that `encode` would not have made.
    """
    try:
        tensors = load_tensors(blob) if blob else {}
    except Exception:
        raise ChannelError("The tensors of a frame are damaged.") from None

    def walk(t: Any, depth: int) -> Any:
        if depth > DEEPEST + 1:
            raise ChannelError("The value is nested too deeply.")
        if not isinstance(t, dict):
            if t is None or isinstance(t, bool | int | float | str):
                return t
            raise ChannelError("A bare list in a value.")
        kind = t["is"]
        if kind == "...":
            return ...
        if kind == "int":
            return int(str(t["text"])[:4000])
        if kind == "tensor":
            found = tensors[t["key"]]
            return found.requires_grad_() if t["grad"] and found.is_floating_point() else found
        if kind == "array":
            array = tensors[t["key"]].numpy()
            return array[()] if t["scalar"] and array.ndim == 0 else array
        if kind in ("list", "tuple", "set", "frozenset"):
            items = [walk(one, depth + 1) for one in t["items"]]
            return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](items)
        if kind == "dict":
            return {walk(k, depth + 1): walk(x, depth + 1) for k, x in t["items"]}
        if kind == "slice":
            return slice(*(walk(p, depth + 1) for p in t["items"]))
        if kind == "range":
            return range(*(walk(p, depth + 1) for p in t["items"]))
        if kind == "complex":
            return complex(*map(float, t["items"]))
        if kind == "dtype":
            found = getattr(torch, str(t["name"]), None)
            if not isinstance(found, torch.dtype):
                raise ChannelError("An unknown dtype.")
            return found
        if kind == "record":
            module, _, name = str(t["type"]).partition(":")
            if name not in RECORDS.get(module, ()):
                raise ChannelError(f"A record of the kind {t['type']!r} is not taken.")
            fields = {str(k): walk(x, depth + 1) for k, x in t["fields"].items()}
            try:
                return getattr(importlib.import_module(module), name)(**fields)
            except CourseError:
                return Foreign(f"{name} that could not be made here")
        if kind == "function":
            return function(int(t["number"]), str(t["name"])[:80])
        if kind == "foreign":
            return Foreign(str(t["kind"])[:80])
        raise ChannelError(f"A value of the kind {kind!r} is not taken.")

    try:
        return walk(tree, 0)
    except ChannelError:
        raise
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ChannelError(f"A value of no sense ({type(error).__name__}).") from None
