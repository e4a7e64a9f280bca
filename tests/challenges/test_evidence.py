"""The tests of an explanation, on activations and networks whose truth is known."""

import pytest
import torch
from scipy.stats import chisquare

from tests.challenges.toy import toy_case
from utils.challenges import cnn
from utils.challenges import evidence as ev
from utils.data import digits
from utils.errors import CourseError
from utils.estimates import Estimate
from utils.models import zoo
from utils.sites import Site

TEN = torch.arange(10)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def network():
    torch.set_num_threads(1)
    return zoo.load("cnn-challenge")


@pytest.fixture(scope="module")
def held_out():
    return digits.make("held-out", 60, seed=3)


@pytest.fixture
def cut():
    """20 inputs, 6 neurons, 3 classes, random."""
    activations = torch.rand(20, 6, generator=draws(1))
    matrix = torch.randn(6, 3, generator=draws(2))
    return ev.Cut(activations, lambda a: a @ matrix, torch.arange(20))


# --- finding detectors -----------------------------------------------------------------------


def test_planted_detectors_are_found():
    below, above = torch.arange(90) < 30, torch.arange(90) >= 60
    activations = torch.zeros(90, 7)
    activations[:, 0] = below * 2.0  # plain
    activations[:, 1] = above * 3.0
    activations[:, 2] = above * 1.0 + below * 0.6  # rather above, but not twice
    activations[:, 3] = below * 1.0 + above * 0.4  # below, more than twice
    activations[:, 4] = (~below & ~above) * 5.0  # the middle: neither
    activations[:, 5] = below * 0.01  # clear, but tiny
    found = ev.find_detectors(activations, below, above)
    assert found.below.tolist() == [0, 3, 5] and found.above.tolist() == [1, 2]
    assert found.both.tolist() == [0, 3, 5, 1, 2]
    strict = ev.find_detectors(activations, below, above, ratio=2.0, floor=0.02)
    assert strict.below.tolist() == [0, 3] and strict.above.tolist() == [1]
    turned = ev.find_detectors(activations, above, below)
    assert turned.below.tolist() == [1, 2] and turned.above.tolist() == [0, 3, 5]


# --- the cut is exact ------------------------------------------------------------------------


def test_the_readout_is_the_rest_of_the_network(network, held_out):
    site = Site("hook_fc1")
    kept = site.read(network, held_out.images)
    cut = ev.Cut(kept, network.fc2, held_out.original)
    torch.testing.assert_close(cut.readout(kept), network(held_out.images), atol=1e-5, rtol=0)
    for values in (kept.flip(0), kept * 0.5, torch.rand(kept.shape, generator=draws())):
        written = site.write(network, held_out.images, values)
        torch.testing.assert_close(cut.readout(values), written, atol=1e-5, rtol=0)
    assert torch.equal(cut.classes(), network(held_out.images).argmax(-1))


def test_a_swap_is_a_write_of_those_neurons_in_the_real_network(network, held_out):
    kept = Site("hook_fc1").read(network, held_out.images)
    cut = ev.Cut(kept, network.fc2, held_out.original)
    neurons, donors = (kept.mean(0) > 0.5).nonzero()[:, 0], torch.arange(60).flip(0)
    site = Site("hook_fc1", neuron=neurons.tolist())
    written = site.write(network, held_out.images, kept[donors][:, neurons]).argmax(-1)
    assert torch.equal(ev.swap(cut, neurons, donors), written)
    assert not torch.equal(written, cut.classes())


# --- donors ----------------------------------------------------------------------------------


def tally(draw, feature, repeats=3000):
    """[n, n]: how often each input was given each donor."""
    generator, counts = draws(4), torch.zeros(len(feature), len(feature))
    for _ in range(repeats):
        counts[torch.arange(len(feature)), draw(feature, generator)] += 1
    return counts


@pytest.mark.parametrize(
    "draw, same", [(ev.same_class_donors, True), (ev.other_class_donors, False)]
)
def test_donors_have_the_right_feature_and_are_uniform(draw, same):
    feature = torch.tensor([True, False, True, True, False, False, False, True, False])
    counts = tally(draw, feature)
    allowed = (feature[:, None] == feature[None]) == same
    assert not counts[~allowed].any()
    for row, places in zip(counts, allowed, strict=True):
        assert chisquare(row[places]).pvalue > 1e-4


def test_same_class_donors_of_features_with_many_values():
    feature = torch.tensor([3, 1, 3, 2, 1, 3])
    donors = ev.same_class_donors(feature, draws())
    assert torch.equal(feature[donors], feature) and donors[3] == 3


