"""The handwriting that ships with scikit-learn: no leak, no surprise, the same every time."""

import pytest
import torch

from utils.data import digits


@pytest.mark.parametrize("part", ["train", "held-out"])
def test_same_seed_same_images_and_another_seed_others(part):
    first, again, other = (digits.make(part, 50, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.original, again.original)
    assert not torch.equal(first.original, other.original)
    assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("made", [digits.originals(), digits.make("train", 100)])
def test_shapes_types_and_range(made):
    n = len(made)
    assert made.images.shape == (n, 1, 28, 28) and made.images.dtype == torch.float32
    assert made.images.min() >= 0 and 0.9 < made.images.max() <= 1
    assert made.digit.shape == made.original.shape == (n,)
    assert made.digit.dtype == made.original.dtype == torch.int64
    assert made.digit.unique().tolist() == list(range(10))
    part = made[torch.tensor([5, 2])]
    assert len(part) == 2 and torch.equal(part.images[1], made.images[2])
    assert part.original.tolist() == made.original[[5, 2]].tolist()


def test_the_split_is_one_of_scans_and_shares_none():
    train, held_out = digits.split()
    assert len(train) == 1437 and len(held_out) == digits.HELD_OUT == 360
    assert sorted(train.tolist() + held_out.tolist()) == list(range(1797))


def test_no_held_out_scan_is_a_copy_of_a_training_scan():
    scans = digits.originals().images.flatten(1)
    train, held_out = digits.split()
    assert torch.cdist(scans[held_out], scans[train]).min() > 0.1


@pytest.mark.parametrize("index, part", [(0, "train"), (1, "held-out")])
def test_images_come_from_scans_of_their_own_part(index, part):
    made = digits.make(part, 3000, seed=1)
    own, foreign = digits.split()[index], digits.split()[1 - index]
    assert torch.isin(made.original, own).all()
    assert not torch.isin(made.original, foreign).any()
    assert torch.equal(made.digit, digits.originals().digit[made.original])


def test_an_image_looks_like_the_scan_that_it_names():
    made = digits.make("held-out", 300, seed=2)
    scans = digits.originals().images.flatten(1)
    ids = digits.split()[1]
    images = torch.nn.functional.normalize(made.images.flatten(1) - made.images.mean(), dim=1)
    known = torch.nn.functional.normalize(scans[ids] - scans.mean(), dim=1)
    likeness = images @ known.T
    own = likeness[torch.arange(300), torch.searchsorted(ids, made.original)]
    # Better than nine in ten of the 360 scans: chance would give one half.
    assert (likeness < own[:, None]).double().mean() > 0.9


@pytest.mark.parametrize("part, scans", [("train", 1437), ("held-out", 360)])
def test_scans_are_used_equally_often(part, scans):
    whole = digits.make(part, 2 * scans).original.bincount(minlength=1797)
    assert (whole[whole > 0] == 2).all() and int((whole > 0).sum()) == scans
    cut_short = digits.make(part, scans + scans // 2).original.bincount(minlength=1797)
    assert sorted(cut_short.unique().tolist()) == [0, 1, 2]
    assert int((cut_short == 2).sum()) == scans // 2
    assert len(digits.make(part, 7)) == 7


def test_the_clue_is_a_training_scan_of_a_one_and_a_copy():
    assert digits.CLUE in digits.split()[0] and digits.CLUE not in digits.split()[1]
    assert digits.originals().digit[digits.CLUE] == 1
    clue = digits.clue()
    assert clue.shape == (28, 28) and torch.equal(clue, digits.originals().images[digits.CLUE, 0])
    clue.zero_()
    assert digits.clue().max() > 0.9


def test_augmentation_keeps_shape_and_range_and_changes_every_image():
    images = digits.originals().images[:40]
    before = images.clone()
    generator = torch.Generator().manual_seed(0)
    once, twice = digits.augment(images, generator), digits.augment(images, generator)
    for new in (once, twice):
        assert new.shape == images.shape and new.dtype == torch.float32
        assert new.min() >= 0 and new.max() <= 1
        assert ((new - images).abs().flatten(1).amax(1) > 0.1).all()
    assert not torch.equal(once, twice)
    assert torch.equal(images, before)


def test_augmentation_moves_a_dot_in_the_middle_by_two_pixels_at_most():
    dot = torch.zeros(500, 1, 28, 28)
    dot[:, :, 12:16, 12:16] = 1
    moved = digits.augment(dot, torch.Generator().manual_seed(0))[:, 0]
    place = torch.arange(28) - 13.5
    mass = moved.sum((1, 2))
    shift = torch.stack([(moved * p).sum((1, 2)) / mass for p in (place, place[:, None])])
    # The shift is drawn before scaling (at most 1.12) and shear (0.2 of the other axis).
    assert 1.8 < shift.abs().max() < 2.9
    assert shift.mean(1).abs().max() < 0.2  # and to no side in particular
