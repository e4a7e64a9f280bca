"""Checks, hints and data of lesson 00. Reading it spoils the exercises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from utils.data import sequences
from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import (
    expect_close,
    expect_keys,
    expect_number,
    expect_tensor,
    expect_type,
)
from utils.sites import Site

SEED = 118  # the first ten rows hold no exception to "the largest digit"; the lesson says so
_PATTERN = Site("blocks.0.attn.hook_pattern", head=0, position=-1)


def load_model() -> nn.Module:
    from utils.models import zoo

    return zoo.load("largest-digit")


def load_data() -> dict[str, Tensor]:
    """rows: [4000, 7], six random digits and the END token."""
    return {"rows": sequences.digit_rows(4000, seed=SEED)}


def _answers(model: nn.Module, rows: Tensor) -> Tensor:
    return model(rows)[:, -1].argmax(-1)


def _text(row: Tensor) -> str:
    return " ".join(str(int(digit)) for digit in row[: sequences.DIGIT_COUNT])


def _run_program(answer: Any, digits: Tensor) -> Tensor:
    """The learner's program on [n, 6] digits, as whole numbers [n]."""
    given = call(answer, digits)
    if isinstance(given, tuple) and len(given) == 2:
        raise CheckFailed(
            "your program returned a pair: `max(dim=1)` gives the values and their places. Take "
            "`.values`."
        )
    what = "what your program returned"
    found = expect_tensor(given, (len(digits),), dtype=None, name=what)
    if found.is_complex() or not torch.equal(found.double(), found.double().round()):
        raise CheckFailed("your program must name a digit, a whole number, for each row.")
    return found.long()


# --- 0.1 ---------------------------------------------------------------------------------------


@check(
    "0.1",
    hints=[
        "Compare the two tensors entry by entry first: what does `a == b` give?",
        "True counts as 1 and False as 0, once the type is a floating-point one; then what you "
        "want is a mean.",
        "Chain three steps: compare, convert with `.double()`, average. `.item()` turns a tensor "
        "with one entry into a Python number.",
    ],
    expects="a function of two tensors that gives one number",
)
def check_0_1(answer: Any, lab: Any) -> str:
    a = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])
    b = torch.tensor([3, 1, 4, 1, 5, 0, 0, 0])
    share = expect_number(call(answer, a, b), what="agreement(a, b)")
    if abs(share - 5) < 1e-9:
        raise CheckFailed(
            "that is the number of rows that agree, 5; a share lies between 0 and 1.", credit=0.5
        )
    if abs(share - 3 / 8) < 1e-6:
        raise CheckFailed("that is the share of rows that differ; asked is the share that agree.")
    expect_close(share, 5 / 8, name="agreement(a, b) where 5 of 8 rows agree")
    for x, y, wanted in ((a, a, 1.0), (a, a + 1, 0.0), (a[:3], a[:3].flip(0), 1 / 3)):
        share = expect_number(call(answer, x, y), what="agreement(a, b)")
        expect_close(share, wanted, name=f"agreement of {x.tolist()} and {y.tolist()}")
    return "This is how every check answers: a verdict, the points, sometimes a remark."


# --- 0.2 ---------------------------------------------------------------------------------------


@check(
    "0.2",
    hints=[
        "For every row, find out where in the row the named digit stands. Is the place always "
        "the same? Then it is not about places.",
        "Compare the named digit with the other five in size.",
        "`digits.max(dim=1)` gives a pair, values and their places; you want `.values`.",
    ],
    expects="a function of a tensor of digits",
)
def check_0_2(answer: Any, lab: Any) -> str:
    rows = lab.data["rows"][:10]
    wanted = _answers(lab.model, rows)
    orders = [torch.arange(6), torch.tensor([5, 3, 1, 4, 2, 0]), torch.tensor([2, 5, 0, 3, 1, 4])]
    for number, order in enumerate(orders):
        digits = rows[:, order]
        found = _run_program(answer, digits)
        missed = (found != wanted).nonzero().flatten()
        if len(missed):
            row = int(missed[0])
            extra = " (the ten rows in another order: the network says the same)" * (number > 0)
            raise CheckFailed(
                f"your program misses {len(missed)} of the ten examples{extra}. One of them: for "
                f"{_text(digits[row])} the network says {int(wanted[row])}, your program "
                f"{int(found[row])}."
            )
    return "It fits all ten examples. Now let us see how far ten examples carry"


# --- 0.3 ---------------------------------------------------------------------------------------


