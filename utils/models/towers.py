"""Two towers, one for images and one for phrases, that meet in one space: a CLIP small enough to
train in a minute ("Learning Transferable Visual Models From Natural Language Supervision", 2021).

Both end in a vector of length one, so that a dot product is a cosine. Trained by contrast: in a
batch of scenes and phrases, a scene is to be closer to what is true of it than to the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from utils.data import scenes
from utils.models.training import Checkpoint, train_language

Progress = Callable[[int, int, float], None]
WIDTH, STEPS, BATCH = 32, 1500, 192


class TwoTowers(HookedRootModule):
    """An image tower and a phrase tower into one space of 32 dimensions.

    Hooks, with b images: hook_conv1 [b, 32, 8, 8], hook_conv2 [b, 64, 4, 4], hook_hidden [b, 96],
    hook_image [b, 32]; with p phrases: hook_words [p, 96], hook_text [p, 32].
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.hidden, self.project = nn.Linear(1024, 96), nn.Linear(96, WIDTH)
        self.words, self.text_project = nn.Linear(len(scenes.WORDS), 96), nn.Linear(96, WIDTH)
        self.scale = nn.Parameter(torch.tensor(2.3))  # log of what cosines are multiplied by
        self.hook_conv1, self.hook_conv2 = HookPoint(), HookPoint()
        self.hook_hidden, self.hook_image = HookPoint(), HookPoint()
        self.hook_words, self.hook_text = HookPoint(), HookPoint()
        self.setup()

    def forward(self, images: Tensor) -> Tensor:
        """Images [b, 3, 16, 16] in 0 to 1 -> vectors of length one, [b, 32]."""
        x = functional.max_pool2d(functional.relu(self.conv1(images - 0.5)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(self.hook_conv1(x))), 2)
        x = self.hook_hidden(functional.relu(self.hidden(self.hook_conv2(x).flatten(1))))
        return self.hook_image(functional.normalize(self.project(x), dim=1))

    def bags(self, bags: Tensor) -> Tensor:
        """Bags of words [p, 33], as `scenes.bags` makes them -> vectors of length one, [p, 32]."""
        x = self.hook_words(functional.relu(self.words(bags)))
        return self.hook_text(functional.normalize(self.text_project(x), dim=1))

    @torch.no_grad()
    def phrases(self, phrases: Sequence[str]) -> Tensor:
        """Phrases -> vectors of length one, [p, 32]. Raises SceneError for an unknown word."""
        return self.bags(scenes.bags(phrases))

    @torch.no_grad()
    def embed(self, images: Tensor, batch_size: int = 2000) -> Tensor:
        """As calling it, in batches and without gradients."""
        return torch.cat([self(part) for part in images.split(batch_size)])


def build(seed: int = 0) -> nn.Module:
    """The towers before training."""
    torch.manual_seed(seed)
    return TwoTowers()


def _batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images, bags of one true phrase a scene, and which phrase is true of which scene."""
    rows = scenes.make(BATCH, seed=step)
    generator = torch.Generator().manual_seed(step)
    place = torch.where(rows.objects >= 0, torch.rand(BATCH, 4, generator=generator), -1).argmax(1)
    every = torch.arange(BATCH)
    parsed = torch.stack([rows.objects[every, place], rows.colours[every, place], rows.ground], 1)
    # which of object, colour and ground a phrase tells; mostly the object
    told = torch.rand(BATCH, 3, generator=generator) < torch.tensor([0.85, 0.5, 0.35])
    told[~told.any(1), 0] = True
    parsed = parsed.masked_fill(~told, -1)
    starts = torch.tensor([0, len(scenes.OBJECTS), len(scenes.OBJECTS) + len(scenes.COLOURS)])
    bags = torch.zeros(BATCH, len(scenes.WORDS))
    row, sort = told.nonzero(as_tuple=True)
    bags[row, starts[sort] + parsed[row, sort]] = 1
    return rows.images, bags, scenes.holds(rows, parsed)


def train(model: nn.Module, progress: Progress, checkpoint: Checkpoint | None = None) -> None:
    """Fit in place on fresh scenes. A phrase that is true of several scenes of the batch pulls all
    of them: with the usual one true pair a row, true ones would be pushed apart as well."""

    def loss(images: Tensor, bags: Tensor, true: Tensor) -> Tensor:
        cosines = model(images) @ model.bags(bags).T
        logits, target = model.scale.exp() * cosines, true.float()
        by_scene = functional.cross_entropy(logits, target / target.sum(1, keepdim=True))
        by_phrase = functional.cross_entropy(logits.T, (target / target.sum(0)).T)
        return by_scene + by_phrase

    train_language(
        model, _batch, loss, steps=STEPS, max_lr=3e-3, progress=progress, checkpoint=checkpoint
    )


@torch.no_grad()
def figures(model: nn.Module) -> dict[str, float]:
    """On fresh scenes of one object: is its name, with and without colour, the nearest phrase?"""
    rows = scenes.make(4000, seed=2**31, most=1)
    place = rows.objects.argmax(1, keepdim=True)
    thing, colour = rows.objects.gather(1, place)[:, 0], rows.colours.gather(1, place)[:, 0]
    images = model.embed(rows.images)
    names = model.phrases(scenes.OBJECTS)
    pairs = [f"{c} {name}" for name in scenes.OBJECTS for c in scenes.COLOURS]
    both = (images @ model.phrases(pairs).T).argmax(1) == len(scenes.COLOURS) * thing + colour
    right = (images @ names.T).argmax(1) == thing
    return {
        "object named, of 24": right.double().mean().item(),
        "object and colour named, of 120": both.double().mean().item(),
    }
