"""What linear algebra says of a rank-one edit, and of the covariance behind it."""

import pytest
import torch

from utils.editing import EditingError, covariance, keys, linear_behind, rank_one
from utils.models.cnn import ChallengeCNN
from utils.models.transformer import build_transformer
from utils.sites import Site, SiteError


def drawn(seed=0, out=5, width=7, n=40):
    g = torch.Generator().manual_seed(seed)
    mixed = torch.randn(n, width, generator=g, dtype=torch.float64) @ torch.randn(
        width, width, generator=g, dtype=torch.float64
    )
    draw = [torch.randn(s, generator=g, dtype=torch.float64) for s in ((out, width), width, out)]
    return *draw, mixed.T @ mixed / n


@pytest.mark.parametrize("seed", range(5))
def test_the_key_is_mapped_exactly(seed):
    weight, key, change, c = drawn(seed)
    edited = rank_one(weight, key, change, c)
    assert torch.allclose(edited @ key, weight @ key + change, atol=1e-9)
    assert int(torch.linalg.matrix_rank(edited - weight)) == 1


@pytest.mark.parametrize("seed", range(5))
def test_keys_orthogonal_under_the_inverse_covariance_do_not_move(seed):
    weight, key, change, c = drawn(seed)
    direction = torch.linalg.solve(c, key)
    other = torch.randn(20, len(key), dtype=torch.float64)
    other -= torch.outer(other @ direction, key) / (key @ direction)  # k' C^-1 other = 0
    edited = rank_one(weight, key, change, c)
    assert torch.allclose(other @ edited.T, other @ weight.T, atol=1e-8)


def test_no_other_edit_of_the_key_moves_typical_keys_less():
    weight, key, change, c = drawn()
    best = rank_one(weight, key, change, c) - weight

    def moved(difference):  # E |difference k|^2 over keys of second moment c
        return float(torch.trace(difference @ c @ difference.T))

    for seed in range(20):
        noise = torch.randn(best.shape, generator=torch.Generator().manual_seed(seed)).double()
        noise -= torch.outer(noise @ key, key) / (key @ key)  # the key stays where it is mapped
        assert moved(best + noise) > moved(best)
    plain = rank_one(weight, key, change, torch.eye(len(key))) - weight
    assert moved(plain) > moved(best)


def test_a_key_or_covariance_without_size_is_refused():
    weight, key, change, c = drawn()
    with pytest.raises(EditingError, match="zero"):
        rank_one(weight, 0 * key, change, c)
    with pytest.raises(EditingError, match="not positive"):
        rank_one(weight, key, change, -c)


TOY = build_transformer(n_layers=2, d_model=16, n_heads=2, d_head=8, d_mlp=12, n_ctx=5, d_vocab=9)
TOKENS = torch.randint(9, (30, 5), generator=torch.Generator().manual_seed(0))
CNN, IMAGES = ChallengeCNN(), torch.rand(30, 1, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "model, inputs, site, name, shape",
    [
        (TOY, TOKENS, Site("blocks.0.hook_mlp_out", position=2), "blocks.0.mlp.fc_out", (16, 12)),
        (TOY, TOKENS, Site("blocks.1.mlp.hook_pre", position=-1), "blocks.1.mlp.fc_in", (12, 16)),
        (TOY, TOKENS, Site("blocks.1.hook_attn_out", position=0), "blocks.1.attn.o", (16, 16)),
        (CNN, IMAGES, Site("hook_fc1_pre"), "fc1", (200, 400)),
        (CNN, IMAGES, Site("hook_logits"), "fc2", (2, 200)),
    ],
)
def test_the_map_behind_a_site_and_its_keys(model, inputs, site, name, shape):
    at = linear_behind(model, site, inputs)
    assert (at.name, tuple(at.weight.shape)) == (name, shape)
    read = keys(model, at, inputs)
    written = read @ at.weight.T + at.module.bias
    assert torch.allclose(written, site.read(model, inputs), atol=1e-5)


@pytest.mark.parametrize(
    "model, inputs, site, says",
    [
        (CNN, IMAGES, Site("hook_fc1"), "No linear map ends"),
        (CNN, IMAGES, Site("hook_conv2"), "No linear map ends"),
        (TOY, TOKENS, Site("blocks.0.hook_resid_post", position=1), "No linear map ends"),
        (TOY, TOKENS, Site("blocks.0.hook_mlp_out"), "say with position="),
        (TOY, TOKENS, Site("blocks.0.hook_mlp_out", position=[1, 2]), "name the last of them"),
        (TOY, TOKENS, Site("blocks.0.hook_mlp_out", position=slice(1, 3)), "name the last"),
        (TOY, TOKENS, Site("blocks.0.hook_mlp_out", position=1, neuron=3), "leave out neuron="),
        (CNN, IMAGES, Site("hook_fc1_pre", basis=torch.eye(200)[:, :2]), "leave out basis="),
    ],
)
def test_sites_without_one_linear_map_and_one_key(model, inputs, site, says):
    with pytest.raises(EditingError, match=says):
        linear_behind(model, site, inputs)


def test_an_unknown_hook_is_the_sites_own_error():
    with pytest.raises(SiteError, match="hook_fc1_pre"):
        linear_behind(CNN, Site("hook_fc1_prae"), IMAGES)


def test_covariance_is_the_second_moment_over_every_position_and_a_ridge():
    site = Site("blocks.0.hook_mlp_out", position=2)
    every = Site("blocks.0.mlp.hook_post").read(TOY, TOKENS).reshape(-1, 12).double()
    moment = every.T @ every / 150
    c = covariance(TOY, site, TOKENS, ridge=0.1)
    ridge = 0.1 * moment.diagonal().mean() * torch.eye(12)
    assert torch.allclose(c.matrix, moment + ridge)
    assert "150 keys of 30 inputs" in c.protocol and "ridge 0.1" in c.protocol
    k = every[:3]
    assert torch.allclose(c.solve(k) @ c.matrix, k, atol=1e-8)


def test_a_singular_covariance_is_refused_and_the_ridge_named():
    site = Site("hook_fc1_pre")  # 400 entries, 30 images
    with pytest.raises(EditingError, match=r"singular \(rank .* of 400\).*ridge=0.01"):
        covariance(CNN, site, IMAGES, ridge=0)
    assert covariance(CNN, site, IMAGES).ridge == 0.01
    for wrong in (-0.1, float("nan")):
        with pytest.raises(EditingError, match="ridge"):
            covariance(CNN, site, IMAGES, ridge=wrong)
