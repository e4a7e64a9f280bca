"""`probe`: closed forms, and the traps of probing that it does not fall into."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm

from utils.models.transformer import build_transformer
from utils.probing.causal import Causal
from utils.probing.codelength import online_code
from utils.probing.controls import control_labels, shuffled_labels
from utils.probing.probes import probe
from utils.probing.rows import ProbingError
from utils.reports import Report
from utils.sites import Site, SiteError

QUICK = {"code": False, "n_resamples": 200}


def _planted(n=4000, d=10, gap=1.5, seed=0):
    """Two Gaussian classes along one direction: the best that anybody can do is Phi(gap / 2)."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    way = np.random.default_rng(9).normal(size=d)
    return rng.normal(size=(n, d)) + gap * y[:, None] * way / np.linalg.norm(way), y


def _words(n=3000, types=60, d=64, seed=0):
    """Rows that are their word's vector, as good as orthogonal: no class in them but by heart."""
    rng = np.random.default_rng(seed)
    word = rng.integers(types, size=n)
    vectors = np.random.default_rng(3).normal(size=(types, d))
    label = np.arange(types) % 3
    return vectors[word] + 0.1 * rng.normal(size=(n, d)), label[word], word


def test_a_planted_concept_is_read_as_well_as_can_be():
    x, y = _planted(20_000)
    found = probe(x, y, **QUICK)
    assert abs(found["accuracy"].value - norm.cdf(0.75)) < 1e-2
    assert abs(found["AUROC"].value - norm.cdf(1.5 / np.sqrt(2))) < 1e-2
    assert found["accuracy"].low < norm.cdf(0.75) < found["accuracy"].high + 0.01
    assert abs(found["majority class"].value - 0.5) < 0.02
    assert abs(found["shuffled labels"].value - 0.5) < 0.03


def test_words_known_by_heart_are_no_knowledge_of_the_class():
    x, y, word = _words()
    found = probe(x, y, types=word, **QUICK)
    assert found["accuracy"].value > 0.97 and found["control task"].value > 0.97
    assert abs(found["selectivity"].value) < 0.03
    assert found["unseen types"].value < 0.6
    assert any("by heart" in note for note in found.notes)


def test_a_class_that_is_there_is_selective_and_holds_for_unseen_words():
    x, y, word = _words()
    x = np.c_[0.3 * x, 3 * np.eye(3)[y]]
    found = probe(x, y, types=word, random_init=x[:, :64], **QUICK)
    assert found["unseen types"].value > 0.9
    assert found["random-init twin, unseen types"].value < 0.6


def test_a_split_by_row_that_tears_groups_apart_says_so():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(200), 5)
    y = rng.integers(2, size=200)[group]  # the group's own, and nothing in x tells but the group
    x = rng.normal(size=(200, 32))[group] + 0.05 * rng.normal(size=(1000, 32))
    torn = probe(x, y, groups=group, split_by="row", **QUICK)
    whole = probe(x, y, groups=group, **QUICK)
    assert any(note.startswith("Warning: split by row") for note in torn.notes)
    assert not any(note.startswith("Warning") for note in whole.notes)
    assert torn["accuracy"].value > whole["accuracy"].value + 0.03
    assert abs(whole["accuracy"].value - 0.5) < 0.12
    assert whole["accuracy"].n < 200 < 1000  # groups are counted, not rows


def test_a_short_code_is_for_what_is_easy_to_learn():
    x, y = _planted(2000, gap=6)
    easy = online_code(x, y, _linear, kinds=2).mean()
    none = online_code(x, shuffled_labels(y, 0), _linear, kinds=2).mean()
    assert easy < 0.15 and 0.98 < none < 1.2


def _linear():
    from utils.probing.classifiers import linear

    return linear()


