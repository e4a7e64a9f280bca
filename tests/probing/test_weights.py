"""Erasers multiplied into weights: exact where they promise it, undone bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from utils.models.cnn import ChallengeCNN
from utils.models.transformer import build_transformer
from utils.probing.erasure import erase
from utils.probing.rows import ProbingError
from utils.probing.weights import add_to_weights, along, fold, targeted
from utils.sites import Site, SiteError, run
from utils.steering import steer


@pytest.fixture(scope="module")
def model():
    return build_transformer(
        d_model=12, d_head=6, n_heads=2, n_layers=3, d_mlp=20, n_ctx=4, d_vocab=7, d_vocab_out=7
    )


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(7, (300, 4), generator=torch.Generator().manual_seed(0))


def rows_at(model, site, tokens):
    return site.read(model, tokens).flatten(2).flatten(0, 1)


def eraser_at(model, site, tokens):
    labels = (tokens == 2).flatten()
    return erase(rows_at(model, site, tokens), labels)


@pytest.mark.parametrize("hook", ["hook_mlp_out", "mlp.hook_post", "hook_attn_out"])
@pytest.mark.parametrize("dose", [1.0, 0.4])
def test_folding_is_the_same_as_writing_at_the_site(model, tokens, hook, dose):
    site = Site(f"blocks.1.{hook}")
    eraser = eraser_at(model, site, tokens)
    hooked = run(
        model, tokens, edits=[(site, lambda old: old + dose * (eraser.apply(old) - old))]
    ).output
    edit = fold(model, site, eraser, tokens, dose=dose)
    assert torch.allclose(edit.model(tokens), hooked, atol=1e-5)
    assert len(edit.changed) == 1 and 0 < next(iter(edit.changed.values())) < 2
    assert not torch.allclose(model(tokens), hooked, atol=1e-3)  # the original was not touched


def test_heads_side_by_side(model, tokens):
    site = Site("blocks.0.attn.hook_z")
    eraser = eraser_at(model, site, tokens)
    edit = fold(model, site, eraser, tokens)
    z = site.read(model, tokens)
    hooked = run(model, tokens, edits=[(site, eraser.apply(z.flatten(2)).reshape(z.shape))]).output
    assert torch.allclose(edit.model(tokens), hooked, atol=1e-5)


@pytest.mark.parametrize("place", ["0.hook_resid_pre", "1.hook_resid_mid", "2.hook_resid_post"])
def test_the_stream_holds_nothing_of_it_up_to_the_site(model, tokens, place):
    site = Site(f"blocks.{place}")
    eraser = eraser_at(model, site, tokens)
    edit = fold(model, site, eraser, tokens)
    new = torch.randint(7, (50, 4), generator=torch.Generator().manual_seed(5))
    for earlier in ("blocks.0.hook_resid_pre", f"blocks.{place}"):
        seen = Site(earlier).read(edit.model, new).double()
        read = (seen - eraser.mean) @ eraser.right.T
        assert read.abs().max() < 1e-4 * max(1.0, float(eraser.right.norm()))


def test_reading_side_of_the_stream(model, tokens):
    site = Site("blocks.1.hook_resid_mid")
    eraser = eraser_at(model, site, tokens)
    edit = fold(model, site, eraser, tokens, side="read")
    assert list(edit.changed) == ["blocks.1.mlp.fc_in"]
    mlp = Site("blocks.1.hook_mlp_out")
    wanted = run(model, tokens, edits=[eraser.as_edit(site)], read=[mlp]).values[0]
    assert torch.allclose(mlp.read(edit.model, tokens), wanted, atol=1e-5)
    after = Site("blocks.1.hook_resid_mid")
    assert torch.equal(after.read(edit.model, tokens), after.read(model, tokens))


def test_undo_is_bit_for_bit(model, tokens):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    site = Site("blocks.1.hook_resid_post")
    with fold(model, site, eraser_at(model, site, tokens), tokens) as edited:
        assert not torch.allclose(edited(tokens), model(tokens), atol=1e-3)
    for part in (edited.state_dict(), model.state_dict()):
        assert all(torch.equal(part[key], value) for key, value in before.items())


@pytest.mark.parametrize(
    "hook", ["blocks.1.hook_mlp_out", "blocks.1.hook_resid_mid", "blocks.0.hook_resid_pre"]
)
def test_adding_to_the_weights_is_steering(model, tokens, hook):
    vector = torch.randn(12, generator=torch.Generator().manual_seed(1))
    edit = add_to_weights(model, Site(hook), vector, tokens, dose=1.5)
    # in the stream a steered site is what all later layers see; so is a bias added before it
    assert torch.allclose(
        edit.model(tokens), steer(model, tokens, Site(hook), vector, 1.5), atol=1e-5
    )


def test_a_cnn_too():
    cnn = ChallengeCNN().eval()
    images = torch.rand(40, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    site = Site("hook_fc1_pre")
    vector = torch.randn(200, generator=torch.Generator().manual_seed(1))
    eraser = along(vector, site.read(cnn, images).mean(0))
    edit = fold(cnn, site, eraser, images)
    hooked = run(cnn, images, edits=[eraser.as_edit(site)]).output
    assert torch.allclose(edit.model(images), hooked, atol=1e-4)


# --- the targeted eraser ---------------------------------------------------------------------


def planted(n=3000, seed=0):
    """Rows of three kinds: there, like, and others that share a feature with `there`."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(3, size=n)
    x = 0.3 * rng.normal(size=(n, 8))
    x[kind == 0, 0] += 2  # the shared feature
    x[kind == 2, 0] += 2
    x[kind == 0, 1] += 1  # what tells them apart
    return x, kind == 0, kind == 1, kind == 2


