"""Seal a trained challenge so that its maker can prove later what the program was.

The folder is public: weights, materials and a card. The key is its maker's. The card carries a
commitment, the SHA-256 of the key and of the rest of the card, which holds the hashes of weights
and materials; so nothing can be changed afterwards, by anyone, without `reveal` noticing. That the
program cannot be read off the commitment is due to the nonce, 256 bits which follow from the seed:
whoever can guess the seed can draw the program, so seeds that others must not guess come from
`learner_seed` or from nobody's head (`fresh_seed`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import shutil
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from utils.challenges.challenge import Challenge
from utils.challenges.families import FAMILIES, Program
from utils.challenges.make import Made
from utils.challenges.networks import SETTINGS
from utils.errors import CourseError

FORMAT = 1
CARD, WEIGHTS, MATERIALS = "card.json", "weights.safetensors", "materials.safetensors"
KEY_SUFFIX = ".key.json"
PRACTICE = Path(__file__).parent / "practice"  # `challenge new --family pairs --seed 34`
SMALLEST_COURSE_KEY = 16  # bytes
TOLERANCE = 0.02  # between the accuracy a key records and the one found on this machine


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


@dataclass(frozen=True)
class Revealed:
    """What a key proved. accuracy: of the network on held-out inputs by the revealed program, here;
    recorded: the same when it was sealed. Both leave a planted region out."""

    program: Program
    accuracy: float
    recorded: float
    commitment: str
    key: dict[str, Any]

    @property
    def sentence(self) -> str:
        return self.program.describe()


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


# --- sealing -------------------------------------------------------------------------------------


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


def seal(
    made: Made, seed: int, folder: Path, key: Path | None = None, *, learner: str | None = None
) -> Path:
    """Write the folder and, elsewhere, the key; returns the key's path.

    The folder appears whole or not at all. Raises ExistsError if either is there already.
    """
    from safetensors.torch import save_file

    from utils.models import zoo

    folder = Path(folder)
    key = check_places(folder, key)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        weights = zoo.save(made.model, draft / WEIGHTS)
        materials = None
        if made.materials:
            save_file(
                {name: x.contiguous() for name, x in made.materials.items()}, draft / MATERIALS
            )
            materials = {"file": MATERIALS, "sha256": _sha256(draft / MATERIALS)}
        card: dict[str, Any] = {
            "format": FORMAT,
            "family": made.program.family,
            "difficulty": made.difficulty,
            "classes": 2,
            "architecture": made.architecture,
            "data": made.data,
            "weights": {"file": WEIGHTS, "sha256": weights},
            "materials": materials,
        }
        secret: dict[str, Any] = {
            "format": FORMAT,
            "program": made.program.as_dict(),
            "nonce": hashlib.sha256(f"nonce/{seed}".encode()).hexdigest(),
            "seed": seed,
            "learner": learner,
            "figures": made.figures,
            "refused": made.refused,
        }
        committed = commitment(card, secret)
        (draft / CARD).write_bytes(render({**card, "commitment": committed}))
        for path in draft.iterdir():
            path.chmod(0o644)
        draft.chmod(0o755)
        # "x": a key that came into being meanwhile is left alone
        with open(key, "xb") as file:
            file.write(render({**secret, "commitment": committed}))
        try:
            if os.path.lexists(folder):
                raise ExistsError(f"{folder} exists already and is never overwritten.")
            draft.rename(folder)
        except BaseException:
            key.unlink()
            raise
    except FileExistsError as error:
        raise ExistsError(f"{key} exists already and is never overwritten.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return key


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


# --- opening -------------------------------------------------------------------------------------


def practice() -> tuple[Path, Path]:
    """The sealed challenge that ships with the course, for lesson 14: its folder and its key."""
    return PRACTICE, PRACTICE.with_name(PRACTICE.name + KEY_SUFFIX)


def load(folder: Path | str) -> Challenge:
    """The challenge in a folder, its weights and materials held against the card.

    Raises MissingError, ForeignError or DamagedError. Whether the card itself is as its maker wrote
    it, the key alone can prove.
    """
    folder = Path(folder)
    card = _card(folder)
    setting = SETTINGS[card["family"]]
    state = _tensors(folder, card["weights"])
    materials = _tensors(folder, card["materials"]) if card["materials"] else {}
    try:
        model = setting.build(card["architecture"])
        model.load_state_dict(state)
        held = setting.held_out(materials, 4, 0).inputs
        # the graph is made again for every caller; here it shows that the folder fits together
        setting.graph(model.eval().requires_grad_(False), held)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        raise ForeignError(
            f"The network described in {folder / CARD} cannot be built from its weights: this is no"
            " challenge made by `python -m utils challenge new`."
        ) from error
    return Challenge(
        name=folder.resolve().name,
        family=card["family"],
        model=model,
        draw=lambda n, seed: setting.held_out(materials, n, seed),
        graph=lambda inputs: setting.graph(model, inputs),
        read=setting.read,
        given=setting.given(materials),
        card=card,
    )


def reveal(folder: Path | str, key: Path | str) -> Revealed:
    """Prove that folder and key are as they were sealed, and give the program.

    Raises what `load` raises, and DamagedError or WrongKeyError where card and key do not agree
    with the commitment, or the network with the program.
    """
    from utils.challenges.make import HELD, measure

    folder, key = Path(folder), Path(key)
    card, secret = _card(folder), _key(key)
    if secret["commitment"] != card["commitment"]:
        raise WrongKeyError(
            f"{key} is not the key of {folder}: they carry different commitments, so it belongs to"
            " another challenge, or one of the two was changed."
        )
    if not hmac.compare_digest(commitment(card, secret), card["commitment"]):
        raise DamagedError(
            f"{folder / CARD} or {key} was changed after sealing: together they no longer give the"
            " commitment. Nothing is proved."
        )
    challenge = load(folder)
    program = Program.from_dict(secret["program"])
    setting = SETTINGS[challenge.family]
    inputs = challenge.draw(HELD, 0).inputs
    found = measure(setting, program, challenge.model, inputs)["accuracy"]
    recorded = float(secret["figures"]["accuracy"])
    if abs(found - recorded) > TOLERANCE:
        raise DamagedError(
            f"{key} opens {folder}, but the network agrees with its program on {found:.3f} of the"
            f" held-out inputs, not on {recorded:.3f} as the key says: it was made otherwise."
        )
    return Revealed(program, found, recorded, card["commitment"], secret)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
    except ValueError as error:
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


def _card(folder: Path) -> dict[str, Any]:
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


def _key(path: Path) -> dict[str, Any]:
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


def _tensors(folder: Path, entry: dict[str, str]) -> dict[str, Tensor]:
    """A safetensors file whose hash the card names."""
    from safetensors import SafetensorError
    from safetensors.torch import load as parse

    path = folder / entry["file"]
    if not path.is_file():
        raise MissingError(f"{path} is not there.")
    content = path.read_bytes()  # read once: what was hashed is what is used
    found = hashlib.sha256(content).hexdigest()
    if found != entry["sha256"]:
        raise DamagedError(
            f"{path} is not what was sealed (SHA-256 {found[:12]}..., the card says"
            f" {entry['sha256'][:12]}...)."
        )
    try:
        return parse(content)
    except (SafetensorError, ValueError) as error:
        raise ForeignError(f"{path} is no safetensors file.") from error
