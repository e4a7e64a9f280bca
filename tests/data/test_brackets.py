"""Bracket strings: how they are drawn, and the two programs that judge them."""

import pytest
import torch

from utils.data import brackets


def balanced_by_stack(row):
    depth = 0
    for token in row[1:].tolist():
        depth += 1 if token == brackets.OPEN else -1
        if depth < 0:
            return False
    return depth == 0


def test_labels_are_those_of_a_stack():
    data = brackets.make(3000, seed=1)
    right = torch.tensor([balanced_by_stack(row) for row in data.tokens])
    assert torch.equal(data.balanced, right)
    assert torch.equal(brackets.is_balanced(data.tokens), right)
    both = brackets.horizon_test(data.tokens) & brackets.endings_test(data.tokens)
    assert torch.equal(both, right)  # the second program gives the same labels
    assert not torch.equal(brackets.horizon_test(data.tokens), right)
    assert not torch.equal(brackets.endings_test(data.tokens), right)


def test_endings_are_beginnings_of_the_mirrored_string():
    tokens = brackets.make(2000, seed=2).tokens
    mirrored = torch.cat([tokens[:, :1], 1 - tokens[:, 1:].flip(1)], 1)
    assert torch.equal(brackets.endings_test(tokens), brackets.horizon_test(mirrored))


@pytest.mark.parametrize("share", [0.0, 0.26, 1.0])
def test_the_share_of_balanced_strings_is_the_one_asked_for(share):
    data = brackets.make(20_000, seed=3, balanced=share)
    assert abs(float(data.balanced.double().mean()) - share) < 0.012
    assert torch.equal(data.balanced, data.kind == 0)
    assert data.tokens.shape == (20_000, brackets.LENGTH)
    assert bool((data.tokens[:, 0] == brackets.START).all()) and int(data.tokens[:, 1:].max()) == 1


def test_kinds_are_what_they_are_called():
    data = brackets.make(20_000, seed=4, balanced=0.4)
    counts = torch.bincount(data.kind, minlength=5) / len(data.kind)
    assert bool((counts > 0.05).all())
    difference = 2 * brackets.opens(data.tokens) - brackets.BRACKETS
    assert set(difference[data.kind == 1].abs().tolist()) <= set(range(2, 25, 2))
    for kind in (2, 3):
        assert bool(brackets.count_test(data.tokens)[data.kind == kind].all())
        assert not bool(brackets.horizon_test(data.tokens)[data.kind == kind].any())


def test_balanced_strings_are_uniform(monkeypatch):
    """All 14 balanced strings of 8 brackets are equally likely: chi-square, 13 degrees."""
    monkeypatch.setattr(brackets, "BRACKETS", 8)
    drawn = brackets._balanced(28_000, torch.Generator().manual_seed(0))
    kinds, counts = drawn.unique(dim=0, return_counts=True)
    assert len(kinds) == 14
    chi2 = float(((counts.double() - 2000) ** 2 / 2000).sum())
    assert chi2 < 34.5  # the .999 quantile


def test_the_same_seed_gives_the_same_strings():
    a, b, c = (brackets.make(50, seed=s).tokens for s in (5, 5, 6))
    assert torch.equal(a, b) and not torch.equal(a, c)
    state = torch.get_rng_state()
    brackets.make(50)
    assert torch.equal(state, torch.get_rng_state())


def test_features_of_one_string():
    row = brackets.parse("(())" * 6)
    assert brackets.show(row[0]) == "(())" * 6
    assert brackets.heights(row)[0, :4].tolist() == [1, 2, 1, 0]
    assert brackets.opens(row).item() == 12 and bool(brackets.starts_open(row))
    dip = brackets.parse(")(" * 12)
    assert bool(brackets.count_test(dip)) and not bool(brackets.horizon_test(dip))


def test_what_is_refused():
    with pytest.raises(ValueError, match="23 of them"):
        brackets.parse("(" * 23)
    with pytest.raises(ValueError, match="'x'"):
        brackets.parse("x" * 24)
    with pytest.raises(ValueError, match="share between 0 and 1"):
        brackets.make(5, balanced=1.2)
