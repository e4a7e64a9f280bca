"""The search for a rule behind bits: it finds planted ones, and nothing in coin throws."""

import math

import pytest
import torch

from utils.challenges import curves as cv
from utils.challenges import rules
from utils.data import grid
from utils.data.grid import Curve, GridProgram

A = torch.arange(113)


@pytest.mark.parametrize("bits", [
    A % 8 < 4,
    (A - 5) % 17 < 6,
    A % 2 == 0,
    A >= 41,
    torch.sin(2 * math.pi * (7.5 * (A / 112) ** 2 + 0.25)) > 0,
    ~(A % 5 == 3),
])  # fmt: skip
def test_planted_rules_are_found(bits):
    rows = A[A % 10 != 0]  # some rows do not show theirs
    found = rules.best_rule(rows, bits[rows].long(), 113)
    assert found.wrong == 0 and found.n == len(rows)
    assert found.saved > rules.chance_savings(rows, bits[rows].long(), 113, 20).max() + 20


def test_a_rule_with_exceptions_is_found_and_pays_for_them():
    bits = (A % 8 < 4).long()
    stray = torch.randperm(113, generator=torch.Generator().manual_seed(0))[:9]
    bits[stray] = 1 - bits[stray]
    clean = rules.best_rule(A, (A % 8 < 4).long(), 113).saved
    found = rules.best_rule(A, bits, 113)
    assert found.text == "(a - 0) mod 8 < 4" and found.wrong == 9
    assert 20 < found.saved < clean - 30


def test_coin_throws_save_nothing_in_nearly_all_cases():
    """A rule is announced when it saves bits and more than in any random order."""
    announced = 0
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        bits = (torch.rand(113, generator=generator) < 0.4).long()
        announced += rules.best_rule(A, bits, 113).saved > 0
    assert announced <= 2


def test_chance_keeps_the_number_of_ones():
    few = torch.zeros(113).long()
    few[:3] = 1
    assert rules.chance_savings(A, few, 113, 10).max() < 0


def test_row_bits_of_a_known_program():
    curves = (Curve(6.0), Curve(1.0, None))
    start = torch.tensor([True, False, True, False, True, False, True, False])
    flips = torch.tensor([[True, False], [False, True]] * 4)
    table = GridProgram(curves, start, flips).table()
    heights = torch.stack([c.heights(8) for c in curves])  # 6 5 4 3 2 1 0 0 and 1 0 0 0 ...
    found = rules.row_bits(cv.cut(table, heights), heights)
    assert found.names == ("start", "flip 1", "flip 2")
    assert found.values[0].tolist() == [1, 1, 0]
    # row 1: the second curve passes below the row, so nobody sees its start or that flip
    assert found.values[1].tolist() == [-1, 0, -1]
    assert found.values[7].tolist() == [-1, -1, -1]


def test_curves_that_cross_in_a_row_share_the_blame():
    heights = torch.tensor([[2, 2], [2, 1]])
    table = torch.tensor([[0, 0], [0, 1]])
    values = rules.row_bits(cv.cut(table, heights), heights).values
    assert values[0].tolist() == [0, -1, -1] and values[1].tolist() == [0, -1, 1]


def test_row_bits_of_the_secret_are_those_that_were_thrown():
    program = grid.challenge_2()
    heights = torch.stack([c.heights() for c in program.curves])
    found = rules.row_bits(cv.cut(program.table(), heights), heights)
    truth = torch.cat([program.start[:, None], program.flips], 1).long()
    known = found.values >= 0
    assert torch.equal(found.values[known], truth[known]) and int(known.sum()) > 400


def test_neighbours_that_are_alike_are_noticed():
    runs = (A // 9 % 2)[:, None]
    same, chance = rules.neighbour_agreement(rules.RowBits(runs, ("start",)), 200)
    assert same.low > chance.high
    coins = torch.randint(2, (113, 4), generator=torch.Generator().manual_seed(1))
    names = ("start", "flip 1", "flip 2", "flip 3")
    same, chance = rules.neighbour_agreement(rules.RowBits(coins, names), 200)
    assert chance.low <= same.value <= chance.high
    rare = (A % 20 == 0).long()[:, None]
    same, chance = rules.neighbour_agreement(rules.RowBits(rare, ("start",)), 200)
    assert same.value > 0.85 and same.value <= chance.high + 0.02
