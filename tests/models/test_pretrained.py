"""Pretrained models from a folder or a hub cache; a tiny one with random weights stands in."""

from __future__ import annotations

import shutil

import pytest
import torch

from tests.models.tiny import save_tiny_gpt2
from utils.data import statements
from utils.models import pretrained
from utils.models.pretrained import PretrainedError, Texts
from utils.sites import Site, SiteError
from utils.steering import along_direction

MADE = statements.make()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_gpt2(tmp_path_factory.mktemp("tiny"), MADE.answered(True))


@pytest.fixture(scope="module")
def model(folder):
    return pretrained.load(folder)


def test_it_is_the_network_that_was_saved(folder, model):
    from transformers import AutoModelForCausalLM

    tokens = model.to_tokens(MADE.texts[0])
    theirs = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    with torch.no_grad():
        assert torch.allclose(model(tokens), theirs(tokens).logits, atol=1e-5)
    assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_the_untrained_twin_has_other_weights_and_the_same_shape(folder, model):
    twin, again = (pretrained.untrained(folder, seed=3) for _ in range(2))
    tokens = model.to_tokens(MADE.texts[0])
    assert twin(tokens).shape == model(tokens).shape
    assert not torch.allclose(twin(tokens), model(tokens), atol=1e-3)
    assert torch.equal(twin(tokens), again(tokens))


def test_texts_of_unequal_length_are_read_at_their_own_last_token(model):
    some = (*MADE.texts[:9], "Short.", "A much longer text, that goes on. And on.")
    texts, site = Texts(model, some), Site("blocks.1.hook_resid_post", position=-1)
    values = texts.read(site)
    logits = texts.logits()
    for row, text in enumerate(some):
        tokens = model.to_tokens(text)
        assert torch.allclose(values[row], site.read(model, tokens)[0], atol=1e-5)
        assert torch.allclose(logits[row], model(tokens)[0, -1], atol=1e-4)


def test_a_tensor_written_keeps_to_its_own_text(model):
    texts = Texts(model, MADE.texts[:12])
    site = Site("blocks.0.hook_resid_post", position=-1)
    old = texts.read(site)
    assert torch.allclose(
        texts.logits([(site, old)], allow_unchanged=True), texts.logits(), atol=1e-4
    )
    rolled = texts.logits([(site, old.roll(1, 0))])
    assert not torch.allclose(rolled, texts.logits(), atol=1e-4)
    with pytest.raises(SiteError):
        texts.logits([(site, old)])  # it changes nothing, so the experiment did not happen


def test_steering_works_on_text(model):
    texts = Texts(model, MADE.texts[:5])
    line = along_direction(Site("blocks.1.hook_resid_post", position=-1), torch.randn(32))
    moved = texts.logits([(line, lambda old: old + 3.0)])
    assert (moved - texts.logits()).abs().max() > 1e-3


def test_a_hub_cache_will_do(folder, tmp_path):
    snapshot = tmp_path / "models--lab--tiny" / "snapshots" / "0123456789"
    shutil.copytree(folder, snapshot)
    (tmp_path / "models--lab--tiny" / "refs").mkdir()
    (tmp_path / "models--lab--tiny" / "refs" / "main").write_text("0123456789")
    assert pretrained.folder_of("lab/tiny", tmp_path).name == "0123456789"
    assert pretrained.load("lab/tiny", tmp_path).cfg.n_layers == 2


def test_what_is_not_there_is_told(folder, tmp_path):
    for name in ("gpt2", "a/b/c", "no such folder"):
        with pytest.raises(PretrainedError, match="on this machine"):
            pretrained.load(name, tmp_path)
    with pytest.raises(PretrainedError, match="no config.json"):
        pretrained.load(tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(PretrainedError, match="cannot be loaded"):
        pretrained.load(broken)


@pytest.mark.parametrize(
    "texts, word",
    [
        ([], "at least one"),
        ("one text", "list of texts"),
        (["fine", "  "], "number 1 is empty"),
        (["word " * 60], "48"),
    ],
)
def test_wrong_texts_are_told(model, texts, word):
    with pytest.raises(PretrainedError, match=word):
        Texts(model, texts)


def test_wrong_questions_are_told(model):
    texts = Texts(model, MADE.texts[:3])
    with pytest.raises(PretrainedError, match="position"):
        texts.read(Site("blocks.0.hook_resid_post"))
    with pytest.raises(SiteError, match="No hook"):
        texts.read(Site("blocks.7.hook_resid_post", position=-1))
    with pytest.raises(PretrainedError, match="tokens in this model"):
        texts.token(" incomprehensibility")
    assert isinstance(texts.token("a"), int)