@check(
    "0.3",
    hints=[
        "Work on one digit at a time. `digits == 4` marks every 4 in the set; you need one "
        "true or false per row.",
        "`.any(dim=1)` asks of each row whether at least one of its six places is marked. The "
        "mean of that over the rows is one of your ten numbers.",
        "Make a list of ten such means, for the digits 0 to 9, and join it with `torch.stack`. "
        "Convert to `.double()` before the mean.",
    ],
    expects="a function of a tensor of digits",
)
def check_0_3(answer: Any, lab: Any) -> str:
    digits = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 2, 3, 4, 5, 6], [0, 0, 2, 2, 9, 9]])
    what = "share_with_digit(digits)"
    found = expect_tensor(call(answer, digits), (10,), dtype=None, name=what)
    if found.is_complex():
        raise CheckFailed("the shares are complex numbers; expected numbers from 0 to 1.")
    found = found.double()
    wanted = torch.tensor([1, 2, 2, 1, 1, 1, 1, 0, 0, 1]).double() / 3
    counts = torch.bincount(digits.flatten(), minlength=10).double()
    if torch.allclose(found, 3 * wanted, atol=1e-4):
        raise CheckFailed("these are numbers of rows; divide by how many rows there are.", 0.5)
    if torch.allclose(found, 100 * wanted, atol=0.1):
        raise CheckFailed("these are percentages; give shares between 0 and 1.", 0.5)
    if torch.allclose(found, counts / digits.numel(), atol=1e-4):
        raise CheckFailed(
            "these are shares of all the digits. Asked is the share of *rows* that hold the digit "
            "at least once: a row of six 1s counts once, as one row."
        )
    if torch.allclose(found, counts / len(digits), atol=1e-4):
        raise CheckFailed(
            "a row that holds a digit twice was counted twice; ask of each row only whether the "
            "digit is there at all."
        )
    expect_close(
        found, wanted, name="share_with_digit([[1,1,1,1,1,1], [1,2,3,4,5,6], [0,0,2,2,9,9]])"
    )
    rows = lab.data["rows"][:200, :6]
    wanted = torch.stack([(rows == digit).any(1).double().mean() for digit in range(10)])
    found = expect_tensor(call(answer, rows), (10,), name=what)
    expect_close(found, wanted, name="share_with_digit of 200 rows")
    return "Now use it on the failures."


# --- 0.4 ---------------------------------------------------------------------------------------


def _hard_rows() -> Tensor:
    """Rows rich in the ignored digit, with many copies of it and with small companions."""
    generator = torch.Generator().manual_seed(5)
    some = torch.randint(0, 10, (600, 6), generator=generator)
    some = some.masked_fill(torch.rand(some.shape, generator=generator) < 0.5, 7)
    small = torch.where(some == 7, 7, some % 2)
    rows = torch.cat([some, small])
    rows = rows[(rows != 7).any(1)]
    return torch.cat([rows, torch.full((len(rows), 1), sequences.END)], 1)


@check(
    "0.4",
    hints=[
        "Which digit's line in the table differs most between the two columns? Then print a few "
        "of the failures and see what the network says in its place.",
        "One digit seems not to count. What would the largest digit be if every copy of that one "
        "were struck out of the row?",
        "`digits.masked_fill(digits == d, -1)` replaces every copy of the digit `d` by -1, which "
        "can never be the largest. Then take the maximum as before.",
    ],
    expects="a function of a tensor of digits",
)
def check_0_4(answer: Any, lab: Any) -> str:
    rows = torch.cat([lab.data["rows"], _hard_rows()])
    digits, wanted = rows[:, :6], _answers(lab.model, rows)
    found = _run_program(answer, digits)
    missed = (found != wanted).nonzero().flatten()
    if not len(missed):
        return f"It agrees with the network on all of {len(rows)} rows, many of them hard ones."
    share = 1 - len(missed) / len(rows)
    row = int(missed[0])
    example = (
        f"For {_text(digits[row])} the network says {int(wanted[row])}, your program "
        f"{int(found[row])}."
    )
    if torch.equal(found, digits.max(1).values):
        raise CheckFailed(f"this is still the largest digit of all six. {example}")
    plain = (found == wanted)[: len(lab.data["rows"])].double().mean().item()
    if plain > 0.9:
        twice = any((digits[i] == 7).sum() > 1 for i in missed[:50])
        why = "Does your rule still hold when a digit stands there twice? " if twice else ""
        raise CheckFailed(
            f"nearly: it agrees on {plain:.2f} of the random rows, and on {share:.2f} when hard "
            f"rows are added. {why}{example}",
            credit=0.5,
        )
    raise CheckFailed(f"your program agrees with the network on {plain:.2f} of the rows. {example}")


