"""Real handwriting on 16x16 pixels with room for a trigger beside it, for the trojaned networks.

The 1,797 scans of scikit-learn's `load_digits` (see `utils.data.digits`), each enlarged to 12x12
and laid on an empty 16x16 canvas towards the upper left, so that the lower right corner is empty.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from utils.data.digits import Digits

SIZE = 16  # pixels a side
INK = 12  # pixels a side that a scan fills
HELD_OUT = 600  # scans that training never sees, a third
_SPLIT_SEED = 20230217


@lru_cache(maxsize=1)
def scans() -> Digits:
    """All 1,797 scans as [1797, 1, 12, 12], ink is 1."""
    from sklearn.datasets import load_digits

    data = load_digits()
    small = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    large = functional.interpolate(small, size=(INK, INK), mode="bilinear", align_corners=False)
    return Digits(large, torch.tensor(data.target), torch.arange(len(large)))


@lru_cache(maxsize=1)
def split() -> tuple[Tensor, Tensor]:
    """Scans for training [1197] and held out [600], drawn once with a fixed seed."""
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(_SPLIT_SEED))
    return order[:-HELD_OUT].sort().values, order[-HELD_OUT:].sort().values


def make(part: Literal["train", "held-out"], n: int, seed: int = 0) -> Digits:
    """`n` images [n, 1, 16, 16], each scan of that part used equally often.

    A scan lies 0 to 2 pixels from the upper and from the left edge, at random. The same `part`,
    `n` and `seed` always give the same images; `original` is the scan, the unit to group by.
    """
    ids = split()[("train", "held-out").index(part)]
    generator = torch.Generator().manual_seed(seed)
    passes = [ids[torch.randperm(len(ids), generator=generator)] for _ in range(-(-n // len(ids)))]
    base = scans()[torch.cat(passes)[:n]]
    room = SIZE - INK - 1  # the last two rows and columns stay empty
    down, right = torch.randint(room, (2, n), generator=generator)
    images = torch.zeros(n, 1, SIZE, SIZE)
    for y in range(room):
        for x in range(room):
            here = (down == y) & (right == x)
            images[here, :, y : y + INK, x : x + INK] = base.images[here]
    return Digits(images, base.digit, base.original)
