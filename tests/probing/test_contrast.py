"""Contrast pairs: closed forms, planted concepts, and the traps that our code must not fall in."""

import numpy as np
import pytest
import torch

from utils.probing import ccs
from utils.probing.contrast import FOUND, contrast
from utils.probing.rows import ProbingError, Split

WIDTH = 16
OPTIONS = {"restarts": 6, "directions": 200, "steps": 300}


def planted(n=400, *, strength=(3.0,), noise=0.3, offset=5.0, share=0.5, seed=0):
    """Pairs in which concept k moves the sides apart along axis k, and a word along the last.

    Returns yes [n, 16], no [n, 16], labels [n, concepts] bool.
    """
    rng = np.random.default_rng(seed)
    labels = rng.random((n, len(strength))) < share
    sign = (2 * labels - 1) * np.array(strength) / 2
    both = rng.normal(size=(n, WIDTH))  # what the sides share
    yes, no = (both + noise * rng.normal(size=(n, WIDTH)) for _ in range(2))
    yes[:, : len(strength)] += sign
    no[:, : len(strength)] -= sign
    yes[:, -1] += offset
    return yes, no, labels


@pytest.fixture(scope="module")
def found():
    yes, no, labels = planted(seed=1)
    return contrast(yes, no, labels[:, 0], **OPTIONS)


# --- closed forms --------------------------------------------------------------------------------


def test_the_loss_of_a_known_direction_by_hand():
    p_yes, p_no = torch.tensor([0.9, 0.2, 0.5]), torch.tensor([0.1, 0.4, 0.5])
    by_hand = ((0.0 + 0.01) + (0.16 + 0.04) + (0.0 + 0.25)) / 3
    assert ccs.ccs_loss(p_yes, p_no).item() == pytest.approx(by_hand)
    yes, no = np.array([[1.0, 2.0], [0.0, -1.0]]), np.array([[-1.0, 0.0], [0.0, 2.0]])
    probe = ccs.CCS(torch.tensor([[1.0, -2.0]]), torch.tensor([0.5]), torch.empty(0))
    sigmoid = [1 / (1 + np.exp(-z)) for z in (1 - 4 + 0.5, 2.5, -1 + 0.5, -4 + 0.5)]
    (a, b), (c, d) = sigmoid[:2], sigmoid[2:]
    by_hand = ((a + c - 1) ** 2 + min(a, c) ** 2 + (b + d - 1) ** 2 + min(b, d) ** 2) / 2
    assert probe.losses(yes, no).item() == pytest.approx(by_hand, abs=1e-6)


def test_an_undecided_and_a_decided_probe():
    half = torch.full((5,), 0.5)
    assert ccs.ccs_loss(half, half).item() == 0.25
    assert ccs.ccs_loss(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])).item() == 0


def test_the_means_and_the_scale_are_those_of_the_fitted_pairs():
    yes, no, _ = planted(seed=2)
    normalise = ccs.Normaliser.fit(yes, no)
    a, b = normalise(yes, no)
    assert np.abs(a.mean(0)).max() < 1e-12 and np.abs(b.mean(0)).max() < 1e-12
    assert (a**2 + b**2).mean() / 2 == pytest.approx(1)
    moved, _ = normalise(yes + 7, no)
    assert moved == pytest.approx(a + 7 / normalise.scale)  # other pairs bring no mean of their own


def test_restarts_fitted_together_are_those_fitted_alone():
    yes, no, _ = planted(120, seed=3)
    pairs = ccs.Normaliser.fit(yes, no)(yes, no)
    together = ccs.fit_ccs(*pairs, restarts=3, steps=80)
    first = ccs.fit_ccs(*pairs, restarts=1, steps=80)
    assert together.weights[0] == pytest.approx(first.weights[0], abs=1e-4)
    assert torch.equal(together.weights, ccs.fit_ccs(*pairs, restarts=3, steps=80).weights)


# --- a planted concept ---------------------------------------------------------------------------


def test_a_planted_concept_is_found_by_every_method_and_every_restart(found):
    assert found.found("truth") == 6 and len(found.restarts) == 6
    for name, vector in found.readouts.items():
        assert vector.norm().item() == pytest.approx(1, abs=1e-5)
        assert vector[0] > 0.7, name  # towards where it holds
        assert torch.cosine_similarity(found.directions[name], torch.eye(WIDTH)[0], dim=0) > 0.97
    # half the distance between +3 and -3 of the differences
    assert found.directions["mass mean"][0].item() == pytest.approx(3, abs=0.15)
    assert found.report["CCS, truth: restart of lowest loss"].value > FOUND
    loss, broken = found.report["CCS loss"], found.report["CCS loss, pairs broken up"]
    assert loss.high < 0.12 < broken.low and broken.high < 0.25


