"""Lesson 03: every check on its solution, its stub and plausible wrong answers."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from tests.lessons.machinery import CheckSuite
from utils.challenges.curves import CURVE_BITS
from utils.lessons.checks.lesson_03 import REFUTED, SUPPORTED, UNTESTED, VERDICTS
from utils.sites import Site


def _differs(labels):
    return labels[:, 1:] != labels[:, :-1]


def _shifted(cells, column=1):
    cells = cells.clone()
    cells[:, column] += 1
    return cells


def _count(labels, heights, known, sort=True, over=min, shift=0, keep=True):
    """wrong_cells with one slip."""
    total = 0
    for a in range(len(labels)):
        own = [min(h + shift, len(labels)) for h in heights[:, a].tolist()]
        edges = [0, *(sorted(own) if sort else own), len(labels)]
        for start, end in pairwise(edges):
            part = labels[a, start:end]
            piece = part[known[a, start:end]] if keep else part
            ones = int(piece.sum())
            total += over(ones, len(piece) - ones)
    return total


def _one_majority(labels, heights, known):
    place = (torch.arange(len(labels))[None, :, None] >= heights.T[:, None]).sum(-1)
    total = 0
    for k in range(len(heights) + 1):
        part = labels[(place == k) & known]
        total += min(int(part.sum()), len(part) - int(part.sum()))
    return total


def _fit(rounding=torch.ceil, power_of=lambda p: p, choose=min, keep=True, clamp=True):
    def fit_constant(labels, known, power, candidates):
        a, found = torch.arange(len(labels)).double(), []
        for c in candidates.tolist():
            heights = rounding(c * a ** power_of(power))
            heights = heights.clamp(0, len(labels)) if clamp else heights % len(labels)
            found.append((_count(labels, heights.long()[None], known, keep=keep), c))
        count, constant = choose(found)
        return constant, count

    return fit_constant


def _swapped_fit(labels, known, power, candidates):
    return tuple(reversed(_fit()(labels, known, power, candidates)))


def _code(exceptions, base=True):
    def code_length(n_curves, row_bits, cells, wrong):
        head = n_curves * CURVE_BITS + row_bits if base else 0
        return head + exceptions(cells, wrong)

    return code_length


def _gap(anywhere=False, both=True, include=False, immediate=False):
    def gaps(labels, seen):
        found = torch.zeros_like(seen)
        for a in range(len(labels)):
            places = list(range(len(labels[a]))) if anywhere else seen[a].nonzero()[:, 0].tolist()
            for before, after in pairwise(places):
                if labels[a, before] != labels[a, after] and not (immediate and after > before + 2):
                    found[a, before + (0 if include else 1) : after + (1 if include else 0)] = True
            if not both and places:
                found[a, places[-1] + 1 :] = True
        return found

    return gaps


def _beside_a_change(labels, seen):
    found = torch.zeros_like(seen)
    found[:, 1:] |= _differs(labels)
    return found & ~seen


def _kept(centre=True, rest="mean", last=False, against="own", flip=False):
    def kept(model, tokens, k):
        site = Site("blocks.0.hook_resid_mid", position=2)
        stream = site.read(model, tokens)
        stream = stream - stream.mean(0) if centre else stream
        directions = torch.linalg.svd(stream, full_matrices=False)[2]
        basis = (directions[-k:] if last else directions[:k]).T.contiguous()
        said = Site(site.hook, position=2, basis=basis).project(model, tokens, rest=rest)
        with torch.no_grad():
            own = model(tokens)
        where = 1 if against == "middle position" else -1
        share = (said[:, where].argmax(-1) == own[:, where].argmax(-1)).double().mean().item()
        return 1 - share if flip else share

    return kept


def _null(draw, agree=lambda x: (x[1:] == x[:-1]).double().mean().item()):
    def neighbour_null(bits, draws, generator):
        null = [agree(draw(bits, generator)) for _ in range(draws)]
        return agree(bits), torch.tensor(null)

    return neighbour_null


def _shuffle(bits, generator):
    return bits[torch.randperm(len(bits), generator=generator)]


def _around(bits):
    return (bits == bits.roll(1)).double().mean().item()


def _verdicts(**changes):
    claims = list(VERDICTS)
    return {**VERDICTS, **{claims[int(key[1:])]: value for key, value in changes.items()}}


WRONG = {
    "3.1": [
        lambda labels: _differs(labels).nonzero(),
        lambda labels: _shifted(_differs(labels).nonzero()).flip(1),
        lambda labels: (labels != labels.roll(1, 1)).nonzero(),
        lambda labels: _shifted((labels[1:] != labels[:-1]).nonzero(), 0),
        lambda labels: labels.nonzero(),
    ],
    "3.2": [
        lambda labels, heights, known: _count(labels, heights, known, sort=False),
        lambda labels, heights, known: _count(labels, heights, known, keep=False),
        lambda labels, heights, known: _count(labels, heights, known, over=max),
        lambda labels, heights, known: _count(labels, heights, known, over=lambda o, z: o),
        lambda labels, heights, known: _count(labels, heights, known, shift=1),
        _one_majority,
    ],
    "3.3": [
        _fit(power_of=lambda p: 1 / p),
        _fit(power_of=lambda p: 1.0),
        _fit(choose=max),
        _swapped_fit,
        lambda labels, known, power, candidates: (candidates[0].item(), 0),
        lambda labels, known, power, candidates: (
            _fit()(labels, known, power, candidates)[0] * 1.1, 0
        ),
    ],
    "3.4": [
        _code(lambda n, k: math.log2(n + 1) + k),
        _code(lambda n, k: math.log2(math.comb(n, k))),
        _code(lambda n, k: math.log2(n + 1)),
        _code(lambda n, k: math.log(n + 1) + math.log(math.comb(n, k))),
        _code(lambda n, k: math.log2(n + 1) + k * math.log2(n)),
        _code(lambda n, k: math.log2(n + 1) + math.log2(math.comb(n, k)), base=False),
    ],
    "3.5": [
        _gap(anywhere=True),
        _gap(both=False),
        _gap(include=True),
        _gap(immediate=True),
        _beside_a_change,
        lambda labels, seen: ~seen,
    ],
    "3.6": [
        _kept(rest="zero"),
        _kept(centre=False),
        _kept(last=True),
        _kept(flip=True),
        _kept(against="middle position"),
        lambda model, tokens, k: 1.0,
    ],
    "3.7": [
        _null(lambda bits, g: torch.randint(2, bits.shape, generator=g)),
        _null(lambda bits, g: bits[torch.randint(len(bits), bits.shape, generator=g)]),
        _null(_shuffle, _around),
        _null(lambda bits, g: bits),
        _null(lambda bits, g: bits[torch.randperm(len(bits))]),
        lambda bits, draws, generator: tuple(reversed(_null(_shuffle)(bits, draws, generator))),
    ],
    "3.8": [
        _verdicts(_3=SUPPORTED, _1=SUPPORTED),
        _verdicts(_1=SUPPORTED, _5=SUPPORTED),
        _verdicts(_3=SUPPORTED, _4=UNTESTED),
        dict.fromkeys(VERDICTS, SUPPORTED),
        dict.fromkeys(VERDICTS, REFUTED),
        {**dict.fromkeys(VERDICTS, SUPPORTED), "another": SUPPORTED},
    ],
}  # fmt: skip


class TestChecks03(CheckSuite):
    lesson = "03"
    wrong = WRONG
