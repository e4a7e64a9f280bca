"""The training loops on problems small enough to check by hand."""

import contextlib

import pytest
import torch
from torch import nn
from torch.nn import functional

from utils.models.training import (
    Checkpoint,
    CheckpointError,
    train_classifier,
    train_language,
)


@pytest.fixture(autouse=True)
def one_thread():
    """Bits repeat on one thread only."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clouds(epoch, n=200):
    """Two clouds of points, drawn anew each epoch."""
    generator = torch.Generator().manual_seed(epoch)
    labels = torch.arange(n) % 2
    points = torch.randn(n, 2, generator=generator) + 3 * (2 * labels[:, None] - 1)
    return points, labels


def network(width=2):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, width))


def train_once(seed=0, data=clouds, **options):
    model, losses = network(), []
    train_classifier(
        model, data, epochs=5, batch_size=30, max_lr=0.02, seed=seed,
        on_epoch=lambda epoch, loss: losses.append((epoch, loss)), **options,
    )  # fmt: skip
    return model, losses


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_classifier_learns_a_separable_problem():
    model, losses = train_once()
    assert [epoch for epoch, _ in losses] == [0, 1, 2, 3, 4]
    assert losses[-1][1] < 0.02 < 0.2 < losses[0][1]
    points, labels = clouds(99)
    assert (model(points).argmax(-1) == labels).double().mean() > 0.98
    assert not model.training


def test_the_reported_loss_is_the_mean_over_the_epoch():
    """With a learning rate of nearly nothing it is the loss of the untouched network."""
    losses = []
    train_classifier(
        network(), clouds, epochs=1, batch_size=30, max_lr=1e-12,
        on_epoch=lambda epoch, loss: losses.append(loss),
    )  # fmt: skip
    points, labels = clouds(0)
    expected = functional.cross_entropy(network()(points), labels).item()
    assert losses == [pytest.approx(expected, abs=1e-5)]


def test_the_classifier_repeats_bit_for_bit_and_the_seed_matters():
    first, second, other = train_once(), train_once(), train_once(seed=1)
    assert torch.equal(weights(first[0]), weights(second[0])) and first[1] == second[1]
    assert not torch.equal(weights(first[0]), weights(other[0]))


def test_data_are_asked_for_anew_every_epoch():
    asked = []

    def data(epoch):
        asked.append(epoch)
        return clouds(epoch)

    fresh = train_once(data=data)[0]
    fixed = train_once(data=lambda epoch: clouds(0))[0]
    assert asked == [0, 1, 2, 3, 4]
    assert not torch.equal(weights(fresh), weights(fixed))


def test_weight_decay_shrinks_the_weights():
    plain, decayed = train_once()[0], train_once(weight_decay=5.0)[0]
    assert weights(decayed).norm() < 0.9 * weights(plain).norm()


def successors(step):
    generator = torch.Generator().manual_seed(step)
    tokens = torch.randint(0, 8, (32,), generator=generator)
    return tokens, (tokens + 3) % 8


def train_sequence(**options):
    torch.manual_seed(0)
    model, calls = nn.Sequential(nn.Embedding(8, 16), nn.Linear(16, 8)), []
    train_language(
        model, successors, lambda x, y: functional.cross_entropy(model(x), y),
        steps=120, max_lr=0.05, progress=lambda *call: calls.append(call), **options,
    )  # fmt: skip
    return model, calls


def test_the_sequence_loop_learns_and_tells_its_progress():
    model, calls = train_sequence()
    tokens = torch.arange(8)
    assert torch.equal(model(tokens).argmax(-1), (tokens + 3) % 8)
    assert [call[:2] for call in calls] == [(50, 120), (100, 120)]
    assert calls[1][2] < calls[0][2] < 2.0  # chance is log 8 = 2.08
    assert not model.training


def test_the_sequence_loop_repeats_bit_for_bit():
    first, second = train_sequence(), train_sequence()
    assert torch.equal(weights(first[0]), weights(second[0])) and first[1] == second[1]
    assert not torch.equal(weights(first[0]), weights(train_sequence(weight_decay=0.5)[0]))


# --- going on after an interruption ------------------------------------------------------------


def language(steps, checkpoint=None, stop_at=None):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    seen = []

    def batch(step):
        if step == stop_at:
            raise KeyboardInterrupt
        seen.append(step)
        generator = torch.Generator().manual_seed(step)
        return (torch.randn(8, 3, generator=generator),)

    def loss(x):
        return (model(x) - x[:, :2]).pow(2).mean()

    with contextlib.suppress(KeyboardInterrupt):
        train_language(model, batch, loss, steps=steps, max_lr=0.05, checkpoint=checkpoint)
    return model.state_dict(), seen


def classifier(epochs, checkpoint=None, stop_at=None):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    seen = []

    def data(epoch):
        if epoch == stop_at:
            raise KeyboardInterrupt
        seen.append(epoch)
        generator = torch.Generator().manual_seed(epoch)
        x = torch.randn(50, 3, generator=generator)
        return x, (x[:, 0] > 0).long()

    options = {"epochs": epochs, "batch_size": 8, "max_lr": 0.05, "checkpoint": checkpoint}
    with contextlib.suppress(KeyboardInterrupt):
        train_classifier(model, data, **options)
    return model.state_dict(), seen


@pytest.mark.parametrize("training", [language, classifier])
def test_an_interrupted_training_goes_on_to_the_same_weights(training, tmp_path):
    keeper = Checkpoint(tmp_path / "here.checkpoint", seconds=0)
    whole, _ = training(12)
    _, before = training(12, keeper, stop_at=7)
    assert keeper.path.is_file() and before == list(range(7))
    resumed, after = training(12, Checkpoint(keeper.path, seconds=0))
    assert min(after[1:]) >= 7 and after[-1] == 11
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    assert [p.name for p in tmp_path.iterdir()] == ["here.checkpoint"]
    keeper.remove()
    keeper.remove()  # once is as good as twice
    assert not keeper.path.exists()


def test_checkpoints_are_written_now_and_then(tmp_path):
    language(12, Checkpoint(tmp_path / "rare", seconds=1000))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["text", "other length", "other model"])
def test_a_checkpoint_that_does_not_fit_is_named_and_kept(damage, tmp_path):
    path = tmp_path / "here.checkpoint"
    language(12, Checkpoint(path, seconds=0), stop_at=3)
    if damage == "text":
        path.write_text("not a checkpoint")
    elif damage == "other model":
        saved = torch.load(path, weights_only=True)
        saved["model"] = {"weight": torch.zeros(9, 9)}
        torch.save(saved, path)
    with pytest.raises(CheckpointError, match="here.checkpoint.*Delete"):
        language(13 if damage == "other length" else 12, Checkpoint(path))
    assert path.is_file()


def test_gradients_are_scaled_down_to_the_longest_allowed():
    """Far below Adam's epsilon, so that a network whose gradients are cut so short stands still."""
    inputs = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    labels = (inputs[:, 0] > 0).long()
    moved = []
    for max_norm in (None, 100.0, 1e-14):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        before = model.weight.detach().clone()
        train_classifier(
            model, lambda epoch: (inputs, labels), epochs=2, batch_size=16, max_lr=0.01,
            max_norm=max_norm,
        )  # fmt: skip
        moved.append(model.weight.detach() - before)
    assert torch.equal(moved[0], moved[1]) and moved[0].abs().max() > 1e-3
    assert moved[2].abs().max() < 1e-5