def test_adding_a_direction_once_takes_the_yes_side_to_the_other_pole(found):
    yes, no, labels = planted(2000, seed=4)
    vector = found.directions["first component"].double().numpy()
    lifted = yes[~labels[:, 0]] + vector
    assert lifted.mean(0)[:-1] == pytest.approx(yes[labels[:, 0]].mean(0)[:-1], abs=0.2)


def test_a_report_has_its_nulls_baseline_and_ceilings(found):
    roles = {row.name: row.role for row in found.report}
    assert roles["random directions"] == "null" and roles["majority"] == "baseline"
    assert roles["logistic regression, truth"] == roles["mass mean, truth"] == "ceiling"
    assert "fitted pairs" in found.report.protocol["sign"]
    assert "fitted pairs" in found.report.protocol["normalised"]
    assert "none chosen" in found.report.protocol["restarts"]
    assert len(found.random) == 200 == found.report["random directions"].n
    assert str(found) == str(found.report) and "<table" in found._repr_html_()


def test_no_concept_no_finding():
    yes, no, _ = planted(strength=(0.0,), seed=5)
    coin = np.random.default_rng(0).random(400) < 0.5
    nothing = contrast(yes, no, coin, **OPTIONS)
    assert nothing.found("truth") == 0
    assert nothing.report["logistic regression, truth"].value < 0.65


def test_two_concepts_divide_the_restarts_and_the_loss_does_not_choose():
    yes, no, labels = planted(600, strength=(8.0, 8.0), noise=0.1, seed=6)
    two = contrast(yes, no, labels[:, 0], known={"other": labels[:, 1]}, restarts=20,
                   directions=200, steps=300)  # fmt: skip
    assert two.found("truth") + two.found("other") == 20
    assert 3 <= two.found("truth") <= 17
    assert max(r.loss for r in two.restarts) < 0.005
    by_name = dict(zip(two.names, two.agreement, strict=True))
    for i, restart in enumerate(two.restarts):
        which = "truth" if restart.accuracy["truth"] > 0.9 else "other"
        assert two.agreement[i, two.names.index(which)] > 0.9
    assert by_name["truth"][two.names.index("other")] < 0.65
    assert np.diag(two.agreement) == pytest.approx(1)
    assert two.agreement.shape == (len(two.names),) * 2
    assert len(two.table()) == 20 and two.table()[0]["restart"] == 1
    best = two.restarts[two.lowest]
    assert best.loss == min(r.loss for r in two.restarts)
    with pytest.raises(ProbingError, match="known are truth, other"):
        two.found("opinion")


# --- the traps -----------------------------------------------------------------------------------


def test_accuracies_are_not_folded_up():
    """max(a, 1 - a) on the held-out pairs would lift guessing to .5 and more, always."""
    values = []
    for seed in range(8):
        yes, no, _ = planted(60, strength=(0.0,), seed=seed)
        coin = np.random.default_rng(100 + seed).random(60) < 0.5
        run = contrast(yes, no, coin, seed=seed, **OPTIONS)
        values += [r.accuracy["truth"] for r in run.restarts] + run.random.tolist()
    values = np.array(values)
    assert (values < 0.5).mean() > 0.3 and abs(values.mean() - 0.5) < 0.05


def test_held_out_pairs_do_not_normalise_themselves():
    """Held-out pairs moved along the concept are misread; their own mean would hide the move."""
    yes, no, labels = planted(seed=7)
    rows = Split(np.arange(200), np.arange(200, 400))
    before = contrast(yes, no, labels[:, 0], rows=rows, **OPTIONS)
    yes[200:, 0] += 30.0
    after = contrast(yes, no, labels[:, 0], rows=rows, **OPTIONS)
    assert before.found("truth") == 6 and after.found("truth") == 0
    share = labels[200:, 0].mean()
    assert after.restarts[0].accuracy["truth"] == pytest.approx(share)  # all said to be true
    assert after.restarts[0].loss == before.restarts[0].loss  # the fitted pairs are the same


def test_labels_choose_no_restart():
    """Other labels change what is said of the restarts, never the restarts."""
    yes, no, labels = planted(strength=(8.0, 8.0), seed=8)
    rows = Split(np.arange(200), np.arange(200, 400))
    a, b = (contrast(yes, no, labels[:, k], rows=rows, **OPTIONS) for k in (0, 1))
    for i, (one, other) in enumerate(zip(a.restarts, b.restarts, strict=True), 1):
        assert (one.loss, one.held_out_loss) == (other.loss, other.held_out_loss)
        same = torch.dot(a.readouts[f"CCS {i}"], b.readouts[f"CCS {i}"]).abs()
        assert same.item() == pytest.approx(1, abs=1e-5)
    values = [r.accuracy["truth"] for r in a.restarts]
    row = a.report["CCS, truth: all restarts"]
    assert (row.low, row.high) == pytest.approx((min(values), max(values)))
    assert row.value == pytest.approx(np.mean(values))
    assert a.report["CCS, truth: restart of lowest loss"].value == values[a.lowest]


