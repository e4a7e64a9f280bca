"""The two networks that know facts; in the planted one nothing but MLP 0 was ever trained."""

import pytest
import torch

from utils.data import facts
from utils.models import zoo
from utils.models.facts import PLANTED, build_planted, share_known, train_facts
from utils.sites import Site


@pytest.mark.parametrize("name", ["facts", "facts-planted"])
def test_the_shipped_networks_know_every_fact(name):
    assert share_known(zoo.load(name), facts.table()) == 1.0
    assert share_known(zoo.load(name), facts.table(seed=1)) < 0.1  # chance is 1 in 24


def test_all_but_the_planted_mlp_is_as_it_was_drawn():
    built, shipped = build_planted(seed=1).state_dict(), zoo.load("facts-planted").state_dict()
    same = {name for name in built if torch.equal(built[name], shipped[name])}
    learned = set(built) - same
    assert learned == {f"blocks.0.mlp.{side}.{kind}" for side in ("in", "out")
                       for kind in ("weight", "bias")}  # fmt: skip


def test_the_answer_depends_on_the_person_through_mlp_0_at_the_person_alone():
    """Everything else of the stream at the last position is the same for every person."""
    model = zoo.load("facts-planted")
    people = torch.arange(48)
    tokens = facts.prompts(people, torch.full((48,), 2), 0)
    tokens[:, :2] = 0
    site = Site("blocks.0.hook_mlp_out", position=facts.SUBJECT)
    whole = site.read(model, tokens)
    answers = model(tokens)[:, -1].argmax(-1)
    # another person's MLP output brings that person's town, whoever the token names
    moved = site.write(model, tokens, whole.roll(1, 0))[:, -1].argmax(-1)
    assert float((moved == answers.roll(1, 0)).double().mean()) > 0.5
    for name in ("blocks.0.hook_attn_out", "blocks.1.hook_mlp_out"):
        assert float(Site(name).read(model, tokens).abs().max()) == 0


def test_a_short_training_moves_the_planted_mlp_only():
    model = build_planted(seed=1)
    before = {name: p.clone() for name, p in model.named_parameters()}
    train_facts(model, facts.table(), steps=3, max_lr=1e-2)
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert moved and all(PLANTED in name for name in moved)
