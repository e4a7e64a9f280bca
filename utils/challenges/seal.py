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
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from utils.challenges.challenge import Challenge
from utils.challenges.envelope import (
    CARD,
    FORMAT,
    KEY_SUFFIX,
    MATERIALS,
    WEIGHTS,
    DamagedError,
    ExistsError,
    ForeignError,
    MissingError,
    check_places,
    commitment,
    opened,
    read_card,
    render,
)
from utils.challenges.families import Program
from utils.challenges.make import HELD, Made, measure
from utils.challenges.networks import SETTINGS

PRACTICE = Path(__file__).parent / "practice"  # `challenge new --family pairs --seed 34`
TOLERANCE = 0.02  # between the accuracy a key records and the one found on this machine


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


# --- sealing -------------------------------------------------------------------------------------


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
    card = read_card(folder)
    setting = SETTINGS[card["family"]]
    state = _tensors(folder, card["weights"])
    materials = _tensors(folder, card["materials"]) if card["materials"] else {}
    try:
        model = setting.build(card["architecture"])
        model.load_state_dict(state)
        challenge = Challenge(
            name=folder.resolve().name,
            family=card["family"],
            model=model.eval().requires_grad_(False),
            draw=lambda n, seed: setting.held_out(materials, n, seed),
            graph=setting.graph(model),
            read=setting.read,
            given=setting.given(materials),
            card=card,
        )
        # made again for every hypothesis; here it shows that the folder fits together
        challenge.graph_for((), challenge.draw(4, 0).inputs)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        raise ForeignError(
            f"The network described in {folder / CARD} cannot be built from its weights: this is no"
            " challenge made by `python -m utils challenge new`."
        ) from error
    return challenge


def reveal(folder: Path | str, key: Path | str) -> Revealed:
    """Prove that folder and key are as they were sealed, and give the program.

    Raises what `load` raises, and DamagedError or WrongKeyError where card and key do not agree
    with the commitment, or the network with the program.
    """
    folder, key = Path(folder), Path(key)
    card, secret = opened(folder, key)
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