def test_stopping_early_gives_the_weights_of_that_step_of_the_same_run():
    def run(stop, rate):
        torch.manual_seed(0)
        model, seen, calls = nn.Linear(3, 2), [], []
        data = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))

        def loss(rows):
            seen.append(model.weight.detach().clone())
            return model(rows).pow(2).mean()

        train_language(
            model, lambda step: (data,), loss, steps=100, max_lr=0.1, rate=rate, stop=stop,
            progress=lambda *call: calls.append(call[:2]),
        )  # fmt: skip
        return model.weight.detach(), seen, calls

    for rate in (None, lambda step: 1.0 / (1 + step)):
        _, whole, calls = run(None, rate)
        early, part, early_calls = run(50, rate)
        assert len(whole) == 100 and len(part) == 50
        assert torch.equal(early, whole[50])
        assert calls == [(50, 100), (100, 100)] and early_calls == [(50, 50)]


def test_a_rate_of_ones_own_replaces_the_one_cycle_rate():
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    seen = []

    def loss(rows):
        seen.append(model.weight.item())
        return model(rows).sum()

    train_language(
        model, lambda step: (torch.ones(1, 1),), loss, steps=4, max_lr=0.1, weight_decay=0.0,
        rate=lambda step: float(step < 2),
    )  # fmt: skip
    moved = [a - b for a, b in zip(seen, [*seen[1:], model.weight.item()], strict=True)]
    assert moved[0] == pytest.approx(0.1, rel=1e-3) and moved[1] == pytest.approx(0.1, rel=1e-3)
    assert moved[2] == moved[3] == 0
