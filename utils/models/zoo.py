"""Shipped weights by name: checked against their SHA-256, loaded, or made again from the recipe.

`weights/manifest.json` records, for every network, its file, hash and held-out figures.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import CourseError

if TYPE_CHECKING:
    from torch import nn

    from utils.models.recipes import Progress, Recipe

WEIGHTS = Path(__file__).parent / "weights"


class WeightsError(CourseError):
    """Weights are missing, damaged or unknown."""


def manifest() -> dict[str, dict[str, Any]]:
    """What is shipped: name -> {"file", "sha256", "figures"}. WeightsError if it cannot be read."""
    path = WEIGHTS / "manifest.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"The list of weights {path} is missing or damaged. Restore it with `git checkout -- "
            "utils/models/weights`."
        ) from error


def verify(name: str) -> Path:
    """The weights file of `name` after its hash was checked.

    Raises WeightsError for an unknown name, a missing file or a wrong hash. Needs no torch.
    """
    entries = manifest()
    if name not in entries:
        raise WeightsError(
            f"There is no network {name!r}; there are: {', '.join(sorted(entries))}."
        )
    path = WEIGHTS / entries[name]["file"]
    if not path.is_file():
        raise WeightsError(
            f"The weights file {path.name} is missing. Restore it with `git checkout -- "
            "utils/models/weights`, or make it again with "
            f"`python -m utils retrain {name} --install`."
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != entries[name]["sha256"]:
        raise WeightsError(
            f"The weights file {path.name} is not the shipped one (SHA-256 {found[:12]}..., "
            f"expected {entries[name]['sha256'][:12]}...). Restore it with "
            "`git checkout -- utils/models/weights`."
        )
    return path


def load(name: str) -> nn.Module:
    """The shipped network `name`, in eval mode, gradients off. Raises WeightsError as `verify`."""
    import torch
    from safetensors.torch import load_file

    from utils.models.recipes import RECIPES

    path = verify(name)
    with torch.random.fork_rng(devices=[]):  # building draws weights; the caller's seed is theirs
        model = RECIPES[name].build()
    model.load_state_dict(load_file(path))
    return model.eval().requires_grad_(False)


def untrained(name: str, seed: int = 100) -> nn.Module:
    """The architecture of `name` with fresh random weights, in eval mode, gradients off.

    The control of everything read from the trained network: what a probe finds here, nobody
    learned. No recipe starts from the default seed. Raises WeightsError for an unknown name.
    """
    import torch

    recipe = _recipe(name)
    with torch.random.fork_rng(devices=[]):
        model = recipe.build(seed)
    return model.eval().requires_grad_(False)


def _recipe(name: str) -> Recipe:
    from utils.models.recipes import RECIPES

    if name not in RECIPES:
        raise WeightsError(f"There is no recipe {name!r}; there are: {', '.join(sorted(RECIPES))}.")
    return RECIPES[name]


def retrain(
    name: str, progress: Progress, checkpoint: Path | None = None
) -> tuple[nn.Module, dict[str, float]]:
    """Train `name` from its recipe on one thread; returns the network and its held-out figures.

    checkpoint: a file that is written on the way and gone at the end. If it is there already, the
    training goes on from it; CheckpointError if it belongs to another.
    """
    import torch

    from utils.models.training import Checkpoint

    recipe = _recipe(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = recipe.build()
        keeper = None if checkpoint is None else Checkpoint(checkpoint)
        recipe.train(model, progress, keeper)
        figures = recipe.figures(model.eval())
        if keeper is not None:
            keeper.remove()
        return model, figures
    finally:
        torch.set_num_threads(threads)


def save(model: nn.Module, path: Path) -> str:
    """Write a network's weights as safetensors; returns the file's SHA-256."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().clone().contiguous() for key, value in model.state_dict().items()}
    save_file(state, path)
    path.chmod(0o644)  # safetensors leaves it readable by the owner alone
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install(name: str, model: nn.Module, figures: dict[str, float]) -> Path:
    """Make `model` the shipped network `name`: weights, hash and figures."""
    path = WEIGHTS / f"{name}.safetensors"
    digest = save(model, path)
    entries = manifest() if (WEIGHTS / "manifest.json").is_file() else {}
    entries[name] = {
        "file": path.name,
        "sha256": digest,
        "figures": {key: round(value, 4) for key, value in figures.items()},
    }
    text = json.dumps(dict(sorted(entries.items())), indent=2) + "\n"
    (WEIGHTS / "manifest.json").write_text(text, encoding="utf-8", newline="\n")
    return path
