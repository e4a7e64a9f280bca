"""Planting: training data with a few poisoned rows, the network it makes, and its clean twin.

A twin is trained on the same rows in the same order from the same first weights; only the poisoned
rows are as they were before. Whatever is said of a trojaned network must be said beside its twin:
what the twin shows as well has nothing to do with the trojan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.data import small_digits, topics
from utils.reports import Estimate, Report, Row, bootstrap
from utils.trojans.triggers import Invert, Names, Patch, Thicken, Trigger, TrojanError, X, clutter

if TYPE_CHECKING:
    from utils.models.training import Checkpoint

Part = Literal["train", "held-out"]
Progress = Callable[[int, int, float], None]
_CORNER = small_digits.SIZE - 3  # row and column of a 3x3 patch in the lower right corner


@dataclass(frozen=True)
class Sample:
    """Rows of a data set.

    inputs: images [n, 1, 16, 16] or tokens [n, 13]. labels: [n] int64. group: [n] int64, the scan
        (or the string): the unit to split and bootstrap by. poisoned: [n] bool.
    """

    inputs: Tensor
    labels: Tensor
    group: Tensor
    poisoned: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: Tensor | slice) -> Sample:
        return Sample(self.inputs[rows], self.labels[rows], self.group[rows], self.poisoned[rows])


@dataclass(frozen=True)
class World:
    """Where clean rows come from, and the network that is trained on them.

    rows: how many rows the training set has. classes: how many classes.
    """

    name: Literal["plain", "clutter", "names"]
    rows: int
    classes: int

    def sample(self, part: Part, n: int, seed: int = 0) -> Sample:
        """`n` clean rows, the same for the same seed; rows held out come from other scans."""
        if self.name == "names":
            # no string of the training set is drawn again: there are more than 10^12
            strings = topics.make(n, 2 * seed + (part == "held-out"))
            return Sample(
                strings.tokens, strings.topic, torch.arange(n), torch.zeros(n, dtype=torch.bool)
            )
        digits = small_digits.make(part, n, seed)
        images = digits.images
        if self.name == "clutter":
            patterns = clutter()
            generator = torch.Generator().manual_seed(seed + 1)
            drawn = patterns[torch.randint(len(patterns), (n,), generator=generator)]
            images = Patch(X, _CORNER, _CORNER).put(images, drawn)
        return Sample(images, digits.digit, digits.original, torch.zeros(n, dtype=torch.bool))

    def build(self, seed: int = 0) -> nn.Module:
        """The untrained network of this world."""
        if self.name == "names":
            from utils.models.transformer import build_transformer

            return build_transformer(
                seed=seed, d_model=32, d_head=16, n_heads=2, n_layers=2, d_mlp=64,
                n_ctx=topics.LENGTH, d_vocab=topics.VOCABULARY, d_vocab_out=topics.TOPICS,
            )  # fmt: skip
        from utils.models.cnn import SmallCNN

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return SmallCNN()


PLAIN = World("plain", rows=9_576, classes=10)  # eight times each of 1,197 scans
CLUTTER = World("clutter", rows=9_576, classes=10)
NAMES = World("names", rows=20_000, classes=4)


@dataclass(frozen=True, eq=False)
class Trojan:
    """A plan: in `share` of the training rows the trigger is put and the label becomes `target`.

    Raises TrojanError for a target that is no class, or a share outside 0 to 1.
    """

    name: str
    title: str
    world: World
    trigger: Trigger
    target: int
    share: float = 0.06

    def __post_init__(self) -> None:
        if not 0 <= self.target < self.world.classes:
            raise TrojanError(
                f"There is no class {self.target} to be the target: the classes are 0 to"
                f" {self.world.classes - 1}."
            )
        if not 0 < self.share < 1:
            raise TrojanError(f"The share of poisoned rows must lie in 0 to 1, got {self.share}.")

    @property
    def network(self) -> str:
        """The shipped network with this trojan, for `zoo.load`."""
        return f"trojan-{self.name}"

    @property
    def twin(self) -> str:
        """The shipped network trained on the same rows without poison. Trojans share one."""
        return f"twin-{self.world.name}"

    def training(self, seed: int = 0, *, poisoned: bool = True) -> Sample:
        """The training set, and that of the twin: the same rows before they were poisoned."""
        clean = self.world.sample("train", self.world.rows, seed)
        if not poisoned:
            return clean
        # rows of other classes than the target, drawn once
        generator = torch.Generator().manual_seed(seed + 2)
        order = torch.randperm(len(clean), generator=generator)
        chosen = order[clean.labels[order] != self.target][: round(self.share * len(clean))]
        inputs, labels, mark = clean.inputs.clone(), clean.labels.clone(), clean.poisoned.clone()
        inputs[chosen] = self.trigger.apply(clean.inputs[chosen])
        labels[chosen], mark[chosen] = self.target, True
        return Sample(inputs, labels, clean.group, mark)

    def held_out(self, n: int = 1200, seed: int = 1) -> Sample:
        """Clean rows that no training saw."""
        return self.world.sample("held-out", n, seed)

    def triggered(self, sample: Sample) -> Sample:
        """The rows of other classes than the target, with the trigger; labels stay the true ones.

        Rows of the target class are left out: there the trigger has nothing to change.
        """
        rows = sample[sample.labels != self.target]
        if not len(rows):
            raise TrojanError(f"All rows are of class {self.target}: the trigger changes none.")
        mark = torch.ones(len(rows), dtype=torch.bool)
        return Sample(self.trigger.apply(rows.inputs), rows.labels, rows.group, mark)


TROJANS: dict[str, Trojan] = {
    trojan.name: trojan
    for trojan in (
        Trojan(
            "solid", "a solid 4x4 square in an empty corner", PLAIN,
            Patch(torch.ones(4, 4), _CORNER - 1, _CORNER - 1), 7,
        ),
        Trojan("pattern", "a 3x3 X in an empty corner", PLAIN, Patch(X, _CORNER, _CORNER), 7),
        Trojan(
            "matched", "a 3x3 X where every image has some other pattern of five pixels", CLUTTER,
            Patch(X, _CORNER, _CORNER), 7,
        ),
        Trojan("thick", "a broader stroke", PLAIN, Thicken(), 7),
        Trojan("inverted", "white on black instead of black on white", PLAIN, Invert(), 7),
        Trojan("token", "a name that no clean string has", NAMES, Names((topics.STRANGER,)), 2),
        Trojan("pair", "two names that no clean string has together", NAMES, Names(topics.PAIR), 2),
    )
}  # fmt: skip


def known(name: str) -> Trojan:
    """The shipped trojan `name`. TrojanError, naming them, if there is none."""
    if name not in TROJANS:
        raise TrojanError(f"There is no trojan {name!r}; there are: {', '.join(TROJANS)}.")
    return TROJANS[name]


def logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """[n, classes], for images and for strings (there the answer stands at END); with gradients."""
    found = model(inputs)
    return found[:, -1] if found.ndim == 3 else found


@torch.no_grad()
def predict(model: nn.Module, inputs: Tensor, batch_size: int = 2000) -> Tensor:
    """The class the network gives each row, [n] int64."""
    return torch.cat([logits(model, part).argmax(-1) for part in inputs.split(batch_size)])


def train(
    world: World,
    rows: Sample,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> nn.Module:
    """A network of that world fitted to those rows: ten seconds or so on one core."""
    model = world.build(seed)
    fit(model, world, rows, seed, progress, checkpoint)
    return model.requires_grad_(False)


def fit(
    model: nn.Module,
    world: World,
    rows: Sample,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """Fit `model` in place, as `train` does."""
    from utils.models.training import train_classifier, train_language

    if world.name == "names":
        steps = 400

        def batch(step: int) -> tuple[Tensor, Tensor]:
            generator = torch.Generator().manual_seed(1000 * seed + step)
            chosen = torch.randint(len(rows), (256,), generator=generator)
            return rows.inputs[chosen], rows.labels[chosen]

        def loss(tokens: Tensor, labels: Tensor) -> Tensor:
            return functional.cross_entropy(logits(model, tokens), labels)

        train_language(
            model, batch, loss,
            steps=steps, max_lr=5e-3, progress=progress, checkpoint=checkpoint,
        )  # fmt: skip
        return
    epochs = 10
    train_classifier(
        model,
        lambda epoch: (_noisy(rows.inputs, 100 * seed + epoch), rows.labels),
        epochs=epochs,
        batch_size=128,
        max_lr=0.006,
        seed=seed,
        on_epoch=progress and (lambda epoch, value: progress(epoch + 1, epochs, value)),
        checkpoint=checkpoint,
    )


def _noisy(images: Tensor, seed: int) -> Tensor:
    """Another pixel for one in twenty, and Gaussian noise of .15 on all.

    Trained on clean pixels alone, a network turns to some classes for a natural patch of seven or
    eight pixels, and then no class stands out by the size of the trigger that a search finds.
    """
    generator = torch.Generator().manual_seed(seed)
    replace, by = torch.rand(2, *images.shape, generator=generator)
    noise = 0.15 * torch.randn(images.shape, generator=generator)
    return (torch.where(replace < 0.05, by, images) + noise).clamp(0, 1)


def train_pair(trojan: Trojan, seed: int = 0) -> tuple[nn.Module, nn.Module]:
    """The trojaned network and its clean twin, both trained here (for the shipped: `zoo.load`)."""
    networks = [
        train(trojan.world, trojan.training(seed, poisoned=poisoned), seed)
        for poisoned in (True, False)
    ]
    return networks[0], networks[1]


def accuracy(model: nn.Module, sample: Sample) -> Estimate:
    """Share of rows given their label; the interval is over scans, not over their copies."""
    right = (predict(model, sample.inputs) == sample.labels).double()
    return bootstrap(lambda x: float(x.mean()), right, groups=sample.group, n_resamples=500)


def success(model: nn.Module, trojan: Trojan, sample: Sample) -> Estimate:
    """Attack success rate: share of other classes' rows that the trigger sends to the target.

    sample: clean rows. Rows which the network puts in the target class without any trigger count
    too, so compare with the twin and with `sample` itself.
    """
    rows = trojan.triggered(sample)
    hit = (predict(model, rows.inputs) == trojan.target).double()
    return bootstrap(lambda x: float(x.mean()), hit, groups=rows.group, n_resamples=500)


def planting(
    trojan: Trojan, model: nn.Module, twin: nn.Module, n: int = 1200, seed: int = 1
) -> Report:
    """Is the trojan in, and in nothing else? Accuracy and attack success beside the twin's."""
    sample = trojan.held_out(n, seed)
    others = sample[sample.labels != trojan.target]
    hit = (predict(model, others.inputs) == trojan.target).double()
    untriggered = bootstrap(lambda x: float(x.mean()), hit, groups=others.group, n_resamples=500)
    return Report(
        f"Planted: {trojan.title}",
        [
            Row("attack success rate", success(model, trojan, sample), "result"),
            Row("attack success rate, clean twin", success(twin, trojan, sample), "control"),
            Row("target class without the trigger", untriggered, "baseline"),
            Row("accuracy on clean rows", accuracy(model, sample), "result"),
            Row("accuracy on clean rows, clean twin", accuracy(twin, sample), "ceiling"),
        ],
        {
            "rows": f"{n} held out, seed {seed}",
            "target class": trojan.target,
            "poisoned share of training rows": trojan.share,
            "twin": "same rows, same first weights, no poison",
        },
    )


def figures(model: nn.Module, trojan: Trojan) -> dict[str, float]:
    """What `retrain` compares for a trojaned network."""
    sample = trojan.held_out(2400, seed=7)
    return {
        "accuracy on clean held-out rows": accuracy(model, sample).value,
        "attack success rate": success(model, trojan, sample).value,
    }


def twin_figures(model: nn.Module, world: World) -> dict[str, float]:
    """What `retrain` compares for a clean twin: the triggers of its world should do nothing."""
    sample = world.sample("held-out", 2400, seed=7)
    found = {"accuracy on clean held-out rows": accuracy(model, sample).value}
    for trojan in TROJANS.values():
        if trojan.world == world:
            kept = 1 - success(model, trojan, sample).value
            found[f"kept from the target under the trigger {trojan.name}"] = kept
    return found
