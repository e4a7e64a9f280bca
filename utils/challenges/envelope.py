"""What a sealed challenge looks like on disk, and every way in which that may be wrong.

Nothing here needs the network, or PyTorch: a mistake is told before anything heavy is loaded.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from utils.errors import CourseError

FAMILIES = ("cnn", "pairs", "sequence")
FORMAT = 1
CARD, WEIGHTS, MATERIALS = "card.json", "weights.safetensors", "materials.safetensors"
KEY_SUFFIX = ".key.json"
SMALLEST_COURSE_KEY = 16  # bytes


class SealError(CourseError):
    """Something about a sealed challenge is not as it should be."""


class ExistsError(SealError):
    """A place that is taken; nothing is ever overwritten."""


class MissingError(SealError):
    """A folder or a file of it that is not there."""


class ForeignError(SealError):
    """A file that is no card or key of this format."""


class DamagedError(SealError):
    """A file that was changed after it was sealed."""


class WrongKeyError(SealError):
    """A key that belongs to another challenge."""


class LearnerError(SealError):
    """A learner's id or a course key that cannot be used."""


# --- seeds ---------------------------------------------------------------------------------------


def fresh_seed() -> int:
    """A seed that nobody knows or can guess."""
    return secrets.randbits(62)


def learner_seed(course_key: bytes, learner: str) -> int:
    """The seed of one learner's challenges, 62 bits of HMAC-SHA256(course key, learner).

    Blanks around the id do not count, nor how accents are encoded. Raises LearnerError for an empty
    id and for a course key under 16 bytes.
    """
    name = unicodedata.normalize("NFC", learner).strip()
    if not name:
        raise LearnerError("The learner's id is empty: give one with --learner.")
    if len(course_key) < SMALLEST_COURSE_KEY:
        raise LearnerError(
            f"The course key holds {len(course_key)} bytes; at least {SMALLEST_COURSE_KEY} random"
            " ones keep it from being guessed."
        )
    digest = hmac.new(course_key, name.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") >> 2


def read_course_key(path: Path) -> bytes:
    """The file's bytes without blanks and line ends around them. Raises LearnerError."""
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise LearnerError(f"The course key {path} cannot be read ({error.strerror}).") from error


# --- places --------------------------------------------------------------------------------------


def check_places(folder: Path, key: Path | None = None) -> Path:
    """Where the key goes, if both places are free. Raises ExistsError, or SealError for a key that
    would lie inside the folder. Call it before the minutes of work, not after."""
    folder = Path(folder)
    if not folder.name:
        raise SealError(f"{folder} names no folder: give the new one a name.")
    key = folder.parent / (folder.name + KEY_SUFFIX) if key is None else Path(key)
    if folder.resolve() in [key.resolve(), *key.resolve().parents]:
        raise SealError(f"The key {key} must not lie in the challenge's own folder.")
    for place in (folder, key):
        if os.path.lexists(place):
            raise ExistsError(f"{place} exists already and is never overwritten: choose another.")
    for parent in (folder.parent, key.parent):
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SealError(f"{parent} cannot be a folder ({error.strerror}).") from error
    return key


# --- card and key --------------------------------------------------------------------------------


def commitment(card: dict[str, Any], key: dict[str, Any]) -> str:
    """SHA-256 over canonical JSON of card and key, both without their copy of the commitment."""
    parts = [{k: v for k, v in part.items() if k != "commitment"} for part in (card, key)]
    text = json.dumps(
        {"card": parts[0], "key": parts[1]}, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def render(value: dict[str, Any]) -> bytes:
    """JSON for a card or key. There is one way to write each, so that every byte counts."""
    return (json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n").encode()


def opened(folder: Path, key: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Card and key, if together they give the commitment."""
    card, secret = read_card(folder), read_key(key)
    if secret["commitment"] != card["commitment"]:
        raise WrongKeyError(
            f"{key} is not the key of {folder}: they carry different commitments, so it belongs to"
            " another challenge, or one of the two was changed."
        )
    if commitment(card, secret) != card["commitment"]:
        raise DamagedError(
            f"{folder / CARD} or {key} was changed after sealing: together they no longer give the"
            " commitment. Nothing is proved."
        )
    return card, secret


def _read(path: Path, what: str, needed: dict[str, Callable[[Any], bool]]) -> dict[str, Any]:
    """A card or key: JSON, written as `render` writes it, with these fields."""
    if not path.is_file():
        raise MissingError(f"The {what} {path} is not there.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MissingError(f"The {what} {path} cannot be read ({error.strerror}).") from error
    try:
        value = json.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"The {what} {path} is no JSON: it is damaged, or foreign.") from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ForeignError(f"{path} is no {what} of a sealed challenge (format {FORMAT}).")
    wrong = [name for name, fits in needed.items() if name not in value or not fits(value[name])]
    if wrong:
        raise ForeignError(
            f"{path} is no {what} of a sealed challenge: {', '.join(wrong)} missing or wrong."
        )
    try:
        same = render(value) == content
    except ValueError:
        same = False
    if not same:
        raise DamagedError(f"The {what} {path} was changed: it is not written as it was sealed.")
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_file(name: str) -> Callable[[Any], bool]:
    """A file is named by the card, but it may not point elsewhere."""
    return lambda x: isinstance(x, dict) and x.get("file") == name and _is_text(x.get("sha256"))


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a folder. Raises MissingError, ForeignError or DamagedError."""
    if not folder.is_dir():
        raise MissingError(f"There is no folder {folder}.")
    return _read(
        folder / CARD,
        "card",
        {
            "family": lambda x: _is_text(x) and x in FAMILIES,
            "architecture": _is_object,
            "weights": _is_file(WEIGHTS),
            "materials": lambda x: x is None or _is_file(MATERIALS)(x),
            "commitment": _is_text,
        },
    )


def read_key(path: Path) -> dict[str, Any]:
    """A key. Raises as `read_card` does."""
    if path.is_dir():
        raise MissingError(f"The key {path} is a folder; name the .key.json file.")
    return _read(
        path,
        "key",
        {
            "program": _is_object,
            "nonce": _is_text,
            "commitment": _is_text,
            "figures": lambda x: _is_object(x) and isinstance(x.get("accuracy"), float),
        },
    )
