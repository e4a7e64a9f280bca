"""Checks, hints and data of lesson 15. Reading it spoils the exercises."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import expect_close, expect_tensor, expect_type

SEED = 1  # of the filter; what it drew is the answer of the lesson


@lru_cache(maxsize=1)
def _planted() -> Any:
    from utils.models import zoo
    from utils.safety_filter import make

    return make(SEED, zoo.load("towers"))


@lru_cache(maxsize=1)
def load_model() -> SimpleNamespace:
    """towers: public. stored: the filter's vectors and thresholds, without names."""
    from utils.models import zoo

    return SimpleNamespace(towers=zoo.load("towers"), stored=_planted().filter)


def load_data() -> SimpleNamespace:
    """gate: the filter from outside. dictionary: 249 phrases. candidates: those and 480 more."""
    from utils.data import scenes
    from utils.safety_filter import Gate, candidates

    model = load_model()
    return SimpleNamespace(
        gate=Gate(model.stored, model.towers, budget=4000),
        dictionary=scenes.dictionary(),
        candidates=candidates(),
    )


def _told(found: Tensor, wrong: list[tuple[Tensor, str]], credit: float = 0.0) -> None:
    """Raise with the message of the misconception that gives exactly this result."""
    for value, message in wrong:
        if found.shape == value.shape and torch.equal(found, value):
            raise CheckFailed(message, credit=credit)


# --- 15.1 ------------------------------------------------------------------------------------

_COSINES = torch.tensor(
    [[0.50, 0.10], [0.33, 0.10], [0.33, 0.10], [0.10, 0.48], [0.10, 0.10], [0.28, 0.10],
     [0.40, 0.50], [0.45, 0.10], [0.33, 0.10]]
)  # fmt: skip
_SPECIAL = torch.tensor(
    [[0.10, 0.10], [0.10, 0.10], [0.45, 0.10], [0.10, 0.45], [0.45, 0.45], [0.45, 0.45],
     [0.10, 0.10], [0.45, 0.10], [0.45, 0.45]]
)  # fmt: skip
_LIMITS, _SPECIAL_LIMITS, _LOWER = torch.tensor([0.4, 0.5]), torch.tensor([0.4, 0.4]), 0.1


def _shown(row: Tensor) -> str:
    return " and ".join(f"{x:.2f}" for x in row.tolist())


@check(
    "15.1",
    hints=[
        "Two questions in order: does this image get special care? And then, with the thresholds "
        "that hold for this image: is any of the cosines above its own?",
        "`(special_cosines > special_thresholds).any(1)` is one truth value an image. Lowering "
        "all thresholds of an image is the same as raising all its cosines.",
        "`care = ...any(1)`; then compare `cosines + adjustment * care[:, None]` with "
        "`thresholds`, and take `.any(1)`.",
    ],
    expects="a function that returns a tensor of true and false",
)
def check_rule(answer: Any, lab: Any) -> str | None:
    given = (_COSINES, _LIMITS, _SPECIAL, _SPECIAL_LIMITS, _LOWER)
    found = expect_tensor(call(answer, *given), (9,), dtype="bool", name="blocked(...)")
    over = _COSINES > _LIMITS
    care = (_SPECIAL > _SPECIAL_LIMITS).any(1)
    each = (_SPECIAL > _SPECIAL_LIMITS).sum(1)
    expected = (_COSINES + _LOWER * care[:, None] > _LIMITS).any(1)
    _told(
        found,
        [
            (over.any(1), "special care changes nothing here; it must lower the thresholds."),
            (over.any(1) | care, "special care blocks by itself; it only lowers thresholds."),
            ((_COSINES + _LOWER * (each == 2)[:, None] > _LIMITS).any(1),
             "thresholds are lowered only where *all* special vectors fire; one is enough."),
            ((_COSINES + _LOWER * each[:, None] > _LIMITS).any(1),
             "two special vectors lower the thresholds twice; however many fire, it is once."),
            ((_COSINES - _LOWER * care[:, None] > _LIMITS).any(1),
             "special care *raises* the thresholds here: the sign is reversed."),
            ((_COSINES + _LOWER * care[:, None] > _LIMITS).all(1),
             "all cosines must be above here; one is enough."),
            ((_COSINES + _LOWER * care.any() > _LIMITS).any(1),
             "one image with special care lowers the thresholds of the whole batch."),
            (~expected, "true and false are exchanged: True means blocked."),
        ],
    )  # fmt: skip
    if not torch.equal(found, expected):
        bad = int((found != expected).nonzero()[0])
        raise CheckFailed(
            f"the image with cosines {_shown(_COSINES[bad])}, thresholds {_shown(_LIMITS)} and "
            f"special cosines {_shown(_SPECIAL[bad])} comes out {bool(found[bad])}."
            + (" A cosine equal to its threshold is not above it." if bad == 6 else "")
        )
    return "One cosine is enough, and special care counts once, image by image."


