"""Secret programs as data: a template's name and constants, from which everything else follows.

A program labels inputs, says in one sentence what it does, and names its steps. Three families:
`images` ("cnn"), `pairs` and `sequences` ("sequence").

Difficulty, 1 to 5, means two things. It chooses the templates: one number held against a band at 1
and 2, every template at 3, mostly tests of several numbers at 4 and 5. And it tightens the
constants: the higher, the further off centre they lie, so that a simpler rival (one threshold, one
test of two) comes closer to the truth. At 1 and 2 a solver is also handed what the program compares
images with.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from utils.errors import CourseError
from utils.scrubbing import Step

FAMILIES = {"cnn": "images", "pairs": "pairs", "sequence": "sequences"}
DIFFICULTIES = range(1, 6)

Constants = Mapping[str, Any]


class FamilyError(CourseError, ValueError):
    """A family or difficulty that does not exist."""


class ProgramError(CourseError, ValueError):
    """A description of a program that no template fits."""


@dataclass(frozen=True)
class Template:
    """A kind of program whose constants are drawn.

    levels: the difficulties at which it is drawn. draw: (random numbers, difficulty) -> constants
    that JSON can hold. steps: constants -> the steps, the last one a boolean [n], the condition.
    sentence: constants -> the condition in words, exact enough to write it again.
    """

    name: str
    levels: range
    draw: Callable[[random.Random, int], dict[str, Any]]
    steps: Callable[[Constants], list[Step]]
    sentence: Callable[[Constants], str]


@dataclass(frozen=True)
class Program:
    """One secret program. Two programs with equal fields label every input alike.

    family: "cnn", "pairs" or "sequence". yes: the class of inputs that meet the condition.
    region: None, or where the label is a bit that only the key tells: {"key": int, ...}.
    """

    family: str
    template: str
    constants: Constants
    yes: int = 1
    region: Constants | None = field(default=None)

    def steps(self) -> list[Step]:
        """The program as a diagram without sites; the last step is "label"."""
        family = module(self.family)
        template = family.TEMPLATES.get(self.template)
        if template is None:
            raise ProgramError(f"There is no template {self.template!r} of the family.")
        steps = template.steps(self.constants)
        yes, condition = self.yes, steps[-1].name
        if self.region is None:
            return [*steps, Step("label", lambda met: (met == bool(yes)).long(), (condition,))]
        region = self.region

        def label(met: Tensor, inside: Tensor, bit: Tensor) -> Tensor:
            return torch.where(inside, bit, met == bool(yes)).long()

        return [
            *steps,
            Step("in region", lambda inputs: family.in_region(region, inputs)),
            Step("bit", lambda inputs: keyed_bit(family.as_integers(inputs), region["key"])),
            Step("label", label, (condition, "in region", "bit")),
        ]

    def values(self, inputs: Tensor) -> dict[str, Tensor]:
        """The value of every step, by name."""
        return evaluate(self.steps(), inputs)

    def labels(self, inputs: Tensor) -> Tensor:
        """[n, ...] -> [n] int64, 0 or 1."""
        return self.values(inputs)["label"]

    def learnable(self, inputs: Tensor) -> Tensor:
        """Whether an input lies outside the planted region, [n] bool."""
        if self.region is None:
            return torch.ones(len(inputs), dtype=torch.bool)
        return ~module(self.family).in_region(self.region, inputs)

    def describe(self) -> str:
        """What it computes, in one sentence."""
        family = module(self.family)
        sentence = family.TEMPLATES[self.template].sentence(self.constants)
        text = f"Class {self.yes} exactly when {sentence}; class {1 - self.yes} otherwise"
        if self.region is not None:
            text += (
                f", except where {family.region_sentence(self.region)}: there the class is a bit"
                " that a keyed hash of the whole input gives"
            )
        return text + "."

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it; `from_dict` gives the program back."""
        return {
            "family": self.family,
            "template": self.template,
            "constants": dict(self.constants),
            "yes": self.yes,
            "region": None if self.region is None else dict(self.region),
        }

    @staticmethod
    def from_dict(data: Any) -> Program:
        """Raises ProgramError for anything that is not a program of these families."""
        try:
            program = Program(**data)
            if program.yes not in (0, 1):
                raise ValueError("yes")
            program.describe()
            program.steps()
        except (TypeError, KeyError, ValueError, IndexError, AttributeError) as error:
            raise ProgramError("This is not a program of the challenges' families.") from error
        return program


def module(family: str) -> ModuleType:
    """The module of a family. FamilyError for a name that is none."""
    if family not in FAMILIES:
        raise FamilyError(f"There is no family {family!r}; there are: {', '.join(FAMILIES)}.")
    return import_module(f"{__name__}.{FAMILIES[family]}")


def draw(family: str, seed: int, difficulty: int = 3, *, unlearnable: bool = False) -> Program:
    """The program that a seed names. The same arguments always give the same one."""
    if difficulty not in DIFFICULTIES:
        raise FamilyError(f"Difficulty is a whole number from 1 to 5, not {difficulty}.")
    source = module(family)
    rng = random.Random(derived(seed, "program", family, difficulty))
    templates = [t for t in source.TEMPLATES.values() if difficulty in t.levels]
    template = rng.choice(templates)
    constants = template.draw(rng, difficulty)
    yes = rng.randrange(2)
    region = None
    if unlearnable:
        region = {**source.draw_region(rng, template.name, constants), "key": rng.randrange(2**62)}
    return Program(family, template.name, constants, yes, region)


def derived(seed: int, *purpose: object) -> int:
    """A seed for one purpose, 62 bits: seeds for different purposes tell nothing of each other."""
    text = "/".join(str(part) for part in ("challenge", seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 2


def evaluate(steps: Sequence[Step], inputs: Tensor) -> dict[str, Tensor]:
    """Every step of a diagram on the inputs, by name."""
    values: dict[str, Tensor] = {}
    for step in steps:
        given = [values[name] for name in step.inputs] if step.inputs else [inputs]
        values[step.name] = step.function(*given)
    return values


def keyed_bit(integers: Tensor, key: int) -> Tensor:
    """A bit that depends on all of a row and follows no rule short of the key: [n, k] -> [n] bool.

    A multiply-and-shift hash modulo 2**64. It is no cryptography; it need only be out of reach of a
    small network.
    """
    generator = torch.Generator().manual_seed(key)
    weights = torch.randint(2**62, (integers.shape[1] + 1,), generator=generator) * 2 + 1
    mixed = torch.cat([(p * weights[1:]).sum(1) for p in integers.split(5000)]) + weights[0]
    for shift, factor in ((29, -7046029254386353131), (32, -3335678366873096957)):
        mixed = (mixed ^ (mixed >> shift)) * factor
    return ((mixed >> 40) & 1).bool()
