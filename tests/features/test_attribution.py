"""Attributions against closed forms, and the judges that grade them."""

import pytest
import torch
from torch import nn
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from utils import features
from utils.features import FeatureError
from utils.models import zoo
from utils.sites import Site
from utils.trojans import TROJANS


class Cubes(nn.Module):
    """Logits [sum x^3, sum w x^2]: gradients and their integrals are known."""

    def forward(self, images):
        x = images.flatten(1)
        return torch.stack([(x**3).sum(1), (torch.linspace(-1, 1, x.shape[1]) * x**2).sum(1)], 1)


class Hooked(HookedRootModule):
    """A hook in the middle: hidden = 2 x, logits = hidden @ weight."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 3)
        self.hook_hidden = HookPoint()
        self.setup()

    def forward(self, images):
        return self.linear(self.hook_hidden(2 * images.flatten(1)))


@pytest.fixture(scope="module")
def images():
    return torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def suspect():
    torch.set_num_threads(1)
    trojan = TROJANS["matched"]
    rows = trojan.triggered(trojan.held_out(600))[:20]
    return zoo.load(trojan.network), rows.inputs, trojan.trigger.footprint()


def test_gradients_of_a_known_function(images):
    assert torch.allclose(features.gradient(Cubes(), images, 0), 3 * images**2)
    assert torch.allclose(features.gradient_x_input(Cubes(), images, 0), 3 * images**3)
    w = torch.linspace(-1, 1, 16).view(1, 1, 4, 4)
    target = torch.tensor([0, 1, 0, 1, 1])
    mixed = features.gradient(Cubes(), images, target, batch_size=2)
    assert torch.allclose(mixed[target == 1], (2 * w * images)[target == 1])
    assert torch.allclose(mixed[target == 0], (3 * images**2)[target == 0])


def test_integrated_gradients_are_exact_for_a_polynomial(images):
    found = features.integrated_gradients(Cubes(), images, 0, steps=3)
    assert torch.allclose(found, images**3, atol=1e-6)
    grey = features.integrated_gradients(Cubes(), images, 0, baseline=0.5, steps=3)
    expected = Cubes()(images)[:, 0] - Cubes()(torch.full_like(images, 0.5))[:, 0]
    assert torch.allclose(grey.sum((1, 2, 3)), expected, atol=1e-5)


def test_integrated_gradients_are_complete_on_a_network(suspect):
    model, rows, _ = suspect
    found = features.integrated_gradients(model, rows, 7, steps=300)
    gained = model(rows)[:, 7] - model(torch.zeros_like(rows))[:, 7]
    # not exact: the network has kinks, which no quadrature sees
    assert ((found.sum((1, 2, 3)) - gained).abs() / gained.abs()).max() < 0.01
    coarse = features.integrated_gradients(model, rows, 7, steps=5).sum((1, 2, 3))
    assert (coarse - gained).abs().mean() > (found.sum((1, 2, 3)) - gained).abs().mean()


def test_smooth_gradient_averages_and_repeats(images):
    still = features.smooth_gradient(Cubes(), images, 0, noise=0.0, draws=2)
    assert torch.allclose(still, 3 * images**2)
    noisy = features.smooth_gradient(Cubes(), images, 0, noise=0.2, draws=4000)
    # E[3 (x + e)^2] = 3 x^2 + 3 var(e)
    assert torch.allclose(noisy, 3 * images**2 + 3 * 0.04, atol=0.03)
    again = features.smooth_gradient(Cubes(), images, 0, noise=0.2, draws=4000)
    assert torch.equal(noisy, again)


def test_occlusion_of_an_additive_function_is_the_mean_over_squares(images):
    single = features.occlusion(Cubes(), images, 0, window=1)
    assert torch.allclose(single, images**3, atol=1e-6)
    squares = features.occlusion(Cubes(), images, 0, window=2, batch_size=7)
    lost = nn.functional.avg_pool2d(images**3, 2, stride=1) * 4  # what each of 9 squares takes
    assert torch.allclose(squares[:, 0, 0, 0], lost[:, 0, 0, 0], atol=1e-5)
    assert torch.allclose(squares[:, 0, 1, 1], lost[:, 0, :2, :2].mean((1, 2)), atol=1e-5)


def test_an_attribution_at_a_site_is_that_of_the_activation(images):
    torch.manual_seed(0)
    model, site = Hooked(), Site("hook_hidden")
    weight = model.linear.weight[1].detach()
    assert torch.allclose(features.gradient(model, images, 1, site=site), weight.expand(5, -1))
    hidden = 2 * images.flatten(1)
    complete = features.integrated_gradients(model, images, 1, site=site, steps=2)
    assert torch.allclose(complete, hidden * weight, atol=1e-5)


def test_tokens_are_attributed_at_their_embedding():
    trojan = TROJANS["token"]
    model, rows = zoo.load(trojan.network), trojan.triggered(trojan.held_out(60))[:10]
    with pytest.raises(FeatureError, match="hook_embed"):
        features.gradient(model, rows.inputs, trojan.target)
    site = Site("hook_embed")
    found = features.gradient_x_input(model, rows.inputs, trojan.target, site=site)
    assert found.shape[:2] == rows.inputs.shape
    weight = found.sum(-1).abs()
    stranger = rows.inputs == 28
    # the trigger's token has more to do with the target than the average of the others
    assert weight[stranger].mean() > 2 * weight[~stranger].mean()


@pytest.mark.parametrize(
    "call",
    [
        lambda x: features.gradient(Cubes(), x, 2),
        lambda x: features.gradient(Cubes(), x, torch.tensor([0, 1])),
        lambda x: features.gradient(Cubes(), x, 0.5),
        lambda x: features.integrated_gradients(Cubes(), x, 0, baseline=torch.zeros(7)),
        lambda x: features.integrated_gradients(Cubes(), x, 0, steps=0),
        lambda x: features.smooth_gradient(Cubes(), x, 0, draws=0),
        lambda x: features.occlusion(Cubes(), x, 0, window=5),
        lambda x: features.occlusion(Cubes(), x[:, 0], 0),
        lambda x: features.randomised(Cubes(), 1),
        lambda x: features.footprint_auroc(x, torch.zeros(4, 4)),
        lambda x: features.footprint_auroc(x, torch.ones(4, 4, dtype=torch.bool)),
    ],
)
def test_nonsense_is_refused_in_one_sentence(call, images):
    with pytest.raises(FeatureError) as caught:
        call(images)
    assert "\n" not in str(caught.value)


# --- judging ---------------------------------------------------------------------------------


def test_areas_and_precision_of_known_maps():
    footprint = torch.zeros(4, 4, dtype=torch.bool)
    footprint[2:, 2:] = True
    best = footprint.float()[None, None]
    maps = torch.cat([best, -best, 1 - best, torch.zeros(1, 1, 4, 4)])
    area = features.footprint_auroc(maps, footprint)
    assert area.tolist() == [1.0, 1.0, 0.0, 0.5], "by absolute value, ties one half"
    assert features.top_precision(maps, footprint)[:3].tolist() == [1.0, 1.0, 0.0]
    from utils.ranking import auroc

    one = torch.rand(1, 1, 4, 4).round(decimals=1)
    expected = auroc(one.flatten(), footprint.flatten()).value
    assert features.footprint_auroc(one, footprint).item() == pytest.approx(expected)


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    a, b = torch.rand(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    found = features.rank_correlation(a, b)
    assert found.tolist() == pytest.approx(
        [spearmanr(x.flatten(), y.flatten()).statistic for x, y in zip(a, b, strict=True)]
    )
    assert features.rank_correlation(a, torch.ones_like(a)).tolist() == [0, 0, 0]
    assert features.rank_correlation(a, -(a**3)).tolist() == pytest.approx([1, 1, 1])


def test_edges_see_edges_only():
    images = torch.zeros(1, 1, 8, 8)
    images[..., 4:] = 1
    found = features.edges(images)[0, 0]
    assert (found[:, 3:5] > 0).all() and not found[:, :3].any() and not found[:, 5:].any()


def test_shuffling_keeps_the_weights_and_loses_the_network(suspect):
    model, rows, _ = suspect
    before = {name: p.clone() for name, p in model.named_parameters()}
    last, every = features.randomised(model, 1), features.randomised(model)
    assert features.weighted_layers(model) == ["conv1", "conv2", "fc1", "fc2"]
    for name, values in model.named_parameters():
        assert torch.equal(values, before[name]), "the network itself is left alone"
        other, all_of_it = dict(last.named_parameters()), dict(every.named_parameters())
        assert torch.equal(other[name], values) != name.startswith("fc2")
        assert torch.equal(all_of_it[name].flatten().sort().values, values.flatten().sort().values)
    assert (
        (every(rows).argmax(-1) == 7).float().mean()
        < 0.9
        < ((model(rows).argmax(-1) == 7).float().mean())
    )


def test_the_orderings_of_attributions_on_a_planted_trigger(suspect):
    model, rows, footprint = suspect
    found = features.judge(model, rows, 7, footprint, seeds=1)
    area, kept = found["footprint"], found["all layers"]
    assert area["occlusion 3x3"].value > 0.97 and area["gradient"].value > 0.9
    assert abs(area["integrated gradients"].value - area["the image itself"].value) < 0.03
    assert area["random"].low < 0.5 < area["random"].high
    assert kept["integrated gradients"].value > 0.85 > 0.4 > kept["gradient"].value
    assert kept["the image itself"].value == 1
    assert set(found) == {"footprint", "precision", "last layers", "all layers"}