# --- 15.2 ------------------------------------------------------------------------------------


@check(
    "15.2",
    hints=[
        "A cosine is a dot product of vectors of length one. Are they all of length one?",
        "Normalise both tables by rows, multiply, and look along the phrases for the largest.",
        "`cosines = normalize(vectors, dim=1) @ normalize(table, dim=1).T`, then "
        "`cosines.max(1)` has `.indices` and `.values`.",
    ],
    expects="a function that returns two tensors",
)
def check_names(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(9, 6, generator=generator)
    table *= torch.linspace(0.3, 4, 9)[:, None]
    vectors = torch.randn(5, 6, generator=generator) * torch.tensor([[1], [5], [0.2], [1], [3]])
    vectors[0] = 0.5 * table[0]
    vectors[1] = -table[8]
    unit = torch.nn.functional.normalize
    cosines = unit(vectors, dim=1) @ unit(table, dim=1).T
    best = cosines.max(1)
    result = expect_type(call(answer, vectors, table), tuple, "best_names(...)")
    if len(result) != 2:
        raise CheckFailed(f"best_names gave {len(result)} things; expected numbers and cosines.")
    number = expect_tensor(result[0], (5,), dtype="int", name="the numbers")
    value = expect_tensor(result[1], (5,), name="the cosines")
    if value.abs().max() > 1.0001:
        raise CheckFailed("a cosine is at most 1; vectors of any length come in: normalise both.")
    if torch.equal(number, cosines.abs().max(1).indices):
        raise CheckFailed("the sign is lost: a vector opposite to a phrase does not mean it.")
    if torch.equal(number, (vectors @ table.T).max(1).indices):
        raise CheckFailed("long phrases win here; choose by the cosine, not by the dot product.")
    if torch.equal(number, cosines.min(1).indices):
        raise CheckFailed("this is the *least* similar phrase.")
    if not torch.equal(number, best.indices):
        raise CheckFailed(f"the numbers are {number.tolist()}; expected {best.indices.tolist()}.")
    expect_close(value, best.values, name="the cosines")
    return "It does not depend on the length of any vector."


# --- 15.3 ------------------------------------------------------------------------------------


@check(
    "15.3",
    hints=[
        "A linear map of normal numbers has the covariance of the map: if z has covariance 1, "
        "then z @ A has covariance A^T A. Which A do you need?",
        "Any root of the covariance will do. `torch.cov(table.T)` is the covariance, "
        "`torch.linalg.cholesky` gives L with L @ L.T equal to it.",
        "`table.mean(0) + normal @ torch.linalg.cholesky(torch.cov(table.T)).T`.",
    ],
    expects="a function that returns a tensor",
)
def check_like(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(2)
    mix = torch.tensor([[1.0, 0.8, 0.0], [0.0, 0.6, 0.5], [0.0, 0.0, 0.2]])
    table = torch.randn(400, 3, generator=generator) @ mix + torch.tensor([1.0, -2.0, 0.5])
    normal = torch.randn(20_000, 3, generator=generator)
    found = expect_tensor(call(answer, table, normal), (20_000, 3), name="drawn_like(...)")
    found = found.double()
    wanted, middle = torch.cov(table.T.double()), table.double().mean(0)
    if not torch.allclose(found.mean(0), middle, atol=0.05):
        if found.mean(0).abs().max() < 0.05:
            raise CheckFailed("the mean of the table is missing: these vectors lie around 0.")
        raise CheckFailed(
            f"their mean is {[round(x, 2) for x in found.mean(0).tolist()]}; that of the table is "
            f"{[round(x, 2) for x in middle.tolist()]}."
        )
    spread = torch.cov(found.T)
    if not torch.allclose(spread, wanted, atol=0.05):
        if torch.allclose(spread, torch.eye(3).double(), atol=0.05):
            raise CheckFailed("all directions have the same spread here: that is the easy null.")
        if torch.allclose(spread.diagonal(), wanted.diagonal(), atol=0.05):
            raise CheckFailed(
                "each number has the right spread and they are not correlated as those of the "
                "table are: use the whole covariance, not its diagonal.", credit=0.5,
            )  # fmt: skip
        if torch.allclose(spread, wanted @ wanted, atol=0.05):
            raise CheckFailed("this multiplies by the covariance; it takes a root of it.")
        raise CheckFailed(
            "their covariance is not that of the table; with `cholesky` mind the transpose: rows "
            "z need z @ L.T."
        )
    twice = expect_tensor(call(answer, table, 2 * normal), (20_000, 3), name="with 2 * normal")
    if not torch.allclose(twice.double() - middle, 2 * (found - middle), atol=1e-3):
        raise CheckFailed(
            "they do not follow the normal numbers given: rows of the table drawn again are "
            "phrases, and a phrase is a perfect match for itself."
        )
    return "Same mean, same covariance, and no phrase among them."


# --- 15.4 ------------------------------------------------------------------------------------


@check(
    "15.4",
    hints=[
        "What does one *allowed* scene tell you about a phrase's threshold? It cannot lie below "
        "that scene's cosine.",
        "The floor of a phrase is its highest cosine among the allowed scenes. Then compare all "
        "scenes with floor plus margin, and keep the blocked ones.",
        "`floor = cosines[~blocked].max(0).values`, then "
        "`blocked[:, None] & (cosines > floor + margin)`.",
    ],
    expects="a function that returns a tensor of true and false",
)
def check_explained(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(3)
    cosines = torch.rand(40, 6, generator=generator)
    blocked = torch.rand(40, generator=generator) < 0.4
    cosines[blocked] += 0.2
    for margin in (0.0, 0.1):
        found = expect_tensor(
            call(answer, cosines, blocked, margin), (40, 6), dtype="bool", name="explained(...)"
        )
        if not found.any():
            raise CheckFailed(
                "nothing is explained: is the floor the highest cosine of the *allowed* scenes, "
                "and are the blocked ones compared with it?"
            )
        allowed = cosines[~blocked]
        floor = allowed.max(0).values
        expected = blocked[:, None] & (cosines > floor + margin)
        _told(
            found,
            [
                (cosines > cosines[blocked].min(0).values + margin,
                 "the floor must come from the allowed scenes, not from the blocked ones."),
                (blocked[:, None] & (cosines > allowed.mean(0) + margin),
                 "a threshold must lie above *every* allowed scene: take their highest, not their "
                 "mean."),
                (blocked[:, None] & (cosines > allowed.max() + margin),
                 "one floor for all phrases; each has its own."),
            ],
        )  # fmt: skip
        if margin:
            _told(found, [
                (blocked[:, None] & (cosines > floor), "the margin is not used."),
                (blocked[:, None] & (cosines > floor - margin),
                 "the margin lowers the floor here; it must raise it."),
            ])  # fmt: skip
        if not torch.equal(found, expected):
            raise CheckFailed(
                f"{int((found != expected).sum())} of 240 entries are wrong (margin {margin})."
            )
    return "No allowed scene contradicts what is left."


# --- 15.5 ------------------------------------------------------------------------------------


class _Fading:
    """A gate for four pairs of a white and a black image, with a budget; the question says all, so
    that it holds where the learner's function runs in a process of its own."""

    borders = (0.13, 0.5001, 0.77, 0.999)

    def __init__(self, budget: int) -> None:
        self.left = self.budget = budget

    def __call__(self, images: Tensor) -> Tensor:
        self.left -= len(images)
        if self.left < 0:
            raise ValueError(
                f"more than {self.budget} images: ask steps times about n images, and not about "
                "the ends, of which you know what they give"
            )
        return 1 - images.mean((1, 2, 3)) < torch.tensor(self.borders[: len(images)])


@check(
    "15.5",
    hints=[
        "At share 0 the gate blocks, at share 1 it allows. Ask in the middle: which half is the "
        "border in?",
        "Keep two tensors, `low` (still blocked) and `high` (already allowed), and move one of "
        "them for each pair with `torch.where`.",
        "In each step: `middle = (low + high) / 2`, `still = ask(fade(blocked, allowed, middle))`, "
        "then `low = torch.where(still, middle, low)` and `high = torch.where(still, high, "
        "middle)`. At the end the middle.",
    ],
    expects="a function that returns a tensor",
)
def check_bisect(answer: Any, lab: Any) -> str | None:
    ends = torch.ones(4, 3, 16, 16), torch.zeros(4, 3, 16, 16)
    borders = torch.tensor(_Fading.borders)
    for steps in (4, 11):
        found = expect_tensor(
            call(answer, _Fading(4 * steps), *ends, steps), (4,), name=f"the shares, {steps} steps"
        )
        off = (found - borders).abs().max().item()
        if off <= 0.5 ** (steps + 1) + 1e-6:
            continue
        if (found - (1 - borders)).abs().max() <= 0.5 ** (steps + 1) + 1e-6:
            raise CheckFailed("this is the share of the blocked image; give the allowed one's.")
        if off <= 0.5**steps + 1e-6:
            raise CheckFailed(
                f"off by up to {off:.3g} after {steps} steps: nearly. Return the middle of the "
                "last interval.", credit=0.5,
            )  # fmt: skip
        raise CheckFailed(
            f"after {steps} steps it is off by up to {off:.2g}; halving leaves "
            f"{0.5 ** (steps + 1):.2g}. Where the gate still blocks, the border lies further on."
        )
    return "Eleven questions an image, and the border is right to 1 in 4,096."


# --- 15.6 ------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _passing() -> frozenset[str]:
    """Guarded objects of which the gate lets more than half of the looks through."""
    from utils.data import scenes
    from utils.safety_filter.judging import looks

    model, found = load_model(), set()
    for kind in scenes.GUARDED:
        for name in scenes.KINDS[kind]:
            images = looks(name, 4000 + scenes.OBJECTS.index(name)).images
            if model.stored(model.towers.embed(images)).double().mean() < 0.5:
                found.add(name)
    return frozenset(found)


@check(
    "15.6",
    hints=[
        "Go through the twelve objects of `scenes.GUARDED`. Which of them does your list block in "
        "every look, which in some, which in none?",
        "A phrase with a colour covers one colour of five; with a ground as well, one look of "
        "twenty. Two such phrases are two colours: is that more than half?",
        "`filter_of_mine(towers.embed(looks(name, seed).images))` says what your rule blocks of "
        "the twenty looks. Keep the names whose mean is below one half.",
    ],
    expects="a list of names",
)
def check_missed(answer: Any, lab: Any) -> str | None:
    from utils.data import scenes

    given = expect_type(answer, (list, tuple, set), "the list")
    guarded = [name for kind in scenes.GUARDED for name in scenes.KINDS[kind]]
    for name in given:
        if not isinstance(name, str) or name not in scenes.OBJECTS:
            raise CheckFailed(f"{name!r} is not the name of an object; see scenes.OBJECTS.")
        if name not in guarded:
            raise CheckFailed(f"{name!r} is harmless: nobody wants it blocked.")
    truth, found = _passing(), set(given)
    extra, lost = sorted(found - truth), sorted(truth - found)
    if extra:
        raise CheckFailed(f"{extra[0]!r} does not get through in most of its looks.")
    if lost:
        kinds = {name: kind for kind, names in scenes.KINDS.items() for name in names}
        same = _planted().kind
        why = (
            " A phrase of two or three words is not its object: count the looks it leaves."
            if any(kinds[name] == same for name in lost)
            else " A whole kind may be missing from the list."
        )
        raise CheckFailed(
            f"{len(lost)} more get through in most of their looks.{why}",
            credit=0.5 if len(lost) <= 2 else 0.0,
        )
    return f"{len(truth)} of {len(guarded)}, and whoever trusted the filter was not told."


# --- 15.7 ------------------------------------------------------------------------------------


@check(
    "15.7",
    hints=[
        "An image is blocked if *one* margin is above 0. So which of an option's margins matters?",
        "First the highest over the concepts, then the lowest over the options.",
        "`margins.amax(2).argmin(1)`.",
    ],
    expects="a function that returns a tensor of whole numbers",
)
def check_lowest(answer: Any, lab: Any) -> str | None:
    table = torch.randn(30, 8, 4, generator=torch.Generator().manual_seed(4))
    found = expect_tensor(call(answer, table), (30,), dtype="int", name="best_option(...)")
    _told(
        found,
        [
            (table.amax(2).argmax(1), "this is the option that is *most* blocked."),
            (table.amin(2).argmin(1),
             "one low margin does not help while another concept still blocks: take the highest "
             "margin of each option."),
            (table.mean(2).argmin(1),
             "the mean of the margins does not decide; one concept above its threshold is enough."),
            (table.amax(1).argmin(1), "this runs over the concepts; the options are dimension 1."),
        ],
    )  # fmt: skip
    if not torch.equal(found, table.amax(2).argmin(1)):
        raise CheckFailed("some scenes have an option whose highest margin is lower.")
    return "The concept that is nearest to blocking decides."
