"""Handwritten digits that need no download: 1,797 real scans, enlarged to 28x28 and augmented.

The scans ship inside scikit-learn (`load_digits`; Alpaydin and Kaynak, "Optical Recognition of
Handwritten Digits", UCI, 1998) as 8x8 images. One scan can yield thousands of augmented images, so
every split here is by *original scan*: no image of a held-out scan is ever seen in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

SIZE = 28  # pixels a side, as in MNIST
HELD_OUT = 360  # original scans that training never sees, a fifth of the 1,797
CLUE = 647  # the scan of a slanted "1" that is handed out with Challenge 1
_SPLIT_SEED = 20230209


@dataclass(frozen=True)
class Digits:
    """A batch of digits.

    images: [n, 1, 28, 28], float32 in [0, 1], ink is 1.
    digit: [n], the digit written (int64).
    original: [n], which scan each image was made from (int64, 0-1796): the unit to split, group and
        bootstrap by.
    """

    images: Tensor
    digit: Tensor
    original: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor | slice) -> Digits:
        return Digits(self.images[index], self.digit[index], self.original[index])


@lru_cache(maxsize=1)
def originals() -> Digits:
    """All 1,797 scans, enlarged to 28x28 but otherwise as written."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    small = torch.tensor(scans.images, dtype=torch.float32)[:, None] / 16
    # The 8x8 scan fills a 20x20 square inside the frame, the proportions of MNIST. The gain brings
    # back the near-binary ink that averaging down to 8x8 washed out.
    large = functional.interpolate(small, size=(20, 20), mode="bicubic", align_corners=False)
    large = functional.pad((1.4 * large - 0.15).clamp(0, 1), (4, 4, 4, 4))
    return Digits(large, torch.tensor(scans.target), torch.arange(len(large)))


@lru_cache(maxsize=1)
def split() -> tuple[Tensor, Tensor]:
    """Original scans for training [1437] and held out [360], drawn once with a fixed seed.

    The clue is a training scan: a learner is shown it, so it must not be in the test.
    """
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(_SPLIT_SEED))
    order = torch.cat([torch.tensor([CLUE]), order[order != CLUE]])
    return order[:-HELD_OUT].sort().values, order[-HELD_OUT:].sort().values


def clue() -> Tensor:
    """The clue image that comes with Challenge 1, [28, 28], ink is 1."""
    return originals().images[CLUE, 0].clone()


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Redraw each image with a random small affine map: [n, 1, 28, 28] -> the same shape.

    Rotation +-15 degrees, scale +-12 % per axis, shear +-0.2, shift +-2 pixels, all uniform and
    drawn from `generator`, so the same seed gives the same images.
    """
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    angle, shear = uniform(-torch.pi / 12, torch.pi / 12), uniform(-0.2, 0.2)
    wide, tall = uniform(0.88, 1.12), uniform(0.88, 1.12)
    cos, sin, shift = angle.cos(), angle.sin(), 2 * 2 / SIZE
    rows = [
        torch.stack([cos / wide, (shear * cos - sin) / tall, uniform(-shift, shift)], 1),
        torch.stack([sin / wide, (shear * sin + cos) / tall, uniform(-shift, shift)], 1),
    ]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False).clamp(0, 1)


def make(part: Literal["train", "held-out"], n: int, seed: int = 0) -> Digits:
    """`n` augmented images, each from a scan of that part; scans are used equally often.

    The same `part`, `n` and `seed` always give the same images.
    """
    ids = split()[("train", "held-out").index(part)]
    generator = torch.Generator().manual_seed(seed)
    passes = [ids[torch.randperm(len(ids), generator=generator)] for _ in range(-(-n // len(ids)))]
    chosen = torch.cat(passes)[:n]
    base = originals()[chosen]
    return Digits(augment(base.images, generator), base.digit, base.original)
