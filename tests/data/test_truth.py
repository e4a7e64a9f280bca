"""The truth language: rows, verdicts, pairs, and what is set aside."""

import pytest
import torch

from utils.data import truth

ROWS = truth.statements(6000, seed=3)


def by_hand(row):
    """(correct, agrees or None) of one row, with Python's own words."""
    subject, relation, value, opinion, answer = row.tolist()
    right = truth.facts()[subject, relation - 24].item() == value - 28
    yes = {39: True, 40: False}[answer]
    said = {36: None, 37: True, 38: False}[opinion]
    return yes == right, None if said is None else yes == said


def test_verdicts_are_those_of_python():
    names = {True: "agrees", False: "disagrees", None: "no opinion"}
    for row, code in zip(ROWS[:800], truth.verdict(ROWS[:800]).tolist(), strict=True):
        correct, agrees = by_hand(row)
        expected = f"{'correct' if correct else 'wrong'}, {names[agrees]}"
        assert truth.VERDICTS[code] == expected
    assert torch.equal(truth.is_correct(ROWS), truth.verdict(ROWS) >= 3)
    assert torch.equal(truth.agrees(ROWS), truth.verdict(ROWS) % 3 == 2)


def test_tokens_do_not_overlap_and_fill_the_vocabulary():
    assert truth.NO == truth.VOCABULARY - 1 == 40 and ROWS.shape == (6000, truth.LENGTH)
    for column, (first, last) in enumerate([(0, 23), (24, 27), (28, 35), (36, 38), (39, 40)]):
        assert ROWS[:, column].unique().tolist() == list(range(first, last + 1))


def test_every_other_statement_is_true_and_every_verdict_is_common():
    assert abs(truth.is_true(ROWS).double().mean() - 0.5) < 0.03
    shares = torch.bincount(truth.verdict(ROWS), minlength=6) / len(ROWS)
    assert bool(((shares - 1 / 6).abs() < 0.02).all())
    false = ROWS[~truth.is_true(ROWS)]
    shift = (false[:, 2] - truth.VALUE - truth.facts()[false[:, 0], false[:, 1] - 24]) % 8
    counts = torch.bincount(shift, minlength=8) / len(false)
    assert counts[0] == 0 and bool(((counts[1:] - 1 / 7).abs() < 0.03).all())


def test_concepts_of_a_prompt_tell_nothing_of_each_other():
    """Else a probe for one of them would find another."""
    rows = truth.prompts(20_000, seed=5, opinions=truth.SPOKEN)
    found = truth.concepts(rows)
    assert list(found) == ["truth", "first subjects", "high value", "opinion", "truth = opinion"]
    for name, value in found.items():
        for other in list(found.values())[: list(found).index(name)]:
            assert abs((value == other).double().mean() - 0.5) < 0.04
    assert torch.equal(found["truth"] == found["opinion"], found["truth = opinion"])


def test_a_concept_that_is_the_same_in_all_rows_is_left_out():
    names = [*truth.concepts(truth.prompts(500, opinions=(truth.SILENT,)))]
    assert names == ["truth", "first subjects", "high value"]
    told = truth.prompts(500, opinions=(truth.SAYS_TRUE,), subjects=range(12))
    assert [*truth.concepts(told)] == ["truth", "high value", "truth = opinion"]


def test_pairs_differ_in_the_answer_alone():
    yes, no = truth.pairs(400, seed=1)
    assert torch.equal(yes[:, :4], no[:, :4])
    assert bool(truth.says_yes(yes).all()) and not bool(truth.says_yes(no).any())
    assert torch.equal(truth.is_correct(yes), ~truth.is_correct(no))
    assert torch.equal(truth.is_correct(yes), truth.is_true(yes))
    spoken = yes[:, 3] != truth.SILENT
    assert torch.equal((truth.agrees(yes) ^ truth.agrees(no)), spoken)


def test_what_is_set_aside():
    held, seen = (truth.prompts(8000, seed=2, held_out=h) for h in (True, False))
    assert bool(truth.set_aside(held).all()) and not bool(truth.set_aside(seen).any())
    every = torch.cartesian_prod(*(torch.arange(a, b) for a, b in [(0, 24), (24, 28), (28, 36)]))
    opinions = [torch.cat([every, torch.full((len(every), 1), o)], 1) for o in truth.OPINIONS]
    aside = torch.stack([truth.set_aside(rows) for rows in opinions])
    assert bool((aside.sum(0) <= 1).all())  # two opinions of each statement stay
    assert 0.13 < aside.double().mean() < 0.2


def test_the_choice_of_subjects_and_opinions():
    rows = truth.prompts(3000, subjects=[4, 20], opinions=(truth.SAYS_FALSE,))
    assert rows[:, 0].unique().tolist() == [4, 20] and rows[:, 3].unique().tolist() == [38]
    assert sorted(truth.fact(rows).unique().tolist()) == [16, 17, 18, 19, 80, 81, 82, 83]
    for options in ({"opinions": ()}, {"opinions": (3,)}, {"subjects": [24]}, {"subjects": []}):
        with pytest.raises(ValueError):
            truth.prompts(10, **options)


def test_the_same_seed_gives_the_same_rows():
    a, b, c = (truth.statements(60, seed=s, held_out=False) for s in (5, 5, 6))
    assert torch.equal(a, b) and not torch.equal(a, c)
    state = torch.get_rng_state()
    truth.statements(60)
    assert torch.equal(state, torch.get_rng_state())


def test_a_row_as_text():
    row = torch.tensor([3, 25, 34, truth.SAYS_FALSE, truth.YES])
    assert truth.show(row) == "s3 r1 v6, they say it is false: yes"
    assert truth.show(torch.tensor([3, 25, 34, truth.SILENT])) == "s3 r1 v6"