@pytest.mark.parametrize("value", [True, False])
def test_a_constant_feature_has_no_other_class(value):
    with pytest.raises(CourseError, match="same for every input"):
        ev.other_class_donors(torch.full((5,), value), draws())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_similar_donors_without_noise_have_the_same_statistic(dtype):
    statistic = torch.randn(200, generator=draws(5)).to(dtype)
    donors = ev.similar_donors(statistic, 0.0, draws())
    assert torch.equal(donors, torch.arange(200))
    tied = torch.randint(0, 9, (200,), generator=draws(6)).to(dtype)
    assert torch.equal(tied[ev.similar_donors(tied, 0.0, draws())], tied)


def test_similar_donors_are_the_nearest_to_the_noisy_statistic():
    statistic = torch.randn(300, generator=draws(5), dtype=torch.double)
    donors = ev.similar_donors(statistic, 0.2, draws(6))
    width = 0.2 * (statistic.max() - statistic.min())
    target = statistic + width * torch.randn(300, generator=draws(6), dtype=torch.double)
    nearest = (target[:, None] - statistic[None]).abs().amin(1)
    torch.testing.assert_close((target - statistic[donors]).abs(), nearest)


@pytest.mark.parametrize("dose", [0.001, 0.01, 0.1])
def test_the_dose_is_the_noise_as_a_share_of_the_range(dose):
    statistic = torch.linspace(-50, 150, 20_001, dtype=torch.double)
    order = torch.randperm(len(statistic), generator=draws(1))
    statistic = statistic[order]
    donors = ev.similar_donors(statistic, dose, draws())
    middle = (statistic - 50).abs() < 30  # away from the ends, where noise is cut off
    moved = (statistic[donors] - statistic)[middle]
    assert moved.std().item() == pytest.approx(dose * 200, rel=0.05)
    assert moved.mean().abs() < 0.1 * dose * 200


@pytest.mark.parametrize("dose", [1, 1.0, 3.0])
def test_a_dose_of_one_is_a_permutation(dose):
    statistic = torch.randn(50, generator=draws(5))
    donors = ev.similar_donors(statistic, dose, draws())
    assert sorted(donors.tolist()) == list(range(50)) and donors.tolist() != list(range(50))


# --- scrubbing, swapping, ablating -----------------------------------------------------------


def test_scrubbing_with_oneself_as_donor_and_nothing_left_out_changes_nothing(cut):
    everyone = torch.arange(len(cut))
    found = ev.Detectors(torch.tensor([0, 2, 4]), torch.tensor([1, 3, 5]))
    logits = ev.scrub(cut, found, everyone, everyone, draws())
    assert torch.equal(logits, cut.readout(cut.activations))
    left_out = ev.Detectors(torch.tensor([0, 2]), torch.tensor([1, 3, 5]))
    assert not torch.equal(ev.scrub(cut, left_out, everyone, everyone, draws()), logits)


def test_scrubbing_takes_each_part_from_its_own_donors(cut):
    seen = []
    watched = ev.Cut(cut.activations, lambda a: seen.append(a) or cut.readout(a), cut.groups)
    first, second = (torch.randperm(20, generator=draws(seed)) for seed in (7, 8))
    before = cut.activations.clone()
    ev.scrub(watched, ev.Detectors(torch.tensor([5, 0]), torch.tensor([3])), first, second, draws())
    assert torch.equal(seen[0][:, [5, 0]], before[first][:, [5, 0]])
    assert torch.equal(seen[0][:, 3], before[second][:, 3])
    rest = seen[0][:, [1, 2, 4]]
    # What is left out comes, as one piece, from one random input.
    sources = [int((before[:, [1, 2, 4]] == row).all(1).nonzero()) for row in rest]
    assert len(set(sources)) > 5 and sources != list(range(20))
    assert torch.equal(cut.activations, before)


def test_a_swap_with_oneself_changes_nothing_and_a_full_swap_everything(cut):
    everyone, donors = torch.arange(20), torch.randperm(20, generator=draws())
    for neurons in (torch.tensor([1, 4]), torch.arange(6), torch.tensor([], dtype=torch.long)):
        assert torch.equal(ev.swap(cut, neurons, everyone), cut.classes())
    assert torch.equal(ev.swap(cut, torch.arange(6), donors), cut.classes()[donors])
    assert not torch.equal(cut.classes()[donors], cut.classes())


def test_ablation_holds_the_neurons_at_their_minimum_and_leaves_the_rest(cut):
    before = cut.activations.clone()
    changed = ev.ablate_to_minimum(cut, torch.tensor([2, 5]))
    for neuron in range(6):
        expected = before[:, neuron].min().expand(20) if neuron in (2, 5) else before[:, neuron]
        assert torch.equal(changed[:, neuron], expected)
    assert torch.equal(cut.activations, before)


