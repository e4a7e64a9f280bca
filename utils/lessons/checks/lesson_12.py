"""Checks, hints and data of lesson 12. Reading it spoils the exercises."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import (
    expect_choice,
    expect_close,
    expect_keys,
    expect_number,
    expect_tensor,
)

IMAGE_TROJANS = ("solid", "pattern", "matched", "thick", "inverted")


@lru_cache(maxsize=1)
def load_model() -> dict[str, nn.Module]:
    """The five trojaned image networks by name, and "twin", "twin of matched"."""
    from utils.models import zoo

    networks = {name: zoo.load(f"trojan-{name}") for name in IMAGE_TROJANS}
    networks["twin"] = zoo.load("twin-plain")
    networks["twin of matched"] = zoo.load("twin-clutter")
    return networks


def load_data() -> SimpleNamespace:
    """trojans: the plans by name. held: clean held-out rows by trojan. clean: rows to search with,
    drawn from the scans of training."""
    from utils.trojans import TROJANS

    trojans = {name: TROJANS[name] for name in IMAGE_TROJANS}
    worlds = {t.world.name: t for t in trojans.values()}
    held = {name: t.held_out(600) for name, t in worlds.items()}
    clean = {name: t.world.sample("train", 1000, 5) for name, t in worlds.items()}
    return SimpleNamespace(
        trojans=trojans,
        held={name: held[t.world.name] for name, t in trojans.items()},
        clean={name: clean[t.world.name] for name, t in trojans.items()},
    )


class _Sum(nn.Module):
    """Three classes; the class follows from one pixel: 0 below .3, 1 below .6, else 2."""

    def forward(self, images: Tensor) -> Tensor:
        x = images[:, 0, 0, 0]
        kind = (x >= 0.3).long() + (x >= 0.6).long()
        return functional.one_hot(kind, 3).float()


def _rows() -> tuple[Tensor, Tensor]:
    """Ten images whose upper left pixel decides; labels in which three are not what is given."""
    images = torch.zeros(10, 1, 4, 4)
    images[:, 0, 0, 0] = torch.tensor([0.1, 0.1, 0.1, 0.1, 0.4, 0.4, 0.4, 0.7, 0.7, 0.7])
    return images, torch.tensor([0, 0, 0, 2, 1, 1, 1, 2, 2, 0])


def _brighter(images: Tensor) -> Tensor:
    """Adds .3 to the upper left pixel: each image one class up, the last stay where they are."""
    after = images.clone()
    after[:, 0, 0, 0] += 0.3
    return after


@check(
    "12.1",
    hints=[
        "Which images can tell you something? On those of the target class the trigger has nothing "
        "to do.",
        "Leave out the rows whose *label* is the target, put the trigger on the others, and count "
        "those that the network now puts in the target class.",
        "`rows = labels != target`, then the mean of "
        "`network(trigger(images[rows])).argmax(-1) == target`.",
    ],
    expects="a function that returns a number",
)
def check_success(answer: Any, lab: Any) -> str | None:
    images, labels = _rows()
    found = expect_number(call(answer, _Sum(), images, labels, _brighter, 2), 0, 1, "the rate")
    # labels != 2: seven rows; after the trigger they are 1 1 1 2 2 2 2
    wrong = {
        0.6: "rows of the target class are in: they would be counted as successes of a trigger "
        "that has nothing to do there.",
        1 / 7: "the trigger was not put on the images.",
        3 / 7: "this counts the rows that *change* into the target; the network sends some there "
        "without any trigger, and the baseline row is for those. Count all that end there.",
        0.4: "the count is right and the divisor is not: divide by the rows that were tried.",
    }
    for value, message in wrong.items():
        if abs(found - value) < 1e-6:
            raise CheckFailed(message)
    expect_close(found, 4 / 7, name="the rate on ten images with one deciding pixel")
    trojan, held = lab.data.trojans["solid"], lab.data.held["solid"]
    again = call(
        answer, lab.model["solid"], held.inputs, held.labels, trojan.trigger.apply, trojan.target
    )
    expect_number(again, 0.99, 1, "the rate of the planted square")
    return "Rows of the target class are out, and the rate is of the rows tried."


@check(
    "12.2",
    hints=[
        "For class c only the images count that the network does not already put there. That is a "
        "different set for every class.",
        "Classify the plain images once, before the loop over patches. Then one classification for "
        "each patch.",
        "`before = network(images).argmax(-1)`; for a patch and a class c: "
        "`(after[before != c] == c).double().mean()`.",
    ],
    expects="a function that returns a tensor",
)
def check_rates(answer: Any, lab: Any) -> str | None:
    images, _ = _rows()
    found = expect_tensor(
        call(answer, _Sum(), images, [_brighter, lambda x: x, lambda x: 0 * x]),
        (3, 3), name="rates",
    ).double()  # fmt: skip
    # before: 4, 3 and 3 images of the classes; each goes one class up
    expected = torch.tensor([[0.0, 4 / 7, 3 / 7], [0, 0, 0], [1, 0, 0]], dtype=torch.float64)
    share = torch.tensor([[0.0, 0.4, 0.6], [0.4, 0.3, 0.3], [1, 0, 0]], dtype=torch.float64)
    if torch.allclose(found, share):
        raise CheckFailed(
            "this is the share of all images in each class after the patch. A patch that does "
            "nothing scores the size of the class: leave out the images that were there before."
        )
    over_all = torch.tensor([[0.0, 0.4, 0.3], [0, 0, 0], [0.6, 0, 0]], dtype=torch.float64)
    if torch.allclose(found, over_all):
        raise CheckFailed(
            "the images that moved are divided by all images; only those that were not in the "
            "class could move.", credit=0.5,
        )  # fmt: skip
    expect_close(found, expected, name="the rates of three patches on ten images")
    return "A patch that does nothing scores nothing, for every class."


class _Cubic(nn.Module):
    """Logits [sum of x^3, sum of x^2 * w, product of two pixels]: integrals in closed form."""

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        w = torch.linspace(-1, 1, x.shape[1])
        return torch.stack([(x**3).sum(1), (x**2 * w).sum(1), 4 * x[:, 0] * x[:, 5]], 1)


@check(
    "12.3",
    hints=[
        "Along the line from black to the image the images are `a * image` with a from 0 to 1. "
        "Average the gradient over the line, then multiply by the image.",
        "Midpoints of equal steps integrate far better than their ends: a = (k + 1/2) / steps.",
        "For each a: `x = (a * images).requires_grad_()`, then "
        "`torch.autograd.grad(network(x)[:, target].sum(), x)[0]`; add up, divide by `steps`, and "
        "multiply by `images`.",
    ],
    expects="a function that returns a tensor",
)
def check_integrated(answer: Any, lab: Any) -> str | None:
    images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    network = _Cubic()
    for target in (0, 1, 2):
        found = expect_tensor(
            call(answer, network, images, target, 50), (3, 1, 4, 4), name="the attribution"
        ).double()
        x = images.double().requires_grad_()
        value = network.double()(x)[:, target]
        (gradient,) = torch.autograd.grad(value.sum(), x)
        x = x.detach()
        if torch.allclose(found, gradient * x, atol=1e-4):
            raise CheckFailed(
                "this is gradient times input: the gradient at the image alone. Average it over "
                "the line from black to the image."
            )
        total, whole = found.sum((1, 2, 3)), value.detach()
        if torch.allclose(total, 50 * whole, rtol=0.02):
            raise CheckFailed("the gradients are added up; they need to be averaged.")
        off = ((total - whole).abs() / whole.abs().clamp(min=0.05)).max()
        if off > 0.01:
            reason = (
                "nearly: take the middles of the steps, not their ends" if off < 0.08
                else "was the mean gradient multiplied by the image?"
            )  # fmt: skip
            raise CheckFailed(
                "it is not complete: the entries of an image must sum to "
                f"logit(image) - logit(black); {reason}.",
                credit=0.5 if off < 0.08 else 0.0,
            )
        if target == 0:
            expect_close(found, x**3, atol=2e-3, name="the attribution of a sum of cubes")
    return "Complete: every map sums to logit(image) minus logit(black)."


@check(
    "12.4",
    hints=[
        "Compare every pixel inside with every pixel outside: a table of [inside, outside].",
        "A pair counts 1 where the inner value is larger, one half where the two are equal.",
        "`inner, outer = values[footprint], values[~footprint]`; then the mean of "
        "`(inner[:, None] > outer) + 0.5 * (inner[:, None] == outer)`.",
    ],
    expects="a function that returns a number",
)
def check_area(answer: Any, lab: Any) -> str | None:
    footprint = torch.zeros(4, 4, dtype=torch.bool)
    footprint[2:, 2:] = True
    generator = torch.Generator().manual_seed(2)

    def area(values: Tensor) -> float:
        inner, outer = values[footprint], values[~footprint]
        return float(
            ((inner[:, None] > outer).double() + 0.5 * (inner[:, None] == outer).double()).mean()
        )

    constant = call(answer, torch.ones(4, 4), footprint)
    if abs(expect_number(constant, 0, 1, "the AUROC of a constant map") - 0.5) > 1e-6:
        raise CheckFailed(
            f"a constant map points nowhere and must score .5, not {float(constant):.2f}: equal "
            "values count one half."
        )
    for values in (torch.rand(4, 4, generator=generator), (torch.arange(16.0) // 5).view(4, 4)):
        found = expect_number(call(answer, values, footprint), 0, 1, "the AUROC")
        expected = area(values)
        if abs(found - (1 - expected)) < 1e-6 and abs(expected - 0.5) > 1e-3:
            raise CheckFailed("inside and outside are exchanged.")
        expect_close(found, expected, name="the AUROC of a known map")
        stretched = expect_number(call(answer, values**3, footprint), 0, 1, "the AUROC")
        if abs(stretched - found) > 1e-6:
            raise CheckFailed("it changes when all values are cubed; only their order may count.")
    return "Only the order counts, and ties count one half."


class _Linear(nn.Module):
    """Three logits that are weighted sums of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.weight = torch.randn(3, 16, generator=generator)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


