"""Lesson 09: its two networks, its contrast pairs, its checks."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from utils.data import truth
from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import expect_close, expect_tensor
from utils.probing.rows import Split

ANSWER = 4  # the position at which the sides differ and the verdict is given
FINAL = "blocks.1.hook_resid_post"


@dataclass(frozen=True)
class Pairs:
    """Contrast pairs of the truth language.

    yes, no [n, 5] int64: the same prompts, answered yes and answered no. truth [n] bool: whether
    the statement is true. opinion [n] bool: whether it was said to be true. subject [n] int64.
    rows: pairs to fit on and pairs held out, with no subject in both.
    """

    yes: Tensor
    no: Tensor
    truth: Tensor
    opinion: Tensor
    subject: Tensor
    rows: Split


def make_pairs(n: int, seed: int, opinions: tuple[int, ...]) -> Pairs:
    """`n` pairs; a third of the subjects is held out, the same whatever the seed."""
    yes, no = truth.pairs(n, seed, opinions=opinions)
    order = torch.randperm(truth.SUBJECTS, generator=torch.Generator().manual_seed(9))
    held = torch.isin(yes[:, 0], order[: truth.SUBJECTS // 3])
    rows = Split(*(part.nonzero()[:, 0].numpy() for part in (~held, held)))
    said = yes[:, 3] == truth.SAYS_TRUE
    return Pairs(yes, no, truth.is_true(yes), said, yes[:, 0], rows)


def load_model() -> SimpleNamespace:
    from utils.models import zoo

    return SimpleNamespace(judge=zoo.load("truth"), halves=zoo.load("sequence"))


def load_data() -> SimpleNamespace:
    from utils.challenges import sequence

    strings = sequence.strings(8000, seed=3)
    front, back = sequence.front(strings), sequence.back(strings)
    strings = strings[(front != 0) & (back != 0) & (front != back)][:2000]
    return SimpleNamespace(
        rows=truth.statements(1000, seed=90),
        silent=make_pairs(1800, 91, (truth.SILENT,)),
        spoken=make_pairs(3000, 92, truth.SPOKEN),
        strings=strings,
        front=sequence.front,
        back=sequence.back,
        answer=sequence.answer_of,
    )


# --- 9.1 to 9.4 ----------------------------------------------------------------------------------


@check(
    "9.1",
    hints=[
        "Two terms for each pair: one for contradicting itself, one for never deciding.",
        "A consistent probe has p_yes = 1 - p_no. The other term is the square of the smaller of "
        "the two probabilities.",
        "`(p_yes - (1 - p_no)) ** 2 + torch.minimum(p_yes, p_no) ** 2`, averaged over the pairs.",
    ],
    expects="a function of two tensors of probabilities",
)
def check_loss(answer: Any, lab: Any) -> str | None:
    def loss(yes: list[float], no: list[float]) -> float:
        found = call(answer, torch.tensor(yes), torch.tensor(no))
        return float(expect_tensor(found, (), name="the loss"))

    for yes, no, wanted, hint in (
        ([0.5], [0.5], 0.25, "Saying .5 to both sides is consistent, but decides nothing."),
        ([1.0, 0.0], [0.0, 1.0], 0.0, "Decided and consistent: this must cost nothing."),
        ([1.0], [1.0], 2.0, "Both sides true: 1 for the contradiction, and min(1, 1)^2."),
        ([0.0], [0.0], 1.0, "Both sides false contradict each other too: (0 - (1 - 0))^2."),
        ([0.9, 0.3], [0.2, 0.3], (0.01 + 0.04 + 0.16 + 0.09) / 2, "Mean over the pairs, not sum."),
    ):
        expect_close(loss(yes, no), wanted, name=f"the loss of p_yes {yes}, p_no {no}", hint=hint)
    grid = torch.rand(50, generator=torch.Generator().manual_seed(0))
    other = grid.flip(0)
    expect_close(
        loss(grid.tolist(), other.tolist()),
        loss(other.tolist(), grid.tolist()),
        name="the loss with the sides exchanged",
    )
    # whether there is a gradient is asked of the tensor: a grader's check runs in another process
    result = call(answer, torch.tensor([0.4, 0.7], requires_grad=True), torch.tensor([0.1, 0.6]))
    if not isinstance(result, torch.Tensor) or not result.requires_grad:
        raise CheckFailed(
            "no gradient comes back: return a tensor, and use nothing but tensor operations."
        )
    return None


@check(
    "9.2",
    hints=[
        "Which pairs may you look at to learn a mean? The others stand for data to come.",
        "Each side has a mean of its own: the means of `fit_yes` and `fit_no` over the pairs, [d].",
        "Subtract the first from `yes` and the second from `no`, and return both.",
    ],
    expects="a function of four tensors that gives two",
)
def check_normalise(answer: Any, lab: Any) -> str | None:
    draw = torch.Generator().manual_seed(1)
    fit = [torch.randn(30, 5, generator=draw) + shift for shift in (2.0, -1.0)]
    new = [torch.randn(12, 5, generator=draw) + shift for shift in (5.0, 0.5)]
    found = call(answer, *fit, *new)
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise CheckFailed("return two tensors: the yes side and the no side.")
    found = [
        expect_tensor(f, (12, 5), name=f"the {n} side")
        for f, n in zip(found, ("yes", "no"), strict=True)
    ]

    def like(*wanted: Tensor) -> bool:
        return all(torch.allclose(f.double(), w.double(), atol=1e-4)
                   for f, w in zip(found, wanted, strict=True))  # fmt: skip

    yes, no = new
    own = [x - x.mean(0) for x in new]
    if like(*own):
        raise CheckFailed(
            "these are the new pairs minus *their own* means. Data to come would be normalised by "
            "themselves: a set in which everything is true would look half true."
        )
    both = torch.cat(fit).mean(0)
    if like(yes - both, no - both):
        raise CheckFailed(
            "one mean was taken from both sides. What makes the sides differ in every pair, the "
            "word yes or no, stays in: each side needs a mean of its own."
        )
    if like(yes - fit[1].mean(0), no - fit[0].mean(0)):
        raise CheckFailed("the sides' means were exchanged.")
    if like(yes - fit[0].mean(), no - fit[1].mean()):
        raise CheckFailed("a mean is a vector [d], over the pairs; this took one number.")
    for side, mine, wanted in zip(("yes", "no"), found, (yes - fit[0].mean(0), no - fit[1].mean(0)),
                                  strict=True):  # fmt: skip
        expect_close(mine, wanted, name=f"the {side} side", hint="Subtract the mean, nothing else.")
    return None


@check(
    "9.3",
    hints=[
        "A score above zero says yes. First ask the fitted pairs whether yes means true.",
        "If fewer than half of the fitted pairs are right, say the opposite everywhere; the "
        "held-out labels must not decide that.",
        "`right = (fit_scores > 0) == fit_labels`; `turned = right.double().mean() < 0.5`; then "
        "compare `(scores > 0) ^ turned` with `labels`.",
    ],
    expects="a function of scores and labels, of fitted and of held-out pairs",
)
def check_accuracy(answer: Any, lab: Any) -> str | None:
    fit = torch.tensor([2.0, 1.0, -3.0, -0.5])
    truth_of = torch.tensor([True, True, False, False])
    scores = torch.tensor([4.0, -1.0, 0.3, -2.0, 1.0])
    labels = torch.tensor([True, True, True, False, False])

    def ask(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> float:
        return float(expect_tensor(call(answer, a, b, c, d), (), name="the accuracy"))

    expect_close(ask(fit, truth_of, scores, labels), 0.6, name="3 of 5 right")
    turned = ask(-fit, truth_of, -scores, labels)
    expect_close(
        turned, 0.6, name="the accuracy with all scores turned round",
        hint="The sign of a direction is arbitrary; take it from the fitted pairs.",
    )  # fmt: skip
    low = ask(fit, truth_of, -scores, labels)
    if abs(low - 0.6) < 1e-6:
        raise CheckFailed(
            "held-out pairs that say the opposite of the fitted ones still got 0.6: the held-out "
            "labels chose the sign. max(a, 1 - a) makes guessing look better than it is."
        )
    expect_close(low, 0.4, name="the accuracy where held-out pairs say the opposite")
    return "An accuracy below .5 is allowed to be one."


@check(
    "9.4",
    hints=[
        "One direction is a column of numbers; a product of matrices scores all pairs along all of "
        "them.",
        "Differences [pairs, d] times directions [count, d] transposed are scores [pairs, count]. "
        "The sign is still one for each direction, from the fitted pairs.",
        "Do what 9.3 does, with `.mean(0)` over the pairs; `labels[:, None]` compares a column "
        "with every direction.",
    ],
    expects="a function of differences, labels and directions that gives one accuracy a direction",
)
def check_random(answer: Any, lab: Any) -> str | None:
    draw = torch.Generator().manual_seed(2)
    fit_labels, labels = (torch.rand(n, generator=draw) < 0.5 for n in (60, 40))

    def moved(of: Tensor) -> Tensor:
        sign = 2 * of.double()[:, None] - 1
        noise = torch.randn(len(of), 3, generator=draw, dtype=torch.double)
        return sign * torch.tensor([3.0, 1.0, 0.0]) + noise

    fit, held = moved(fit_labels), moved(labels)
    axes = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1], [0.2, -1, 2]]).double()
    found = call(answer, fit, fit_labels, held, labels, axes)
    found = expect_tensor(found, (5,), name="the accuracies").double()
    said, told = fit @ axes.T > 0, held @ axes.T > 0
    right = (told == labels[:, None]).double().mean(0)
    turned = (said == fit_labels[:, None]).double().mean(0) < 0.5
    wanted = torch.where(turned, 1 - right, right)
    if torch.allclose(found, right, atol=1e-6):
        raise CheckFailed(
            "a direction and its opposite got different accuracies: turn each round where the "
            "fitted pairs say so.", credit=0.25,
        )  # fmt: skip
    if torch.allclose(found, torch.maximum(right, 1 - right), atol=1e-6):
        raise CheckFailed("the held-out labels chose the signs (max of a and 1 - a).")
    expect_close(found, wanted, atol=1e-6, name="the accuracy of each direction",
                 hint="One sign for each direction, from the fitted pairs.")  # fmt: skip
    return None


# --- 9.5: the subset -----------------------------------------------------------------------------


def _outcome(lab: Any, pairs: Pairs, chosen: Tensor, restarts: int = 40) -> tuple[int, int, float]:
    """Restarts that find truth when fitted on the chosen pairs: on held-out pairs chosen
    likewise, and on all held-out pairs (at .80); and the lowest accuracy there."""
    from utils.probing.ccs import Normaliser, fit_ccs
    from utils.sites import Site

    site = Site(FINAL, position=ANSWER)
    yes, no = (site.read(lab.model.judge, side).double().numpy() for side in (pairs.yes, pairs.no))
    fit = [i for i in pairs.rows.fit if chosen[i]][:800]
    held = list(pairs.rows.held)
    normalise = Normaliser.fit(yes[fit], no[fit])
    a, b = normalise(yes[fit], no[fit])
    found = fit_ccs(a, b, restarts=restarts, seed=5)
    weights = found.weights.double().numpy().T
    c, d = normalise(yes[held], no[held])
    labels = pairs.truth.numpy()
    turned = (((a - b) @ weights > 0) == labels[fit][:, None]).mean(0) < 0.5
    right = (((c - d) @ weights > 0) ^ turned) == labels[held][:, None]
    inside = right[chosen.numpy()[held]].mean(0)
    everywhere = right.mean(0)
    return int((inside >= 0.95).sum()), int((everywhere >= 0.8).sum()), float(everywhere.min())


@check(
    "9.5",
    hints=[
        "What does a restart that finds the opinion use? It needs prompts in which the opinion "
        "differs.",
        "You may look at what was said, `prompts[:, 3]`, without knowing what is true. Make it the "
        "same in every pair: then each side's mean takes it away.",
        "Keep the prompts with one of the two opinions: compare `prompts[:, 3]` with "
        "`truth.SAYS_TRUE` or with `truth.SAYS_FALSE`.",
    ],
    expects="a function of prompts that gives one truth value a prompt",
)
def check_subset(answer: Any, lab: Any) -> str | None:
    pairs = make_pairs(3000, 93, truth.SPOKEN)
    prompts = pairs.yes[:, :4]
    chosen = expect_tensor(call(answer, prompts), (len(prompts),), dtype="bool", name="the subset")
    kept = int(chosen.sum())
    if kept < 400:
        raise CheckFailed(f"only {kept} of {len(prompts)} pairs were kept; keep 400 at least.")
    share = pairs.truth[chosen].double().mean().item()
    by_opinion = [
        pairs.truth[chosen & (pairs.opinion == said)].double().mean().item()
        for said in (True, False) if bool((chosen & (pairs.opinion == said)).any())
    ]  # fmt: skip
    if not 0.3 < share < 0.7:
        raise CheckFailed(
            f"{share:.0%} of your pairs are about true statements. You chose by truth, which nobody"
            " hands you; and where truth is the same in all pairs nothing contrasts in it."
        )
    if any(abs(x - 0.5) > 0.2 for x in by_opinion):
        raise CheckFailed(
            "in your subset the opinion tells whether the statement is true. Inside it truth and"
            " opinion are one contrast, and every restart looks right; on other pairs they part."
            " And to choose it you had to know what is true."
        )
    inside, everywhere, lowest = _outcome(lab, pairs, chosen)
    if inside < 36:
        raise CheckFailed(
            f"of 40 restarts {inside} found truth (asked: 36). Something else still contrasts in"
            " your pairs, and a restart may find that instead."
        )
    if everywhere < 36:
        raise CheckFailed(
            f"of 40 restarts {inside} find truth inside your subset, but on all held-out pairs the"
            f" worst of them is right on {lowest:.2f}."
        )
    return f"{inside} of 40 restarts find truth."


# --- 9.6: the direction that moves, 9.7: pairs of strings ----------------------------------------


@check(
    "9.6",
    hints=[
        "The readout divides the pairs in two: those it scores above zero and the others. No label "
        "is needed for that.",
        "What differs between the two groups on average is what moves when the probe changes its "
        "mind. A difference of sides counts the move twice, once on each side.",
        "`said = differences @ readout > 0`; half of the mean over `said` minus the mean over "
        "`~said`.",
    ],
    expects="a function of differences and a readout that gives a direction",
)
def check_pattern(answer: Any, lab: Any) -> str | None:
    draw = torch.Generator().manual_seed(3)
    n, width = 4000, 6
    concept = torch.rand(n, generator=draw) < 0.3  # unbalanced: sums and means part
    sign = 2 * concept.float()[:, None] - 1
    shared = torch.randn(n, 1, generator=draw)
    moves = torch.tensor([1.0, 2.0, 0, 0, 0, 0])
    noise = torch.tensor([0, 1.0, 0, 1.0, 0, 0])  # the readout turns away from it
    differences = 2 * sign * moves + 6 * shared * noise
    differences = differences + 0.01 * torch.randn(n, width, generator=draw)
    readout = torch.tensor([1.0, 0.0, 0, 0, 0, 0])  # orthogonal to the noise
    found = call(answer, differences, readout)
    found = expect_tensor(found, (width,), name="the direction").float()
    said = differences @ readout > 0
    whole = differences[said].mean(0) - differences[~said].mean(0)
    near = {"atol": 1e-3, "rtol": 1e-3}

    def like(other: Tensor) -> bool:
        return torch.allclose(found, other, **near)

    if like(whole):
        raise CheckFailed(
            "this is twice too long: a difference of sides holds the move of the yes side and that"
            " of the no side.", credit=0.5,
        )  # fmt: skip
    if like(-whole / 2):
        raise CheckFailed("it points the wrong way: towards the pairs scored *below* zero.")
    if torch.cosine_similarity(found, readout, dim=0) > 0.999:
        raise CheckFailed("this is the readout itself, only of another length.")
    if like(differences.mean(0)) or like(differences.mean(0) / 2):
        raise CheckFailed("this is the mean over all pairs; the readout must divide them in two.")
    hint = "Half of: mean where the score is above zero, minus mean where it is not."
    expect_close(found, whole / 2, **near, name="the direction", hint=hint)
    longer = expect_tensor(call(answer, differences, 5 * readout), (width,), name="the direction")
    expect_close(longer, whole / 2, **near, name="the direction for a readout five times as long")
    return None


@check(
    "9.7",
    hints=[
        "The answer is about exactly one half having more a than b. What can you do to a string "
        "that leaves this as it is and exchanges which half it is?",
        "START stays first. The first half is `strings[:, 1:6]`, the second `strings[:, 6:]`.",
        "`torch.cat` along axis 1 of START, the second half, the first half.",
    ],
    expects="a function of strings that gives strings",
)
def check_partner(answer: Any, lab: Any) -> str | None:
    strings, data = lab.data.strings[:500], lab.data
    found = expect_tensor(call(answer, strings), tuple(strings.shape), dtype="int",
                          name="the partners")  # fmt: skip
    if bool((found[:, 0] != 3).any()):
        raise CheckFailed("START (token 3) must stay in front.")
    if int(found[:, 1:].min()) < 0 or int(found[:, 1:].max()) > 2:
        raise CheckFailed("letters are the tokens 0, 1 and 2 (a, b, c).")
    if bool((found == strings).all(1).any()):
        raise CheckFailed("some strings are their own partner; nothing contrasts in such a pair.")
    front, back, answers = data.front(found), data.back(found), data.answer(found)
    if not bool((answers == data.answer(strings)).all()):
        changed = int((answers != data.answer(strings)).sum())
        raise CheckFailed(
            f"in {changed} of 500 pairs the right answer differs between the sides: the answer is"
            " a second contrast."
        )
    leads = data.front(strings) > data.back(strings)
    if not bool(((front > back) != leads).all()):
        raise CheckFailed(
            "in some pairs the same half is ahead on both sides, so the pair does not contrast in"
            " that."
        )
    if not bool(((front == data.back(strings)) & (back == data.front(strings))).all()):
        raise CheckFailed(
            "the partner's halves do not have the leads of the string's halves, exchanged: more"
            " changed than which half is ahead."
        )
    return "Which half is ahead differs in every pair, the answer in none."
