"""Lesson 10: its networks, its rows and texts, its checks. Reading it spoils the exercises."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from utils.data import truth
from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import expect_close, expect_keys, expect_number, expect_tensor

ANSWER = 4
FINAL = "blocks.1.hook_resid_post"


@lru_cache(maxsize=1)
def load_model() -> SimpleNamespace:
    """judge, flat: networks of the truth language. generator, reader: of manners."""
    from utils.models import zoo

    return SimpleNamespace(
        judge=zoo.load("truth-second"),
        flat=zoo.load("truth"),
        generator=zoo.load("manners"),
        reader=zoo.load("manners-classifier"),
    )


def prompt_of(rows: Tensor) -> Tensor:
    """A number for each prompt in which somebody speaks: [n] int64, below 1,536."""
    said = rows[:, 3] - truth.SAYS_TRUE
    return (truth.fact(rows) * truth.VALUES + rows[:, 2] - truth.VALUE) * 2 + said


def load_data() -> SimpleNamespace:
    """fit, half_a, half_b: rows with opinions, no prompt in two of them. texts: to fit on, eight
    kinds alike. kinds: texts to judge on, by name."""
    from utils.challenges import manners_edit as walk

    rows = truth.statements(9000, seed=100, opinions=truth.SPOKEN)
    many = truth.SUBJECTS * truth.RELATIONS * truth.VALUES * 2
    order = torch.randperm(many, generator=torch.Generator().manual_seed(10))
    half_a, half_b = (
        torch.isin(prompt_of(rows), order[i * many // 6 : (i + 1) * many // 6]) for i in range(2)
    )
    n, football = 400, "football"
    kinds = {
        "hot speaker on football": walk.texts(n, 41, topic=football, hot=True, provoked=False),
        **{name: walk.texts(n, 42 + i, **kind) for i, (name, kind) in
           enumerate(walk.ELSEWHERE.items())},
        walk.BOTH: walk.texts(n, 49, topic=football, hot=True, provoked=True),
    }  # fmt: skip
    return SimpleNamespace(
        fit=rows[~half_a & ~half_b], half_a=rows[half_a], half_b=rows[half_b],
        texts=walk.balanced(500, 400), kinds=kinds,
    )  # fmt: skip


# --- 10.1: LEACE ---------------------------------------------------------------------------------


def _toy(n: int = 500, width: int = 6) -> tuple[Tensor, Tensor]:
    """Correlated rows off the origin, and two label columns that they know."""
    draw = torch.Generator().manual_seed(3)
    mix = torch.randn(width, width, generator=draw, dtype=torch.double)
    z = torch.stack([torch.rand(n, generator=draw) < 0.3, torch.rand(n, generator=draw) < 0.6], 1)
    x = torch.randn(n, width, generator=draw, dtype=torch.double) @ mix + 2.0
    x = x + z.double() @ torch.randn(2, width, generator=draw, dtype=torch.double)
    return x, z.double()


@check(
    "10.1",
    hints=[
        "Centre both x and z first. The eigenvectors of the covariance of x give its root and the "
        "inverse of it: scale them by the root of the eigenvalues, or by one over it.",
        "With `whiten` [d, d] and the cross-covariance `x.T @ z / n` [d, k], the left singular "
        "vectors of `whiten @ cross` are u.",
        "The matrix is `back @ u @ u.T @ whiten`, where `back` undoes `whiten`. Drop columns of u "
        "whose singular value is below 1e-6.",
    ],
    expects="a function of rows and labels that gives a matrix and a mean",
)
def check_leace(answer: Any, lab: Any) -> str | None:
    from utils.probing.erasure import erase

    x, z = _toy()
    for labels, name in ((z[:, :1], "one label"), (z, "two labels"), (z[:, [0, 0]], "one, twice")):
        found = call(answer, x, labels)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise CheckFailed("return two things: the matrix [d, d] and the mean [d].")
        matrix = expect_tensor(found[0], (6, 6), name=f"the matrix ({name})").double()
        mean = expect_tensor(found[1], (6,), name="the mean").double()
        expect_close(mean, x.mean(0), name="the mean", hint="The mean of the rows of x.")
        left = x - (x - mean) @ matrix.T
        offset = labels - labels.mean(0)
        cross = ((left - left.mean(0)).T @ offset / len(x)).abs().max().item()
        if cross > 1e-6:
            raise CheckFailed(
                f"{name}: after erasing, a feature still covaries with the label ({cross:.2g})."
                " Were x and z centred, and does `back` undo `whiten`?"
            )
        best = erase(x, labels)
        ideal = best.left @ best.right
        rank = int(torch.linalg.matrix_rank(matrix, tol=1e-6))
        if rank != best.rank:
            raise CheckFailed(
                f"{name}: the guard holds, but the matrix has rank {rank} and {best.rank} is"
                " enough: take out only directions that covary with the labels.", credit=0.25,
            )  # fmt: skip
        moved = ((x - left) ** 2).sum() / (((x - mean) @ ideal.T) ** 2).sum()
        if moved > 1.001:
            raise CheckFailed(
                f"{name}: the guard holds, but the rows move {moved:.2f} times as much as they"
                " need to. A projection in whitened space does it with less.", credit=0.5,
            )  # fmt: skip
        expect_close(matrix, ideal, atol=1e-5, name=f"the matrix ({name})")
    return "The covariance with the label is gone, and no map of this kind moves the rows less."


# --- 10.2, 10.3: the two instruments -------------------------------------------------------------


@check(
    "10.2",
    hints=[
        "A probe that saw the rows it is judged on may know them by heart.",
        "`train(*a)` gives the predictor trained on a; judge it on the rows and labels of b.",
        "`(train(*a)(b[0]) == b[1]).double().mean()`, the same with a and b exchanged, and half of "
        "the sum.",
    ],
    expects="a function of a trainer and two pairs of rows and labels",
)
def check_held_out(answer: Any, lab: Any) -> str | None:
    def by_heart(x: Tensor, z: Tensor) -> Any:
        """The label of the nearest row it was trained on."""
        x, z = x.clone(), z.clone()
        return lambda rows: z[(rows[:, None] - x[None]).abs().sum(-1).argmin(1)]

    a = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([True, True, False, False])
    b = torch.tensor([[0.1], [1.1], [2.1], [3.1], [0.2]]), torch.tensor([True, 0, 0, 1, 0]).bool()
    on_a = (by_heart(*b)(a[0]) == a[1]).double().mean().item()
    on_b = (by_heart(*a)(b[0]) == b[1]).double().mean().item()
    found = expect_number(call(answer, by_heart, a, b), what="the accuracy")
    if abs(found - 1.0) < 1e-9:
        raise CheckFailed(
            "a probe that only knows its rows by heart got 1.00: it was judged on the rows it was"
            " trained on."
        )
    for value, side in ((on_a, "b"), (on_b, "a")):
        if abs(found - value) < 1e-9:
            raise CheckFailed(f"this is the probe trained on {side} alone; do it both ways.")
    expect_close(found, (on_a + on_b) / 2, name="the accuracy", hint="The mean of both ways.")
    return None


@check(
    "10.3",
    hints=[
        "`logits.argmax(-1)` is the verdict. Which numbers are correct verdicts, which agree?",
        "Verdicts 3, 4 and 5 say correct; 2 and 5 say agrees.",
        "Compare `verdict >= 3` with `truth.is_correct(rows)` and `verdict % 3 == 2` with "
        "`truth.agrees(rows)`; the mean of each.",
    ],
    expects="a function of logits and rows that gives two shares",
)
def check_still_right(answer: Any, lab: Any) -> str | None:
    rows = truth.statements(40, seed=8, opinions=truth.SPOKEN)
    draw = torch.Generator().manual_seed(4)
    said = torch.randint(6, (40,), generator=draw)
    said = torch.where(torch.rand(40, generator=draw) < 0.5, truth.verdict(rows), said)
    logits = torch.nn.functional.one_hot(said, 6) * 3.0 + torch.rand(40, 6, generator=draw)
    found = call(answer, logits, rows)
    if not isinstance(found, tuple | list | Tensor) or len(found) != 2:
        raise CheckFailed("return two shares: for correct, and for agrees.")
    shares = [expect_number(value, 0, 1, what="a share") for value in found]
    wanted = [
        ((said >= 3) == truth.is_correct(rows)).double().mean().item(),
        ((said % 3 == 2) == truth.agrees(rows)).double().mean().item(),
    ]
    whole = (said == truth.verdict(rows)).double().mean().item()
    if any(abs(share - whole) < 1e-9 for share in shares):
        raise CheckFailed(
            "one of the shares counts verdicts that are right as a whole; a verdict may have one"
            " half right and the other wrong."
        )
    if max(abs(shares[0] - wanted[1]), abs(shares[1] - wanted[0])) < 1e-9:
        raise CheckFailed("the two shares were exchanged: correct first.")
    expect_close(torch.tensor(shares), wanted, name="the shares for correct, agrees")
    return None


# --- 10.4, 10.5: the shape, and the labels -------------------------------------------------------


@check(
    "10.4",
    hints=[
        "Four groups of rows, by `correct` and `agrees`; each has a mean.",
        "`x[correct & agrees].mean(0) - x[~correct & agrees].mean(0)` is the first edge.",
        "The second is the same with `~agrees`; stack them.",
    ],
    expects="a function of rows and two labels that gives two edges",
)
def check_edges(answer: Any, lab: Any) -> str | None:
    draw = torch.Generator().manual_seed(5)
    agree = torch.rand(200, generator=draw) < 0.4
    right = torch.rand(200, generator=draw) < torch.where(agree, 0.2, 0.7)
    c, a = 2 * right.double() - 1, 2 * agree.double() - 1
    x = torch.stack([c, a, c * a, torch.randn(200, generator=draw, dtype=torch.double)], 1) + 1.0
    found = expect_tensor(call(answer, x, right, agree), (2, 4), name="the edges").double()
    wanted = torch.stack(
        [x[right & part].mean(0) - x[~right & part].mean(0) for part in (agree, ~agree)]
    )
    for other, slip in (
        (wanted.flip(0), "the edges were exchanged: those that agree come first."),
        (-wanted, "the edges point from correct to wrong; turn them round."),
        (wanted / 2, "half of each edge came; an edge goes from mean to mean."),
    ):
        if torch.allclose(found, other, atol=1e-6):
            raise CheckFailed(slip, credit=0.5)
    expect_close(found, wanted, name="the edges",
                 hint="Correct minus wrong, among the rows of one kind only.")  # fmt: skip
    return None


@check(
    "10.5",
    hints=[
        "One column for correctness itself. What else must have no covariance left, so that rows "
        "that agree and rows that disagree are guarded each for themselves?",
        "The product of the two labels. Written with 0 and 1 it covaries with agreement, and "
        "erasing it would take some of that along.",
        "Code both labels as -1 and 1 and stack `c` and `c * a`.",
    ],
    expects="a function of two labels that gives label columns",
)
def check_joint(answer: Any, lab: Any) -> str | None:
    from utils.probing.erasure import erase
    from utils.probing.rows import ProbingError
    from utils.sites import Site

    judge, site = lab.model.judge, Site(FINAL, position=ANSWER)
    rows = truth.statements(4000, seed=120, opinions=truth.SPOKEN)
    right, agree = truth.is_correct(rows), truth.agrees(rows)
    columns = expect_tensor(call(answer, right, agree), (len(rows), None), name="the labels")
    x = site.read(judge, rows).double()
    try:
        eraser = erase(x, columns.double())
    except ProbingError as error:
        raise CheckFailed(f"no eraser could be made of these labels: {error}") from None
    after = eraser.apply(x)
    trace = 0.0
    for part in (agree, ~agree):
        gap = (after[right & part].mean(0) - after[~right & part].mean(0)).norm()
        trace = max(trace, float(gap / (x[right & part].mean(0) - x[~right & part].mean(0)).norm()))
    between = after[agree].mean(0) - after[~agree].mean(0)
    kept = float(between.norm() / (x[agree].mean(0) - x[~agree].mean(0)).norm())
    held = truth.statements(1500, seed=121, opinions=truth.SPOKEN)
    said = site.write(judge, held, eraser.apply, allow_unchanged=True)[:, -1].argmax(-1)
    first = ((said >= 3) == truth.is_correct(held)).double().mean().item()
    second = ((said % 3 == 2) == truth.agrees(held)).double().mean().item()
    if trace > 0.2:
        raise CheckFailed(
            f"among rows of one kind {trace:.0%} of the way from wrong to correct is left, and the"
            f" network is still right about correctness in {first:.2f} of the rows. Erase the"
            " product with agreement too.", credit=0.25 if kept > 0.8 else 0.0,
        )  # fmt: skip
    if kept < 0.8 or second < 0.95:
        raise CheckFailed(
            f"correctness is gone, and agreement with it: {kept:.0%} of the way between agreeing"
            f" and disagreeing is left, and the network is right about it in {second:.2f} of the"
            " rows. Your columns covary with agreement.", credit=0.5,
        )  # fmt: skip
    return (
        f"The network is right about correctness in {first:.1f}, about agreement in {second:.1f}."
    )


# --- 10.6, 10.7: dose, and weights ---------------------------------------------------------------


@check(
    "10.6",
    hints=[
        "`site.write(network, tokens, function)` gives the output with `function(old)` there.",
        "A dose of 0 changes nothing, and `write` refuses that unless `allow_unchanged=True`.",
        "For each dose d: the mean of `measure(site.write(network, tokens, lambda old, d=d: old + "
        "d * direction, allow_unchanged=True))`; stack them.",
    ],
    expects="a function that gives one number a dose",
)
def check_dose(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site

    network, site = lab.model.generator, Site("blocks.1.mlp.hook_post")
    tokens = lab.data.kinds["other topics"].tokens[:40, :-1]
    draw = torch.Generator().manual_seed(6)
    direction = torch.randn(192, generator=draw)

    def measure(output: Tensor) -> Tensor:
        return output[:, 6, 7] - output[:, 9, 3]

    doses = [-1.0, 0.0, 2.0]
    found = expect_tensor(
        call(answer, network, tokens, site, direction, doses, measure), (3,), name="the responses"
    ).double()
    wanted = torch.stack(
        [measure(site.write(network, tokens, lambda old, d=d: old + d * direction,
                            allow_unchanged=True)).mean() for d in doses]
    ).double()  # fmt: skip
    unit = direction / direction.norm()
    short = torch.stack(
        [measure(site.write(network, tokens, lambda old, d=d: old + d * unit,
                            allow_unchanged=True)).mean() for d in doses]
    ).double()  # fmt: skip
    if torch.allclose(found, short, atol=1e-4):
        raise CheckFailed("the direction was made one long first; a dose of 1 adds it as it is.")
    if torch.allclose(found, wanted - wanted[1], atol=1e-4):
        raise CheckFailed("these are changes against dose 0; give the responses themselves.")
    expect_close(found, wanted, atol=1e-3, name="the responses to doses -1, 0 and 2")
    return None


@check(
    "10.7",
    hints=[
        "Put the erased x into the old map and multiply out: weight @ (x - left @ right @ (x - "
        "mean)) + bias.",
        "What stands before x is the new weight. What does not depend on x is the new bias.",
        "`taken = left @ right`; `weight - weight @ taken` and `bias + weight @ taken @ mean`.",
    ],
    expects="a function of a linear map and an eraser that gives a weight and a bias",
)
def check_folded(answer: Any, lab: Any) -> str | None:
    draw = torch.Generator().manual_seed(7)
    weight, bias = torch.randn(3, 5, generator=draw), torch.randn(3, generator=draw)
    left, right = torch.randn(5, 2, generator=draw), torch.randn(2, 5, generator=draw)
    mean, x = torch.randn(5, generator=draw), torch.randn(20, 5, generator=draw)
    found = call(answer, weight, bias, left, right, mean)
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise CheckFailed("return two things: the weight [out, d] and the bias [out].")
    new_weight = expect_tensor(found[0], (3, 5), name="the weight").float()
    new_bias = expect_tensor(found[1], (3,), name="the bias").float()
    erased = x - (x - mean) @ right.T @ left.T
    taken = left @ right
    if torch.allclose(new_weight, weight - weight @ taken.T, atol=1e-4):
        raise CheckFailed("left and right changed places: `left @ right`, [d, d], as it stands.")
    expect_close(new_weight, weight - weight @ taken, atol=1e-4, name="the weight",
                 hint="What stands before x when the erased x is put into the map.")  # fmt: skip
    if torch.allclose(new_bias, bias, atol=1e-5):
        raise CheckFailed(
            "the weight is right, and the bias is the old one: then the mean is erased too, not"
            " left where it is.", credit=0.5,
        )  # fmt: skip
    expect_close(x @ new_weight.T + new_bias, erased @ weight.T + bias, atol=1e-3,
                 name="the new map of x", hint="Look at the bias and its sign.")  # fmt: skip
    return "The new map of a row is the old map of the erased row."


# --- 10.8: the verdict ---------------------------------------------------------------------------

_WHY = {
    "guard": (True, "the table of section 1 has the fresh probe near .5 on rows nobody fitted."),
    "blind": (False, "its verdict has the right first half in most rows, by the same table."),
    "thorough": (False, "linear probe and MLP read the same in both; the shape differs."),
    "layer 0": (False, "there was nearly nothing to erase; layer 1 computes it afterwards."),
    "foretold": (True, "the hook gave the share before the generator wrote a word."),
    "only": (False, "look at hot speakers on football who heard a rude word."),
}


@check(
    "10.8",
    hints=[
        "Two of the six are supported.",
        "Compare each sentence with a line of a table: which number would be different were the "
        "sentence true?",
        "`judge` and `flat` differ in the network's column, not in those of the probes.",
    ],
    expects="a dict with True or False for each sentence",
)
def check_supported(answer: Any, lab: Any) -> str | None:
    found = expect_keys(answer, list(_WHY), name="supported")
    wrong = [key for key, (value, _) in _WHY.items() if not _same(found[key], value, key)]
    if wrong:
        credit = 0.5 if len(wrong) == 1 else 0.0
        raise CheckFailed(f"{wrong[0]!r}: {_WHY[wrong[0]][1]}", credit=credit)
    return None


def _same(found: Any, wanted: bool, key: str) -> bool:
    if not isinstance(found, bool):
        raise CheckFailed(f"{key!r} is {found!r}; write True or False.")
    return found == wanted
