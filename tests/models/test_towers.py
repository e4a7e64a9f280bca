"""The two towers: one space, unit vectors, and phrases near what they are true of."""

import math

import torch

from utils.data import scenes
from utils.models import towers, zoo


def test_both_towers_end_in_unit_vectors_and_hooks_see_them():
    model, rows = zoo.load("towers"), scenes.make(30, 5)
    images, phrases = model.embed(rows.images), model.phrases(scenes.dictionary())
    assert images.shape == (30, 32) and phrases.shape == (249, 32)
    assert torch.allclose(images.norm(dim=1), torch.ones(30), atol=1e-5)
    assert torch.allclose(phrases.norm(dim=1), torch.ones(249), atol=1e-5)
    _, cache = model.run_with_cache(rows.images)
    assert torch.allclose(cache["hook_image"], images, atol=1e-6)
    assert cache["hook_conv2"].shape == (30, 64, 4, 4) and cache["hook_hidden"].shape == (30, 96)
    assert torch.allclose(model.embed(rows.images, batch_size=7), images, atol=1e-6)


def test_what_is_true_of_a_scene_is_closer_than_what_is_not():
    model, rows = zoo.load("towers"), scenes.make(1000, 6)
    names = scenes.dictionary()
    cosines = model.embed(rows.images) @ model.phrases(names).T
    true = scenes.holds(rows, torch.tensor([scenes.parse(text) for text in names]))
    assert cosines[true].mean() > 0.35 and cosines[~true].mean() < 0.1
    assert cosines[true].quantile(0.1) > cosines[~true].quantile(0.98)


def test_a_batch_holds_a_true_phrase_for_every_scene():
    images, bags, true = towers._batch(3)
    assert images.shape == (towers.BATCH, 3, 16, 16) and bags.shape == (towers.BATCH, 33)
    assert true.diagonal().all() and (bags.sum(1) >= 1).all() and (bags.sum(1) <= 3).all()
    assert 0 < true.float().mean() < 0.2  # and many that are not true


def test_a_few_steps_bring_the_loss_down(monkeypatch):
    losses = []
    monkeypatch.setattr(towers, "STEPS", 100)
    monkeypatch.setattr(towers, "BATCH", 48)
    model = towers.build()
    towers.train(model, lambda done, total, loss: losses.append(loss))
    assert len(losses) == 2 and losses[1] < losses[0] < 2 * math.log(48) + 1
