"""The training loops on problems small enough to check by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from utils.models.training import train_classifier, train_language


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
