"""The world of facts: its table, its prompts, and what is refused."""

import pytest
import torch

from utils.data import facts


def test_every_town_is_right_for_two_people_in_each_relation():
    table = facts.table()
    assert table.shape == (48, 4)
    for column in table.T:
        assert torch.bincount(column, minlength=24).tolist() == [2] * 24
    assert torch.equal(table, facts.table()) and not torch.equal(table, facts.table(seed=1))


def test_all_names_are_different():
    for words in (facts.FILLERS, facts.SUBJECTS, facts.OBJECTS, sum(facts.RELATIONS, ())):
        assert len(set(words)) == len(words)
    assert facts.VOCABULARY == 12 + 48 + 8


def test_prompts_say_what_was_asked_and_draw_only_the_fillers():
    who, what, synonym = torch.tensor([0, 47, 3]), torch.tensor([0, 3, 1]), torch.tensor([1, 0, 1])
    tokens = facts.prompts(who, what, synonym, seed=4)
    assert torch.equal(torch.stack(facts.parse(tokens)), torch.stack([who, what, synonym]))
    assert bool((tokens[:, :2] < 12).all())
    assert torch.equal(tokens, facts.prompts(who, what, synonym, seed=4))
    other = facts.prompts(who, what, synonym, seed=5)
    assert torch.equal(tokens[:, 2:], other[:, 2:]) and not torch.equal(tokens, other)
    assert facts.names(tokens[0].tolist()).endswith("Ada hails-from")
    state = torch.get_rng_state()
    facts.prompts(who, what)
    assert torch.equal(state, torch.get_rng_state())


def test_every_prompt_is_every_fact_in_both_synonyms():
    tokens, who, what = facts.every_prompt()
    assert tokens.shape == (384, 4) and len(tokens[:, 2:].unique(dim=0)) == 384
    assert torch.equal(torch.stack(facts.parse(tokens)[:2]), torch.stack([who, what]))
    assert int(tokens.max()) == facts.VOCABULARY - 1


def test_what_is_refused():
    one = torch.tensor([1])
    with pytest.raises(ValueError, match="subjects must lie in 0 to 47"):
        facts.prompts(torch.tensor([48]), one)
    with pytest.raises(ValueError, match="relations must lie"):
        facts.prompts(one, torch.tensor([-1]))
    with pytest.raises(ValueError, match="synonyms must lie"):
        facts.prompts(one, one, 2)
    with pytest.raises(ValueError, match="shape"):
        facts.parse(torch.zeros(2, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match="person tokens"):
        facts.parse(torch.zeros(2, 4, dtype=torch.int64))
    assert facts.find(facts.OBJECTS, "Bern") == 1
    with pytest.raises(ValueError, match="Aachen"):
        facts.find(facts.OBJECTS, "Bonn")