# --- intervals over groups -------------------------------------------------------------------


def grouped_hits(seed, groups=40, size=8, rate=0.7):
    """Hits that come in groups which succeed or fail as a whole."""
    outcome = (torch.rand(groups, generator=draws(seed)) < rate).double()
    return outcome.repeat_interleave(size), torch.arange(groups).repeat_interleave(size)


def width(estimate):
    return estimate.high - estimate.low


def test_groups_widen_the_interval():
    hits, groups = grouped_hits(0)
    together, apart = ev.share(hits, groups), ev.share(hits, torch.arange(len(hits)))
    assert together.value == apart.value == pytest.approx(hits.mean().item())
    assert (together.n, apart.n) == (40, 320)
    # Eight equal copies are one observation: the interval is root eight times as wide.
    assert width(together) == pytest.approx(8**0.5 * width(apart), rel=0.15)


def test_the_interval_over_groups_covers_the_truth_and_the_naive_one_does_not():
    covered = {True: 0, False: 0}
    for seed in range(100):
        hits, groups = grouped_hits(seed)
        for grouped in covered:
            estimate = ev.share(hits, groups if grouped else torch.arange(len(hits)))
            covered[grouped] += estimate.low <= 0.7 <= estimate.high
    assert covered[True] >= 88  # 95 is meant; 88 is 3 standard errors less
    assert covered[False] <= 70


def test_the_share_counts_inputs_not_groups():
    hits, groups = torch.tensor([1.0, 1, 1, 0]), torch.tensor([9, 9, 9, 4])
    assert ev.share(hits, groups).value == 0.75
    assert ev.share(hits.bool(), groups).value == 0.75
    order = torch.tensor([3, 0, 2, 1])
    assert ev.share(hits[order], groups[order]).value == 0.75
    assert ev.share(hits, torch.tensor([2, 7, 1, 8])) == Estimate.mean(hits)


# --- a network built by hand -----------------------------------------------------------------


def test_the_right_explanation_of_a_handmade_network_recovers_everything():
    case = toy_case()
    assert torch.equal(case.said, case.cut.classes())
    assert 0.3 < case.said.double().mean() < 0.7
    scrubbed = cnn.sufficiency_report(case)
    assert scrubbed["explanation: loss recovered"].value == pytest.approx(1, abs=1e-6)
    assert scrubbed["explanation: labels kept"].value == 1
    assert scrubbed["exact ceiling: loss recovered"].value == pytest.approx(1, abs=1e-6)
    assert scrubbed["label-only null: loss recovered"].high < 0.95
    assert abs(scrubbed["class-matched random null: loss recovered"].value) < 0.15
    swapped = cnn.necessity_report(case)
    for step in ("below", "above", "either"):
        assert swapped[f"{step} swapped, should change"].value == 1
        assert swapped[f"{step} swapped, should stay"].value == 1
    assert swapped["below swapped, should change, the other detector instead"].high < 0.9
    found = ev.find_detectors(case.cut.activations, case.below, case.above, ratio=2.0, floor=0.02)
    assert (found.below.tolist(), found.above.tolist()) == ([0], [1])


@pytest.mark.parametrize("low, high", [(0.0, 0.6), (-0.6, 0.0), (-0.1, 0.1)])
def test_a_wrong_band_recovers_clearly_less(low, high):
    case = toy_case(low, high)
    assert cnn.sufficiency_report(case)["explanation: loss recovered"].high < 0.9
    swapped = cnn.necessity_report(case)
    assert min(swapped[f"{step} swapped, should change"].high for step in ("below", "above")) < 0.95


def test_a_network_with_one_detector_for_both_sides_is_not_two_detectors():
    """The program is right for every input and the mechanism is wrong: swaps must show it."""
    case = toy_case(apart=False)
    assert torch.equal(case.said, case.cut.classes())
    solution = cnn.solve(case)
    assert solution.reports["agreement"]["program = network"].value == 1
    assert solution.verdict == "program"
    assert cnn.solve(toy_case()).verdict == "program and mechanism"


@pytest.mark.parametrize(
    "low, high, side",
    [
        (-9, 0.3, "under"),
        (-0.3, 9, "over"),
        (-9, 9, "under"),
        (9, 0.3, "under"),
        (-0.3, -9, "over"),
    ],
)
def test_a_band_that_leaves_nobody_on_a_side_is_refused(low, high, side):
    with pytest.raises(CourseError, match=f"{side} the band") as caught:
        cnn.solve(toy_case(low, high))
    assert "\n" not in str(caught.value) and "give a band" in str(caught.value)
