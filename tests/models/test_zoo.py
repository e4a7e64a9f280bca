"""Shipped weights: as recorded, as good as recorded, and refused when they are not."""

import dataclasses
import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from utils.models import zoo
from utils.models.recipes import RECIPES, Recipe

NAMES = sorted(zoo.manifest())
FIGURES = [(name, key) for name in NAMES for key in zoo.manifest()[name]["figures"]]


@pytest.fixture(scope="module")
def networks():
    torch.set_num_threads(1)
    return {name: zoo.load(name) for name in NAMES}


@pytest.fixture(scope="module")
def measured(networks):
    return {name: RECIPES[name].figures(model) for name, model in networks.items()}


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the shipped weights that a test may spoil."""
    folder = shutil.copytree(zoo.WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(zoo, "WEIGHTS", folder)
    return folder


def refusal(call, *arguments):
    with pytest.raises(zoo.WeightsError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is shipped -------------------------------------------------------------------------


def test_recipes_manifest_and_files_are_the_same_networks():
    assert set(RECIPES) == set(zoo.manifest())
    listed = sorted(entry["file"] for entry in zoo.manifest().values())
    assert sorted(p.name for p in zoo.WEIGHTS.glob("*.safetensors")) == listed


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_are_the_recorded_ones(name):
    path, entry = zoo.verify(name), zoo.manifest()[name]
    assert path == zoo.WEIGHTS / entry["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    assert entry["figures"] and all(0 <= value <= 1 for value in entry["figures"].values())


@pytest.mark.parametrize("name, key", FIGURES)
def test_shipped_weights_are_as_good_as_recorded(measured, name, key):
    assert set(measured[name]) == set(zoo.manifest()[name]["figures"])
    assert measured[name][key] == pytest.approx(zoo.manifest()[name]["figures"][key], abs=0.005)


def test_the_network_of_challenge_1_is_as_good_as_the_original(measured):
    (accuracy,) = measured["cnn-challenge"].values()
    assert accuracy >= 0.955


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_poor_for_a_network_that_was_not_trained(measured, name):
    """Else the figures would not show that anything was learned."""
    torch.manual_seed(0)
    untrained = RECIPES[name].figures(RECIPES[name].build().eval())
    # the first figure is over all inputs; a network that always says "no" is right on some kinds
    assert next(iter(untrained.values())) < min(measured[name].values()) - 0.3


@pytest.mark.parametrize("name", NAMES)
def test_loaded_networks_are_ready_to_be_looked_at(networks, name):
    model, stored = networks[name], load_file(zoo.verify(name))
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert set(stored) == set(model.state_dict())
    assert all(torch.equal(value, stored[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_an_untrained_twin_is_the_same_architecture_with_other_random_weights(networks, name):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    twin, same, other = zoo.untrained(name), zoo.untrained(name), zoo.untrained(name, seed=101)
    assert torch.equal(torch.rand(3), expected)
    assert not twin.training and not any(p.requires_grad for p in twin.parameters())
    states = [m.state_dict() for m in (twin, same, other, RECIPES[name].build(), networks[name])]
    keys = [k for k, v in states[0].items() if v.is_floating_point()]
    assert [set(s) for s in states] == [set(states[0])] * 5
    assert all(torch.equal(states[0][k], states[1][k]) for k in keys)
    for unlike in states[2:]:  # another seed, the start of training, its end
        assert any(not torch.equal(states[0][k], unlike[k]) for k in keys)


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("call", [zoo.verify, zoo.load])
def test_an_unknown_name_is_answered_with_the_known_ones(call):
    text = refusal(call, "cnn-chalenge")
    assert "'cnn-chalenge'" in text and all(name in text for name in NAMES)


@pytest.mark.parametrize("call", [zoo.verify, zoo.load])
@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_one_flipped_bit_is_noticed(copied, call, place):
    path = copied / "cnn-challenge.safetensors"
    content = bytearray(path.read_bytes())
    content[int(place * len(content)) if place > 0 else place] ^= 1
    path.write_bytes(content)
    text = refusal(call, "cnn-challenge")
    assert path.name in text and "git checkout -- utils/models/weights" in text
    zoo.verify("induction")  # the others are still good


def test_a_missing_file_is_noticed(copied):
    (copied / "induction.safetensors").unlink()
    text = refusal(zoo.load, "induction")
    assert "induction.safetensors is missing" in text and "git checkout" in text
    assert "python -m utils retrain induction --install" in text


@pytest.mark.parametrize("content", [None, "", '{"cnn-challenge": {"file"'])
def test_a_missing_or_damaged_manifest_is_noticed(copied, content):
    (copied / "manifest.json").unlink()
    if content is not None:
        (copied / "manifest.json").write_text(content)
    assert "git checkout -- utils/models/weights" in refusal(zoo.verify, "cnn-challenge")


# --- making them again -----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_saving_and_loading_is_exact(networks, name, tmp_path):
    path = tmp_path / "new folder" / "copy.safetensors"
    digest = zoo.save(networks[name], path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    again, state = load_file(path), networks[name].state_dict()
    assert set(again) == set(state)
    assert all(torch.equal(again[key], state[key]) for key in state)
    assert zoo.save(networks[name], path) == digest  # the same bytes each time


def test_what_is_installed_verifies_and_loads(networks, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "none yet")
    zoo.install("induction", networks["induction"], {"accuracy": 0.987654})
    path = zoo.install("cnn-challenge", networks["cnn-challenge"], {"accuracy": 0.5})
    assert list(zoo.manifest()) == ["cnn-challenge", "induction"]
    assert zoo.manifest()["induction"]["figures"] == {"accuracy": 0.9877}
    assert zoo.verify("cnn-challenge") == path
    images = torch.rand(3, 1, 28, 28)
    assert torch.equal(zoo.load("cnn-challenge")(images), networks["cnn-challenge"](images))
    assert json.loads((tmp_path / "none yet" / "manifest.json").read_text()) == zoo.manifest()


def test_installing_replaces_one_network_and_leaves_the_others(networks, copied):
    before = zoo.manifest()
    other = RECIPES["cnn-challenge"].build()
    nn.init.zeros_(other.fc2.weight)
    zoo.install("cnn-challenge", other, {"accuracy": 0.5})
    after = zoo.manifest()
    assert after["cnn-challenge"]["sha256"] != before["cnn-challenge"]["sha256"]
    assert all(after[name] == before[name] for name in NAMES if name != "cnn-challenge")
    assert not zoo.load("cnn-challenge").fc2.weight.any()


@pytest.mark.parametrize("fails", [False, True])
def test_retraining_uses_one_thread_and_gives_the_rest_back(monkeypatch, fails):
    threads = []

    def train(model, progress, checkpoint):
        threads.append(torch.get_num_threads())
        model.train()
        progress(1, 1, 0.0)
        if fails:
            raise KeyboardInterrupt
        nn.init.ones_(model.weight)

    recipe = Recipe("tiny", lambda: nn.Linear(2, 2), train, lambda m: {"w": m.weight.mean().item()})
    monkeypatch.setitem(RECIPES, "tiny", recipe)
    before, calls = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        if fails:
            with pytest.raises(KeyboardInterrupt):
                zoo.retrain("tiny", lambda *call: calls.append(call))
        else:
            model, figures = zoo.retrain("tiny", lambda *call: calls.append(call))
            assert figures == {"w": 1.0} and not model.training
        assert threads == [1] and torch.get_num_threads() == 2
        assert calls == [(1, 1, 0.0)]
    finally:
        torch.set_num_threads(before)


def test_a_twin_of_an_unknown_network():
    text = refusal(zoo.untrained, "nope")
    assert "'nope'" in text and all(name in text for name in RECIPES)


def test_retraining_an_unknown_network():
    text = refusal(zoo.retrain, "nope", lambda *call: None)
    assert "'nope'" in text and all(name in text for name in RECIPES)


def test_a_recipe_repeats_bit_for_bit(monkeypatch):
    """The shortest of them, a few steps of it; the whole is `python -m utils retrain`."""
    from utils.models import recipes

    real = recipes.train_language
    short = {"steps": 12}
    monkeypatch.setattr(recipes, "train_language", lambda *a, **k: real(*a, **{**k, **short}))
    recipe = dataclasses.replace(RECIPES["largest-digit"], figures=lambda model: {})
    monkeypatch.setitem(RECIPES, "largest-digit", recipe)
    states = [zoo.retrain("largest-digit", lambda *c: None)[0].state_dict() for _ in range(2)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    start = RECIPES["largest-digit"].build().state_dict()
    assert any(not torch.equal(states[0][key], start[key]) for key in start)


@pytest.mark.parametrize("name", sorted(zoo.manifest()))
def test_loading_leaves_the_callers_random_numbers_alone(name):
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    zoo.load(name)
    assert torch.equal(torch.rand(3), expected)
