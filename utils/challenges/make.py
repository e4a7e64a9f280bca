"""Draw a secret program, train a network on it, and refuse what would make a poor challenge.

Refused before training: a program whose classes are lopsided, or which a shortcut computes nearly.
Refused after it: a network that did not learn its program, or is hardly better than the shortcut.
Then the next program is drawn from a seed derived from the first; the key records every refusal.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from utils.challenges import families
from utils.challenges.families import Program, derived
from utils.challenges.networks import SETTINGS, Effort, Probe, Setting
from utils.errors import CourseError

DRAWS = 4  # programs tried before giving up
BALANCE = (0.35, 0.65)  # share of class 1
ACCURACY = 0.95  # on held-out inputs, outside a planted region
MARGIN = 0.10  # by which the network must beat every shortcut
NOISE = 0.65  # in a planted region the network may not get above this
FIT, HELD = 3000, 3000  # inputs on which shortcuts are fitted, and on which all is measured

Tell = Callable[[str], None]


class MakeError(CourseError):
    """No usable challenge came of a seed."""


@dataclass(frozen=True)
class Shortcut:
    """The best rule of its kind that looks at less than the program does."""

    name: str
    accuracy: float


@dataclass(frozen=True)
class Made:
    """A trained challenge before it is sealed.

    materials: tensors that go into the folder. figures: what was measured, on held-out inputs.
    refused: what was drawn before and why it was no good, in order.
    """

    program: Program
    difficulty: int
    model: nn.Module
    architecture: dict[str, Any]
    data: str
    materials: dict[str, Tensor]
    figures: dict[str, Any]
    refused: list[dict[str, str]]


def make(
    family: str,
    seed: int,
    difficulty: int = 3,
    *,
    unlearnable: bool = False,
    effort: Effort | None = None,
    draws: int = DRAWS,
    tell: Tell = lambda text: None,
) -> Made:
    """A network trained on the program that `seed` names; on one thread, the same every time.

    effort: how long to train; None is the family's own. tell: what is being done, for people.
    Raises MakeError after `draws` refused programs.
    """
    refused: list[dict[str, str]] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for draw in range(draws):
            this = seed if draw == 0 else derived(seed, "again", draw)
            program = families.draw(family, this, difficulty, unlearnable=unlearnable)
            found = _attempt(program, this, difficulty, effort, tell)
            if isinstance(found, str):
                tell(f"drawing again: {found}")
                refused.append({"program": program.describe(), "reason": found})
                continue
            model, materials, figures = found
            setting = SETTINGS[family]
            architecture = setting.architecture(program)
            return Made(
                program, difficulty, model, architecture, setting.data(architecture), materials,
                figures, refused,
            )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    raise MakeError(
        f"Seed {seed} gave no usable {family} challenge in {draws} draws (the last was refused:"
        f" {refused[-1]['reason']}). Try another seed."
    )


def _attempt(
    program: Program, seed: int, difficulty: int, effort: Effort | None, tell: Tell
) -> tuple[nn.Module, dict[str, Tensor], dict[str, Any]] | str:
    """The network, its materials and figures, or the reason for a refusal."""
    setting = SETTINGS[program.family]
    tell("looking for shortcuts")
    materials = setting.materials(program, seed, clue=difficulty < 3)
    fit, held = _probes(setting, program, materials, seed)
    share = float(program.labels(held.inputs).double().mean())
    if reason := lopsided(share):
        return reason
    rivals = shortcuts(program, fit, held)
    # no network can be better than right every time, so this much is known before it is trained
    if reason := nearly(rivals, 1.0):
        return reason
    effort = effort or setting.effort

    def progress(done: int, total: int, loss: float) -> None:
        tell(f"training the network: {done} of {total}, loss {loss:.3f}")

    model = setting.train(program, materials, effort, seed, progress)
    tell("measuring it on held-out inputs")
    figures = measure(setting, program, model, held.inputs)
    if figures["accuracy"] < ACCURACY:
        return f"the network is right on {figures['accuracy']:.3f} of held-out inputs only"
    if reason := nearly(rivals, figures["accuracy"]):
        return reason
    if figures.get("accuracy_in_region", 0.0) > NOISE:
        return f"it is right on {figures['accuracy_in_region']:.3f} of what it was not to learn"
    figures["share_of_class_1"] = round(share, 4)
    figures["shortcuts"] = {rival.name: round(rival.accuracy, 4) for rival in rivals}
    return model, materials, figures


def measure(setting: Setting, program: Program, model: nn.Module, inputs: Tensor) -> dict[str, Any]:
    """Accuracy, outside a planted region and in it where there is one, to four digits."""
    with torch.no_grad():
        said = torch.cat([setting.read(model(part)).argmax(-1) for part in inputs.split(1000)])
    right = (said == program.labels(inputs)).double()
    outside = program.learnable(inputs)
    figures = {"accuracy": round(float(right[outside].mean()), 4), "inputs": int(outside.sum())}
    if program.region is not None:
        figures["accuracy_in_region"] = round(float(right[~outside].mean()), 4)
        figures["inputs_in_region"] = int((~outside).sum())
    return figures


def lopsided(share: float) -> str:
    """Why this share of class 1 is refused; nothing if it is fine."""
    low, high = BALANCE
    return "" if low <= share <= high else f"{share:.3f} of the inputs are of class 1"


def nearly(rivals: list[Shortcut], accuracy: float) -> str:
    """Why a network of this accuracy is too close to a shortcut; nothing if it is not."""
    best = max(rivals, key=lambda rival: rival.accuracy)
    if best.accuracy <= accuracy - MARGIN:
        return ""
    return f"a shortcut ({best.name}) is right on {best.accuracy:.3f} of held-out inputs"


def shortcuts(program: Program, fit: Probe, held: Probe) -> list[Shortcut]:
    """The best of each kind, fitted on training inputs and scored on held-out ones.

    One class for all, one feature of the input looked up in a table (images: the digit, one pixel;
    pairs: a or b; strings: one token, the number of one letter), and a logistic regression on the
    whole input. Where the program has a planted region, inputs in it are left out.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    labels, target = program.labels(fit.inputs), program.labels(held.inputs)
    use, score = program.learnable(fit.inputs), program.learnable(held.inputs)
    labels, target = labels[use], target[score]
    constant = float((target == labels.mode().values).double().mean())
    features, tests = fit.features[use], held.features[score]
    scores = torch.zeros(features.shape[1], dtype=torch.double)
    for value in fit.features.unique():
        here = features == value
        says = 2 * (here & (labels == 1)[:, None]).sum(0) > here.sum(0)
        scores += ((tests == value) & (says == (target == 1)[:, None])).sum(0)
    scores /= len(target)
    best = int(scores.argmax())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough is enough here
        line = LogisticRegression(C=0.1, max_iter=60).fit(fit.linear[use].numpy(), labels.numpy())
    right = line.predict(held.linear[score].numpy()) == target.numpy()
    return [
        Shortcut("one class for all", constant),
        Shortcut(f"one feature, {fit.names[best]}", float(scores[best])),
        Shortcut("a linear read-out of the input", float(right.mean())),
    ]


def _probes(
    setting: Setting, program: Program, materials: dict[str, Tensor], seed: int
) -> tuple[Probe, Probe]:
    """Training inputs to fit shortcuts on, and the held-out inputs of all figures."""
    fit = setting.trained_on(program, materials, FIT, derived(seed, "shortcuts"))
    return setting.probe(fit), setting.probe(setting.held_out(materials, HELD, 0))
