"""Exemplars, synthesised features, and the observer that compares them."""

import pytest
import torch

from utils import features
from utils.features import FeatureError, observer
from utils.models import zoo
from utils.sites import Site
from utils.trojans import TROJANS

UNITS = Site("hook_fc1_pre")


@pytest.fixture(scope="module")
def network():
    torch.set_num_threads(1)
    return zoo.load("trojan-solid")


@pytest.fixture(scope="module")
def images():
    return TROJANS["solid"].held_out(600).inputs


def test_exemplars_are_the_most_and_least_exciting(network, images):
    values = features.activations(network, images, UNITS)[:, 3]
    top = features.exemplars(network, images, UNITS, 3, 5)
    low = features.exemplars(network, images, UNITS, 3, 5, lowest=True)
    assert torch.equal(values[top], values.sort(descending=True).values[:5])
    assert torch.equal(values[low], values.sort().values[:5])
    channels = features.activations(network, images[:4], Site("hook_conv2"))
    assert channels.shape == (4, 32)


def test_synthesis_excites_its_own_unit_beyond_any_image(network, images):
    units = [3, 10]
    drawn = features.synthesise(network, UNITS, units, steps=60)
    assert drawn.shape == (2, 1, 16, 16) and drawn.min() >= 0 and drawn.max() <= 1
    reached = features.activations(network, drawn, UNITS)
    best = features.activations(network, images, UNITS).max(0).values
    for row, unit in enumerate(units):
        assert reached[row, unit] > best[unit]
    low = features.synthesise(network, UNITS, units, steps=60, lowest=True)
    reached = features.activations(network, low, UNITS)
    worst = features.activations(network, images, UNITS).min(0).values
    for row, unit in enumerate(units):
        assert reached[row, unit] < worst[unit]
    assert torch.equal(drawn, features.synthesise(network, UNITS, units, steps=60))
    smooth = features.synthesise(network, UNITS, units, steps=60, variation=0.5)
    rough = [x.diff(dim=-1).abs().sum().item() for x in (drawn, smooth)]
    assert rough[1] < rough[0], "the regulariser makes it smoother"


def test_moving_by_nothing_changes_nothing(images):
    same = features.synthesis.moved(images[:3], torch.Generator().manual_seed(0), 0.0)
    assert torch.allclose(same, images[:3], atol=1e-5)


def test_synthesis_of_the_class_shows_the_planted_square(network):
    """Beside the twin, whose picture of a 7 has nothing in the corner."""
    logit = Site("hook_logits")
    corner = [
        features.synthesise(model, logit, [7], steps=80)[0, 0, 12:, 12:].mean().item()
        for model in (network, zoo.load("twin-plain"))
    ]
    assert corner[0] > 0.8 and corner[1] < 0.3


def test_the_observer_goes_by_the_nearest_reference():
    high, low = torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    first, second = torch.full((3, 1, 4, 4), 0.2), torch.full((3, 1, 4, 4), 0.6)
    assert observer.choose(high, low, first, second).all()
    assert not observer.choose(low, high, first, second).any()
    assert not observer.choose(high, low, first, first).any(), "a tie is the second"


def test_the_observer_learns_from_pictures_and_not_from_wrong_ones(network, images):
    pool = TROJANS["solid"].world.sample("train", 1000, 5).inputs
    report = features.observe(
        network, UNITS, pool, images, range(6), references=4, trials=30, steps=50
    )
    assert report["4 exemplars each way"].low > 0.7
    assert report["4 synthesised each way"].low > 0.7
    assert report["random images"].low < 0.6
    assert report["4 exemplars each way"].low > report["exemplars of another unit"].value


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: features.exemplars(m, x, UNITS, 64),
        lambda m, x: features.exemplars(m, x, UNITS, 0, 1000),
        lambda m, x: features.exemplars(m, x, Site("hook_fc1", neuron=2), 0),
        lambda m, x: features.synthesise(m, UNITS, [64]),
        lambda m, x: features.synthesise(m, UNITS, []),
        lambda m, x: features.observe(m, UNITS, x, x, [1]),
        lambda m, x: features.observe(m, UNITS, x, x, [1, 2], share=0.9),
    ],
)
def test_nonsense_is_refused_in_one_sentence(call, network, images):
    with pytest.raises(FeatureError) as caught:
        call(network, images[:20])
    assert "\n" not in str(caught.value)