def test_control_labels_belong_to_types_and_keep_the_share_of_classes():
    y, types = np.array([0, 0, 1] * 400), np.arange(1200) % 300
    labels = control_labels(types, y, 0)
    assert all(len(set(labels[types == t])) == 1 for t in range(300))
    assert abs(labels.mean() - 1 / 3) < 0.08
    assert (labels != control_labels(types, y, 1)).any()


def test_many_layers_and_widths_widen_the_intervals_and_choose_on_fitted_rows():
    x, y = _planted(1500)
    noise = np.random.default_rng(1).normal(size=x.shape)
    one = probe(x, y, **QUICK)
    both = probe({"a": noise, "b": x}, y, widths=(0, 16), **QUICK)
    wide = both["b: accuracy"]
    assert wide.high - wide.low > one["accuracy"].high - one["accuracy"].low
    assert any("chosen layer" in row.name for row in both.rows)
    assert both["b: MLP-16: accuracy"].value > 0.7 > both["a: accuracy"].value


def test_more_features_than_rows_fit_anything_and_are_noted():
    rng = np.random.default_rng(0)
    found = probe(rng.normal(size=(60, 200)), rng.integers(2, size=60), **QUICK)
    told = [note for note in found.notes if "any labels can be separated" in note]
    assert told and "accuracy 1.00" in told[0]
    assert found["accuracy"].low < 0.6


@pytest.fixture(scope="module")
def network():
    model = build_transformer(
        d_model=16, d_head=8, n_heads=2, n_layers=1, d_mlp=32, n_ctx=4, d_vocab=6, d_vocab_out=6
    )
    tokens = torch.randint(6, (600, 4), generator=torch.Generator().manual_seed(0))
    return model, tokens, Site("blocks.0.hook_resid_post", position=-1)


def test_a_direction_the_network_uses_does_more_than_random_ones(network):
    model, tokens, site = network
    score = model(tokens)[:, -1, 2]
    y = score > score.median()
    causal = Causal(model, tokens[:100], site, lambda out: out[:, -1, 2], target=True)
    found = probe(site.read(model, tokens), y, causal=causal, **QUICK)
    effect = found["effect along the difference of means"]
    null = found["random directions, as long as the difference of means"]
    assert effect.low > null.high and effect.value > 0


def test_no_accuracy_without_its_baselines():
    x, y = _planted(400)
    found = probe(x, y, **QUICK)
    assert isinstance(found, Report)
    assert {"majority class", "shuffled labels"} <= {row.name for row in found.rows}


@pytest.mark.parametrize(
    "change, word",
    [
        ({"y": np.zeros(100, int)}, "two classes"),
        ({"X": np.ones((100, 4))}, "same in every row"),
        ({"X": np.full((100, 4), np.nan)}, "NaN"),
        ({"groups": np.arange(50)}, "50 entries for 100 rows"),
        ({"seeds": ()}, "one seed"),
        ({"widths": (-1,)}, "widths"),
        ({"split_by": "group"}, "needs groups"),
        ({"random_init": np.ones((7, 3)) * np.arange(7)[:, None]}, "7 rows for 100"),
        ({"X": {}}, "no layers"),
    ],
)
def test_wrong_input_is_told(change, word):
    x, y = _planted(100)
    with pytest.raises(ProbingError, match=word):
        probe(**{"X": x, "y": y, **QUICK, **change})


def test_labels_may_be_words_and_a_site_must_be_of_the_model(network):
    x, y = _planted(300)
    assert probe(x, np.array(["no", "yes"])[y], **QUICK)["accuracy"].value > 0.6
    model, tokens, site = network
    causal = Causal(model, tokens, Site("hook_fc1"), lambda out: out[:, -1, 2])
    with pytest.raises(SiteError, match="No hook"):
        probe(x, y, causal=causal, **QUICK)
    causal = Causal(model, tokens, site, lambda out: out[:, -1, 2])
    with pytest.raises(ProbingError, match="was X read at this site"):
        probe(x, y, causal=causal, **QUICK)
