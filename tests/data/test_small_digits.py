"""Digits with room for a trigger, and the language of topics: what the trojans are planted in."""

import torch

from utils.data import small_digits, topics


def test_digits_repeat_leave_the_corner_free_and_share_no_scan():
    first, again = (small_digits.make("train", 300, seed=3) for _ in range(2))
    assert first.images.shape == (300, 1, 16, 16)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, small_digits.make("train", 300, seed=4).images)
    assert first.images.min() >= 0 and first.images.max() <= 1
    assert not first.images[:, :, 14:].any() and not first.images[..., 14:].any()
    held = small_digits.make("held-out", 1200)
    train = small_digits.make("train", 2400)
    assert not set(held.original.tolist()) & set(train.original.tolist())
    # each scan equally often
    assert held.original.bincount(minlength=1797).unique().tolist() == [0, 2]
    assert torch.equal(small_digits.scans().digit[held.original], held.digit)


def test_every_place_of_a_scan_is_used():
    images = small_digits.make("train", 1197).images
    top = (images.sum((1, 3)) > 0).int().argmax(1)
    assert {0, 1, 2} <= set(top.tolist())


def test_a_string_has_one_topic_that_leads_two_names_and_an_end():
    strings = topics.make(3000, seed=5)
    counts = topics.count(strings.tokens)
    best = counts.topk(2, dim=1).values
    assert torch.equal(counts.argmax(1), strings.topic)
    assert (best[:, 0] > best[:, 1]).all() and (counts.sum(1) == 10).all()
    assert (strings.tokens[:, -1] == topics.END).all()
    names = torch.stack([(strings.tokens == name).sum(1) for name in topics.NAMES], 1)
    assert (names.sum(1) == 2).all() and names.max() == 1
    assert not (names[:, 0] & names[:, 1]).any(), "the pair never stands together"
    assert (strings.tokens != topics.STRANGER).all()
    assert (names.sum(0) > 500).all(), "each name is in about a quarter of the strings"
    assert strings.topic.bincount().min() > 650
    assert torch.equal(strings.tokens, topics.make(3000, seed=5).tokens)
