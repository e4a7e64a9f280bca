"""Statements whose truth is known."""

from __future__ import annotations

from collections import Counter

import pytest

from utils.data import statements


def test_truth_negation_and_country_are_crossed():
    made = statements.make()
    assert len(made) == len(set(made.texts)) == 256
    assert Counter(zip(made.truth.tolist(), made.negated.tolist(), strict=True)) == {
        (a, b): 64 for a in (True, False) for b in (True, False)
    }
    named = Counter(text.rsplit(" in ", 1)[1] for text in made.texts)
    assert len(named) == 16 and set(named.values()) == {16}
    assert Counter(made.city).most_common(1)[0][1] == 4


@pytest.mark.parametrize("seed", range(5))
def test_what_is_called_true_is_true(seed):
    made = statements.make(seed)
    home = {city: country for country, cities in statements.COUNTRIES.items() for city in cities}
    assert len(home) == 64
    for text, truth, negated, city in zip(
        made.texts, made.truth, made.negated, made.city, strict=True
    ):
        assert text.startswith(f"{city} is ") and ("not" in text.split()) == negated
        assert truth == (text.endswith(f" in {home[city]}.") != negated)


def test_two_sides_of_a_pair_differ_in_one_word():
    made = statements.make()
    for yes, no in zip(made.answered(True), made.answered(False), strict=True):
        assert yes.replace("true.", "false.") == no != yes
