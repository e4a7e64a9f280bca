"""Curves found in a grid, and the lengths of the codes."""

import itertools
import math
from fractions import Fraction

import pytest
import torch

from utils.challenges import curves as cv
from utils.data import grid
from utils.data.grid import Curve, GridProgram


def small(curves, seed=0, size=40, flip=0.5):
    """A grid of that size with coin-thrown row bits."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(size, generator=generator) < 0.5
    flips = torch.rand(size, len(curves), generator=generator) < flip
    return GridProgram(tuple(curves), start, flips).table()


def by_loops(answers, heights, known):
    wrong = 0
    for a in range(len(answers)):
        edges = [0, *sorted(heights[:, a].tolist()), len(answers)]
        for low, high in itertools.pairwise(edges):
            piece = [int(answers[a, b]) for b in range(low, high) if known[a, b]]
            wrong += min(sum(piece), len(piece) - sum(piece))
    return wrong


@pytest.mark.parametrize("k", [0, 1, 3])
def test_cut_counts_as_loops_do(k):
    generator = torch.Generator().manual_seed(k)
    answers = (torch.rand(15, 15, generator=generator) < 0.4).long()
    known = torch.rand(15, 15, generator=generator) < 0.6
    heights = torch.randint(0, 16, (k, 15), generator=generator)
    pieces = cv.cut(answers, heights, known)
    assert pieces.wrong == by_loops(answers, heights, known)
    disagree = (pieces.table() != answers) & known
    assert int(disagree.sum()) == pieces.wrong
    assert pieces.bits.shape == (15, k + 1)


def test_unknown_cells_are_not_read():
    answers, known = torch.zeros(4, 4).long(), torch.zeros(4, 4).bool()
    known[0, 0] = True
    heights = torch.full((1, 4), 2)
    bits = cv.cut(answers, heights, known).bits
    assert bits.tolist() == [[0, -1], [-1, -1], [-1, -1], [-1, -1]]
    other = cv.cut(torch.where(known, answers, 1), heights, known)
    assert torch.equal(other.bits, bits) and other.wrong == 0


@pytest.mark.parametrize("n, k", [(10, 3), (5, 0), (7, 7), (12769, 174)])
def test_bits_of_exceptions(n, k):
    assert cv.log2_choose(n, k) == pytest.approx(math.log2(math.comb(n, k)), abs=1e-6)
    assert cv.exception_bits(n, k) == pytest.approx(math.log2((n + 1) * math.comb(n, k)), abs=1e-6)


def test_a_code_of_exceptions_can_be_told_apart():
    """Kraft: over all sets of exceptions, 2 to the minus length adds up to 1."""
    total = sum(math.comb(9, k) * 2 ** -cv.exception_bits(9, k) for k in range(10))
    assert total == pytest.approx(1)


def test_names_of_curves_fit_their_bits():
    names = cv.family(40).names
    assert len(set(names)) == len(names)
    assert math.log2((len(cv.POWERS) + 1) * cv.STEPS) <= cv.CURVE_BITS + 1e-9
    assert {power for power, _ in names} == {None, *cv.POWERS}
    assert cv.curve(Fraction(2), 0, 40).heights(40)[-1] == cv.LOWEST


@pytest.mark.parametrize("planted", [
    (Curve(4.0, Fraction(1, 2)),),
    (Curve(30.0), Curve(0.03, Fraction(2))),
])  # fmt: skip
def test_planted_curves_are_found_and_no_more(planted):
    fits = cv.find_curves(small(planted))
    best = cv.shortest(fits)
    assert len(best.curves) == len(planted) and best.pieces.wrong == 0
    found = sorted(tuple(c.heights(40).tolist()) for c in best.curves)
    for ours, truth in zip(found, sorted(tuple(c.heights(40).tolist()) for c in planted),
                           strict=True):  # fmt: skip
        assert sum(x != y for x, y in zip(ours, truth, strict=True)) <= 6
    assert best.bits == pytest.approx(best.curve_bits + best.row_bits + best.exception_bits)


def test_rows_of_coins_have_no_curve():
    """Cells of coin throws: nothing beats writing them down."""
    generator = torch.Generator().manual_seed(2)
    noise = (torch.rand(40, 40, generator=generator) < 0.5).long()
    assert len(cv.shortest(cv.find_curves(noise)).curves) == 0


def test_half_of_the_cells_are_enough_to_find_the_secret_curves():
    labels, seen = grid.challenge_2().table(), grid.training_mask()
    fit = cv.shortest(cv.find_curves(labels, seen))
    assert sorted(str(c.power) for c in fit.curves) == ["1/3", "3", "None"]
    assert fit.pieces.wrong == 0
    assert (fit.pieces.table() == labels)[~seen].double().mean() > 0.995
    blind = torch.where(seen, labels, 1 - labels)
    assert cv.shortest(cv.find_curves(blind, seen)).curves == fit.curves