def test_targeted_moves_there_onto_like_and_leaves_the_others():
    x, there, like, others = planted()
    eraser = targeted(x, there, like, ridge=0.0)
    y = eraser.apply(x)
    assert np.abs(y[there].mean(0) - x[like].mean(0)).max() < 1e-9
    assert np.abs(y[like].mean(0) - x[like].mean(0)).max() < 1e-9
    moved = np.linalg.norm((y - x)[others].mean(0)) / np.linalg.norm((y - x)[there].mean(0))
    plain = along(x[there].mean(0) - x[like].mean(0), x[like].mean(0)).apply(x)
    naive = np.linalg.norm((plain - x)[others].mean(0)) / np.linalg.norm((y - x)[there].mean(0))
    assert moved < 0.4 < 0.7 < naive
    # a projection: doing it twice is doing it once
    assert np.abs(eraser.apply(y) - y).max() < 1e-9


def test_no_other_reader_tells_the_rows_better():
    x, there, like, _ = planted()
    best, rng = targeted(x, there, like, ridge=0.0).right[0].numpy(), np.random.default_rng(1)

    def told(reader):
        return np.corrcoef(x @ reader, there)[0, 1]

    for _ in range(20):
        assert told(best + 0.2 * rng.normal(size=8)) < told(best)


# --- what is refused -------------------------------------------------------------------------


def test_sites_without_weights_are_refused(model, tokens):
    good = along(torch.ones(12))
    for site, word in (
        (Site("blocks.1.hook_mlp_out", position=0), "part of its hook"),
        (Site("blocks.1.attn.hook_pattern"), "no linear map|No linear map"),
        (Site("hook_fc1"), "No hook"),
    ):
        with pytest.raises(SiteError, match=word):
            fold(model, site, good, tokens)
    with pytest.raises(SiteError, match="No linear map"):
        add_to_weights(model, Site("blocks.1.mlp.hook_post"), torch.ones(20), tokens)
    for site in (Site("blocks.1.mlp.hook_post"), Site("blocks.1.mlp.hook_pre")):
        with pytest.raises(SiteError, match="12 features"):
            fold(model, site, good, tokens)
    with pytest.raises(SiteError, match="5 entries"):
        add_to_weights(model, Site("blocks.1.hook_mlp_out"), torch.ones(5), tokens)
    with pytest.raises(SiteError, match="dose"):
        fold(model, Site("blocks.1.hook_mlp_out"), good, tokens, dose=float("nan"))


def test_rows_that_cannot_be_targeted_are_refused():
    x, there, like, _ = planted(200)
    for bad, word in (
        ((x, there, there), "at once"),
        ((x, there[:10], like), "200 rows"),
        ((x, there & False, like), "marks no row"),
        ((x, there.astype(int), like), "true or false"),
        ((np.ones_like(x), there, like), "same in every row"),
        ((np.full_like(x, np.nan), there, like), "NaN"),
    ):
        with pytest.raises(ProbingError, match=word):
            targeted(*bad)
    with pytest.raises(ProbingError, match="ridge"):
        targeted(x, there, like, ridge=-1)
    few = targeted(np.random.default_rng(0).normal(size=(20, 40)), np.arange(20) < 5,
                   np.arange(20) > 10)  # fmt: skip
    assert "40 features on 20 rows" in few.notes[0]
    with pytest.raises(SiteError, match="length above zero"):
        along(torch.zeros(4))
    with pytest.raises(SiteError, match="centre"):
        along(torch.ones(4), torch.ones(3))
