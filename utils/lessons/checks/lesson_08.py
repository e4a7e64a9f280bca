"""Checks, hints and data of lesson 08. Reading it spoils the exercises."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from utils.data import words
from utils.lessons.checking import CheckFailed, call, check
from utils.lessons.expect import (
    expect_choice,
    expect_close,
    expect_keys,
    expect_number,
    expect_tensor,
)
from utils.probing.rows import split


def load_model() -> SimpleNamespace:
    """trained: the network of the words; untrained: the same before its first step."""
    from utils.models import zoo

    return SimpleNamespace(trained=zoo.load("words"), untrained=zoo.untrained("words", 0))


def load_data() -> SimpleNamespace:
    """tokens [400, 16] int64, and of their 6,000 words that have one before, as arrays [6000]:
    word, cls, previous, position, sentence. class_of_word [300]. fit, held: row numbers, split by
    sentence. fresh [80, 16]: other sentences, to push on. transitions [10, 10]: probability of the
    next class (column) after each class (row)."""
    tokens = words.make(400, seed=31)
    rows = words.rows(tokens)
    parts = split(len(rows.cls), groups=rows.sentence.numpy(), labels=rows.cls.numpy(), seed=0)
    return SimpleNamespace(
        tokens=tokens,
        word=rows.type.numpy(),
        cls=rows.cls.numpy(),
        previous=rows.previous.numpy(),
        position=rows.position.numpy(),
        sentence=rows.sentence.numpy(),
        class_of_word=words.class_of_type().numpy(),
        fit=parts.fit,
        held=parts.held,
        fresh=words.make(80, seed=32),
        transitions=words.transitions().numpy(),
    )


# --- 8.1: the table, 8.2: the lot ----------------------------------------------------------------


def _table(word: np.ndarray, label: np.ndarray, fit: np.ndarray) -> np.ndarray:
    counts = np.zeros((word.max() + 1, label.max() + 1))
    np.add.at(counts, (word[fit], label[fit]), 1)
    return counts.argmax(1)


@check(
    "8.1",
    hints=[
        "The table has one entry a word. Which rows may fill it, and which may only be asked?",
        "Count how often each word goes with each label among the fitted rows: a matrix "
        "[words, labels]. The table is where each row of it is largest.",
        "`np.add.at(counts, (word[fit], label[fit]), 1)` counts; then compare "
        "`counts.argmax(1)[word[held]]` with `label[held]`.",
    ],
    expects="a function of words, labels and row numbers that gives a share",
)
def check_table(answer: Any, lab: Any) -> str | None:
    draw = np.random.default_rng(0)
    word = np.concatenate([np.arange(40), draw.integers(40, size=260)])
    label = np.where(draw.random(300) < 0.4, word % 5, draw.integers(5, size=300))
    order = draw.permutation(np.arange(40, 300))
    fit = np.concatenate([np.arange(40), order[:110]])
    held = order[110:]
    for mark, w in (("the", word), ("where words have gaps between their numbers, the", 3 * word)):
        share = expect_number(call(answer, w, label, fit, held), 0, 1, what=f"{mark} accuracy")
        table = _table(w, label, fit)
        right = float((table[w[held]] == label[held]).mean())
        known = {
            float((table[w[fit]] == label[fit]).mean()): "this is the accuracy on the fitted rows; "
            "ask the held-out ones.",
            float((_table(w, label, np.arange(300))[w[held]] == label[held]).mean()): "the table "
            "was filled from held-out rows too, so it had seen the answers.",
            float((label[held] == np.bincount(label[fit]).argmax()).mean()): "this is the commonest"
            " label for every word; each word has an entry of its own.",
        }  # fmt: skip
        for value, message in known.items():
            if abs(share - value) < 1e-9 and abs(value - right) > 1e-6:
                raise CheckFailed(message)
        expect_close(share, right, name=f"{mark} accuracy")
    own = call(answer, word, label, fit, fit[:50])
    expect_close(
        float(expect_number(own, what="the accuracy")),
        float((_table(word, label, fit)[word[fit[:50]]] == label[fit[:50]]).mean()),
        name="the accuracy on other rows",
    )
    return "No network was needed for it."


@check(
    "8.2",
    hints=[
        "The lot belongs to the *word*. Draw once for each of the words, then look it up for each "
        "row.",
        "`class_of_word` has as many words in each class as you want. Which way of changing it "
        "keeps that, and nothing else?",
        "`np.random.default_rng(seed).permutation(class_of_word)` deals the classes out anew; index"
        " it with `word`.",
    ],
    expects="a function of words, classes and a seed that gives one label a row",
)
def check_lot(answer: Any, lab: Any) -> str | None:
    classes = np.arange(60) % 6
    classes = np.random.default_rng(5).permutation(classes)
    word = np.concatenate([np.arange(60), np.random.default_rng(1).integers(60, size=540)])

    def ask(rows: np.ndarray, seed: int) -> np.ndarray:
        found = call(answer, rows, classes, seed)
        return expect_tensor(found, (len(rows),), dtype="int", name="the labels").numpy()

    lot = ask(word, 0)
    dealt = lot[:60]
    if (lot != dealt[word]).any():
        raise CheckFailed(
            "some word got different labels in different rows. Such labels can only be guessed; "
            "the control must be learnable by heart, so draw one a word."
        )
    if not np.isin(lot, classes).all():
        raise CheckFailed("the labels must be classes, the numbers in `class_of_word`.")
    if (dealt == classes).all():
        raise CheckFailed("these are the true classes.")
    pairs = {(int(a), int(b)) for a, b in zip(classes, dealt, strict=True)}
    if len(pairs) <= 6:
        raise CheckFailed(
            "whole classes were renamed: words of a class still share a label. A network that knows"
            " the classes knows these too. Break the classes up."
        )
    if (ask(word, 0) != lot).any():
        raise CheckFailed("the same seed gave other labels the second time; draw from `seed`.")
    if (ask(word, 1) == lot).all():
        raise CheckFailed("another seed gave the same labels; draw from `seed`.")
    part = np.flatnonzero(word % 3 == 1)
    if (ask(word[part], 0) != lot[part]).any():
        raise CheckFailed(
            "a part of the rows got other labels than the same rows among all. The lot may not hang"
            " on which rows are asked, or fitted and held-out rows would get two different lots."
        )
    counts = np.bincount(dealt, minlength=6)
    if (counts != 10).any():
        raise CheckFailed(
            f"the classes have {counts.tolist()} words each and should have 10 each, as before: a "
            "control with other shares is easier or harder to guess.", credit=0.5,
        )  # fmt: skip
    agree = np.mean([(ask(np.arange(60), s) == classes).mean() for s in range(2, 22)])
    if not 0.1 < agree < 0.24:
        raise CheckFailed(
            f"over twenty seeds {agree:.2f} of the words keep their class; by lot it is a sixth."
        )
    return "Nothing but the word tells these labels."


# --- 8.3: selectivity, 8.4: groups ---------------------------------------------------------------


class _Memory:
    """A probe that knows each fitted row by heart and says 0 to any other."""

    def __init__(self) -> None:
        self.known: dict[bytes, int] = {}

    def fit(self, x: Any, y: Any) -> _Memory:
        self.known = {
            row.tobytes(): int(label) for row, label in zip(np.asarray(x), y, strict=True)
        }
        return self

    def predict(self, x: Any) -> np.ndarray:
        return np.array([self.known.get(row.tobytes(), 0) for row in np.asarray(x)])

    def score(self, x: Any, y: Any) -> float:
        return float((self.predict(x) == np.asarray(y)).mean())


@check(
    "8.3",
    hints=[
        "Two tasks, two probes: what the first learned must not help the second.",
        "Fit on `x[fit]` with `task[fit]`, score on `x[held]` with `task[held]`; the same with "
        "`control`. Then subtract.",
        "`fitted(make(), x[fit], task[fit]).score(x[held], task[held])`, and that minus the same "
        "expression with `control` in place of `task`.",
    ],
    expects="a function that gives two numbers",
)
def check_selectivity(answer: Any, lab: Any) -> str | None:
    draw = np.random.default_rng(3)
    x = draw.integers(4, size=(400, 3)).astype(float)
    kind = (x @ [1, 4, 16]).astype(int)
    task, control = (draw.integers(3, size=64)[kind] for _ in range(2))
    control = np.where(draw.random(400) < 0.7, control, draw.integers(3, size=400))
    fit, held = np.arange(0, 400, 3), np.setdiff1d(np.arange(400), np.arange(0, 400, 3))

    def score(label: np.ndarray, on: np.ndarray, rows: np.ndarray, by: np.ndarray) -> float:
        return _Memory().fit(x[rows], label[rows]).score(x[on], by[on])

    pair = call(answer, _Memory, x, task, control, fit, held)
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise CheckFailed("return two numbers: the accuracy on the task, and the selectivity.")
    first = expect_number(pair[0], 0, 1, what="the accuracy")
    found = expect_number(pair[1], -1, 1, what="the selectivity")
    ours = score(task, held, fit, task), score(control, held, fit, control)
    every = np.arange(400)
    known = {
        ours[1] - ours[0]: "the sign is turned round: task minus control.",
        ours[0]: "this second number is the accuracy on the task; take the control's away.",
        ours[1]: "this second number is the accuracy on the control labels.",
        ours[0] - score(task, held, fit, control): "the probe of the task was asked for the control"
        " labels. It never had the chance to learn them, so its failing says nothing: fit another.",
        score(task, fit, fit, task) - score(control, fit, fit, control): "scored on the fitted "
        "rows, where learning by heart cannot be told from knowing.",
        score(task, held, every, task) - score(control, held, every, control): "the probes were "
        "fitted to held-out rows too.",
        score(task, held, held, task) - score(control, held, held, control): "the probes were "
        "fitted to the held-out rows.",
        score(task, fit, held, task) - score(control, fit, held, control): "fitted and held-out "
        "rows were exchanged.",
    }  # fmt: skip
    for value, message in known.items():
        if abs(found - value) < 1e-9 and abs(value - (ours[0] - ours[1])) > 1e-6:
            raise CheckFailed(message)
    hint = "Accuracy on held-out rows, of one fresh probe for each task."
    expect_close(found, ours[0] - ours[1], name="the selectivity", hint=hint)
    expect_close(first, ours[0], name="the accuracy on the task", hint=hint)
    return None


@check(
    "8.4",
    hints=[
        "Choose among *groups*, not among rows. First list the groups, each once.",
        "`np.unique(groups)` lists them; a generator made from `seed` can put them in random order;"
        " the first few are held out.",
        "`chosen = np.random.default_rng(seed).permutation(kinds)[:round(share * len(kinds))]`, "
        "then `np.isin(groups, chosen)`.",
    ],
    expects="a function of groups, a share and a seed that gives one truth value a row",
)
def check_hold_out(answer: Any, lab: Any) -> str | None:
    draw = np.random.default_rng(4)
    sizes = draw.integers(1, 12, size=40)
    names = draw.choice(1000, size=40, replace=False) - 300
    groups = draw.permutation(np.repeat(names, sizes))

    def ask(share: float, seed: int) -> np.ndarray:
        found = call(answer, groups, share, seed)
        return expect_tensor(found, (len(groups),), dtype="bool", name="held out").numpy()

    often = np.zeros(40)
    for share, seed in ((0.3, 0), (0.3, 1), (0.5, 0), *((0.3, s) for s in range(2, 26))):
        out = ask(share, seed)
        torn = np.intersect1d(groups[out], groups[~out])
        if len(torn):
            raise CheckFailed(
                f"{len(torn)} of 40 groups have rows on both sides of the split: what they share "
                "leaks."
            )
        number, wanted = len(np.unique(groups[out])), round(share * 40)
        if number == 40 - wanted != wanted:
            raise CheckFailed("True marks the rows that are held out, not those to fit on.")
        if number != wanted:
            raise CheckFailed(
                f"{number} of 40 groups are held out for a share of {share}; expected {wanted}.",
                credit=0.5,
            )
        often += np.isin(names, groups[out])
    if (ask(0.3, 0) != ask(0.3, 0)).any():
        raise CheckFailed("the same seed gave another split the second time.")
    if (ask(0.3, 0) == ask(0.3, 1)).all():
        raise CheckFailed("two seeds gave the same split; draw from `seed`.")
    if often.max() == 27 or often.min() == 0:
        raise CheckFailed("over 27 draws some group was always, or never, held out: draw evenly.")
    return "No group stands on both sides."


# --- 8.5: the code -------------------------------------------------------------------------------


def _code(
    chance: Callable[[int, int], np.ndarray], y: np.ndarray, ends: list[int], kinds: int
) -> float:
    bits = ends[0] * np.log2(kinds)
    for start, end in zip(ends, ends[1:], strict=False):
        given = chance(start, end)
        bits -= np.log2(given[np.arange(end - start), y[start:end]]).sum()
    return float(bits / (len(y) * np.log2(kinds)))


@check(
    "8.5",
    hints=[
        "The first block costs log2(classes) a row, whatever the labels are. For each later one, "
        "which rows has the receiver got, and which are new?",
        "With `start` and `end` two neighbours in `ends`: fit on all rows before `start`, predict "
        "the rows from `start` to `end`, take the probability of each row's own label.",
        "Add `-np.log2(chance[np.arange(end - start), y[start:end]]).sum()` for each block to "
        "`ends[0] * np.log2(classes)`; divide by `len(y) * np.log2(classes)`.",
    ],
    expects="a function that gives a share",
)
def check_code(answer: Any, lab: Any) -> str | None:
    draw = np.random.default_rng(6)
    n, kinds, ends = 240, 5, [10, 25, 60, 130, 240]
    y = draw.integers(kinds, size=n)
    x = np.arange(n, dtype=float)[:, None]

    def spread(rows: np.ndarray, seen: int) -> np.ndarray:
        """Better with every row seen, and different from row to row."""
        number = rows.astype(int)[:, 0]
        right = 0.2 + 0.7 * seen / n * (0.5 + 0.5 * np.sin(number) ** 2)
        chance = np.repeat(((1 - right) / (kinds - 1))[:, None], kinds, 1)
        chance[np.arange(len(rows)), y[number]] = right
        return chance

    def predict(x_seen: Any, y_seen: Any, x_new: Any) -> np.ndarray:
        """Raises where it is asked amiss: it runs beside the answer, maybe in another process."""
        x_seen, y_seen, x_new = (np.asarray(value) for value in (x_seen, y_seen, x_new))
        if np.intersect1d(x_seen, x_new).size:
            raise ValueError(
                "a block was predicted by a probe fitted to it. Its labels would then be sent "
                "twice: the receiver does not have them yet."
            )
        if len(x_seen) != len(y_seen) or (y[x_seen.astype(int)[:, 0]] != y_seen).any():
            raise ValueError("`predict` got rows with the labels of other rows.")
        first = int(x_new[0, 0])
        if len(x_seen) and x_seen.max() > first:
            raise ValueError("a probe was fitted to rows that come later than its block.")
        if len(x_seen) != first:
            raise ValueError(
                f"the block from row {first} on was predicted from {len(x_seen)} rows; the receiver"
                f" has all {first} by then."
            )
        return spread(x_new, len(x_seen))

    share = call(answer, predict, x, y, list(ends), kinds)
    share = expect_number(share, what="the code length")
    wanted = _code(lambda a, b: spread(x[a:b], a), y, ends, kinds)
    plain = n * np.log2(kinds)
    known = {
        wanted - ends[0] / n: "the first block costs bits too, log2(classes) a row.",
        wanted * plain: "these are bits; divide by the plain code of all rows.",
        wanted * plain / n: "these are bits a row; divide by log2(classes) as well.",
        (wanted * plain - ends[0] * np.log2(kinds)) * np.log(2) / plain + ends[0] / n: "the blocks "
        "were counted with the natural logarithm, the rest in bits.",
        wanted * n / (n - ends[0]): "divide by all rows, the first block included.",
    }  # fmt: skip
    for value, message in known.items():
        if abs(share - value) < 1e-6:
            raise CheckFailed(message, credit=0.25)
    expect_close(share, wanted, name="the code length")

    def even(x_seen: Any, y_seen: Any, x_new: Any) -> np.ndarray:
        return np.full((len(x_new), kinds), 1 / kinds)

    nothing = expect_number(call(answer, even, x, y, [7, 100, n], kinds), what="the code length")
    expect_close(nothing, 1.0, name="the code of a probe that knows nothing")
    return "A probe that knows nothing saves nothing."


# --- 8.6: the effect, 8.7: verdicts --------------------------------------------------------------


@check(
    "8.6",
    hints=[
        "A longer vector does more. What must all directions have in common before you compare?",
        "Divide each draw by its own norm (over axis 1), multiply by the norm of `direction`, and "
        "only then call `effect` for each.",
        "`matched = draws / draws.norm(dim=1, keepdim=True) * direction.norm()`; then "
        "`effect(direction)` divided by the mean of `effect(d)` over them.",
    ],
    expects="a function that gives a ratio",
)
def check_ratio(answer: Any, lab: Any) -> str | None:
    draw = torch.Generator().manual_seed(7)
    direction = torch.randn(6, generator=draw) * 2
    draws = torch.randn(25, 6, generator=draw) * torch.linspace(0.3, 4, 25)[:, None]
    lengths: list[float] = []

    def plain(v: torch.Tensor) -> float:
        weights = torch.tensor([1.0, 0.5, 0, 0, 0.2, 0])
        return float(1 - torch.exp(-((v * weights) ** 2).sum() / 3) + 0.01 * v.norm())

    def effect(v: Any) -> float:
        vector = torch.as_tensor(v).float()
        if vector.shape != (6,):
            raise CheckFailed(f"`effect` takes one direction [6], got {list(vector.shape)}.")
        lengths.append(float(vector.norm()))
        return plain(vector)

    ratio = call(answer, effect, direction, draws)
    ratio = expect_number(ratio, what="the ratio")
    norm = float(direction.norm())
    unit = draws / draws.norm(dim=1, keepdim=True)
    one = plain(direction)
    matched = [plain(d * norm) for d in unit]
    wanted = one / float(np.mean(matched))
    known = {
        one / float(np.mean([plain(d) for d in draws])): "the draws were taken as long as they "
        "came. A longer vector does more, so this compares lengths.",
        plain(direction / norm) / float(np.mean([plain(d) for d in unit])): "everything was made of"
        " length 1. Make the draws as long as the direction and leave the direction as it is: the "
        "effect at another length is another question.",
        one / float(np.mean([plain(d) for d in unit])): "the draws have length 1, the direction "
        f"has {norm:.1f}.",
        one / (float(np.mean([plain(d) for d in unit])) * norm): "the effect of a unit vector was "
        "multiplied by the length; the effect does not grow in proportion.",
        float(np.mean(matched)) / one: "the ratio is upside down.",
        float(np.mean([one / m for m in matched])): "this is the mean of ratios, which a few weak "
        "draws rule. Divide by the mean effect.",
        one / max(matched): "this divides by the strongest draw; divide by the mean.",
        one / matched[0]: "this divides by one draw; one draw is no distribution.",
        one - float(np.mean(matched)): "this is a difference; return a ratio.",
    }  # fmt: skip
    for value, message in known.items():
        if abs(ratio - value) < 1e-6 * max(1, abs(value)) and abs(value - wanted) > 1e-5:
            raise CheckFailed(message)
    expect_close(ratio, wanted, atol=1e-4, name="the ratio")
    return None


CHOICES = ("learned by heart", "shadow", "there, not used", "there and used")
ANSWERS = {
    "A": "learned by heart",
    "B": "there, not used",
    "C": "there and used",
    "D": "shadow",
}
_WHY = {
    "A": "the probe had room, and fails on words it was not fitted to.",
    "B": "no table of words gives it and it holds on unseen words; now compare the push with random"
    " ones.",
    "C": "compare the push with the strongest random one.",
    "D": "compare with what the class of the current word gives alone.",
}


@check(
    "8.7",
    hints=[
        "For each result ask first whether a rule without the network gives as much.",
        "Fails on unseen words: the probe learned it. As good as a table made from another label: "
        "it may be that label. Otherwise it is there, and the push decides.",
        "One of each. The push of B does less than random directions.",
    ],
    expects="a dict with a verdict for each of A, B, C and D",
)
def check_verdicts(answer: Any, lab: Any) -> str | None:
    found = expect_keys(answer, ANSWERS, "verdicts")
    given = {k: expect_choice(v, CHOICES, f"the verdict on {k}") for k, v in found.items()}
    wrong = [k for k in ANSWERS if given[k] != ANSWERS[k]]
    if wrong:
        raise CheckFailed(
            f"{len(wrong)} of 4 do not follow. The first, {wrong[0]}: {_WHY[wrong[0]]}",
            credit=0.5 if len(wrong) == 1 else 0.0,
        )
    return None