@pytest.mark.parametrize("share", [0.5, 0.85])
def test_what_is_taken_away_is_the_word_and_not_the_concept(share):
    """A first component of centred differences loses a concept that always points one way. Here
    the word does (it is ten times as large), and the concept is found at any balance."""
    yes, no, labels = planted(share=share, offset=30.0, seed=9)
    run = contrast(yes, no, labels[:, 0], **OPTIONS)
    assert run.readouts["first component"][0] > 0.9
    assert run.readouts["first component"][-1].abs() < 0.2
    assert run.report["first component, truth"].value > FOUND


def test_a_concept_that_always_points_one_way_is_refused():
    yes, no, _ = planted()
    with pytest.raises(ProbingError, match="take such a concept away too"):
        contrast(yes, no, np.ones(400, bool))


def test_random_directions_have_their_sign_from_the_fitted_pairs():
    yes, no, labels = planted(strength=(10.0,), noise=0.1, seed=10)
    easy = contrast(yes, no, labels[:, 0], **OPTIONS)
    assert easy.random.mean() > 0.8  # an easy set: most directions will do
    assert easy.report["random directions"].value == pytest.approx(easy.random.mean())


def test_few_pairs_in_many_dimensions_are_marked():
    yes, no, labels = planted(24, seed=11)
    few = contrast(yes, no, labels[:, 0], **OPTIONS)
    assert "12 pairs in 16 dimensions" in few.report.notes[0]


# --- splits and groups ---------------------------------------------------------------------------


def test_whole_groups_are_held_out_and_counted():
    yes, no, labels = planted(seed=12)
    groups = [f"fact {i % 20}" for i in range(400)]
    run = contrast(yes, no, labels[:, 0], groups=groups, **OPTIONS)
    assert not {i % 20 for i in run.rows.fit} & {i % 20 for i in run.rows.held}
    assert run.report["mass mean, truth"].n == 10
    assert run.report.protocol["split"] == "whole groups"


def test_labels_of_any_kind_and_inputs_of_any_origin():
    yes, no, labels = planted(seed=13)
    words = np.where(labels[:, 0], "true", "false")
    a = contrast(torch.tensor(yes), no.tolist(), words.tolist(), **OPTIONS)
    b = contrast(yes, no, labels[:, 0], **OPTIONS)
    assert torch.equal(a.readouts["mass mean"], b.readouts["mass mean"])
    assert str(a.report) == str(b.report)
    state = torch.get_rng_state()
    contrast(yes, no, labels[:, 0], **OPTIONS)
    assert torch.equal(state, torch.get_rng_state())


# --- what is refused -----------------------------------------------------------------------------


YES, NO, LABELS = planted(40, seed=14)
NAN = np.where(np.arange(WIDTH) == 3, np.nan, YES)


@pytest.mark.parametrize(
    "yes, no, labels, options, words",
    [
        (YES, NO[:39], LABELS[:, 0], {}, "both of its sides"),
        (YES, NO[:, :9], LABELS[:, 0], {}, "of the same width"),
        (YES, YES, LABELS[:, 0], {}, "before the place where"),
        (YES, YES - 3.0, LABELS[:, 0], {}, "differ by the same vector"),
        (NAN, NO, LABELS[:, 0], {}, "x_yes holds NaN"),
        (YES, np.ones_like(NO), LABELS[:, 0], {}, "same in every row"),
        (YES[:, None], NO, LABELS[:, 0], {}, "pick one position"),
        (YES, NO, LABELS[:30, 0], {}, "30 entries"),
        (YES, NO, ["a", "b", "c", "d"] * 10, {}, "4 classes"),
        (YES, NO, LABELS[:, 0], {"known": {"truth": LABELS[:, 0]}}, "another name"),
        (YES, NO, LABELS[:, 0], {"known": {"word": [1] * 40}}, "'word' is 1 in all 40"),
        (YES, NO, LABELS[:, 0], {"restarts": 0}, "restarts >= 1"),
        (YES, NO, LABELS[:, 0], {"groups": [1] * 40}, "one group"),
        (YES, NO, LABELS[:, 0], {"rows": Split(np.arange(20), np.arange(19, 40))}, "both fitted"),
        (YES, NO, LABELS[:, 0], {"rows": Split(np.arange(20), np.arange(20, 41))}, "below 40"),
        (YES, NO, np.arange(40) < 20, {"rows": Split(np.arange(20), np.arange(20, 40))},
         "same in all fitted"),
    ],
)  # fmt: skip
def test_wrong_inputs_end_in_one_clear_sentence(yes, no, labels, options, words):
    with pytest.raises(ProbingError) as caught:
        contrast(yes, no, labels, **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)
