"""Lesson 11: its two networks, its data, its checks.

The linear algebra is checked on drawn matrices, where the formulas have consequences that can be
computed by another road; what needs a network is checked on both.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from utils.lessons.checking import CheckFailed, call, check, clone
from utils.lessons.expect import (
    expect_close,
    expect_keys,
    expect_number,
    expect_tensor,
    expect_type,
)

EDITS, MANY = 6, 20


def load_model() -> SimpleNamespace:
    from utils.models import zoo

    return SimpleNamespace(free=zoo.load("facts"), planted=zoo.load("facts-planted"))


def load_data() -> SimpleNamespace:
    from utils.challenges import facts as walk
    from utils.data import facts
    from utils.editing import random_facts

    towns = facts.table()
    many = random_facts(towns, MANY, seed=1)
    return SimpleNamespace(towns=towns, prompts=walk.prompts(), requests=many[:EDITS], many=many)


def _contexts(person: int = 5, relation: int = 2, seed: int = 9) -> Tensor:
    from utils.data import facts

    return facts.prompts(torch.full((12,), person), torch.full((12,), relation), seed=seed)


@check(
    "11.1",
    hints=[
        "The last linear map of the MLP reads what comes out of the ReLU. Which of the three hooks "
        "stands there?",
        '`Site("blocks.0.mlp.hook_post", position=2)` is that, at the person.',
        "Read the Site on all contexts, [n, 256], and average over the first axis.",
    ],
    expects="a function of a model and contexts",
)
def check_key(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site

    contexts = _contexts()
    for model in (lab.model.free, lab.model.planted):

        def mean(
            hook: str, position: int | None = 2, model: Any = model, contexts: Tensor = contexts
        ) -> Tensor:
            values = Site(hook, position=position).read(clone(model), contexts)
            return values.reshape(-1, values.shape[-1]).mean(0)

        wanted = mean("blocks.0.mlp.hook_post")
        found = call(answer, model, contexts)
        if isinstance(found, Tensor) and found.shape == (12, 256):
            raise CheckFailed("a key for every context came back; average over the contexts.")
        if isinstance(found, Tensor) and found.shape == (64,):
            raise CheckFailed(
                "64 numbers are the *value*, what the map writes. The key is what it reads: 256 "
                "neurons."
            )
        found = expect_tensor(found, (256,), name="the key")
        slips = {
            "blocks.0.mlp.hook_pre": "this is before the ReLU; the last linear map reads what "
            "comes after it.",
            "blocks.1.mlp.hook_post": "this is the MLP of layer 1; asked is layer 0.",
        }
        for hook, message in slips.items():
            if torch.allclose(found.float(), mean(hook), atol=1e-4):
                raise CheckFailed(message)
        for position, where in ((3, "the last token"), (None, "all positions")):
            if torch.allclose(found.float(), mean("blocks.0.mlp.hook_post", position), atol=1e-4):
                raise CheckFailed(f"this is the key at {where}; the person is token 2.")
        expect_close(found, wanted, name="the key")
    return None


def _drawn(seed: int, out: int = 4, width: int = 6, n: int = 30) -> tuple[Tensor, ...]:
    """weight, key, change, keys [n, width] with unequal spread, all double."""
    g = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    keys = noise(n, width) @ noise(width, width) + 0.7 * noise(width)
    return noise(out, width), noise(width), noise(out), keys


@check(
    "11.2",
    hints=[
        "For keys [n, d], `keys.T @ keys` is the sum of the outer products of all rows.",
        "Divide by the number of keys. Nothing is subtracted before: the size of the keys counts.",
        "The ridge is a share: `moment.diagonal().mean()` times `ridge` times `torch.eye(d)`.",
    ],
    expects="a function of keys and a ridge",
)
def check_moment(answer: Any, lab: Any) -> str | None:
    _, _, _, keys = _drawn(0)
    eye = torch.eye(6, dtype=keys.dtype)
    moment = sum(torch.outer(k, k) for k in keys) / len(keys)
    size = moment.diagonal().mean()
    found = expect_tensor(call(answer, keys, 0.0), (6, 6), name="the covariance").double()
    if torch.allclose(found, torch.cov(keys.T), atol=1e-6) or torch.allclose(
        found, torch.cov(keys.T, correction=0), atol=1e-6
    ):
        raise CheckFailed(
            "the mean key was subtracted. An edit at a key moves the output also where keys are "
            "all alike, so the second moment is what counts."
        )
    if torch.allclose(found, moment * len(keys), atol=1e-6):
        raise CheckFailed("this is the sum over keys; divide by their number.", credit=0.5)
    expect_close(found, moment, name="the covariance without ridge")
    found = expect_tensor(call(answer, keys, 0.1), (6, 6), name="the covariance").double()
    if torch.allclose(found, moment, atol=1e-9):
        raise CheckFailed("the ridge was left out.", credit=0.5)
    if torch.allclose(found, moment + 0.1 * eye, atol=1e-6):
        raise CheckFailed(
            "the ridge was added as it is; it is a share of the mean of the diagonal, so that it "
            "means the same for large and small keys.",
            credit=0.5,
        )
    if torch.allclose(found, moment + 0.1 * size, atol=1e-6):
        raise CheckFailed(
            "the ridge was added to every entry; only the diagonal makes C invertible.", credit=0.25
        )
    expect_close(found, moment + 0.1 * size * eye, name="the covariance with ridge 0.1")
    return None


@check(
    "11.3",
    hints=[
        "`torch.linalg.solve(c, key)` is C^-1 k, without an inverse.",
        "Below the line stands a number: the dot product of the key and C^-1 k.",
        "`torch.outer(change, direction)` is [out, in]; add it, divided by that number, to the "
        "weight.",
    ],
    expects="a function of a weight, a key, a change and a covariance",
)
def check_rank_one(answer: Any, lab: Any) -> str | None:
    for seed in (1, 2, 3):
        weight, key, change, keys = _drawn(seed)
        c = keys.T @ keys / len(keys)
        found = call(answer, weight, key, change, c)
        if isinstance(found, Tensor) and found.shape == (6, 4):
            raise CheckFailed("rows and columns are exchanged: the weight is [out, in].")
        found = expect_tensor(found, (4, 6), name="the new weight").double()
        gained = (found - weight) @ key
        if float((found - weight).abs().max()) == 0:
            raise CheckFailed("the weight is unchanged.")
        if torch.allclose(found @ key, change, atol=1e-6):
            raise CheckFailed(
                "the key is now mapped to `change`; it should be mapped to what it was, plus "
                "`change`.",
                credit=0.25,
            )
        if not torch.allclose(gained, change, atol=1e-6):
            ratio = float(gained @ change / (change @ change))
            raise CheckFailed(
                f"the output for the key gained {ratio:.3g} times the change instead of once; is "
                "the number below the line k' C^-1 k?"
            )
        direction = torch.linalg.solve(c, key)
        still = torch.randn(5, 6, generator=torch.Generator().manual_seed(seed)).double()
        still -= torch.outer(still @ direction, key) / (key @ direction)
        moved = float((still @ (found - weight).T).abs().max())
        if moved > 1e-6:
            plain = weight + torch.outer(change, key) / (key @ key)
            forward = weight + torch.outer(change, c @ key) / (key @ c @ key)
            if torch.allclose(found, plain, atol=1e-6):
                raise CheckFailed(
                    "C plays no part: this is the edit with C = I. The key is mapped right, and "
                    "common keys move with it."
                )
            if torch.allclose(found, forward, atol=1e-6):
                raise CheckFailed(
                    "this uses C in place of its inverse, and pushes the change towards the keys "
                    "that are most common."
                )
            raise CheckFailed("keys that are orthogonal to k under C^-1 should not move, and do.")
    return "The key is mapped exactly, and keys orthogonal under C^-1 stay."


@check(
    "11.4",
    hints=[
        "Apply the new weight to another key q and subtract what the old one gives.",
        "That leaves `change` times a number: the dot product of q with C^-1 k, over k' C^-1 k.",
        "`others @ direction / (key @ direction)`, with `direction` as in 11.3.",
    ],
    expects="a function of a key, other keys and a covariance",
)
def check_gain(answer: Any, lab: Any) -> str | None:
    for seed in (4, 5):
        _, key, _, keys = _drawn(seed)
        c = keys.T @ keys / len(keys)
        others = torch.cat([key[None], 2 * key[None], keys[:5]])
        found = expect_tensor(call(answer, key, others, c), (7,), name="the gains").double()
        inverse = torch.linalg.inv(c)
        cosine = torch.cosine_similarity(others, key[None])
        scale = (others @ inverse * others).sum(1).sqrt() * (key @ inverse @ key).sqrt()
        slips = (
            (cosine, "this is a cosine; a key twice as long gains twice as much."),
            (others @ inverse @ key / scale, "this is a correlation under C^-1; the length of the "
             "other key must not be divided out."),
            (others @ key / (key @ key), "this is the gain with C = I."),
            (others @ c @ key / (key @ c @ key), "this uses C in place of its inverse."),
            (others @ inverse @ key, "the number below the line is missing: the key itself must "
             "gain exactly 1."),
            (others @ inverse @ key / (others @ inverse * others).sum(1), "below the line stands "
             "the *edited* key, twice: k' C^-1 k."),
        )  # fmt: skip
        for wrong, message in slips:
            if torch.allclose(found, wrong, atol=1e-5):
                raise CheckFailed(message, credit=0.25)
        expect_close(found[:2], [1.0, 2.0], name="the gain of the key, and of twice the key")
        expect_close(found, others @ inverse @ key / (key @ inverse @ key), name="the gains")
    return None


@check(
    "11.5",
    hints=[
        "Start from `torch.zeros(64, requires_grad=True)` and give it to an Adam optimiser.",
        "In the loop: write `lambda old: old + change` at the Site with grad=True; the loss is "
        "minus the mean log-probability of `new` at the last position.",
        "A rate of 0.1 does. `output[:, -1].log_softmax(-1)[:, new]` are the log-probabilities; "
        "zero_grad, backward, step; return `change.detach()`.",
    ],
    expects="a function of a model, contexts and a class",
)
def check_search(answer: Any, lab: Any) -> str | None:
    from utils.sites import Site

    site = Site("blocks.0.hook_mlp_out", position=2)
    for model, new in ((lab.model.planted, 3), (lab.model.free, 17)):
        contexts = _contexts(person=7, relation=0, seed=4)
        found = call(answer, model, contexts, new)
        if isinstance(found, Tensor) and found.shape == (12, 64):
            raise CheckFailed("one change for all contexts, [64]; this is one for each.")
        change = expect_tensor(found, (64,), name="the change").float()
        own = clone(model)
        with torch.no_grad():
            before = own(contexts)[:, -1].softmax(-1)[:, new].mean()
        output = site.write(own, contexts, lambda v, a=change: v + a, allow_unchanged=True)
        after = output[:, -1].softmax(-1)[:, new].mean()
        old = site.read(own, contexts)
        whole = site.write(own, contexts, change.expand_as(old), allow_unchanged=True)
        if after < 0.5 and whole[:, -1].softmax(-1)[:, new].mean() > 0.8:
            raise CheckFailed("this is the new value; return what is *added* to the old one.")
        if after < 0.5:
            turned = site.write(own, contexts, lambda v, a=change: v - a, allow_unchanged=True)
            if turned[:, -1].softmax(-1)[:, new].mean() > 0.8:
                raise CheckFailed("with the opposite sign it would work: is the loss minimised?")
            raise CheckFailed(
                f"with your change the probability of the new answer is {float(after):.2f} (it was "
                f"{float(before):.2f}); it should come close to 1. More steps, or a larger rate?"
            )
        if after < 0.9:
            raise CheckFailed(
                f"the new answer reaches a probability of {float(after):.2f}; go on to 0.9.",
                credit=0.5,
            )
        length = float(change.norm() / old.norm(dim=-1).mean())
        if length > 6:
            raise CheckFailed(
                f"the change is {length:.0f} times as long as the value it is added to. Smaller "
                "steps find a shorter one.",
                credit=0.5,
            )
    return None


_MASKS = ("the fact", "neighbourhood", "other relations", "elsewhere")


@check(
    "11.6",
    hints=[
        "Two questions to each prompt: is it the same person, is it the same relation?",
        "Four combinations of two answers, four masks. The synonym plays no part.",
        "With `same = who == person` and `alike = what == relation`: `same & alike`, `~same & "
        "alike`, `same & ~alike`, `~same & ~alike`.",
    ],
    expects="a function that gives a dict of masks",
)
def check_masks(answer: Any, lab: Any) -> str | None:
    from utils.data import facts

    for person, relation in ((0, 1), (31, 3)):
        tokens, who, what = facts.every_prompt(seed=6)
        found = expect_keys(call(answer, tokens, person, relation), _MASKS, "the masks")
        masks = {
            name: expect_tensor(found[name], (len(tokens),), dtype="bool", name=f"mask {name!r}")
            for name in _MASKS
        }
        same, alike = who == person, what == relation
        wanted = dict(
            zip(_MASKS, (same & alike, ~same & alike, same & ~alike, ~same & ~alike), strict=True)
        )
        first = facts.parse(tokens)[2] == 0
        if torch.equal(masks["neighbourhood"], wanted["other relations"]) and torch.equal(
            masks["other relations"], wanted["neighbourhood"]
        ):
            raise CheckFailed(
                "neighbourhood and other relations are exchanged: the neighbourhood is *other "
                "people* with the same relation."
            )
        if torch.equal(masks["the fact"], wanted["the fact"] & first):
            raise CheckFailed(
                "the second synonym states the same fact, and is missing here.", credit=0.25
            )
        overlap = sum(masks[name].int() for name in _MASKS)
        if int(overlap.max()) > 1:
            row = int(overlap.argmax())
            words = facts.names(tokens[row].tolist())
            raise CheckFailed(f"the prompt {words!r} stands in two masks; each belongs in one.")
        for name in _MASKS:
            if not torch.equal(masks[name], wanted[name]):
                row = int((masks[name] != wanted[name]).int().argmax())
                inside = "missing in" if bool(wanted[name][row]) else "wrongly in"
                raise CheckFailed(
                    f"{facts.names(tokens[row].tolist())!r} is {inside} {name!r}, for an edit of "
                    f"{facts.SUBJECTS[person]} {facts.RELATIONS[relation][0]}."
                )
    return None


@check(
    "11.7",
    hints=[
        "Row i, column i is edit i just after it was made. The last column is the end.",
        "After step k the edits 0 to k exist. Those are rows up to and with k, in column k.",
        "`held.double()`; then `diagonal().mean()`, `[:, -1].mean()`, and for every k "
        "`[: k + 1, k].mean()`.",
    ],
    expects="a function of a table of edits and steps",
)
def check_sequence(answer: Any, lab: Any) -> str | None:
    g = torch.Generator().manual_seed(8)
    for n in (4, 7):
        held = (torch.rand(n, n, generator=g) < 0.6).triu()  # none holds before it is made
        held[0, 0], held[0, -1] = True, False
        found = expect_type(call(answer, held), dict, "the answer")
        found = expect_keys(found, ("just after", "at the end", "after each"), "the answer")
        share = held.double()
        wanted = torch.stack([share[: k + 1, k].mean() for k in range(n)])
        just, end = share.diagonal().mean(), share[:, -1].mean()
        mine = expect_number(found["just after"], 0, 1, what="'just after'")
        if abs(mine - float(end)) < 1e-6 and abs(float(just - end)) > 1e-6:
            raise CheckFailed(
                "'just after' was read off the end. Every edit was then judged on a network that "
                "later edits had changed, which is a known slip in published code."
            )
        expect_close(mine, just, name="'just after'")
        expect_close(expect_number(found["at the end"], 0, 1, what="'at the end'"), end,
                     name="'at the end'")  # fmt: skip
        each = expect_tensor(found["after each"], (n,), name="'after each'").double()
        if torch.allclose(each, share.mean(0), atol=1e-6):
            raise CheckFailed(
                "edits not made yet count as failures here: after step k take rows 0 to k.",
                credit=0.5,
            )
        if torch.allclose(each, share.diagonal().cumsum(0) / torch.arange(1, n + 1), atol=1e-6):
            raise CheckFailed(
                "this averages what each edit did just after it was made; asked is how many of "
                "them hold at that step.",
                credit=0.25,
            )
        expect_close(each, wanted, name="'after each'")
    return None
