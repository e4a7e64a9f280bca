"""Lesson 11's checks refuse wrong answers, each a misconception that a learner may have."""

import torch

from tests.lessons.machinery import CheckSuite
from utils.data import facts
from utils.sites import Site

PERSON = Site("blocks.0.mlp.hook_post", position=2)


def key_at(hook, position):
    def mean_key(model, contexts):
        values = Site(hook, position=position).read(model, contexts)
        return values.reshape(-1, values.shape[-1]).mean(0)

    return mean_key


# --- 11.2: covariances that are not the second moment


def with_diagonal(of):
    def second_moment(keys, ridge):
        eye = torch.eye(keys.shape[1], dtype=keys.dtype)
        return of(keys, ridge, keys.T @ keys / len(keys), eye)

    return second_moment


# --- 11.3 and 11.4: rank-one edits that are not the one


def update(direction_of, below=None):
    def rank_one(weight, key, change, c):
        direction = direction_of(c, key)
        return weight + torch.outer(change, direction) / (
            key @ direction if below is None else below(key, direction)
        )

    return rank_one


def replaces_the_value(weight, key, change, c):
    direction = torch.linalg.solve(c, key)
    return weight + torch.outer(change - weight @ key, direction) / (key @ direction)


def transposed(weight, key, change, c):
    return update(lambda c, k: torch.linalg.solve(c, k))(weight, key, change, c).T


def share(of):
    def gain(key, others, c):
        return of(key, others, torch.linalg.inv(c), c)

    return gain


# --- 11.5: searches that end elsewhere


def searched(rate=0.1, steps=60, sign=-1.0, answer=lambda old, change: change, per_row=False):
    def search(model, contexts, new):
        site = Site("blocks.0.hook_mlp_out", position=2)
        size = (len(contexts), 64) if per_row else (64,)
        change = torch.zeros(*size, requires_grad=True)
        optimizer = torch.optim.Adam([change], lr=rate)
        for _ in range(steps):
            output = site.write(
                model, contexts, lambda old: old + change, grad=True, allow_unchanged=True
            )
            loss = sign * output[:, -1].log_softmax(-1)[:, new].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return answer(site.read(model, contexts).mean(0), change.detach())

    return search


# --- 11.6: other ways to sort prompts


def sorted_by(masks_of):
    def next_door(tokens, person, relation):
        who, what, synonym = facts.parse(tokens)
        names = ("the fact", "neighbourhood", "other relations", "elsewhere")
        return dict(zip(names, masks_of(who == person, what == relation, synonym), strict=True))

    return next_door


# --- 11.7: sequences read wrongly


def read_as(just, end, each):
    def judge_sequence(held):
        hits = held.double()
        return {"just after": just(hits), "at the end": end(hits), "after each": each(hits)}

    return judge_sequence


def diagonal(hits):
    return hits.diagonal().mean()


def last(hits):
    return hits[:, -1].mean()


def so_far(hits):
    return torch.stack([hits[: k + 1, k].mean() for k in range(len(hits))])


SOLVE = torch.linalg.solve
WRONG = {
    "11.1": [
        key_at("blocks.0.mlp.hook_pre", 2),
        key_at("blocks.1.mlp.hook_post", 2),
        key_at("blocks.0.mlp.hook_post", 3),
        key_at("blocks.0.mlp.hook_post", None),
        key_at("blocks.0.hook_mlp_out", 2),
        lambda model, contexts: PERSON.read(model, contexts),
        lambda model, contexts: PERSON.read(model, contexts)[0],
        lambda model, contexts: PERSON.read(model, contexts).sum(0),
    ],
    "11.2": [
        lambda keys, ridge: torch.cov(keys.T),
        with_diagonal(lambda k, r, m, eye: k.T @ k + r * (k.T @ k).diagonal().mean() * eye),
        with_diagonal(lambda k, r, m, eye: m),
        with_diagonal(lambda k, r, m, eye: m + r * eye),
        with_diagonal(lambda k, r, m, eye: m + r * m.diagonal().mean()),
        with_diagonal(lambda k, r, m, eye: m + r * m.diagonal().sum() * eye),
    ],
    "11.3": [
        update(lambda c, k: k),
        update(lambda c, k: c @ k),
        update(SOLVE, below=lambda k, d: k @ k),
        update(SOLVE, below=lambda k, d: 1.0),
        replaces_the_value,
        transposed,
        lambda weight, key, change, c: weight,
    ],
    "11.4": [
        share(lambda k, q, i, c: torch.cosine_similarity(q, k[None])),
        share(lambda k, q, i, c: q @ k / (k @ k)),
        share(lambda k, q, i, c: q @ c @ k / (k @ c @ k)),
        share(lambda k, q, i, c: q @ i @ k),
        share(lambda k, q, i, c: q @ i @ k / (q @ i * q).sum(1)),
        share(lambda k, q, i, c: (q @ i @ k / (k @ i @ k)).abs()),
    ],
    "11.5": [
        searched(steps=3),
        searched(sign=1.0),
        searched(answer=lambda old, change: old + change),
        searched(answer=lambda old, change: -change),
        searched(per_row=True),
        lambda model, contexts, new: torch.zeros(64),
        lambda model, contexts, new: model.unembed.weight[new].detach().clone(),
    ],
    "11.6": [
        sorted_by(lambda p, r, s: (p & r, p & ~r, ~p & r, ~p & ~r)),
        sorted_by(lambda p, r, s: (p & r & (s == 0), ~p & r, p & ~r, ~p & ~r)),
        sorted_by(lambda p, r, s: (p & r, r, p & ~r, ~p & ~r)),
        sorted_by(lambda p, r, s: (p & r, ~p & r, p, ~p & ~r)),
        sorted_by(lambda p, r, s: (p & r, ~p & r, p & ~r, ~p)),
        sorted_by(lambda p, r, s: (p | r, ~p & r, p & ~r, ~p & ~r)),
    ],
    "11.7": [
        read_as(last, last, so_far),
        read_as(diagonal, diagonal, so_far),
        read_as(diagonal, last, lambda h: h.mean(0)),
        read_as(diagonal, last, lambda h: h.diagonal().cumsum(0) / torch.arange(1, len(h) + 1)),
        read_as(diagonal, last, lambda h: h.mean(1)),
        read_as(lambda h: h.mean(), last, so_far),
    ],
}


class TestChecks11(CheckSuite):
    lesson = "11"
    wrong = WRONG
