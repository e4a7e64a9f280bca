"""A language in which words of a class are interchangeable: the ground on which probes are judged.

Each of 300 word types belongs to one of 10 hidden classes, 30 types each. A sentence walks from
class to class by a table of probabilities, and at each place a word of the class is drawn, all 30
alike. So the class of the current word is all that any past word tells about the next one, and a
network that predicts well must have found the classes, of which its inputs say nothing.

Three targets for a probe, on the same words:

- `class_of_type`: the class. A network has reason to hold it.
- `control_of_type`: a class drawn for each type by lot (the control task of Hewitt & Liang, 2019,
  "Designing and Interpreting Probes with Control Tasks"). Nobody holds it: a probe that reads it
  has learned by heart which type got which label.
- the class of the word before: a null. The next word does not depend on it once the current class
  is known, so a network has no reason to carry it along.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

TYPES = 300  # word types; a token is the number of its type
CLASSES = 10
LENGTH = 16  # words in a sentence
CONCENTRATION = 0.15  # of the Dirichlet that each row of the table is drawn from

_LANGUAGE = 9  # seed of classes and table: of the first twelve, the one with no class very rare


class Words(NamedTuple):
    """One row for each word that has a word before it: all [n] int64.

    `sentence` and `position`: where it stands, `type`: which word it is, `cls`: its class,
    `control`: its type's class by lot, `previous`: the class of the word before.
    """

    sentence: Tensor
    position: Tensor
    type: Tensor
    cls: Tensor
    control: Tensor
    previous: Tensor


@cache
def _class_of_type() -> Tensor:
    generator = torch.Generator().manual_seed(_LANGUAGE)
    return torch.randperm(TYPES, generator=generator) % CLASSES


def class_of_type() -> Tensor:
    """The hidden class of each type, [300] int64; 30 types in each of 10 classes."""
    return _class_of_type().clone()


def control_of_type(seed: int = 0) -> Tensor:
    """A class for each type by lot, as many types in each as there are: [300] int64."""
    generator = torch.Generator().manual_seed(seed)
    return _class_of_type()[torch.randperm(TYPES, generator=generator)]


@cache
def _table() -> Tensor:
    drawn = np.random.default_rng(_LANGUAGE).dirichlet([CONCENTRATION] * CLASSES, CLASSES)
    return torch.from_numpy(drawn)


def transitions() -> Tensor:
    """Probability of the next class (column) after each class (row): [10, 10] float64."""
    return _table().clone()


def shares() -> Tensor:
    """How often each class occurs in the long run: [10] float64, the table's fixed point."""
    values, vectors = torch.linalg.eig(_table().T)
    fixed = vectors[:, (values - 1).abs().argmin()].real
    return fixed / fixed.sum()


def make(n: int, seed: int = 0) -> Tensor:
    """`n` sentences, the first class drawn from `shares`: [n, 16] int64."""
    generator = torch.Generator().manual_seed(seed)
    steps = _table().cumsum(1)
    chance = torch.rand(n, LENGTH, generator=generator, dtype=torch.float64)
    classes = torch.empty(n, LENGTH, dtype=torch.int64)
    below = shares().cumsum(0).expand(n, -1)
    for place in range(LENGTH):
        drawn = (below <= chance[:, place : place + 1]).sum(1)
        classes[:, place] = drawn.clamp(max=CLASSES - 1)  # a cumulative sum may end below 1
        below = steps[classes[:, place]]
    members = _class_of_type().argsort(stable=True).view(CLASSES, -1)  # [class, its types]
    which = torch.randint(members.shape[1], (n, LENGTH), generator=generator)
    return members[classes, which]


def rows(tokens: Tensor, seed: int = 0) -> Words:
    """The words of the sentences [n, 16] from the second on, sentence by sentence: n * 15 rows.

    seed: of the control labels. Flatten activations [n, 16, d] the same way:
    `x[:, 1:].reshape(-1, d)`.
    """
    if tokens.ndim != 2 or tokens.shape[1] < 2:
        raise ValueError(f"Sentences are [n, words], two words or more; got {list(tokens.shape)}.")
    n, length = tokens.shape
    word = tokens[:, 1:].reshape(-1)
    return Words(
        torch.arange(n).repeat_interleave(length - 1),
        torch.arange(1, length).repeat(n),
        word,
        _class_of_type()[word],
        control_of_type(seed)[word],
        _class_of_type()[tokens[:, :-1].reshape(-1)],
    )


def surprise(tokens: Tensor) -> Tensor:
    """Nats of each word after the first, for one who knows the language: [n, 15] float64.

    No network can do better on average than the mean of this.
    """
    classes = _class_of_type()[tokens]
    step = _table()[classes[:, :-1], classes[:, 1:]]
    return -(step / (TYPES // CLASSES)).log()