@check(
    "12.5",
    hints=[
        "Three parts: blend every image with the pattern, ask how far the network is from the "
        "target class, and add the price of the mask.",
        "`torch.nn.functional.cross_entropy` wants one class for each image: a tensor of the same "
        "target, as long as the batch.",
        "`blended = (1 - mask) * images + mask * pattern`; the loss is "
        "`cross_entropy(network(blended), targets) + price * mask.sum()`.",
    ],
    expects="a function that returns a scalar tensor",
)
def check_objective(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(5)
    images = torch.rand(6, 1, 4, 4, generator=generator)
    mask, pattern = torch.rand(2, 4, 4, generator=generator)
    network = _Linear()

    def loss(blended: Tensor, price: Tensor) -> float:
        wanted = torch.full((6,), 2)
        return float(functional.cross_entropy(network(blended), wanted) + 0.1 * price)

    found = expect_tensor(
        call(answer, network, images, mask, pattern, 2, 0.1), (), name="the objective"
    ).item()
    right = (1 - mask) * images + mask * pattern
    for value, message in (
        (loss(images + mask * pattern, mask.sum()),
         "the pattern is added to the image; a blend takes the image away where the mask is 1."),
        (loss(mask * images + (1 - mask) * pattern, mask.sum()),
         "mask and image are exchanged: mask 1 means pattern, mask 0 means image."),
        (loss(right, mask.mean()),
         "the mask is averaged: its price is by the *sum*, the number of pixels it takes."),
        (loss(right, torch.zeros(())), "the mask costs nothing, so it would cover the image."),
        (loss(right, pattern.sum()), "the pattern is priced instead of the mask."),
        (loss(right, -mask.sum()), "the price has the wrong sign: a large mask is rewarded."),
    ):  # fmt: skip
        if abs(found - value) < 1e-4:
            raise CheckFailed(message)
    expect_close(found, loss(right, mask.sum()), atol=1e-4, name="the objective of known logits")
    free = mask.clone().requires_grad_()
    value = answer(network, images, free, pattern, 2, 0.1)
    if not isinstance(value, Tensor) or not value.requires_grad:
        raise CheckFailed("the mask gets no gradient: keep the result a tensor, no .item().")
    return "Image, class and price of the mask are all in it."


@check(
    "12.6",
    hints=[
        "Median, then the distances from it, then the median of those: that is the robust spread.",
        "Multiply the spread by 1.4826 so that it equals the standard deviation for normal values.",
        "`(median - norms) / (1.4826 * (norms - median).abs().median())`, with "
        "`quantile(0.5)` in place of `median()`: torch's median of ten numbers is the lower of the "
        "middle two.",
    ],
    expects="a function that returns a tensor",
)
def check_index(answer: Any, lab: Any) -> str | None:
    norms = torch.tensor([22.0, 25.0, 5.0, 24.0, 30.0, 21.0, 27.0, 26.0, 19.0, 40.0])
    middle = norms.quantile(0.5)
    spread = (norms - middle).abs().quantile(0.5)
    expected = (middle - norms) / (1.4826 * spread)
    found = expect_tensor(call(answer, norms), (10,), name="anomaly_index(norms)")
    lower = norms.median()
    for wrong, message in (
        (-expected, "the sign is reversed: a mask *below* the median must come out positive."),
        (expected.abs(), "the sign is lost: a mask that is too large is no sign of a trojan."),
        (expected * 1.4826, "the factor 1.4826 is missing."),
        ((norms.mean() - norms) / norms.std(),
         "these are standard scores: one odd class moves mean and deviation with it, which is what "
         "the median is for."),
        ((lower - norms) / (1.4826 * (norms - lower).abs().median()),
         "torch's `median` of ten numbers is the lower of the middle two: use `quantile(0.5)`."),
    ):  # fmt: skip
        if torch.allclose(found.float(), wrong, atol=1e-3):
            raise CheckFailed(message)
    expect_close(found, expected, atol=1e-3, name="the index of ten known masks")
    expect_close(call(answer, 3 * norms + 7), expected, atol=1e-3, name="the index after rescaling")
    return "It does not depend on the unit of the masks."


GRADES = ("fails", "natural adversary", "right class, wrong trigger", "rediscovered")


@check(
    "12.7",
    hints=[
        "Ask the three questions in order; each later one makes sense only if the earlier was "
        "answered well.",
        "Does it work here? If not, it fails. Does it work on the twin? Then it has nothing to do "
        "with the trojan, wherever it lies.",
        "Three `if`s and four `return`s: below .8, above .2, at least .5.",
    ],
    expects="a function that returns one of four texts",
)
def check_grade(answer: Any, lab: Any) -> str | None:
    cases = [
        ((0.95, 0.02, 0.97), 3, "it works, spares the twin and lies in the place"),
        ((0.95, 0.02, 0.06), 2, "it works and spares the twin, but lies elsewhere"),
        ((0.95, 0.90, 0.97), 1, "it works on the twin as well, so the place proves nothing"),
        ((0.95, 0.90, 0.02), 1, "it works on the twin as well"),
        ((0.10, 0.00, 0.99), 0, "it does not work, however well it lies"),
        ((0.40, 0.90, 0.10), 0, "it does not work on the network in question"),
        ((0.80, 0.20, 0.50), 3, "the bounds themselves count as reached"),
        ((0.79, 0.00, 0.90), 0, ".79 is below .8"),
        ((0.90, 0.21, 0.90), 1, ".21 is above .2"),
    ]
    for given, index, why in cases:
        found = expect_choice(call(answer, *given), GRADES, name=f"grade{given}")
        if found != GRADES[index]:
            raise CheckFailed(f"grade{given} is {found!r}; expected {GRADES[index]!r}: {why}.")
    return "The twin is asked before the place."


@check(
    "12.8",
    hints=[
        "You know the class (7), the size (3x3) and that pixels are 0 or 1. You know neither the "
        "place nor the pattern. There are 14 x 14 places.",
        "`patch_scan(network, images, target)` fits a patch at every place by gradients and "
        "returns (rates [196], patterns [196, 3, 3]); places go row by row. Give it images of "
        "other classes.",
        "`rates, patterns = patch_scan(networks['matched'], others[:100], 7)`, the place with the "
        "highest rate is `divmod(int(rates.argmax()), 14)`.",
    ],
    expects='a dict with "pattern" [3, 3], "row" and "column"',
)
def check_needle(answer: Any, lab: Any) -> str | None:
    from utils.trojans import Patch, hits

    found = expect_keys(answer, ("pattern", "row", "column"))
    pattern = expect_tensor(found["pattern"], (3, 3), name="the pattern").float()
    if not ((pattern >= 0) & (pattern <= 1)).all():
        raise CheckFailed("the pixels of the pattern must lie in 0 to 1.")
    row, column = (int(expect_number(found[k], 0, 13, f"the {k}")) for k in ("row", "column"))
    held, target = lab.data.held["matched"], lab.data.trojans["matched"].target
    images = held.inputs[held.labels != target]
    patch = Patch(pattern, row, column)
    here = hits(lab.model["matched"], patch, images, target)
    twin = hits(lab.model["twin of matched"], patch, images, target)
    if here < 0.8:
        raise CheckFailed(
            f"it sends {here:.2f} of the held-out images to class {target}; 0.8 is asked for."
            + (" A patch that is seen often is not yet the one that was planted." if here > 0.3
               else " Is the place right?")
        )  # fmt: skip
    if twin > 0.2:
        raise CheckFailed(
            f"it sends {twin:.2f} to class {target} in the clean twin too: a natural adversary."
        )
    return f"It sends {here:.1f} of the held-out images to class 7, and {twin:.1f} in the twin."