# --- 0.5 ---------------------------------------------------------------------------------------

_DIFFERS = {"more rows": False, "shuffle": False, "attention": True, "cut": False, "swap": True}
_WHY = {
    "more rows": "A and B name the same digit in every row, so more rows cannot separate them.",
    "shuffle": "both rules ignore the order of the digits, so both predict that nothing changes.",
    "attention": "B must look at a 7 to find that it is the largest; A never looks at it. So they "
    "predict different amounts.",
    "cut": "under A nothing is taken away. Under B the head no longer sees the 7s, so the largest "
    "digit that it sees is the one that it would have named anyway. Both predict no change.",
    "swap": "under A nobody picks up what the 7s offer, so nothing changes. Under B the head "
    "looks there and now finds a 9.",
}


@check(
    "0.5",
    hints=[
        "For each observation say aloud what A predicts, then what B predicts. If you say the same "
        "sentence twice, the observation cannot tell them apart.",
        "Two of the five differ. An observation of answers alone is not among them.",
        "Think `cut` through slowly for B: without any 7 in sight, which digit does the head find "
        "largest, and which one would it have named before?",
    ],
    expects="a dict from the five names to True or False",
)
def check_0_5(answer: Any, lab: Any) -> str:
    given = expect_keys(answer, _DIFFERS, name="differs")
    for name in _DIFFERS:
        expect_type(given[name], bool, name=f"differs[{name!r}]")
    wrong = [name for name, truth in _DIFFERS.items() if given[name] != truth]
    if wrong:
        raise CheckFailed(
            f"{len(wrong)} of the five {'is' if len(wrong) == 1 else 'are'} not right. Begin with "
            f"`{wrong[0]}`: {_WHY[wrong[0]]}",
            credit=0.5 if len(wrong) == 1 else 0.0,
        )
    return "Two observations, and both look inside. The next cells make them."


# --- 0.6 ---------------------------------------------------------------------------------------


@check(
    "0.6",
    hints=[
        "Two steps: build the pattern that you want, then write it and see what the network says.",
        "The pattern has one row of seven numbers per row of digits: 1 at the place to look at, 0 "
        "elsewhere. `torch.nn.functional.one_hot(places, 7)` gives it in whole numbers; an "
        "attention pattern is made of floats.",
        "`where_it_looks.write(network, rows, pattern)` returns logits of shape (n, 7, 10). The "
        "answer stands at the last position; it is the digit with the largest logit there.",
    ],
    expects="a function of network, rows and places",
)
def check_0_6(answer: Any, lab: Any) -> str:
    rows = lab.data["rows"][:500]
    generator = torch.Generator().manual_seed(2)
    places = torch.randint(0, 6, (len(rows),), generator=generator)
    found = call(answer, lab.model, rows, places)
    if isinstance(found, Tensor) and tuple(found.shape) in {(500, 10), (500, 7, 10), (500, 7)}:
        raise CheckFailed(
            f"the result has shape {tuple(found.shape)}; asked is one digit per row: the argmax "
            "over the ten logits at the last position."
        )
    found = expect_tensor(found, (len(rows),), dtype=None, name="say_when_looking_at(...)")
    if found.is_complex():
        raise CheckFailed("the answers are complex numbers; expected digits.")
    pattern = torch.nn.functional.one_hot(places, 7).float()
    wanted = _PATTERN.write(lab.model, rows, pattern)[:, -1].argmax(-1)
    there = rows.gather(1, places[:, None])[:, 0]
    if torch.equal(found.long(), wanted):
        return "The head looked where you told it to."
    if torch.equal(found.long(), there):
        raise CheckFailed(
            "your function names the digit at the place without asking the network. What the "
            "network says there is the question: write the pattern and read its answer."
        )
    if torch.equal(found.long(), _answers(lab.model, rows)):
        raise CheckFailed(
            "these are the network's ordinary answers: the pattern was not written. Take the "
            "logits that `where_it_looks.write(...)` returns."
        )
    for step, word in ((1, "after"), (-1, "before")):
        shifted = torch.nn.functional.one_hot((places + step) % 7, 7).float()
        other = _PATTERN.write(lab.model, rows, shifted)[:, -1].argmax(-1)
        if torch.equal(found.long(), other):
            raise CheckFailed(
                f"the head was made to look one place {word} the one asked for; places count "
                "from 0."
            )
    share = (found.long() == wanted).double().mean().item()
    raise CheckFailed(
        f"only {share:.2f} of the answers are what the network says when it looks at that place "
        "alone. Is the pattern 1 at `places` and 0 everywhere else, and the answer read at the "
        "last position?"
    )
