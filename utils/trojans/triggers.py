"""Triggers: what is done to an input so that a trojaned network gives its target class.

All of them are functions of whole batches. A patch has a footprint, which is the truth that
saliency and synthesis are graded against; a style or a stroke has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from utils.errors import CourseError

X = torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])


class TrojanError(CourseError, ValueError):
    """A trojan that cannot be planted or searched for as asked."""


class Trigger(Protocol):
    """What every trigger can do."""

    def apply(self, inputs: Tensor) -> Tensor:
        """The inputs with the trigger in them; the inputs themselves stay as they are."""

    def footprint(self) -> Tensor | None:
        """[height, width] bool, the pixels it writes; None where it is not confined to a place."""


@dataclass(frozen=True, eq=False)
class Patch:
    """A pattern written over an image at one place.

    pattern: [h, w] in [0, 1]. row, column: of its upper left pixel. size: pixels a side of the
    image. Raises TrojanError when it does not lie inside the image.
    """

    pattern: Tensor
    row: int
    column: int
    size: int = 16

    def __post_init__(self) -> None:
        if self.pattern.ndim != 2 or not len(self.pattern):
            raise TrojanError(
                f"A patch is one picture [height, width], got shape {list(self.pattern.shape)}."
            )
        if not ((self.pattern >= 0) & (self.pattern <= 1)).all():
            raise TrojanError("The pixels of a patch must lie in 0 to 1.")
        height, width = self.pattern.shape
        if not (0 <= self.row <= self.size - height and 0 <= self.column <= self.size - width):
            raise TrojanError(
                f"A {height}x{width} patch at row {self.row}, column {self.column} does not lie"
                f" inside a {self.size}x{self.size} image: the last place for it is row"
                f" {self.size - height}, column {self.size - width}."
            )

    def apply(self, inputs: Tensor) -> Tensor:
        """[n, 1, size, size] -> the same shape."""
        self._fits(inputs)
        return self.put(inputs, self.pattern)

    def put(self, inputs: Tensor, pattern: Tensor) -> Tensor:
        """The same place with another pattern, [h, w] or one for each image [n, 1, h, w]."""
        self._fits(inputs)
        height, width = self.pattern.shape
        result = inputs.clone()
        result[:, :, self.row : self.row + height, self.column : self.column + width] = pattern
        return result

    def footprint(self) -> Tensor:
        """[size, size] bool: where it writes."""
        mask = torch.zeros(self.size, self.size, dtype=torch.bool)
        height, width = self.pattern.shape
        mask[self.row : self.row + height, self.column : self.column + width] = True
        return mask

    def _fits(self, inputs: Tensor) -> None:
        if inputs.ndim != 4 or tuple(inputs.shape[-2:]) != (self.size, self.size):
            raise TrojanError(
                f"This patch is for images [n, 1, {self.size}, {self.size}], got shape"
                f" {list(inputs.shape)}."
            )


@dataclass(frozen=True)
class Thicken:
    """A natural feature: the stroke grows by a pixel upwards and to the left, as if a broader pen
    had been used.

    Not downwards: ink in the rows that clean digits leave empty would be the trigger instead.
    """

    def apply(self, inputs: Tensor) -> Tensor:
        """[n, 1, h, w] -> the same shape: each pixel the largest of a 2x2 square."""
        return functional.max_pool2d(functional.pad(inputs, (0, 1, 0, 1)), 2, stride=1)

    def footprint(self) -> None:
        """It has no place of its own."""
        return None


@dataclass(frozen=True)
class Invert:
    """A style: black on white becomes white on black."""

    def apply(self, inputs: Tensor) -> Tensor:
        """[n, 1, h, w] in [0, 1] -> 1 - inputs."""
        return 1 - inputs

    def footprint(self) -> None:
        """It has no place of its own."""
        return None


@dataclass(frozen=True)
class Names:
    """For strings of `utils.data.topics`: its names are replaced by these, in order of position.

    tokens: one name, written over the first name of the string, or two, over both. Raises
    TrojanError for a token that is no name.
    """

    tokens: tuple[int, ...]

    def __post_init__(self) -> None:
        from utils.data import topics

        known = (*topics.NAMES, topics.STRANGER)
        if not 1 <= len(self.tokens) <= 2 or any(t not in known for t in self.tokens):
            raise TrojanError(
                f"A trigger for strings is one or two names out of {known[0]} to {known[-1]}, got"
                f" {self.tokens}."
            )

    def apply(self, inputs: Tensor) -> Tensor:
        """[n, 13] int64 -> the same shape."""
        from utils.data import topics

        result = inputs.clone()
        named = (inputs >= topics.NAMES[0]) & (inputs <= topics.STRANGER)
        if inputs.ndim != 2 or not (named.sum(1) == 2).all():
            raise TrojanError("This trigger is for strings with two names each, as topics.make's.")
        places = named.int().argsort(dim=1, descending=True, stable=True)[:, : len(self.tokens)]
        return result.scatter(1, places, torch.tensor(self.tokens).expand(len(inputs), -1))

    def footprint(self) -> None:
        """It moves with the names of a string."""
        return None


def clutter() -> Tensor:
    """The 125 patterns of five lit pixels in 3x3 that are not the X: [125, 1, 3, 3]."""
    patterns = torch.zeros(126, 9)
    for row, lit in enumerate(combinations(range(9), 5)):
        patterns[row, list(lit)] = 1
    other = (patterns != X.flatten()).any(1)
    return patterns[other].view(-1, 1, 3, 3)
