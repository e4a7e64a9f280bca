"""Checks, hints and data of lesson 02. Reading it spoils the exercises."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from utils.data import digits
from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import expect_close, expect_number, expect_tensor, expect_type
from utils.sites import Site, run


@dataclass(frozen=True)
class ChallengeData:
    """What the learner is given.

    clue: [28, 28]. explore: images of training scans. test: images of held-out scans.
    test_labels: [n], what the secret program says of the test images; for the last table only.
    """

    clue: Tensor
    explore: digits.Digits
    test: digits.Digits
    test_labels: Tensor

    def random_saliency(self, images: Tensor) -> Tensor:
        """Signed saliency [n, 28, 28] of a network of the same shape with random weights."""
        from utils.models.cnn import ChallengeCNN

        torch.manual_seed(1)
        network, pixels = ChallengeCNN().eval(), images.clone().requires_grad_(True)
        logits = network(pixels)
        return torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), pixels)[0][:, 0]

    def synthesise(self, direction: Tensor, steps: int = 150) -> Tensor:
        """An image [28, 28] whose fc1 activations, before ReLU, lie far along `direction` [200].

        Adam on the pixels, with a random shift of at most one pixel at every step and a penalty on
        differences between neighbours ("Feature Visualization", Olah and others, 2017).
        """
        model, site = load_model(), Site("hook_fc1_pre")
        generator = torch.Generator().manual_seed(0)
        latent = torch.rand(1, 1, 28, 28, generator=generator).mul(0.2).sub(0.5)
        latent.requires_grad_(True)
        optimizer = torch.optim.Adam([latent], lr=0.1)
        unit = direction / direction.norm()
        for _ in range(steps):
            image = torch.sigmoid(latent)
            shift = torch.randint(-1, 2, (2,), generator=generator).tolist()
            moved = torch.roll(image, shift, (2, 3))
            values = run(model, moved, read=[site], grad=True).values[0]
            rough = image.diff(dim=2).pow(2).sum() + image.diff(dim=3).pow(2).sum()
            loss = 0.02 * rough - 0.3 * (torch.relu(values)[0] @ unit)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return torch.sigmoid(latent).detach()[0, 0]


@lru_cache(maxsize=1)
def load_model() -> nn.Module:
    from utils.models import zoo

    return zoo.load("cnn-challenge")


def load_data() -> ChallengeData:
    from utils.data.programs import challenge_1

    test = digits.make("held-out", 7200, seed=7)
    explore = digits.make("train", 7185, seed=11)
    return ChallengeData(digits.clue(), explore, test, challenge_1().labels(test.images))


class _Planted(nn.Module):
    """Logits with a gradient known in closed form: [a.x, (b.x)^2 / 2]."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.a, self.b = torch.randn(2, 784, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        return torch.stack([x @ self.a, (x @ self.b) ** 2 / 2], 1)


@check(
    "2.1",
    hints=[
        "The gradient you need is of a number with respect to the images, so the images, not the "
        "weights, must require a gradient.",
        "Class 1 minus class 0, per image. Summing over the batch first is fine: an image's logits "
        "do not depend on the other images.",
        "`torch.autograd.grad(number, pixels)` returns a tuple with one tensor of the pixels' "
        "shape; drop the channel axis and nothing else.",
    ],
)
def check_saliency(answer: Any, lab: Any) -> str | None:
    model = _Planted()
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    flat = images.flatten(1)
    zero, one = model.a.expand(5, -1), (flat @ model.b)[:, None] * model.b
    expected = (one - zero).view(5, 28, 28)
    found = expect_tensor(call(answer, model, images), (5, 28, 28), name="saliency(model, images)")
    for wrong, message in (
        (-expected, "the sign is reversed: take the logit of class 1 minus that of class 0."),
        (expected.abs(), "the sign is lost; without it no map can say for or against."),
        (one.view(5, 28, 28), "this is the gradient of class 1's logit alone; the decision is a "
         "difference of two logits."),
        (expected / 5, "every map is divided by the batch size: sum over the images, do not "
         "average."),
    ):  # fmt: skip
        if torch.allclose(found, wrong, atol=1e-3):
            raise CheckFailed(message)
    expect_close(found, expected, atol=1e-3, name="the gradient of a network with known weights")
    expect_tensor(call(answer, lab.model, images), (5, 28, 28), name="saliency of the CNN")
    return "Checked on a network whose gradient is known in closed form."


