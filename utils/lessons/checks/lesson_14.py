"""Checks, hints and data of lesson 14. Reading it spoils the exercises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from utils.lessons.checking import CheckFailed, call, check, describe
from utils.lessons.expect import (
    expect_number,
    expect_tensor,
    expect_type,
)
from utils.sites import Site, SiteError

P = 97  # numbers run from 0 to P - 1; the token "=" is P


@dataclass(frozen=True)
class PracticeData:
    """The pairs of the practice challenge.

    asked: [6586, 3] tokens [a, b, "="] that the network was trained on: to look at, to fit on.
    held: [2823, 3], the others, on which everything that is claimed is measured.
    """

    asked: Tensor
    held: Tensor


@lru_cache(maxsize=1)
def _challenge() -> Any:
    from utils.challenges import seal

    return seal.load(seal.practice()[0])


def load_model() -> nn.Module:
    return _challenge().model


def load_data() -> PracticeData:
    from utils.challenges.families import pairs

    held = _challenge().draw(P * P, 0).inputs
    grid = pairs.grid()
    known = torch.isin(grid[:, 0] * P + grid[:, 1], held[:, 0] * P + held[:, 1])
    return PracticeData(grid[~known], held)


# --- 14.1 ----------------------------------------------------------------------------------------


@check(
    "14.1",
    hints=[
        "Run the program on the tokens and compare what it says with the answers, pair by pair.",
        "A comparison of two tensors gives True where they are equal; the share is the mean of "
        "that, as a number.",
        "A program may give booleans: `program(tokens).long()` makes them 0 and 1 before you "
        "compare.",
    ],
    expects="a function",
)
def check_agreement(answer: Any, lab: Any) -> str | None:
    tokens = torch.tensor([[a, b, P] for a in range(8) for b in range(5)])
    answers = (tokens[:, 0] > 3).long()
    for name, program, expected in (
        ("says the same", lambda x: (x[:, 0] > 3).long(), 1.0),
        ("says the opposite", lambda x: (x[:, 0] <= 3).long(), 0.0),
        ("gives booleans and is wrong once in eight", lambda x: x[:, 0] > 2, 0.875),
        ("always says 1", lambda x: torch.ones(len(x), dtype=torch.long), 0.5),
        ("always says 0", lambda x: torch.zeros(len(x), dtype=torch.long), 0.5),
    ):
        found = expect_number(
            call(answer, program, tokens, answers), what=f"for a program that {name}, the share"
        )
        if found > 1.0001:
            raise CheckFailed(f"for a program that {name} it is {found:.4g}: a share is at most 1.")
        if abs(found - expected) > 1e-6:
            why = {
                "says the opposite": "A program that is always wrong agrees on none of the pairs.",
                "always says 1": "Count the pairs on which both say 0 as well.",
                "always says 0": "Count the pairs on which both say 0 as well.",
            }.get(name, "It is the share of all pairs on which the two say the same.")
            raise CheckFailed(
                f"for a program that {name} it is {found:.4g}; expected {expected:.4g}. {why}"
            )
    return None


# --- 14.2 ----------------------------------------------------------------------------------------


def _board(rows: tuple[int, ...], columns: tuple[int, ...], noise: float, seed: int) -> Tensor:
    """A board [97, 97] with these edges, some of its cells turned over."""
    a, b = torch.arange(P)[:, None], torch.arange(P)[None]
    fields = sum((a >= e).long() for e in rows) + sum((b >= e).long() for e in columns)
    flips = torch.rand(P, P, generator=torch.Generator().manual_seed(seed)) < noise
    return (fields + flips) % 2


@check(
    "14.2",
    hints=[
        "Two neighbouring rows of the table are alike, unless an edge lies between them: then "
        "nearly all of their cells differ.",
        "`(table[1:] != table[:-1]).double().mean(1)` is the share of cells in which row i + 1 "
        "differs from row i.",
        "An edge is where that share is over one half. Position i of that vector compares rows i "
        "and i + 1, and the new field begins at i + 1.",
    ],
    expects="a function",
)
def check_edges(answer: Any, lab: Any) -> str | None:
    for rows, columns, noise in (
        ((30,), (50,), 0.0), ((12, 61), (5, 40, 90), 0.0), ((20, 80), (48,), 0.05), ((), (33,), 0.0)
    ):  # fmt: skip
        table = _board(rows, columns, noise, 1)
        found = expect_type(call(answer, table), (list, tuple, Tensor), "edges(table)")
        numbers = expect_tensor(list(map(float, torch.as_tensor(found).flatten())), None, name="it")
        found = [round(x) for x in numbers.tolist()]
        wanted = list(rows)
        if found == wanted:
            continue
        if found == [e - 1 for e in wanted]:
            raise CheckFailed(
                f"it gives {found} where the fields begin at {wanted}: an edge is the first a of "
                "the *new* field, one more than the last of the old."
            )
        if sorted(found) == list(columns) and found != wanted:
            raise CheckFailed(
                "it finds the edges along b; rows of the table are values of a, so compare "
                "neighbouring rows."
            )
        if noise and set(wanted) < set(found):
            raise CheckFailed(
                f"on a table in which one cell in twenty is wrong it gives {len(found)} edges; "
                "an edge turns *most* of the cells, a mistake of the network one."
            )
        raise CheckFailed(
            f"on a board whose fields begin at a = {wanted} it gives "
            f"{found if len(found) < 8 else f'{len(found)} edges'}."
        )
    return "Checked on boards with edges elsewhere, one of them noisy."


# --- 14.3, 14.4 ----------------------------------------------------------------------------------


@check(
    "14.3",
    hints=[
        "First say how many exceptions there are: a whole number from 0 to n, so one of n + 1.",
        "Then say which: there are `math.comb(n, k)` ways to choose k of n.",
        "Both in bits, so log2 of each, added. With two classes nothing more is needed: the "
        "exception's label is the other one.",
    ],
    expects="a function",
)
def check_exceptions(answer: Any, lab: Any) -> str | None:
    for n, k in ((7, 0), (7, 7), (8, 1), (2823, 23), (2823, 1400)):
        right = math.log2(n + 1) + math.log2(math.comb(n, k))
        found = expect_number(call(answer, k, n), what=f"exception_bits({k}, {n})")
        if abs(found - right) < 1e-3 * max(1, right):
            continue
        for wrong, message in (
            (math.log2(math.comb(n, k)), "the number k itself has to be said too: log2(n + 1)."),
            (math.log(n + 1) + math.log(math.comb(n, k)), "that is in nats; take log2."),
            (math.log2(n + 1) + k * math.log2(n), "the exceptions form a set: their order need "
             "not be said, so it is log2 of n choose k, not k log2 n."),
            (float(k), "an exception costs more than a bit: it must be said which one it is."),
            (math.log2(n) + math.log2(math.comb(n, k)), "0 exceptions is possible too, so k is "
             "one of n + 1 numbers."),
        ):  # fmt: skip
            if abs(found - wrong) < 1e-3 * max(1, wrong):
                raise CheckFailed(message)
        raise CheckFailed(f"exception_bits({k}, {n}) is {found:.4g}; expected {right:.4g}.")
    return None


@check(
    "14.4",
    hints=[
        "Say how many labels are 1: a number from 0 to n. Then say which arrangement it is.",
        "n labels with m ones can be arranged in `math.comb(n, m)` ways.",
        "So it is the same formula as in 14.3, with the number of ones in the place of the number "
        "of exceptions.",
    ],
    expects="a function",
)
def check_table(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(0)
    for n, share in ((16, 0.5), (2823, 0.5), (2823, 0.1), (50, 0.0)):
        labels = (torch.rand(n, generator=generator) < share).long()
        m = int(labels.sum())
        right = math.log2(n + 1) + math.log2(math.comb(n, m))
        what = f"for {n} labels of which {m} are 1, table_bits"
        found = expect_number(call(answer, labels), what=what)
        if abs(found - right) < 1e-3 * max(1, right):
            continue
        p = m / n
        entropy = 0.0 if p in (0, 1) else -p * math.log2(p) - (1 - p) * math.log2(1 - p)
        for wrong, message in (
            (float(n), "a bit a label is what it takes if you know nothing; lopsided labels take "
             "fewer, and how many are 1 must be said as well."),
            (n * entropy, "n times the entropy leaves out that the number of ones must be said; "
             "count the arrangements instead."),
            (entropy, "this is the entropy of one label; the table has n of them."),
            (math.log2(math.comb(n, m)), "how many are 1 must be said too: log2(n + 1)."),
        ):  # fmt: skip
            if abs(found - wrong) < 1e-3 * max(1, wrong):
                raise CheckFailed(message)
        raise CheckFailed(f"{what} is {found:.4g}; expected {right:.4g}.")
    return None


# --- 14.5 ----------------------------------------------------------------------------------------


def _fields(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """What the practice program calls column and row, [n] int64 each."""
    a, b = tokens[:, 0], tokens[:, 1]
    return ((a >= 21) & (a < 65)).long(), ((b >= 34) & (b < 78)).long()


@check(
    "14.5",
    hints=[
        "A Site is a hook, a position and, here, a direction. The count is the sum of what the "
        "heads bring to the place where the answer is read: which hook is that, which position?",
        "A basis is a matrix [64, k] with orthonormal columns. You have one direction, so k is 1.",
        '`Site("blocks.0.hook_attn_out", position=..., basis=both[:, None])`.',
    ],
    expects="a Site",
)
def check_site(answer: Any, lab: Any) -> str | None:
    site = expect_type(answer, Site, "your answer")
    x, model = lab.data.held[:1000], lab.model
    try:
        values = site.read(model, x)
    except SiteError as error:
        raise CheckFailed(f"this network has no such place: {error}") from None
    if values[0].numel() != 1:
        raise CheckFailed(
            f"this Site holds {values[0].numel()} numbers; the claim is about one direction, so "
            "give it a basis of one column. A claim about a whole place cannot be told from its "
            "null."
        )
    column, row = _fields(x)
    count = column + row
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    expected = (count[order] == 1).long()
    output = site.write(model, x, values[order], allow_unchanged=True)
    follows = float((output[:, 2].argmax(-1) == expected).double().mean())
    if follows > 0.95:
        if not site.hook.endswith("hook_attn_out"):
            raise CheckFailed(
                f"swapping it moves the answer as it should in {follows:.0%} of the pairs, but the "
                "heads write the sum at hook_attn_out; name that."
            )
        return f"Swaps at it move the answer as the count says in {follows:.0%} of 1,000 pairs."
    same = float((output[:, 2].argmax(-1) == model(x)[:, 2].argmax(-1)).double().mean())
    where = (
        "nothing that is written there reaches the answer: it is read at another position."
        if same > 0.999
        else "that direction does not carry the count, or not all of it."
    )
    raise CheckFailed(
        f"with the value of another pair there, the answer is the one that the pair's count calls "
        f"for in {follows:.0%} of the cases; {where}"
    )


# --- 14.6 ----------------------------------------------------------------------------------------


@check(
    "14.6",
    hints=[
        "Compute column, row and count of the tokens, and the same three of the donors.",
        'Only the step named `swapped` is the donor\'s. If it is "column", the count is that '
        'column plus your own row; if it is "count", column and row do not matter any more.',
        "Put own and donor's values into two dicts, replace one entry, and compute the count anew "
        "unless it is the one that was replaced.",
    ],
    expects="a function",
)
def check_counterfactual(answer: Any, lab: Any) -> str | None:
    generator = torch.Generator().manual_seed(0)
    tokens, donors = torch.randint(P, (2, 400, 3), generator=generator)
    mine, theirs = _fields(tokens), _fields(donors)
    right = {
        "column": theirs[0] + mine[1], "row": mine[0] + theirs[1], "count": theirs[0] + theirs[1],
    }  # fmt: skip
    for swapped, count in right.items():
        name = f'counterfactual(tokens, donors, "{swapped}")'
        found = expect_tensor(call(answer, tokens, donors, swapped), (400,), None, name=name)
        if found.is_complex():
            raise CheckFailed(f"{name} is complex; labels are 0 and 1.")
        found, expected = found.double(), (count == 1).double()
        if torch.equal(found, expected):
            continue
        for wrong, message in (
            ((mine[0] + mine[1] == 1), "these are the labels without any swap."),
            ((theirs[0] + theirs[1] == 1), "these are the donors' own labels; only the swapped "
             "step comes from the donor."),
            ((count > 0), "two of them make 0, not 1: the label asks whether the count is "
             "exactly 1."),
            ((count != 1), "the labels are the wrong way round."),
        ):  # fmt: skip
            if torch.equal(found, wrong.double()):
                raise CheckFailed(f"{name}: {message}")
        raise CheckFailed(
            f"{name} is wrong for {(found != expected).double().mean():.0%} of the pairs. "
            "Everything that is computed from the swapped step follows it, nothing else does."
        )
    return None


# --- 14.7 ----------------------------------------------------------------------------------------


def _explanation_in(text: str) -> Any:
    from utils.challenges.explanation import Explanation, Step

    toy = torch.eye(64)
    names: dict[str, Any] = {
        "torch": torch, "Explanation": Explanation, "Step": Step, "Site": Site,
        "COLUMN": Site("blocks.0.hook_resid_pre", position=0, basis=toy[:, :1]),
        "ROW": Site("blocks.0.hook_resid_pre", position=1, basis=toy[:, :1]),
        "COUNT": Site("blocks.0.hook_attn_out", position=2, basis=toy[:, :1]),
        "ODD": Site("blocks.0.hook_mlp_out", position=2, basis=toy[:, :1]),
    }  # fmt: skip
    try:
        code = compile(text, "your file", "exec")
        exec(code, names)
    except SyntaxError as error:
        raise CheckFailed(f"the text is no Python: {error.msg}, line {error.lineno}.") from None
    except Exception as error:
        raise CheckFailed(
            f"running the text raised {type(error).__name__}: {str(error)[:200]}"
        ) from None
    found = names.get("explanation")
    if not isinstance(found, Explanation):
        raise CheckFailed(
            "the text must end with `explanation = Explanation([...])`; the name `explanation` is "
            f"{'missing' if found is None else describe(found)}."
        )
    return found, names


@check(
    "14.7",
    hints=[
        'A step is `Step("name", function, ("what", "it reads"), site=PLACE)`; without the tuple '
        "it reads the tokens.",
        "Five steps: column and row read the tokens, count reads both, odd reads count, and the "
        "last one, the label, reads odd and has no site.",
        'For instance `Step("column", lambda x: (x[:, 0] >= 21) & (x[:, 0] < 65), site=COLUMN)`. '
        "Booleans do not add up to 2: `c.long() + r.long()`.",
    ],
    expects="a text",
)
def check_steps(answer: Any, lab: Any) -> str | None:
    from utils.errors import CourseError

    text = expect_type(answer, str, "your answer")
    explanation, names = _explanation_in(text)
    x = lab.data.held[:600]
    try:
        values, labels = explanation.values(x), explanation.labels(x)
        explanation.check(x[:200])
    except CourseError as error:
        raise CheckFailed(str(error)) from None
    wanted = {"column": "COLUMN", "row": "ROW", "count": "COUNT", "odd": "ODD"}
    placed = {step.name: step.site for step in explanation.placed}
    for name, place in wanted.items():
        if name not in values:
            raise CheckFailed(f"there is no step called {name!r}; there are {', '.join(values)}.")
        if name not in placed:
            raise CheckFailed(f"step {name!r} has no site, so nothing is claimed about it.")
        if placed[name] != names[place]:
            raise CheckFailed(f"step {name!r} is not placed at {place}.")
    column, row = _fields(x)
    count = column + row
    if values["count"].dtype == torch.bool or int(values["count"].max()) < 2:
        raise CheckFailed(
            "count never gets to 2. Adding booleans with | or + gives a boolean; make them whole "
            "numbers first."
        )
    for name, value in (("column", column), ("row", row), ("count", count), ("odd", count == 1)):
        off = float((values[name].double() != value.double()).double().mean())
        if off > 0:
            raise CheckFailed(
                f"step {name!r} is not what the network's answers call for on {off:.1%} of the "
                "pairs. Check the edges, and which end belongs to the field."
            )
    if not torch.equal(labels, (count == 1).long()):
        raise CheckFailed("the last step does not give the network's answers.")
    for stand_in in (0, 1, 2):
        given = {"count": torch.full((len(x),), stand_in)}
        if not (explanation.labels(x, given) == int(stand_in == 1)).all():
            raise CheckFailed(
                f"with {stand_in} standing in for count the label must be {int(stand_in == 1)} "
                "everywhere: a later step reads the tokens, or column and row, past the count."
            )
    return f"{len(explanation.steps)} steps, {len(placed)} of them placed."


# --- 14.8 ----------------------------------------------------------------------------------------


@check(
    "14.8",
    hints=[
        "A finding has `rule` and `value`; a rule has `level`, `measure` and `least`.",
        "A rule is met when its value is `least` or more. Where nothing could be measured the "
        "value is None, and the rule is not met.",
        "`finding.met` already says so; keep the findings of that level that are not, and of each "
        "its `rule.measure`.",
    ],
    expects="a function",
)
def check_unmet(answer: Any, lab: Any) -> str | None:
    from utils.challenges.verdicts import Finding, Rule

    def finding(level: Any, name: str, least: float, value: float | None) -> Finding:
        return Finding(Rule(level, name, least, "why"), value)

    program, mechanism = "program", "program and mechanism"
    findings = [
        finding(program, "p met", 0.9, 0.95),
        finding(program, "p unmet", 0.3, 0.1),
        finding(mechanism, "m exactly", 0.5, 0.5),
        finding(mechanism, "m unmet", 0.6, 0.59),
        finding(mechanism, "m not measured", 0.6, None),
        finding(mechanism, "m zero needed", 0.0, 0.0),
        finding(mechanism, "m negative", 0.0, -0.2),
    ]
    for level, wanted in (
        (program, ["p unmet"]), (mechanism, ["m unmet", "m not measured", "m negative"]),
    ):  # fmt: skip
        name = f'unmet(findings, "{level}")'
        found = expect_type(call(answer, findings, level), (list, tuple), name)
        if not all(isinstance(one, str) for one in found):
            raise CheckFailed(f"{name} must hold texts, the measures; got {describe(found)}.")
        if sorted(found) == sorted(wanted):
            continue
        if set(found) & {f.rule.measure for f in findings if f.rule.level != level}:
            raise CheckFailed(f"{name} names rules of another level.")
        if set(wanted) - {"m not measured"} == set(found):
            raise CheckFailed("a rule whose value could not be measured, None, is not met.")
        if "m exactly" in found or "m zero needed" in found:
            raise CheckFailed("a value that is exactly the least one meets the rule.")
        if not set(found) & set(wanted):
            raise CheckFailed(f"{name} names the rules that *are* met, or none; got {list(found)}.")
        raise CheckFailed(f"{name} is {list(found)}; expected {wanted} in any order.")
    return None
