"""The architecture of Challenge 1: the original's parameters, shapes and arithmetic."""

import pytest
import torch
from torch.nn import functional

from utils.models.cnn import ChallengeCNN, predict
from utils.sites import Site, hook_shapes

# Names and shapes in the original's `mnist_model.pt`.
ORIGINAL = {
    "conv1.weight": (8, 1, 3, 3), "conv1.bias": (8,),
    "conv2.weight": (16, 8, 3, 3), "conv2.bias": (16,),
    "fc1.weight": (200, 400), "fc1.bias": (200,),
    "fc2.weight": (2, 200), "fc2.bias": (2,),
}  # fmt: skip
HOOKS = {
    "hook_input": (1, 28, 28),
    "hook_conv1": (8, 26, 26),
    "hook_pool1": (8, 13, 13),
    "hook_conv2": (16, 11, 11),
    "hook_pool2": (16, 5, 5),
    "hook_fc1_pre": (200,),
    "hook_fc1": (200,),
    "hook_logits": (2,),
}


@pytest.fixture(scope="module")
def images():
    torch.set_num_threads(1)
    return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(1)
    return {k: 0.2 * torch.randn(shape, generator=generator) for k, shape in ORIGINAL.items()}


def plainly(state, x):
    """The network written out again without hooks."""
    for stage in ("conv1", "conv2"):
        x = functional.conv2d(x, state[f"{stage}.weight"], state[f"{stage}.bias"]).relu()
        x = functional.max_pool2d(x, 2)
    hidden = (x.reshape(len(x), 400) @ state["fc1.weight"].T + state["fc1.bias"]).clamp(min=0)
    return hidden @ state["fc2.weight"].T + state["fc2.bias"]


def test_parameters_are_those_of_the_original():
    model = ChallengeCNN()
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == ORIGINAL
    assert sum(p.numel() for p in model.parameters()) == 81_850


def test_an_original_state_dict_loads_and_gives_the_same_numbers(state, images):
    model = ChallengeCNN(dropout=0.2).eval()
    assert not torch.allclose(model(images), plainly(state, images), atol=1e-3)
    model.load_state_dict(state)
    torch.testing.assert_close(model(images), plainly(state, images))


def test_every_hook_fires_in_order_with_its_shape(images):
    shapes = hook_shapes(ChallengeCNN(), images)
    assert list(shapes.items()) == [(hook, (6, *shape)) for hook, shape in HOOKS.items()]


def test_hooks_stand_where_their_names_say(state, images):
    model = ChallengeCNN()
    model.load_state_dict(state)
    read = {hook: Site(hook).read(model, images) for hook in HOOKS}
    assert torch.equal(read["hook_input"], images)
    assert read["hook_fc1_pre"].min() < 0
    assert torch.equal(read["hook_fc1"], read["hook_fc1_pre"].relu())
    for stage in "12":
        assert read[f"hook_conv{stage}"].min() == 0
        pooled = functional.max_pool2d(read[f"hook_conv{stage}"], 2)
        assert torch.equal(read[f"hook_pool{stage}"], pooled)
    torch.testing.assert_close(read["hook_logits"], plainly(state, images))


def test_dropout_acts_in_training_only(state, images):
    model = ChallengeCNN(dropout=0.5)
    model.load_state_dict(state)
    torch.manual_seed(0)
    model.train()
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))
    without = ChallengeCNN().train()
    assert torch.equal(without(images), without(images))


def test_predict_takes_batches_and_keeps_their_order(state, images):
    model = ChallengeCNN().eval()
    model.load_state_dict(state)
    many = torch.cat([images, 1 - images])
    found = predict(model, many, batch_size=5)
    assert found.dtype == torch.int64 and found.shape == (12,)
    assert torch.equal(found, plainly(state, many).argmax(-1))
    assert len(found.unique()) == 2  # else the line above compares constants
