"""Erasers: closed forms, the traps of public code, and reports that show what was not erased."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from utils.models.transformer import build_transformer
from utils.probing.classifiers import linear
from utils.probing.erasure import erase, joint
from utils.probing.rows import ProbingError
from utils.reports import Report
from utils.sites import Site, SiteError, run


def _planted(n=1200, d=12, seed=0):
    """Two independent concepts, each along a direction of its own, in correlated noise."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(d, d)) / np.sqrt(d)
    z, other = rng.integers(2, size=n), rng.integers(2, size=n)
    x = rng.normal(size=(n, d)) @ mixing
    x[:, 0] += 2.0 * z
    x[:, 1:4] += 1.5 * other[:, None]
    return x, z, other


def _own_leace(x, z):
    """Eight lines, from the paper's formula."""
    x = x - x.mean(0)
    z = np.eye(z.max() + 1)[z]
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    keep = values > values.max() * len(values) * np.finfo(float).eps
    root = (vectors[:, keep] / np.sqrt(values[keep])) @ vectors[:, keep].T
    back = (vectors[:, keep] * np.sqrt(values[keep])) @ vectors[:, keep].T
    u, s, _ = np.linalg.svd(root @ (x.T @ (z - z.mean(0)) / len(x)), full_matrices=False)
    return back @ u[:, s > 1e-9] @ u[:, s > 1e-9].T @ root


def test_leace_is_the_formula():
    x, z, other = _planted()
    for labels in (z, 2 * z + other):
        eraser = erase(x, labels)
        wanted = x - (x - x.mean(0)) @ _own_leace(x, labels).T
        assert np.abs(eraser.apply(x) - wanted).max() < 1e-8


@pytest.mark.parametrize("method", ["leace", "mean"])
def test_no_covariance_is_left_on_the_rows_it_was_fitted_on(method):
    x, z, other = _planted()
    for labels in (z, 2 * z + other, np.array(["no", "yes"])[z]):
        erased = erase(x, labels, method).apply(x)
        numbers = np.unique(labels, return_inverse=True)[1]
        shown = np.eye(numbers.max() + 1)[numbers]
        left = (erased - erased.mean(0)).T @ (shown - shown.mean(0)) / len(x)
        assert np.abs(left).max() < 1e-6
        assert np.abs(erased.mean(0) - x.mean(0)).max() < 1e-9  # the mean row stays


def test_leace_moves_the_rows_least():
    x, z, _ = _planted()
    moved = {m: ((x - erase(x, z, m).apply(x)) ** 2).sum() for m in ("leace", "mean")}
    assert moved["leace"] < moved["mean"]
    assert erase(x, z).rank == erase(x, z, "mean").rank == 1


def test_a_weak_concept_is_not_left_in():
    """The package's own tolerance, 0.01, would leave this correlation of about 0.005."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200_000, 3))
    z = (rng.random(200_000) < 0.5 + 0.005 * np.tanh(x[:, 0])).astype(int)
    erased = erase(x, z).apply(x)
    assert np.abs(np.cov(erased.T, z)[:-1, -1]).max() < 1e-9


def test_erasing_random_labels_changes_no_concept():
    x, z, other = _planted()
    noise = np.random.default_rng(5).integers(2, size=len(x))
    eraser = erase(x, noise)
    fresh, z_new, other_new = _planted(seed=1)
    for labels in (z_new, other_new):
        before = linear().fit(fresh[:600], labels[:600]).score(fresh[600:], labels[600:])
        after = eraser.apply(fresh)
        assert abs(linear().fit(after[:600], labels[:600]).score(after[600:], labels[600:])
                   - before) < 0.02  # fmt: skip


def test_one_step_of_inlp_is_no_guard_and_many_take_more_than_they_should():
    x, z, _ = _planted(d=12)
    fresh, z_new, _ = _planted(seed=1)

    def told(steps):
        y = erase(x, z, "inlp", steps=steps).apply(fresh)
        return linear().fit(y[:600], z_new[:600]).score(y[600:], z_new[600:])

    assert told(1) > 0.6 and told(11) < told(1)
    assert erase(x, z, "inlp", steps=11).rank > 5 * erase(x, z).rank


def test_marginal_erasure_leaves_what_joint_erasure_takes():
    """Four classes on a tetrahedron: each alone is erased linearly, their product stays."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(2, size=2000), rng.integers(2, size=2000)
    signs = np.stack([2 * a - 1, 2 * b - 1, (2 * a - 1) * (2 * b - 1)], 1)
    x = np.hstack([signs, rng.normal(size=(2000, 3))]) + 0.1 * rng.normal(size=(2000, 6))
    only, both = erase(x, a), erase(x, joint(a, b))
    given_b = b == 1
    y, w = only.apply(x)[given_b], both.apply(x)[given_b]
    half = len(y) // 2

    def told(rows):
        labels = a[given_b]
        return linear().fit(rows[:half], labels[:half]).score(rows[half:], labels[half:])

    assert told(y) > 0.99 and told(w) < 0.6 and both.rank == 3 and only.rank == 1


