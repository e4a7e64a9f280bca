"""Adding and taking away a direction at a Site."""

from __future__ import annotations

import pytest
import torch

from utils.models.cnn import ChallengeCNN
from utils.models.transformer import build_transformer
from utils.sites import Site, SiteError
from utils.steering import (
    ablate_direction,
    along_direction,
    dose_response,
    random_directions,
    steer,
)


@pytest.fixture(scope="module")
def model():
    return build_transformer(
        d_model=16, d_head=8, n_heads=2, n_layers=2, d_mlp=32, n_ctx=5, d_vocab=7, d_vocab_out=7
    )


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(7, (6, 5), generator=torch.Generator().manual_seed(0))


def test_random_directions_have_one_length_and_no_preference():
    found = random_directions(32, 2000, norm=3.0)
    assert found.shape == (2000, 32) and torch.allclose(found.norm(dim=1), torch.tensor(3.0))
    assert found.mean(0).norm() < 0.3
    assert torch.equal(found, random_directions(32, 2000, norm=3.0))


def test_a_dose_adds_the_vector_as_it_is(model, tokens):
    site, vector = Site("blocks.1.hook_resid_post", position=-1), torch.randn(16)
    old = site.read(model, tokens)
    out = steer(model, tokens, site, vector, 2.5, read=[site])
    assert torch.allclose(out.values[0], old + 2.5 * vector, atol=1e-5)
    # no layer norm in this network: the logits move by the unembedded vector
    clean = model(tokens).detach()
    moved = out.output[:, -1] - clean[:, -1]
    assert torch.allclose(moved, moved[:1].expand_as(moved), atol=1e-4)
    assert torch.allclose(steer(model, tokens, site, vector, 0.0), clean, atol=1e-5)


def test_directions_run_along_the_channels_of_a_conv():
    cnn = ChallengeCNN()
    images = torch.rand(3, 1, 28, 28)
    site, vector = Site("hook_pool2"), torch.randn(16)
    old = site.read(cnn, images)
    new = steer(cnn, images, site, vector, read=[site]).values[0]
    assert torch.allclose(new - old, vector[:, None, None].expand_as(old), atol=1e-5)


@pytest.mark.parametrize("how", ["zero", "mean", "resample"])
def test_an_ablated_direction_says_nothing_more(model, tokens, how):
    site, vector = Site("blocks.0.hook_resid_post", position=-1), torch.randn(16)
    line = along_direction(site, vector)
    old = line.read(model, tokens)
    new = ablate_direction(model, tokens, site, vector, how, read=[line, site])
    rest = torch.eye(16) - torch.outer(vector, vector) / vector.norm() ** 2
    assert torch.allclose(new.values[1] @ rest, site.read(model, tokens) @ rest, atol=1e-5)
    if how == "resample":
        assert torch.allclose(new.values[0].sort(0).values, old.sort(0).values, atol=1e-5)
    else:
        want = torch.zeros(()) if how == "zero" else old.mean()
        assert torch.allclose(new.values[0], want.expand_as(old), atol=1e-5)


@pytest.mark.parametrize(
    "vector, word",
    [
        (torch.zeros(16), "length above zero"),
        (torch.full((16,), float("nan")), "finite"),
        (torch.ones(2, 16), "shape"),
        (torch.ones(7), "7 rows, but 16 features"),
    ],
)
def test_wrong_directions_are_told(model, tokens, vector, word):
    with pytest.raises(SiteError, match=word):
        steer(model, tokens, Site("blocks.0.hook_resid_post"), vector)


def test_other_wrong_input_is_told(model, tokens):
    site = Site("blocks.0.hook_resid_post", basis=torch.eye(16)[:, :2])
    with pytest.raises(SiteError, match="basis already"):
        steer(model, tokens, site, torch.ones(16))
    with pytest.raises(SiteError, match="dose"):
        steer(model, tokens, Site("blocks.0.hook_resid_post"), torch.ones(16), float("inf"))
    with pytest.raises(SiteError, match="No hook is called"):
        steer(model, tokens, Site("hook_fc1"), torch.ones(16))
    with pytest.raises(SiteError, match="norm above 0"):
        random_directions(4, 2, norm=0)


def test_dose_response_shows_every_dose_beside_random_directions(model, tokens):
    site = Site("blocks.1.hook_resid_post", position=-1)
    unembed = model.unembed.original_component.weight.detach()
    towards = unembed[3] - unembed.mean(0)
    found = dose_response(
        model, tokens, site, towards, lambda out: out[:, -1].softmax(-1)[:, 3],
        doses=(-3, 3), kept={"first position": lambda out: out[:, 0].softmax(-1)[:, 3]}, draws=4,
        what="answer 3",
    )  # fmt: skip
    clean = found["answer 3, dose 0"].value
    assert found["answer 3, dose -3"].value < clean < found["answer 3, dose 3"].value
    null = found["answer 3, dose 3, random"].value
    assert abs(null - clean) < found["answer 3, dose 3"].value - clean
    # what lies elsewhere cannot move: the site is the last position, after the last layer
    for dose in ("-3", "3"):
        assert found[f"first position, dose {dose}"] == found["first position, dose 0"]
    assert {row.role for row in found} == {"result", "null", "baseline", "control"}
    assert all("furthest of 4" in row.note for row in found if row.role == "null")


def test_dose_response_refuses_what_it_cannot_measure(model, tokens):
    site, vector = Site("blocks.1.hook_resid_post"), torch.ones(16)
    mean = lambda out: out.mean((1, 2))  # noqa: E731
    for options, word in (
        ({"doses": ()}, "dose"),
        ({"doses": (0, 1)}, "dose"),
        ({"doses": (1, 1)}, "dose"),
        ({"draws": 0}, "random direction"),
        ({"kept": {"effect": mean}}, "own name"),
    ):
        with pytest.raises(SiteError, match=word):
            dose_response(model, tokens, site, vector, mean, **options)
    with pytest.raises(SiteError, match="one number a row"):
        dose_response(model, tokens, site, vector, lambda out: out.mean())
