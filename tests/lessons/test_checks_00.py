"""Lesson 00's checks refuse wrong answers, each a misconception that a learner may have."""

import torch

from tests.lessons.machinery import CheckSuite, factory
from utils.sites import Site

PATTERN = Site("blocks.0.attn.hook_pattern", head=0, position=-1)


# --- 0.2: a guess has to fit the ten examples


def last_place(digits):
    return digits[:, -1]


def most_frequent(digits):
    return digits.mode(dim=1).values


def the_place_of_the_largest(digits):
    return digits.argmax(dim=1)


def table_of_examples(lab):
    """The ten answers by row number, whatever the digits are."""
    stored = lab.model(lab.data["rows"][:10])[:, -1].argmax(-1)
    return lambda digits: stored if int(digits[0, 0]) == 3 else digits.min(dim=1).values


# --- 0.3: rows that hold a digit


def shares_of_all_digits(digits):
    return torch.bincount(digits.flatten(), minlength=10).double() / digits.numel()


def copies_per_row(digits):
    return torch.bincount(digits.flatten(), minlength=10).double() / len(digits)


def rows_not_shares(digits):
    return torch.stack([(digits == d).any(dim=1).sum() for d in range(10)])


def percentages(digits):
    return 100 * torch.stack([(digits == d).any(dim=1).double().mean() for d in range(10)])


def places_not_rows(digits):
    return torch.stack([(digits == d).any(dim=0).double().mean() for d in range(10)])


def digits_1_to_10(digits):
    return torch.stack([(digits == d).any(dim=1).double().mean() for d in range(1, 11)])


# --- 0.4: rules that are nearly right


def second_place_of_the_sorted(digits):
    """Takes the next in order, which is 7 again where two stand there."""
    ordered = digits.sort(dim=1).values
    return torch.where(ordered[:, -1] == 7, ordered[:, -2], ordered[:, -1])


def six_instead_of_seven(digits):
    best = digits.max(dim=1).values
    return torch.where(best == 7, 6, best)


def sevens_count_as_ones(digits):
    return digits.masked_fill(digits == 7, 1).max(dim=1).values


def eights_do_not_count(digits):
    return digits.masked_fill(digits == 8, -1).max(dim=1).values


def drops_the_first_seven_only(digits):
    first = (digits == 7).long().argmax(dim=1, keepdim=True)
    has = (digits == 7).any(dim=1, keepdim=True)
    dropped = digits.scatter(1, first, -1)
    return torch.where(has, dropped, digits).max(dim=1).values


# --- 0.6: ways to miss the intervention


def one_hot(places, size=7):
    return torch.nn.functional.one_hot(places, size).float()


def ordinary_answers(network, rows, places):
    return network(rows)[:, -1].argmax(-1)


def names_the_digit_itself(network, rows, places):
    return rows.gather(1, places[:, None])[:, 0]


def one_place_on(network, rows, places):
    return PATTERN.write(network, rows, one_hot((places + 1) % 7))[:, -1].argmax(-1)


def logits_not_answers(network, rows, places):
    return PATTERN.write(network, rows, one_hot(places))[:, -1]


def answers_at_the_first_position(network, rows, places):
    return PATTERN.write(network, rows, one_hot(places))[:, 0].argmax(-1)


def adds_to_the_pattern(network, rows, places):
    """The old attention is still there, so the pattern adds to 2."""
    return PATTERN.write(network, rows, lambda old: old + one_hot(places))[:, -1].argmax(-1)


def looks_away_instead(network, rows, places):
    return PATTERN.write(network, rows, lambda old: old * (1 - one_hot(places)))[:, -1].argmax(-1)


ALL_RIGHT = {"more rows": False, "shuffle": False, "attention": True, "cut": False, "swap": True}

WRONG = {
    "0.1": [
        lambda a, b: (a == b).sum(),
        lambda a, b: (a != b).double().mean(),
        lambda a, b: torch.equal(a, b),
        lambda a, b: (a - b).abs().double().mean(),
        lambda a, b: a == b,
        lambda a, b: 100 * (a == b).double().mean(),
    ],
    "0.2": [
        last_place,
        most_frequent,
        the_place_of_the_largest,
        lambda digits: digits.max(dim=1),
        lambda digits: digits.max(),
        lambda digits: torch.full((len(digits),), 9),
        lambda digits: digits.double().mean(dim=1),
        lambda digits: digits.sum(dim=1) % 10,
        factory(table_of_examples),
    ],
    "0.3": [
        shares_of_all_digits,
        copies_per_row,
        rows_not_shares,
        percentages,
        places_not_rows,
        digits_1_to_10,
    ],
    "0.4": [
        lambda digits: digits.max(dim=1).values,
        second_place_of_the_sorted,
        six_instead_of_seven,
        sevens_count_as_ones,
        eights_do_not_count,
        drops_the_first_seven_only,
        lambda digits: digits.sort(dim=1).values[:, -2],
    ],
    "0.5": [
        dict.fromkeys(ALL_RIGHT, True),
        {**ALL_RIGHT, "cut": True},
        {**ALL_RIGHT, "more rows": True},
        {**ALL_RIGHT, "swap": False},
        {name: not truth for name, truth in ALL_RIGHT.items()},
        ["attention", "swap"],
        {"attention": True, "swap": True},
    ],
    "0.6": [
        ordinary_answers,
        names_the_digit_itself,
        one_place_on,
        logits_not_answers,
        answers_at_the_first_position,
        adds_to_the_pattern,
        looks_away_instead,
    ],
}


class TestChecks00(CheckSuite):
    lesson = "00"
    wrong = WRONG


class TestOtherRightAnswers:
    """Ways of being right that differ from the solution's."""

    def test_program_b_passes_too(self):
        def program_b(digits):
            best = digits.max(dim=1).values
            rest = digits.masked_fill(digits == best[:, None], -1).max(dim=1).values
            return torch.where((best == 7) & (rest >= 0), rest, best)

        self._passes("0.4", program_b)

    def test_what_it_says_to_six_sevens_is_free(self):
        def always_zero_then(digits):
            return digits.masked_fill(digits == 7, 0).max(dim=1).values.int().tolist()

        self._passes("0.4", always_zero_then)

    def test_the_final_program_is_a_fine_first_guess(self):
        self._passes("0.2", lambda digits: digits.masked_fill(digits == 7, -1).max(1).values)

    def test_looking_by_a_function_of_the_old_pattern(self):
        def look(network, rows, places):
            written = PATTERN.write(network, rows, lambda old: one_hot(places))
            return written[:, -1].argmax(-1).tolist()

        self._passes("0.6", look)

    def _passes(self, exercise, answer):
        result = TestChecks00().grade(exercise, answer)
        assert result.status == "passed", result.message