def test_the_report_shows_what_was_not_erased():
    x, z, other = _planted(2000)
    fresh, z_new, other_new = _planted(1000, seed=1)
    # the sign of one feature by the size of another: nothing linear, plain to see otherwise
    hidden = np.sign(fresh[:, 5]) * (2 * z_new - 1)
    old = np.sign(x[:, 5]) * (2 * z - 1)
    x, fresh = np.c_[x, 2 * old], np.c_[fresh, 2 * hidden]
    eraser = erase(x, z)
    found = eraser.report(fresh, z_new, kept={"other": other_new}, concept="z", width=32, draws=3)
    assert isinstance(found, Report)
    chance = found["z, always the commonest"].value
    assert abs(found["z, linear probe"].value - chance) < 0.06
    assert found["z, linear probe, before"].value > 0.8
    assert found["z, non-linear probe"].value > 0.9
    assert (
        abs(found["other, linear probe"].value - found["other, linear probe, before"].value) < 0.03
    )
    assert found["z, linear probe, random labels"].value > 0.78
    assert found["z, linear probe, random directions"].value > 0.7
    assert 0 < found["share of the variance moved"].value < 0.5
    roles = {row.role for row in found.rows}
    assert {"result", "baseline", "null"} <= roles


def test_the_report_asks_for_rows_it_was_not_fitted_on():
    x, z, _ = _planted(200)
    with pytest.raises(ProbingError, match="by construction"):
        erase(x, z).report(x, z)


@pytest.fixture(scope="module")
def model():
    return build_transformer(
        d_model=8, d_head=8, n_heads=1, n_layers=2, d_mlp=16, n_ctx=4, d_vocab=5, d_vocab_out=5
    )


def test_it_runs_inside_a_network_at_any_site(model):
    tokens = torch.randint(5, (300, 4), generator=torch.Generator().manual_seed(0))
    site = Site("blocks.0.hook_resid_post", position=-1)
    labels = tokens[:, -1] == 2
    eraser = erase(site.read(model, tokens), labels)
    seen = run(model, tokens, edits=[eraser.as_edit(site)], read=[site]).values[0].double()
    off = labels.double() - labels.double().mean()
    assert ((seen - seen.mean(0)).T @ off / 300).abs().max() < 1e-5
    whole = Site("blocks.0.hook_resid_post")
    name, hook = eraser.as_hook(whole)
    theirs = model.run_with_hooks(tokens, fwd_hooks=[(name, hook)])
    ours = run(model, tokens, edits=[eraser.as_edit(whole)]).output
    assert torch.allclose(theirs, ours, atol=1e-5)
    with pytest.raises(SiteError, match="as_edit"):
        eraser.as_hook(site)
    with pytest.raises(SiteError, match="holds 16"):
        run(model, tokens, edits=[eraser.as_edit(Site("blocks.0.mlp.hook_post"))])
    with pytest.raises(SiteError, match="No hook"):
        run(model, tokens, edits=[eraser.as_edit(Site("hook_fc1"))])


def test_behaviour_stands_beside_its_twins(model):
    tokens = torch.randint(5, (200, 4), generator=torch.Generator().manual_seed(0))
    site = Site("blocks.1.hook_resid_post", position=-1)
    clean = model(tokens)[:, -1].argmax(-1)

    def same(write):
        edits = [] if write is None else [(site, write)]
        out = run(model, tokens, edits=edits, allow_unchanged=True).output
        return (out[:, -1].argmax(-1) == clean).float()

    labels = clean == clean.mode().values
    x = site.read(model, tokens)
    more = torch.randint(5, (300, 4), generator=torch.Generator().manual_seed(1))
    other = site.read(model, more)
    eraser = erase(other, model(more)[:, -1].argmax(-1) == clean.mode().values)
    found = eraser.report(x, labels, behaviour={"same answer": same}, draws=2)
    assert found["same answer, before"].value == 1
    assert {"same answer, random labels", "same answer, random directions"} <= {
        row.name for row in found.rows
    }


def test_more_features_than_rows_is_noted_and_done():
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(20, 50)), np.arange(20) % 2
    eraser = erase(x, z)
    erased = eraser.apply(x)
    assert np.abs((erased - erased.mean(0)).T @ (z - z.mean())).max() < 1e-6
    assert "50 features on 20 rows" in eraser.notes[0]


@pytest.mark.parametrize(
    "x, z, options, word",
    [
        (np.eye(4), [1, 1, 1, 1], {}, "nothing to erase"),
        (np.ones((4, 2)), [0, 1, 0, 1], {}, "same in every row"),
        (np.array([[1, np.nan], [0, 1]]), [0, 1], {}, "NaN"),
        (np.eye(4), [0, 1], {}, "2 entries for 4 rows"),
        (np.eye(4), np.zeros((3, 2)) + np.eye(3, 2), {}, "3 rows and x has 4"),
        (np.eye(4), [0, 1, 0, 1], {"method": "magic"}, "method"),
        (np.eye(4), [0, 1, 0, 1], {"method": "inlp", "steps": 0}, "one step"),
    ],
)
def test_wrong_input_is_told(x, z, options, word):
    with pytest.raises(ProbingError, match=word):
        erase(x, z, **options)


def test_wrong_widths_and_joints_are_told():
    x, z, _ = _planted(100)
    with pytest.raises(ProbingError, match="12 features; here are 5"):
        erase(x, z).apply(np.zeros((3, 5)))
    with pytest.raises(ProbingError, match="12 features; here are 5"):
        erase(x, z).report(np.random.default_rng(0).normal(size=(30, 5)), [0, 1] * 15)
    with pytest.raises(ProbingError, match="two sets"):
        joint([1, 2])
    with pytest.raises(ProbingError, match="equal"):
        joint([1, 2], [1, 2, 3])
