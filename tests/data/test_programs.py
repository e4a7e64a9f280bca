"""The labelling programs, and the exact search for a band against trying every one."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from utils.data import digits, programs, sequences
from utils.data.programs import BandProgram, best_band, largest_digit

many = settings(max_examples=200, derandomize=True, deadline=None, database=None)
NEXT = math.nextafter(1.0, 2.0)


def agreement_of(statistic, labels, low, high):
    outside = (statistic.double() <= low) | (statistic.double() >= high)
    return (outside.long() == labels).double().mean().item()


def by_brute_force(statistic, labels):
    """The best agreement of all bands that hold at least one of the values."""
    values, best = sorted(set(statistic.tolist())), 0.0
    for i, first in enumerate(values):
        for last in values[i:]:
            inside = (statistic >= first) & (statistic <= last)
            best = max(best, ((~inside).long() == labels).double().mean().item())
    return best


small_integers = st.integers(-4, 4).map(float)  # many ties
reals = st.floats(-1e6, 1e6)
neighbours = st.integers(-2, 2).map(lambda k: 1.0 + k * (NEXT - 1.0))  # nothing fits between
pairs = st.one_of(
    *(st.lists(st.tuples(v, st.booleans()), max_size=14) for v in (small_integers, reals)),
    st.lists(st.tuples(neighbours, st.booleans()), max_size=8),
)


@many
@given(pairs=pairs, seed=small_integers)
@example(pairs=[(NEXT, True)], seed=1.0)
@example(pairs=[(NEXT, False), (1.0, True)], seed=NEXT)
def test_best_band_against_brute_force(pairs, seed):
    pairs = [*pairs, (seed, False)]  # one image of class 0 at least
    statistic = torch.tensor([value for value, _ in pairs], dtype=torch.double)
    labels = torch.tensor([int(label) for _, label in pairs])
    low, high, agreement = best_band(statistic, labels)
    assert low < high
    assert agreement == pytest.approx(by_brute_force(statistic, labels), abs=1e-12)
    assert agreement == pytest.approx(agreement_of(statistic, labels, low, high), abs=1e-12)


def test_best_band_of_many_values_in_single_precision():
    generator = torch.Generator().manual_seed(0)
    statistic = torch.randn(3000, generator=generator)
    noise = torch.rand(3000, generator=generator) < 0.1
    labels = ((statistic < -0.5) | (statistic > 1.0)).logical_xor(noise).long()
    low, high, agreement = best_band(statistic, labels)
    assert agreement == pytest.approx(agreement_of(statistic, labels, low, high), abs=1e-12)
    assert agreement >= agreement_of(statistic, labels, -0.5, 1.0)
    assert low == pytest.approx(-0.5, abs=0.1) and high == pytest.approx(1.0, abs=0.1)


def test_the_ends_lie_half_way_to_the_next_image():
    statistic = torch.tensor([9.0, 1.0, 4.0, 6.0, 2.0])
    assert best_band(statistic, torch.tensor([1, 1, 0, 0, 1])) == (3.0, 7.5, 1.0)


def test_degenerate_bands():
    three = torch.tensor([1.0, 2.0, 3.0])
    assert best_band(three, torch.zeros(3).long()) == (0.0, 4.0, 1.0)
    assert best_band(three[:1], torch.zeros(1).long()) == (0.0, 2.0, 1.0)
    assert best_band(torch.ones(4), torch.tensor([0, 1, 1, 1])) == (0.0, 2.0, 0.25)
    with pytest.raises(ValueError, match="class 0"):
        best_band(three, torch.ones(3).long())


def test_the_order_of_the_images_does_not_matter():
    generator = torch.Generator().manual_seed(1)
    statistic, labels = torch.randn(200, generator=generator), torch.arange(200) % 2
    order = torch.randperm(200, generator=generator)
    assert best_band(statistic, labels) == best_band(statistic[order], labels[order])


# --- the band program ------------------------------------------------------------------------


def with_similarity(template, wanted):
    """An image whose similarity to a black-and-white template is `wanted` full-ink pixels."""
    image = torch.zeros(784)
    places = (template.flatten() == (1 if wanted > 0 else 0)).nonzero()[:, 0]
    image[places[: abs(wanted)]] = 1
    return image.reshape(1, 28, 28)


def test_the_band_excludes_both_of_its_ends():
    template = torch.zeros(28, 28)
    template[:10, :2] = 1
    program = BandProgram(template, low=-2.0, high=3.0)
    wanted = [-3, -2, -1, 0, 1, 2, 3, 4]
    images = torch.stack([with_similarity(template, value) for value in wanted])
    assert program.similarity(images).tolist() == wanted
    assert program.similarity(images).dtype == torch.double
    assert program.below(images).tolist() == [value <= -2 for value in wanted]
    assert program.above(images).tolist() == [value >= 3 for value in wanted]
    assert program.labels(images).tolist() == [1, 1, 0, 0, 0, 0, 1, 1]


def test_ink_counts_by_its_strength_and_a_grey_template_pixel_not_at_all():
    template = torch.full((28, 28), 0.5)
    template[0, 0], template[0, 1] = 1.0, 0.0
    image = torch.ones(1, 1, 28, 28)
    image[0, 0, 0, 0] = 0.25
    assert BandProgram(template, 0, 0).similarity(image).item() == pytest.approx(0.25 - 1.0)


def test_steps_and_labels_agree_and_large_batches_are_no_different():
    program, made = programs.challenge_1(), digits.make("train", 500)
    labels = program.labels(made.images)
    assert torch.equal(labels, (program.below(made.images) | program.above(made.images)).long())
    assert not (program.below(made.images) & program.above(made.images)).any()
    large = made.images.repeat(21, 1, 1, 1)  # more than are taken at a time
    assert torch.equal(program.labels(large), labels.repeat(21))


def test_challenge_1_is_balanced_and_uses_both_sides_of_its_band():
    images = digits.make("train", 7185).images
    program = programs.challenge_1()
    assert 0.45 < program.labels(images).double().mean() < 0.55
    assert 0.1 < program.below(images).double().mean() < 0.4
    assert 0.1 < program.above(images).double().mean() < 0.4
    assert program.above(digits.clue()[None, None]).all()


# --- the largest digit -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "row, answer",
    [
        ([1, 2, 3, 4, 5, 6], 6),
        ([9, 0, 0, 0, 0, 0], 9),
        ([0, 0, 0, 0, 0, 9], 9),
        ([7, 1, 2, 7, 0, 3], 3),
        ([7, 8, 1, 1, 1, 1], 8),
        ([7, 7, 7, 7, 7, 0], 0),
        ([7, 7, 7, 7, 7, 7], 7),
        ([0, 0, 0, 0, 0, 0], 0),
        ([6, 6, 7, 6, 6, 6], 6),
    ],
)
def test_largest_digit_ignores_sevens_unless_there_is_nothing_else(row, answer):
    tokens = torch.tensor([[*row, sequences.END]])
    before = tokens.clone()
    assert largest_digit(tokens).tolist() == [answer]
    assert torch.equal(tokens, before)


def test_largest_digit_of_random_rows():
    rows = sequences.digit_rows(500, seed=5)
    expected = [max((d for d in row[:-1] if d != 7), default=7) for row in rows.tolist()]
    assert largest_digit(rows).tolist() == expected
