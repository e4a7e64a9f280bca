"""The grid of pairs, and a split that no mirror image leaks through."""

import torch

from utils.data import modular


def test_the_grid_holds_every_pair_once():
    tokens = modular.grid()
    assert tokens.shape == (113 * 113, 3) and len(tokens.unique(dim=0)) == len(tokens)
    assert bool((tokens[:, 2] == modular.EQUALS).all()) and int(tokens[:, :2].max()) == 112
    assert tokens[1].tolist() == [0, 1, 113] and tokens[113].tolist() == [1, 0, 113]


def test_answers_are_those_of_python():
    tokens = modular.grid()
    assert modular.answer(tokens).tolist() == [(a + b) % 113 for a, b, _ in tokens.tolist()]


def test_no_mirror_image_of_a_training_pair_is_held_out():
    tokens = modular.grid()
    seen = modular.trained_on(tokens)
    assert torch.equal(seen, modular.trained_on(tokens[:, [1, 0, 2]]))
    trained, held = modular.split()
    assert len(trained) == 3220 and len(held) == 3221
    assert bool((trained[:, 0] <= trained[:, 1]).all() and (held[:, 0] <= held[:, 1]).all())
    assert bool(modular.trained_on(trained).all()) and not bool(modular.trained_on(held).any())
    both = torch.cat([trained, held])
    assert len(both.unique(dim=0)) == 113 * 114 // 2


def test_the_split_is_drawn_from_its_seed():
    tokens = modular.grid()
    assert torch.equal(modular.trained_on(tokens), modular.trained_on(tokens))
    other = modular.trained_on(tokens, seed=1)
    same = (other == modular.trained_on(tokens)).double().mean()
    assert 0.45 < same < 0.55


def test_every_number_and_every_sum_is_trained_on():
    trained, _ = modular.split()
    assert len(trained[:, :2].unique()) == 113
    assert int(torch.bincount(modular.answer(trained), minlength=113).min()) >= 10