@check(
    "2.2",
    hints=[
        "Centre first: take each neuron's mean away. Otherwise the first direction mostly points "
        "at the mean.",
        "`torch.linalg.svd(centred, full_matrices=False)` gives three matrices; the rows of the "
        "last are the directions.",
        "Variance goes with the *square* of a singular value. Coordinates are the centred "
        "activations times the first two directions.",
    ],
)
def check_plane(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(5)
    scale = torch.tensor([5.0, 3.0, 1.0, 0.5, 0.5])
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
    points = (torch.randn(400, 5, generator=generator) * scale) @ turn + 20 * turn[4]
    result = call(answer, points)
    pair = expect_type(result, (tuple, list), "principal_plane(activations)")
    if len(pair) != 2:
        raise CheckFailed(f"two things are asked for, coordinates and shares; got {len(pair)}.")
    places = expect_tensor(pair[0], (400, 2), name="the coordinates").double()
    shares = expect_tensor(pair[1], (2,), name="the shares").double()
    centred = (points - points.mean(0)).double()
    variance = torch.linalg.eigvalsh(centred.T @ centred).flip(0)
    spread = (places - places.mean(0)).pow(2).sum(0)
    if torch.allclose(shares, variance[:2].sqrt() / variance.sqrt().sum(), atol=1e-3):
        raise CheckFailed("these are shares of the singular values; variance is their square.")
    if torch.allclose(spread.flip(0), variance[:2], rtol=1e-2):
        raise CheckFailed("the directions come smallest first; put the largest first.")
    if shares[0] > 0.9:
        raise CheckFailed(
            "the first direction holds far too much: were the activations centred before the "
            "decomposition?"
        )
    expect_close(shares, variance[:2] / variance.sum(), atol=2e-3, name="the shares")
    expect_close(
        spread, variance[:2], atol=1e-2, rtol=1e-2, name="the squared spread of the coordinates",
        hint="Coordinates are the centred activations times unit directions.",
    )  # fmt: skip
    if places.mean(0).abs().max() > 1e-2:
        raise CheckFailed("the coordinates are not centred on 0: project the centred activations.")
    # Any rotation-free gauge: each coordinate must be a linear function of the right direction.
    rebuilt = torch.linalg.lstsq(places, centred).solution
    left = (centred - places @ rebuilt).pow(2).sum()
    expect_close(left, variance[2:].sum(), atol=1.0, rtol=2e-2, name="what the plane leaves out")
    return None


@check(
    "2.3",
    hints=[
        "Make the weights first: a [28, 28] picture that is +1 where the clue is 1 and -1 where it "
        "is 0.",
        "A straight line through (0, -1) and (1, +1).",
        "Multiply every image by the weights and add up over both pixel axes, leaving one number "
        "an image.",
    ],
)
def check_similarity(answer: Any, lab: Any) -> str | None:
    images, clue = lab.data.explore.images[:40], lab.data.clue
    found = expect_tensor(call(answer, images, clue), (40,), name="similarity(images, clue)")
    found = found.double()
    x, c = images[:, 0].double(), clue.double()
    expected = (x * (2 * c - 1)).sum((1, 2))
    for wrong, message in (
        (expected / 2, "exactly half of what was asked: `clue - 0.5` runs from -0.5 to +0.5. The "
         "published write-up has this very slip; the last part of the lesson comes back to it."),
        ((x * c).sum((1, 2)), "ink beside the clue does not count against yet: its weight is -1, "
         "not 0."),
        (-expected, "the sign is reversed: ink on the clue counts for."),
        (expected / 784, "this is a mean over the pixels; add them up, the unit is inked pixels."),
    ):  # fmt: skip
        if torch.allclose(found, wrong, atol=1e-3):
            raise CheckFailed(message)
    expect_close(found, expected, atol=1e-3, name="the similarity")
    return None


@check(
    "2.4",
    hints=[
        "Try candidate thresholds, for instance quantiles of the scores, and count the agreement "
        "of every pair of them.",
        "An image inside the band is right if the network said 0, outside if it said 1. Only the "
        "pair's total matters, not the two thresholds one by one.",
        "Between two candidates, (images of class 0) minus (images of class 1) should be as large "
        "as possible; cumulative counts give it for all pairs at once.",
    ],
)
def check_band(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(9)
    score = torch.randn(4000, generator=generator) * 30 + 10
    label = (~((score > -12) & (score < 25))).long()
    flip = torch.rand(4000, generator=generator) < 0.05
    for values, said, best in (
        (score, torch.where(flip, 1 - label, label), 0.95),
        # A band far off centre, in which class 0 is rare.
        (score, (~((score > 40) & (score < 70))).long(), 1.0),
    ):
        pair = expect_type(call(answer, values, said), (tuple, list, Tensor), "fit_band(...)")
        if len(pair) != 2:
            raise CheckFailed(f"two thresholds are asked for, low and high; got {len(pair)}.")
        low, high = (expect_number(v, what=f"the {n} threshold") for v, n in zip(
            pair, ("low", "high"), strict=True))  # fmt: skip
        if low > high:
            raise CheckFailed("the low threshold lies above the high one: return (low, high).")
        agreement = ((~((values > low) & (values < high))).long() == said).double().mean().item()
        if agreement < 0.5:
            raise CheckFailed(
                f"your band agrees with {agreement:.0%} of noisy planted labels, worse than "
                "chance: class 0 is inside the band."
            )
        if agreement < best - 0.015:
            raise CheckFailed(
                f"your band ({low:.1f} to {high:.1f}) agrees with {agreement:.1%} of planted "
                f"labels where {best:.0%} can be had. Quartiles ignore the labels, and extremes of "
                "class 0 follow the stray images: maximise the agreement itself."
            )
    return None


@check(
    "2.5",
    hints=[
        "Two scores for every held-out image: similarity to the clue and to `clue.rot90(2)`.",
        "`torch.corrcoef(torch.stack([first, second]))` is a 2x2 matrix; you want the entry off "
        "the diagonal.",
        "One number over the 7,200 images of `data.test`, not a number per pixel or per image.",
    ],
)
def check_control(answer: Any, lab: Any) -> str | None:
    number = expect_number(answer, -1.0, 1.0, what="the correlation")
    template = 2 * lab.data.clue - 1
    turned = template.rot90(2)
    x = lab.data.test.images[:, 0].flatten(1)
    scores = torch.stack([x @ template.flatten(), x @ turned.flatten()])
    expected = torch.corrcoef(scores)[0, 1].item()
    cosine = (template * turned).sum().item() / template.pow(2).sum().item()
    plain = torch.corrcoef(torch.stack([template.flatten(), turned.flatten()]))[0, 1].item()
    if abs(number - expected) <= 0.002:
        return "Two templates that measure almost the same thing."
    for wrong, message in (
        (cosine, "that is the cosine between the two templates; correlate the two *scores* over "
         "the images."),
        (plain, "that is the correlation between the two templates' pixels; correlate the two "
         "*scores* over the images."),
    ):  # fmt: skip
        if abs(number - wrong) < 1e-4:
            raise CheckFailed(message)
    raise CheckFailed(
        f"the correlation is not {number:.3f}. Rotate by 180 degrees, not 90, use 2 * clue - 1 for "
        "both, and all images of data.test."
    )


@check(
    "2.6",
    hints=[
        "Two means for every neuron: over the images below the band and over those above it.",
        "Boolean tensors select rows: `activations[below]`.",
        "A neuron that never fires has two equal means, so a strict comparison puts it on neither "
        "side.",
    ],
)
def check_sorting(answer: Any, lab: Any) -> str | None:
    below = torch.tensor([True] * 6 + [False] * 4)
    acts = torch.zeros(10, 4)
    acts[:6, 0], acts[6:, 0] = 1.0, 0.2  # below
    acts[6:, 1], acts[:6, 1] = 1.0, 0.8  # above by the mean, below by the sum
    acts[0, 2] = 5.0  # below by the mean although one image alone drives it
    acts[6:, 2] = 0.5
    pair = expect_type(call(answer, acts, below, ~below), (tuple, list), "sort_neurons(...)")
    if len(pair) != 2:
        raise CheckFailed(f"two masks are asked for, below and above; got {len(pair)}.")
    first = expect_tensor(pair[0], (4,), "bool", name="the below mask")
    second = expect_tensor(pair[1], (4,), "bool", name="the above mask")
    if first[3] or second[3]:
        raise CheckFailed("a neuron that never fires was put on a side; compare strictly.")
    if second.tolist() == [True, False, True, False]:
        raise CheckFailed("the two sides are swapped: return (below, above).")
    if first[1]:
        raise CheckFailed(
            "a neuron was sorted by its sum: with more images below than above, sums favour "
            "below. Compare means."
        )
    if second[2]:
        raise CheckFailed("compare means over the images, not medians or counts of firing.")
    expect_close(first.float(), [1, 0, 1, 0], name="the below mask")
    expect_close(second.float(), [0, 1, 0, 0], name="the above mask")
    return None


def _toy() -> nn.Module:
    """A network with a `hook_fc1` whose neurons rest at values other than zero."""
    from transformer_lens import HookedRootModule
    from transformer_lens.hook_points import HookPoint

    class Toy(HookedRootModule):
        def __init__(self) -> None:
            super().__init__()
            self.hook_fc1 = HookPoint()
            self.setup()

        def forward(self, images: Tensor) -> Tensor:
            ink = images.flatten(1).sum(1, keepdim=True)  # 1 to 8
            # Neuron 0 never falls below 3; neuron 1 is ordinary; neuron 2 is never used.
            acts = self.hook_fc1(torch.cat([ink + 2, torch.relu(ink - 4), ink], 1))
            score = acts[:, 0] - 5.5 + 3 * acts[:, 1]
            return torch.stack([-score, score], 1)

    return Toy()


@check(
    "2.7",
    hints=[
        '`Site("hook_fc1", neuron=neurons.tolist())` names the neurons; `site.read(model, images)` '
        "gives their values [n, k].",
        "The lowest value of each neuron, kept as a row: `.amin(0, keepdim=True)`. Writing a row "
        "repeats it for every image.",
        "`site.write(model, images, lowest)` returns the logits of the changed network; compare "
        "their class with the unchanged network's, image by image.",
    ],
)
def check_kept(answer: Any, lab: Any) -> str | None:
    images = torch.zeros(8, 1, 28, 28)
    for k in range(8):
        images[k, 0, 0, : k + 1] = 1.0  # 1 to 8 inked pixels
    model = _toy()

    def after(value: float | None) -> Tensor:
        ink = torch.arange(1.0, 9.0)
        first = ink + 2 if value is None else torch.full((8,), value)
        return first - 5.5 + 3 * torch.relu(ink - 4) > 0

    clean = after(None)
    expected = after(3.0) == clean
    found = expect_tensor(
        call(answer, model, images, torch.tensor([0])), (8,), "bool", name="kept(...)"
    )
    for wrong, message in (
        (after(0.0) == clean, "the neurons were set to zero, a value this network's neuron never "
         "takes; hold them at their lowest value over the images."),
        (after(6.5) == clean, "the neurons were set to their mean; hold them at their lowest "
         "value."),
        (~expected, "these are the images that *lose* their class; return those that keep it."),
        (after(3.0), "this is the new class; compare it with the class before."),
    ):  # fmt: skip
        if torch.equal(found, wrong) and not torch.equal(wrong, expected):
            raise CheckFailed(message)
    if not torch.equal(found, expected):
        raise CheckFailed(
            f"on a toy network images {(found != expected).nonzero()[:, 0].tolist()} are judged "
            "wrongly. Silence only the given neurons, and compare with the unchanged network."
        )
    few = lab.data.test.images[:50]
    values = Site("hook_fc1").read(lab.model, few)
    busiest = (values.amax(0) - values.amin(0)).argsort(descending=True)[:3]
    found = call(answer, lab.model, few, busiest)
    expect_tensor(found, (50,), "bool", name="kept(...) on the CNN")
    return "Checked on a toy network whose neurons rest above zero."


@check(
    "2.8",
    hints=[
        "Treat the two values of the feature separately: the donors of an image come from the "
        "images of its own class.",
        "`members = (feature == value).nonzero()[:, 0]` lists a class; draw positions in that list "
        "with `torch.randint(..., generator=generator)`.",
        "Write the drawn members back at the members' own places: "
        "`chosen[members] = members[positions]`.",
    ],
)
def check_donors(answer: Any, lab: Any) -> str | None:
    n = 2000
    feature = torch.rand(n, generator=torch.Generator().manual_seed(1)) < 0.3
    draws = []
    for seed in (0, 0, 1):
        drawn = call(answer, feature, torch.Generator().manual_seed(seed))
        draws.append(expect_tensor(drawn, (n,), "int", name="donors(feature, generator)"))
    first, again, other = draws
    if first.min() < 0 or first.max() >= n:
        raise CheckFailed(f"donors are indices from 0 to {n - 1}; got {int(first.max())}.")
    same = feature[first] == feature
    if not same.all():
        if not same.any():
            raise CheckFailed("every donor has the *other* value of the feature.")
        raise CheckFailed(
            f"{1 - same.double().mean().item():.0%} of the donors have another value of the "
            "feature; draw within each class."
        )
    if torch.equal(first, torch.arange(n)):
        raise CheckFailed("every image is its own donor: nothing was resampled.")
    if torch.equal(first, other):
        raise CheckFailed("two seeds gave the same donors: draw from the given generator.")
    if not torch.equal(first, again):
        raise CheckFailed("the same seed gave different donors: use the given generator alone.")
    for value in (False, True):
        members = int((feature == value).sum())
        used = len(first[feature == value].unique())
        # With replacement about 63 % of a class is drawn at least once.
        if used < 0.5 * members:
            raise CheckFailed(
                f"only {used} of {members} images of a class were ever drawn; every image needs a "
                "draw of its own."
            )
        if used > 0.75 * members:
            raise CheckFailed(
                "each image of a class was used about once, a permutation; draw with replacement, "
                "so that one image's donor says nothing about another's."
            )
    return None
