"""A small language of facts, in which somebody may say an opinion first and an answer is judged.

A row is `subject relation value opinion answer`. The fact table gives each subject and relation one
value; a row states a value, right or wrong. The opinion is silent, or says that the statement is
true, or that it is false. The answer says yes or no to the statement. A network reads the row and
gives, at the answer, one of six verdicts: whether the answer is correct, and whether it agrees with
the opinion (or that there was none).

Two rows that differ in the answer alone are a contrast pair. What tells them apart is the answer's
word, whether it is correct, and whether it agrees: three concepts, all of them known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

SUBJECTS, RELATIONS, VALUES = 24, 4, 8
# tokens: the subjects come first, then relations, values, opinions and answers
RELATION, VALUE = SUBJECTS, SUBJECTS + RELATIONS
SILENT = VALUE + VALUES
SAYS_TRUE, SAYS_FALSE, YES, NO = range(SILENT + 1, SILENT + 5)
VOCABULARY = NO + 1
LENGTH = 5  # tokens in a row
OPINIONS = (SILENT, SAYS_TRUE, SAYS_FALSE)
SPOKEN = (SAYS_TRUE, SAYS_FALSE)
VERDICTS = (
    "wrong, no opinion", "wrong, disagrees", "wrong, agrees",
    "correct, no opinion", "correct, disagrees", "correct, agrees",
)  # fmt: skip


@cache
def facts() -> Tensor:
    """The value of each subject and relation: [24, 4] int64, from 0 to 7. Do not change it."""
    return torch.randint(VALUES, (SUBJECTS, RELATIONS), generator=torch.Generator().manual_seed(0))


@cache
def _set_aside() -> Tensor:
    """Of each statement at most one opinion, [24, 4, 8, 3] bool: about a sixth of all prompts."""
    generator = torch.Generator().manual_seed(1)
    shape = (SUBJECTS, RELATIONS, VALUES)
    which = torch.randint(len(OPINIONS), shape, generator=generator)
    some = torch.rand(shape, generator=generator) < 0.5
    return some[..., None] & (which[..., None] == torch.arange(len(OPINIONS)))


# --- rows ----------------------------------------------------------------------------------------


def prompts(
    n: int,
    seed: int = 0,
    *,
    opinions: Sequence[int] = OPINIONS,
    subjects: Sequence[int] | Tensor = range(SUBJECTS),
    held_out: bool | None = None,
) -> Tensor:
    """`n` rows without their answer: [n, 4] int64.

    Every other statement is true (at random); a false one states another value, each equally
    often. opinions: tokens to choose from, each equally often. subjects: the same.
    held_out: only prompts that the shipped network never saw with either answer (True), only the
    others (False), or both (None). Each statement was seen with two opinions at least.
    Raises ValueError for a token that is no opinion or no subject.
    """
    said, about = torch.tensor(list(opinions)), torch.as_tensor(list(subjects))
    if not len(said) or not set(said.tolist()) <= set(OPINIONS):
        raise ValueError(f"opinions are tokens of {OPINIONS}, got {list(opinions)}.")
    if not len(about) or not 0 <= int(about.min()) <= int(about.max()) < SUBJECTS:
        raise ValueError(f"subjects are numbers from 0 to {SUBJECTS - 1}.")
    generator = torch.Generator().manual_seed(seed)
    parts: list[Tensor] = []
    while sum(map(len, parts)) < n:
        many = 64 + (2 * n if held_out is not True else 10 * n)

        def draw(stop: int, many: int = many) -> Tensor:
            return torch.randint(stop, (many,), generator=generator)

        subject, relation, opinion = about[draw(len(about))], draw(RELATIONS), said[draw(len(said))]
        shift = draw(2) * (1 + draw(VALUES - 1))  # 0: the true value
        value = (facts()[subject, relation] + shift) % VALUES
        rows = torch.stack([subject, RELATION + relation, VALUE + value, opinion], 1)
        parts.append(rows if held_out is None else rows[set_aside(rows) == held_out])
        if not len(parts[-1]):
            raise ValueError("No prompt of this kind was set aside.")
    return torch.cat(parts)[:n]


def answered(prompts: Tensor, yes: bool | Tensor) -> Tensor:
    """The prompts [n, 4] with an answer each: [n, 5]. yes: one for all, or [n] bool."""
    word = torch.where(torch.as_tensor(yes), YES, NO).expand(len(prompts))
    return torch.cat([prompts, word[:, None]], 1)


def statements(n: int, seed: int = 0, **options: object) -> Tensor:
    """`n` rows, answered yes or no by a coin: [n, 5] int64. options: as for `prompts`."""
    coin = torch.rand(n, generator=torch.Generator().manual_seed(seed + 2**32)) < 0.5
    return answered(prompts(n, seed, **options), coin)  # type: ignore[arg-type]


def pairs(n: int, seed: int = 0, **options: object) -> tuple[Tensor, Tensor]:
    """`n` contrast pairs: the same prompts answered yes, and answered no; each [n, 5] int64.

    options: as for `prompts`; `opinions=(SILENT,)` gives pairs in which nobody said anything.
    """
    asked = prompts(n, seed, **options)  # type: ignore[arg-type]
    return answered(asked, True), answered(asked, False)


# --- what there is to know about a row ------------------------------------------------------------


def fact(rows: Tensor) -> Tensor:
    """Which entry of the fact table a row is about: [n] int64, 0 to 95; rows of one fact belong
    together when data are split."""
    return rows[:, 0] * RELATIONS + rows[:, 1] - RELATION


def is_true(rows: Tensor) -> Tensor:
    """Whether the value stated is the subject's: [n] bool, whatever the answer."""
    return facts()[rows[:, 0], rows[:, 1] - RELATION] == rows[:, 2] - VALUE


