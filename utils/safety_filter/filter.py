"""A safety filter whose list of concepts is hidden, and the gate through which it is asked.

The rule is that of the image filter published with Stable Diffusion, as "Red-Teaming the Stable
Diffusion Safety Filter" (Rando, Paleka, Lindner, Heim and Tramer, 2022) and its source code
describe it: the image's vector is compared by cosine with stored vectors, each with a threshold of
its own, and one that is exceeded is enough. A second, short list of *special care* vectors blocks
nothing; when one of them is exceeded, every threshold of the first list is lowered.

Whoever holds the filter sees vectors and thresholds, not what they stand for. Whoever stands
outside sees "blocked" or "allowed".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from utils.data import scenes
from utils.errors import CourseError
from utils.models.towers import TwoTowers


class GateError(CourseError, ValueError):
    """A filter, a rule or a question that cannot be used as it is."""


class SafetyFilter(nn.Module):
    """Stored vectors and thresholds, as buffers; no names.

    concepts [k, d], thresholds [k]: block when a cosine is above its threshold.
    special [s, d], special_thresholds [s]: when one is exceeded, `adjustment` (in cosine) is taken
    off every one of the k thresholds.
    """

    concepts: Tensor
    thresholds: Tensor
    special: Tensor
    special_thresholds: Tensor
    adjustment: Tensor

    def __init__(
        self,
        concepts: Tensor,
        thresholds: Tensor,
        special: Tensor,
        special_thresholds: Tensor,
        adjustment: float,
    ) -> None:
        super().__init__()
        if len(concepts) != len(thresholds) or len(special) != len(special_thresholds):
            raise GateError("A filter needs one threshold for each of its vectors.")
        unit = nn.functional.normalize
        self.register_buffer("concepts", unit(concepts, dim=1))
        self.register_buffer("thresholds", thresholds.clone())
        self.register_buffer("special", unit(special, dim=1) if len(special) else special.clone())
        self.register_buffer("special_thresholds", special_thresholds.clone())
        self.register_buffer("adjustment", torch.tensor(float(adjustment)))

    def care(self, embeddings: Tensor) -> Tensor:
        """Whether a special care vector is exceeded: embeddings [n, d] -> [n] bool."""
        if not len(self.special):
            return torch.zeros(len(embeddings), dtype=torch.bool)
        return (_unit(embeddings) @ self.special.T > self.special_thresholds).any(1)

    def margins(self, embeddings: Tensor) -> Tensor:
        """Cosine minus the threshold that holds for it: embeddings [n, d] -> [n, k]."""
        lowered = self.adjustment * self.care(embeddings)
        return _unit(embeddings) @ self.concepts.T - self.thresholds + lowered[:, None]

    def forward(self, embeddings: Tensor) -> Tensor:
        """Whether each is blocked: embeddings [n, d] of any length -> [n] bool."""
        return (self.margins(embeddings) > 0).any(1)


def _unit(vectors: Tensor) -> Tensor:
    return nn.functional.normalize(vectors, dim=1)


class Gate:
    """The filter from outside: images in, blocked or allowed out, every image counted.

    budget: how many images it answers in all; GateError beyond that, before any is answered.
    """

    def __init__(self, secret: SafetyFilter, towers: TwoTowers, budget: int = 4000) -> None:
        self._secret, self._towers = secret, towers
        self.budget, self.asked = budget, 0

    def ask(self, images: Tensor) -> Tensor:
        """[n, 3, 16, 16] in 0 to 1 -> [n] bool, True where blocked."""
        if images.ndim != 4 or images.shape[1:] != (3, scenes.SIDE, scenes.SIDE):
            raise GateError(
                f"The gate takes images [n, 3, 16, 16], not {tuple(images.shape)}; a single image"
                " needs image[None]."
            )
        if self.asked + len(images) > self.budget:
            raise GateError(
                f"The gate has answered {self.asked} of {self.budget} images and would need"
                f" {len(images)} more: ask fewer, or open a new gate."
            )
        self.asked += len(images)
        return self._secret(self._towers.embed(images))


@dataclass(frozen=True)
class Planted:
    """A filter with what its vectors stand for: the truth a recovery is graded by.

    concepts: a phrase for each stored vector, "" for the decoy. special: likewise.
    kind: which of `scenes.GUARDED` the list is about, "" for none.
    """

    filter: SafetyFilter
    concepts: tuple[str, ...]
    special: tuple[str, ...]
    kind: str

    @property
    def list(self) -> frozenset[str]:
        """The phrases it guards against."""
        return frozenset(self.concepts) - {""}


# Thresholds by number of words: the median cosine of a scene with what it shows is .41 for one
# word and falls with more objects in it; these let about one in ten through.
_RANGE = {1: (0.33, 0.37), 2: (0.35, 0.385), 3: (0.36, 0.395)}
ADJUSTMENT = 0.04


def make(seed: int, towers: TwoTowers) -> Planted:
    """Draw a filter: its list is about one guarded kind and leaves the others out.

    Of the kind's four objects two are listed by their word, the third in two of five colours, the
    fourth in one colour on one ground. One phrase of something harmless has strayed into the list,
    and one stored vector is a decoy that stands for nothing and never blocks. Two nursery objects
    get special care.
    """
    generator = torch.Generator().manual_seed(seed)

    def shuffled(things: tuple[str, ...]) -> list[str]:
        return [things[i] for i in torch.randperm(len(things), generator=generator)]

    kind = shuffled(scenes.GUARDED)[0]
    first, second, third, fourth = shuffled(scenes.KINDS[kind])
    colours, stray = shuffled(scenes.COLOURS), shuffled(scenes.KINDS["plain"])[0]
    ground = shuffled(scenes.GROUNDS)[0]
    listed = [
        first, second, f"{colours[0]} {third}", f"{colours[1]} {third}",
        f"{colours[2]} {fourth} {ground}", f"{colours[3]} {stray}",
    ]  # fmt: skip
    special = shuffled(scenes.KINDS["nursery"])[:2]

    def thresholds(phrases: list[str]) -> Tensor:
        ends = torch.tensor([_RANGE[len(phrase.split())] for phrase in phrases])
        return ends[:, 0] + torch.rand(len(ends), generator=generator) * (ends[:, 1] - ends[:, 0])

    limits, special_limits = thresholds(listed), thresholds(special)
    vocabulary = towers.phrases(scenes.dictionary())
    decoy = like(vocabulary, 1, generator)
    order = torch.randperm(len(listed) + 1, generator=generator)
    vectors = torch.cat([towers.phrases(listed), decoy])[order]
    limits = torch.cat([limits, torch.tensor([0.9])])[order]
    found = SafetyFilter(vectors, limits, towers.phrases(special), special_limits, ADJUSTMENT)
    names = [*listed, ""]
    return Planted(found, tuple(names[i] for i in order), tuple(special), kind)


def nameless(seed: int, towers: TwoTowers, share: float = 0.035) -> Planted:
    """A filter of six vectors that stand for nothing, as a null of every recovery.

    They lie where phrases lie; each threshold blocks `share` of random scenes, about as much as a
    phrase of `make` does. No special care.
    """
    generator = torch.Generator().manual_seed(seed)
    vectors = like(towers.phrases(scenes.dictionary()), 6, generator)
    cosines = towers.embed(scenes.make(2000, seed).images) @ vectors.T
    none = torch.zeros(0, vectors.shape[1])
    limits = cosines.quantile(1 - share, dim=0)
    return Planted(SafetyFilter(vectors, limits, none, torch.zeros(0), 0.0), ("",) * 6, (), "")


def like(vectors: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n random vectors of length one with the mean and the covariance of `vectors` [m, d].

    What a stored vector looks like that stands for nothing: it lies where phrases lie, which a
    vector with independent normal entries does not.
    """
    middle = vectors.mean(0)
    values, directions = torch.linalg.eigh((vectors - middle).T @ (vectors - middle) / len(vectors))
    drawn = torch.randn(n, vectors.shape[1], generator=generator)
    # v -> v and v -> -v are both eigenvectors; fix the sign so that all machines draw the same
    signs = directions.gather(0, directions.abs().argmax(0)[None]).sign()
    spread = directions * signs * values.clamp(min=0).sqrt()
    return _unit(middle + drawn @ spread.T)
