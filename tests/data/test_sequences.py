"""The token sequences: what is promised about them, and a rule that needs it."""

import torch

from utils.data import sequences
from utils.data.sequences import END, REPEAT_LENGTH, REPEAT_VOCABULARY, START, digit_rows, repeats


def test_digit_rows():
    rows = digit_rows(2000, seed=1)
    assert rows.shape == (2000, sequences.DIGIT_COUNT + 1) and rows.dtype == torch.int64
    assert (rows[:, -1] == END).all()
    assert rows[:, :-1].min() == 0 and rows[:, :-1].max() == 9
    counts = rows[:, :-1].flatten().bincount(minlength=10).double() / rows[:, :-1].numel()
    assert (counts - 0.1).abs().max() < 0.015  # 5 standard errors


def test_digit_rows_repeat_with_their_seed():
    assert torch.equal(digit_rows(50, seed=3), digit_rows(50, seed=3))
    assert not torch.equal(digit_rows(50, seed=3), digit_rows(50, seed=4))


def test_small_too_makes_small_maxima_common():
    uniform, bounded = digit_rows(4000), digit_rows(4000, small_too=True)
    share = [(rows[:, :-1].amax(1) <= 4).double().mean() for rows in (uniform, bounded)]
    assert share[0] < 0.03  # (1/2)^6 = 0.016
    assert share[1] > 0.5  # every bound of 5 or less, which is half of them, and some more
    assert bounded[:, :-1].amax(1).unique().tolist() == list(range(10))
    assert (bounded[:, -1] == END).all()


def test_repeats_have_the_promised_form():
    tokens, predictable = repeats(500, seed=2)
    assert tokens.shape == (500, REPEAT_LENGTH) and tokens.dtype == torch.int64
    assert predictable.shape == (500, REPEAT_LENGTH - 1) and predictable.dtype == torch.bool
    assert (tokens[:, 0] == START).all()
    assert tokens[:, 1:].min() == 0 and tokens[:, 1:].max() == REPEAT_VOCABULARY - 1
    again, same = repeats(500, seed=2)
    assert torch.equal(tokens, again) and torch.equal(predictable, same)
    assert not torch.equal(tokens, repeats(500, seed=3)[0])


def test_the_segment_repeats_where_predictable_says_so():
    tokens, predictable = repeats(500, seed=4)
    periods = set()
    for row, flags in zip(tokens[:, 1:].tolist(), predictable.tolist(), strict=True):
        # Predictable from the second token of the second copy on, and then without a gap.
        period = flags.index(True) - 1
        periods.add(period)
        assert flags == [False] * (period + 1) + [True] * (len(flags) - period - 1)
        assert all(row[i] == row[i - period] for i in range(period, len(row)))
    assert periods == set(range(6, 13))


def continued(context):
    """What followed the longest earlier match of the end of `context`, the latest such match."""
    for length in range(len(context) - 1, 0, -1):
        for start in range(len(context) - length - 1, -1, -1):
            if context[start : start + length] == context[-length:]:
                return context[start + length]
    return None


def test_earlier_tokens_tell_the_predictable_ones_and_not_the_others():
    tokens, predictable = repeats(300, seed=5)
    hits = {True: [], False: []}
    for row, flags in zip(tokens.tolist(), predictable.tolist(), strict=True):
        for t, flag in enumerate(flags):
            hits[flag].append(continued(row[: t + 1]) == row[t + 1])
    right = {flag: sum(values) / len(values) for flag, values in hits.items()}
    assert right[True] > 0.95
    assert right[False] < 0.1  # chance is 1 in 16
