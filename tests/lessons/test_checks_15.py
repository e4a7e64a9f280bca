"""Lesson 15: every check on its solution, its stub and plausible wrong answers."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from tests.lessons.machinery import CheckSuite, factory
from utils.data import scenes


def _rule(care=lambda c: c.any(1, keepdim=True), join="any", blocks=False, sign=1, equal=False):
    def blocked(cosines, thresholds, special_cosines, special_thresholds, adjustment):
        cared = care(special_cosines > special_thresholds)
        raised = cosines + sign * adjustment * cared
        over = raised >= thresholds if equal else raised > thresholds
        found = over.any(1) if join == "any" else over.all(1)
        return found | cared.any(1) if blocks else found

    return blocked


def _names(unit=True, pick=lambda c: c.max(1)):
    def best_names(vectors, table):
        if unit:
            vectors, table = normalize(vectors, dim=1), normalize(table, dim=1)
        found = pick(vectors @ table.T)
        return found.indices, found.values

    return best_names


def _by_dot(vectors, table):
    number = (vectors @ table.T).argmax(1)
    return number, torch.cosine_similarity(vectors, table[number])


def _like(root, mean=True):
    def drawn_like(table, normal):
        found = normal @ root(torch.cov(table.T))
        return found + table.mean(0) if mean else found

    return drawn_like


def _resampled(table, normal):
    generator = torch.Generator().manual_seed(0)
    return table[torch.randint(len(table), (len(normal),), generator=generator)]


def _explained(floor, keep=lambda blocked: blocked[:, None], use=1.0):
    def explained(cosines, blocked, margin):
        return keep(blocked) & (cosines > floor(cosines, blocked) + use * margin)

    return explained


def _top(cosines, blocked):
    return cosines[~blocked].max(0).values


def _halving(swap=False, result=lambda low, high: (low + high) / 2, ends=False, grid=False):
    def bisect(ask, blocked, allowed, steps):
        def mixed(share):
            weight = share[:, None, None, None]
            return (1 - weight) * blocked + weight * allowed

        low, high = torch.zeros(len(blocked)), torch.ones(len(blocked))
        if ends:
            ask(blocked), ask(allowed)
        if grid:
            shares = torch.linspace(0, 1, 2**steps)
            said = torch.stack([ask(mixed(s.expand(len(blocked)))) for s in shares])
            return said.float().mean(0)
        for _ in range(steps):
            middle = (low + high) / 2
            still = ask(mixed(middle))
            if swap:
                still = ~still
            low, high = torch.where(still, middle, low), torch.where(still, high, middle)
        return result(low, high)

    return bisect


GUARDED = [name for kind in scenes.GUARDED for name in scenes.KINDS[kind]]
OTHERS = [*scenes.KINDS["weapon"], *scenes.KINDS["peril"]]

WRONG = {
    "15.1": [
        _rule(care=lambda c: torch.zeros(len(c), 1)),
        _rule(care=lambda c: c.sum(1, keepdim=True)),
        _rule(care=lambda c: c.all(1, keepdim=True)),
        _rule(care=lambda c: c.any().expand(len(c), 1)),
        _rule(join="all"),
        _rule(blocks=True),
        _rule(sign=-1),
        _rule(equal=True),
        lambda *given: ~_rule()(*given),
    ],
    "15.2": [
        _names(unit=False),
        _by_dot,
        _names(pick=lambda c: c.abs().max(1)),
        _names(pick=lambda c: c.min(1)),
        lambda vectors, table: _names()(vectors, table)[::-1],
        lambda vectors, table: _names()(vectors, table)[0],
    ],
    "15.3": [
        _like(lambda cov: torch.linalg.cholesky(cov).T, mean=False),
        _like(lambda cov: torch.linalg.cholesky(cov)),
        _like(lambda cov: torch.diag(cov.diagonal().sqrt())),
        _like(lambda cov: torch.eye(len(cov))),
        _like(lambda cov: cov),
        _resampled,
    ],
    "15.4": [
        _explained(lambda c, b: c[b].min(0).values, keep=lambda b: torch.ones(len(b), 1).bool()),
        _explained(lambda c, b: c[~b].mean(0)),
        _explained(lambda c, b: c[~b].max()),
        _explained(lambda c, b: c.max(0).values),
        _explained(_top, keep=lambda b: ~b[:, None]),
        _explained(_top, use=0.0),
        _explained(_top, use=-1.0),
    ],
    "15.5": [
        _halving(swap=True),
        _halving(result=lambda low, high: low),
        _halving(result=lambda low, high: 1 - (low + high) / 2),
        _halving(ends=True),
        _halving(grid=True),
    ],
    "15.6": [
        factory(lambda: list(GUARDED)),
        factory(lambda: list(OTHERS)),
        factory(lambda: [*OTHERS, "snake"]),
        factory(lambda: [*OTHERS, "snake", "spider", "house"]),
        factory(lambda: ["skull", "ghost"]),
        ["dragon"],
    ],
    "15.7": [
        lambda margins: margins.amax(2).argmax(1),
        lambda margins: margins.amin(2).argmin(1),
        lambda margins: margins.mean(2).argmin(1),
        lambda margins: margins.amax(1).argmin(1),
    ],
}


class TestChecks15(CheckSuite):
    lesson = "15"
    wrong = WRONG
