"""The language of hidden classes: drawn as described, and what each target may tell."""

import math

import pytest
import torch

from utils.data import words


def test_types_are_shared_out_evenly():
    cls = words.class_of_type()
    assert torch.bincount(cls).tolist() == [30] * 10
    # the number of a type says nothing about its class
    assert not torch.equal(cls, torch.arange(300) % 10) and not torch.equal(cls, cls.sort().values)
    for seed in range(3):
        control = words.control_of_type(seed)
        assert torch.bincount(control).tolist() == [30] * 10
        assert 10 <= int((control == cls).sum()) <= 55  # by lot 30 of 300 agree
    assert not torch.equal(words.control_of_type(0), words.control_of_type(1))


def test_the_table_is_one_of_probabilities_and_has_a_fixed_point():
    table, shares = words.transitions(), words.shares()
    assert torch.allclose(table.sum(1), torch.ones(10, dtype=torch.float64))
    assert float(table.min()) >= 0
    assert torch.allclose(shares @ table, shares) and float(shares.sum()) == pytest.approx(1)
    assert float(shares.min()) > 0.03  # no class too rare to be learned
    # classes are told apart by what follows them, or no network could find them
    apart = torch.cdist(table, table, p=1) / 2
    assert float(apart[~torch.eye(10, dtype=torch.bool)].min()) > 0.3


def test_sentences_follow_the_table():
    tokens = words.make(20_000, seed=1)
    cls = words.class_of_type()[tokens]
    for place in (0, 7, 15):  # as often at the end as at the beginning
        found = torch.bincount(cls[:, place], minlength=10) / len(cls)
        assert float((found - words.shares()).abs().max()) < 0.015
    pairs = torch.zeros(10, 10).index_put_(
        (cls[:, :-1].flatten(), cls[:, 1:].flatten()), torch.ones(1), accumulate=True
    )
    assert float((pairs / pairs.sum(1, keepdim=True) - words.transitions()).abs().max()) < 0.01
    counts = torch.bincount(tokens.flatten(), minlength=300).double()
    within = counts / torch.bincount(cls.flatten()).double()[words.class_of_type()]
    assert float((30 * within - 1).abs().max()) < 0.15  # words of a class are alike


def test_a_word_tells_of_the_next_one_by_its_class_alone():
    """Chain of first order: given this class, the class before says nothing of the next."""
    tokens = words.make(60_000, seed=2)
    cls = words.class_of_type()[tokens]
    before, now, after = (cls[:, i : i - 2 or None].flatten() for i in range(3))
    for here in range(3):
        for past in range(10):
            chosen = after[(now == here) & (before == past)]
            if len(chosen) < 2000:
                continue
            found = torch.bincount(chosen, minlength=10) / len(chosen)
            assert float((found - words.transitions()[here]).abs().max()) < 0.05


def test_rows_are_the_words_that_have_one_before():
    tokens = words.make(40, seed=3)
    rows = words.rows(tokens, seed=5)
    assert all(column.shape == (40 * 15,) for column in rows)
    assert torch.equal(rows.type.view(40, 15), tokens[:, 1:])
    assert torch.equal(rows.cls, words.class_of_type()[rows.type])
    assert torch.equal(rows.control, words.control_of_type(5)[rows.type])
    assert torch.equal(rows.previous.view(40, 15), words.class_of_type()[tokens[:, :-1]])
    assert torch.equal(tokens[rows.sentence, rows.position], rows.type)
    activations = torch.arange(40 * 16).view(40, 16, 1)  # flattened as the docstring says
    flat = activations[:, 1:].reshape(-1, 1)[:, 0]
    assert torch.equal(flat, rows.sentence * 16 + rows.position)


def test_surprise_is_the_entropy_of_the_language():
    table, shares = words.transitions(), words.shares()
    step = -(shares[:, None] * torch.xlogy(table, table)).sum()
    found = words.surprise(words.make(20_000, seed=4))
    assert found.shape == (20_000, 15)
    assert float(found.mean()) == pytest.approx(float(step) + math.log(30), abs=0.01)


def test_the_same_seed_gives_the_same_sentences():
    a, b, c = (words.make(50, seed=s) for s in (5, 5, 6))
    assert torch.equal(a, b) and not torch.equal(a, c)
    state = torch.get_rng_state()
    words.make(5), words.control_of_type(), words.rows(a)
    assert torch.equal(state, torch.get_rng_state())


def test_what_is_handed_out_may_be_changed():
    words.class_of_type().zero_()
    words.transitions().zero_()
    assert int(words.class_of_type().max()) == 9 and float(words.transitions().sum()) > 9


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"got \[4\]"):
        words.rows(torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"got \[4, 1\]"):
        words.rows(torch.zeros(4, 1, dtype=torch.int64))
