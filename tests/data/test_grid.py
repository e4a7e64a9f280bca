"""The grid of pairs: curves in whole numbers, row bits from a seed, and the split."""

from fractions import Fraction

import pytest
import torch

from utils.data import grid
from utils.data.grid import Curve, GridProgram

A, B = torch.arange(grid.SIZE)[:, None], torch.arange(grid.SIZE)[None]
EXACT = (B**3 >= 8000 * A, 9000 * B >= A**3, A + B >= 120)


@pytest.mark.parametrize("curve, side", list(zip(grid.curves(), EXACT, strict=True)))
def test_heights_are_those_of_whole_number_arithmetic(curve, side):
    """Cells exactly on a curve, such as a = 27 and b = 60, are on its upper side."""
    assert torch.equal(curve.heights()[:, None] <= B, side.expand(grid.SIZE, grid.SIZE))


def test_heights_are_clipped_to_the_grid():
    assert Curve(500.0).heights(5).tolist() == [5] * 5
    assert Curve(-3.0).heights(5).tolist() == [0] * 5
    assert Curve(2.0, Fraction(2)).heights(5).tolist() == [0, 2, 5, 5, 5]


def test_a_program_flips_at_the_curves_it_passes():
    program = GridProgram(
        (Curve(2.0), Curve(1.0, Fraction(1))),
        torch.tensor([False, True, False, False]),
        torch.tensor([[True, False], [False, True], [True, True], [False, False]]),
    )
    assert program.table().tolist() == [[0, 0, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_labels_are_the_table_read_at_the_tokens():
    program = grid.challenge_2()
    labels = program.labels(grid.tokens(grid.every_cell()))
    assert torch.equal(labels.view(grid.SIZE, grid.SIZE), program.table())
    assert labels.dtype == torch.int64 and set(labels.tolist()) == {0, 1}


def test_the_secret_is_drawn_from_its_seed():
    first, again, other = grid.challenge_2(), grid.challenge_2(4), grid.challenge_2(5)
    assert torch.equal(first.table(), again.table())
    assert not torch.equal(first.table(), other.table())
    assert 0.3 < first.table().double().mean() < 0.7


def test_the_twin_has_about_as_many_changes_and_follows_its_rules():
    tables = [program.table() for program in (grid.challenge_2(), grid.regular_twin())]
    changes = [int((t[:, 1:] != t[:, :-1]).sum()) for t in tables]
    assert abs(changes[0] - changes[1]) < 25
    twin = grid.regular_twin()
    assert twin.start.tolist() == [a % 8 < 4 for a in range(grid.SIZE)]
    assert twin.flips[:, 1].tolist() == [a % 7 < 2 for a in range(grid.SIZE)]


def test_the_split_is_a_partition_and_always_the_same():
    seen, held_out = grid.split()
    assert (len(seen), len(held_out)) == (6384, 6385)
    cells = {tuple(cell) for cell in torch.cat([seen, held_out]).tolist()}
    assert len(cells) == grid.SIZE**2
    assert torch.equal(seen, grid.split()[0])
    mask = grid.training_mask()
    assert int(mask.sum()) == 6384 and mask[seen[:, 0], seen[:, 1]].all()
    assert not mask[held_out[:, 0], held_out[:, 1]].any()


def test_the_split_leaves_the_global_generator_alone():
    import random

    grid._order.cache_clear()
    random.seed(7)
    expected = random.random()
    random.seed(7)
    grid.split()
    assert random.random() == expected


def test_tokens_end_in_equals():
    assert grid.tokens(torch.tensor([[3, 5]])).tolist() == [[3, 5, 113]]
    assert grid.every_cell()[115].tolist() == [1, 2]