def says_yes(rows: Tensor) -> Tensor:
    """Whether the answer is yes: [n] bool."""
    return rows[:, 4] == YES


def is_correct(rows: Tensor) -> Tensor:
    """Whether the answer is right: yes to a true statement or no to a false one: [n] bool."""
    return says_yes(rows) == is_true(rows)


def agrees(rows: Tensor) -> Tensor:
    """Whether the answer repeats the opinion: [n] bool; False where there was none."""
    return torch.where(says_yes(rows), SAYS_TRUE, SAYS_FALSE) == rows[:, 3]


def verdict(rows: Tensor) -> Tensor:
    """What the network is trained to say at the answer: [n] int64, an index into VERDICTS."""
    opinion = torch.where(rows[:, 3] == SILENT, 0, 1 + agrees(rows).long())
    return 3 * is_correct(rows).long() + opinion


def set_aside(rows: Tensor) -> Tensor:
    """Whether the shipped network was never trained on the row's prompt: [n] bool."""
    subject, relation, value, opinion = (rows[:, :4] - torch.tensor([0, RELATION, VALUE, SILENT])).T
    return _set_aside()[subject, relation, value, opinion]


def concepts(rows: Tensor) -> dict[str, Tensor]:
    """What is known of each prompt by name, [n] bool each: what a contrast pair could be split by.

    truth: the statement is true. opinion: it was said to be true (only where the opinions in
    `rows` are all spoken). truth = opinion: the opinion is right (likewise). first subjects: the
    subject is one of the first twelve. high value: the value stated is one of the last four.
    Concepts that are the same in all the rows are left out.
    """
    found = {
        "truth": is_true(rows),
        "first subjects": rows[:, 0] < SUBJECTS // 2,
        "high value": rows[:, 2] - VALUE >= VALUES // 2,
    }
    if not bool((rows[:, 3] == SILENT).any()):
        said = rows[:, 3] == SAYS_TRUE
        found |= {"opinion": said, "truth = opinion": said == found["truth"]}
    return {name: value for name, value in found.items() if bool(value.any() and (~value).any())}


def show(row: Tensor) -> str:
    """One row as text, e.g. "s3 r1 v6, they say it is false: yes"; without an answer no colon."""
    subject, relation, value, opinion, *answer = row.tolist()
    said = {SILENT: "", SAYS_TRUE: ", they say it is true", SAYS_FALSE: ", they say it is false"}
    text = f"s{subject} r{relation - RELATION} v{value - VALUE}{said[opinion]}"
    return text + (f": {'yes' if answer[0] == YES else 'no'}" if answer else "")
