"""The transformer of Challenge 2: its fast path is the network itself."""

import pytest
import torch
from torch.nn import functional

from utils.data import grid
from utils.models import pairs, zoo


@pytest.fixture(scope="module")
def cells():
    order = torch.randperm(grid.SIZE**2, generator=torch.Generator().manual_seed(0))
    return grid.every_cell()[order[:64]]


@pytest.mark.parametrize("trained", [False, True])
def test_the_fast_path_gives_the_networks_logits(cells, trained):
    model = zoo.load("grid") if trained else pairs.build_pairs().eval()
    with torch.no_grad():
        slow, fast = model(grid.tokens(cells))[:, -1], pairs.last_logits(model, cells)
    assert torch.allclose(slow, fast, atol=1e-4)


def test_and_its_gradients(cells):
    gradients = []
    for forward in (lambda m: m(grid.tokens(cells))[:, -1], lambda m: pairs.last_logits(m, cells)):
        model = pairs.build_pairs()
        functional.cross_entropy(forward(model), cells.sum(1) % 2).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters()})
    slow, fast = gradients
    assert set(slow) == set(fast)
    for name, gradient in slow.items():
        assert torch.allclose(gradient, fast[name], atol=1e-6), name


def test_training_reads_the_training_half_alone():
    """Other labels in the held-out half make no difference to the weights."""
    torch.set_num_threads(1)
    labels, seen = grid.challenge_2().table(), grid.training_mask()
    states = []
    for table in (labels, torch.where(seen, labels, 1 - labels)):
        model = pairs.build_pairs()
        pairs.train_pairs(model, table, steps=6)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_answers_cover_the_grid():
    answers = pairs.answers(zoo.load("grid"))
    assert answers.shape == (113, 113)
    cell = torch.tensor([[17, 90]])
    with torch.no_grad():
        own = zoo.load("grid")(grid.tokens(cell))[:, -1].argmax(-1)
    assert answers[17, 90] == own[0]


@pytest.mark.parametrize("name, program", [
    ("grid", grid.challenge_2()), ("grid-twin", grid.regular_twin()),
])  # fmt: skip
def test_the_shipped_networks_behave_like_the_original(name, program):
    """Nearly perfect on the training half, about 97 % on the other, and never wrong in rows that
    do not change: the original has 0.997, 0.976 and no error in 43 such rows."""
    labels, seen = program.table(), grid.training_mask()
    wrong = pairs.answers(zoo.load(name)) != labels
    assert wrong[seen].double().mean() < 0.004
    assert 0.02 < wrong[~seen].double().mean() < 0.04
    quiet = (labels[:, 1:] == labels[:, :-1]).all(1)
    assert int(wrong[quiet].sum()) <= 2 and int(quiet.sum()) > 30
