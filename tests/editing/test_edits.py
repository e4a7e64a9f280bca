"""Edits on the networks that know facts and on the CNN: made, measured, taken back."""

import copy
from dataclasses import replace

import pytest
import torch

from utils.data import digits, facts
from utils.editing import (
    EditingError,
    Request,
    compare,
    covariance,
    edit,
    fact,
    find_changes,
    fine_tuned,
    linear_behind,
    random_facts,
    sequential,
)
from utils.editing.measure import other_site
from utils.models import zoo
from utils.sites import Site

SITE = Site("blocks.0.hook_mlp_out", position=facts.SUBJECT)
TABLE = facts.table()


@pytest.fixture(scope="module")
def planted():
    return zoo.load("facts-planted")


@pytest.fixture(scope="module")
def cov(planted):
    return covariance(planted, SITE, facts.every_prompt(77)[0])


@pytest.fixture(autouse=True)
def weights_stay(planted):
    before = copy.deepcopy(planted.state_dict())
    yield
    assert all(torch.equal(before[name], now) for name, now in planted.state_dict().items())


def bern(seed=0):
    return fact(0, 1, (int(TABLE[0, 1]) + 5) % 24, seed=seed)


def test_an_edit_changes_the_fact_writes_what_it_says_and_undo_restores_the_bits(planted, cov):
    request = bern()
    before = SITE.read(planted, request.contexts)
    with edit(planted, request, SITE, cov) as made:
        said = planted(request.changed["paraphrase"])[:, -1].argmax(-1)
        assert bool((said == request.new).all())
        # the keys of all contexts are the same here, so each gets exactly what was sought
        written = SITE.read(planted, request.contexts) - before
        assert torch.allclose(written, made.change.expand_as(written), atol=1e-4)
    assert not made.active  # that the bits are back is looked at after every test here
    with pytest.raises(EditingError, match="undone already"):
        made.undo()
    with pytest.raises(EditingError, match="needs it in place"):
        made.report()


def test_undo_refuses_to_undo_a_later_edit_too(planted, cov):
    first, second = (edit(planted, r, SITE, cov) for r in random_facts(TABLE, 2, seed=3))
    with pytest.raises(EditingError, match="later edits first"):
        first.undo()
    second.undo()
    first.undo()


def test_a_report_brings_its_controls_and_every_number_its_protocol(planted, cov):
    with edit(planted, bern(), SITE, cov) as made:
        weight = made.at.weight.clone()
        report = made.report()
        assert torch.equal(weight, made.at.weight)
    metrics = ["efficacy", "paraphrase", "neighbourhood", "other relations", "KL drift"]
    for metric in metrics:
        row = next(row for row in report if row.name == metric)
        assert row.role == "result" and "; " in row.note and row.estimate.low < row.estimate.high
        for control in (
            "identity covariance",
            "random key",
            "wrong site",
            "fine-tuning",
            "no edit",
        ):
            assert report[f"{metric}, {control}"].n > 1
    assert report["efficacy"].value == 1 and report["efficacy, random key"].value == 0
    assert (
        report["neighbourhood"].n == 47 and report["neighbourhood, identity covariance"].value < 1
    )
    assert report.protocol["wrong site"] == "blocks.0.hook_mlp_out[position=3]"
    assert report["KL drift, no edit"].value == 0


def test_the_known_order_of_the_methods(planted, cov):
    """The planted network: the damage is next door, and only some methods look further."""
    requests = random_facts(TABLE, 6, seed=5)
    found = compare(planted, requests, SITE, cov)
    at = {method: [found.values(method, m).mean().item() for m in found.metrics[:4]]
          for method in found.hits}  # fmt: skip
    assert at["no edit"] == [0, 0, 1, 1]
    assert at["rank-one edit"][0] >= 0.9 and at["rank-one edit"][2] >= 0.98
    assert at["rank-one edit"][3] < 0.8  # what the neighbourhood does not show
    assert at["random key"][0] < 0.1
    assert at["wrong site"][0] > 0.9 and at["wrong site"][1] < 0.3
    for other in ("identity covariance", "fine-tuning"):
        assert at[other][0] > 0.9 and at[other][2] < at["rank-one edit"][2] - 0.05
    assert at["fine-tuning, rehearsed"][3] > at["rank-one edit"][3] + 0.1
    text = str(found)
    assert text.count("\n") == len(found.hits) and "neighbourhood" in text
    assert len(found.report(["efficacy"])) == len(found.hits)
    assert len(found.figure().axes) == 5
    # with n edits an estimate is over edits
    assert found.estimate("rank-one edit", "efficacy").n == 6


def test_scores_by_comparison_follow_their_definition(planted, cov):
    requests = random_facts(TABLE, 2, seed=6)
    found = compare(planted, requests, SITE, cov, methods=["rank-one edit"], score="compare")
    for number, request in enumerate(requests):
        old = int(planted(request.contexts)[0, -1].argmax())
        inputs = request.kept["neighbourhood"]
        before = planted(inputs)[:, -1].argmax(-1)
        with edit(planted, request, SITE, cov):
            now = planted(inputs)[:, -1]
            fresh = planted(request.changed["efficacy"])[:, -1]
        hits = now.gather(1, before[:, None])[:, 0] > now[:, request.new]
        hits = hits[before != request.new]
        mine = found.hits["rank-one edit"][number]
        assert torch.equal(mine["neighbourhood"], hits.double())
        assert torch.equal(mine["efficacy"], (fresh[:, request.new] > fresh[:, old]).double())


def test_changes_found_together_are_those_found_alone(planted):
    requests = random_facts(TABLE, 3, seed=7)
    together = find_changes(planted, requests, SITE)
    for request, change in zip(requests, together, strict=True):
        alone = find_changes(planted, [request], SITE)[0]
        assert torch.allclose(alone, change, atol=1e-3)
    more = find_changes(planted, requests, SITE, kl_weight=4.0)
    assert not torch.allclose(more, together, atol=1e-2)


def test_sequences_are_judged_after_each_edit_and_at_the_end(planted, cov):
    requests = random_facts(TABLE, 4, seed=8)
    tokens, who, what = facts.every_prompt(9)
    free = torch.ones(len(tokens), dtype=torch.bool)
    for request in requests:
        s, r, _ = facts.parse(request.contexts[:1])
        free &= ~((who == s) & (what == r))
    found = sequential(planted, requests, SITE, cov, tokens[free])
    assert found.held.shape == (4, 4) and found.kept.shape == (4, int(free.sum()))
    assert not bool(found.held.tril(-1).any())  # [edit, step]: none in force before it was made
    assert bool(found.held.diagonal().all())
    report = found.report((1, 2))
    assert [row.name for row in report][:3] == ["in force after 1", "in force after 2",
                                                "in force after 4"]  # fmt: skip
    kept = found.kept.double().mean(1)
    assert kept[-1] < kept[0] <= 1


def test_fine_tuning_leaves_the_model_as_it_was(planted):
    request, at = bern(), linear_behind(planted, SITE, bern().contexts)
    weight = fine_tuned(planted, at, request)
    assert not torch.equal(weight, at.weight) and not at.weight.requires_grad
    assert at.weight.grad is None
    with pytest.raises(EditingError, match="rehearse="):
        fine_tuned(planted, at, replace(request, rehearse=None), rehearsed=True)


# --- mistakes ----------------------------------------------------------------------------------


def test_what_an_edit_refuses(planted, cov):
    true = fact(0, 1, int(TABLE[0, 1]))
    with pytest.raises(EditingError, match="Already true.*16 of 16"):
        edit(planted, true, SITE, cov)
    with pytest.raises(EditingError, match="Already true"):
        compare(planted, [true], SITE, cov)
    with pytest.raises(EditingError, match="none of the network's 24 classes"):
        edit(planted, replace(bern(), new=24), SITE, cov)
    with pytest.raises(EditingError, match="name the last of them"):
        edit(planted, bern(), Site(SITE.hook, position=[1, 2]), cov)
    with pytest.raises(EditingError, match="belongs to 'blocks.0.hook_mlp_out'"):
        edit(planted, bern(), Site("blocks.1.hook_mlp_out", position=3), cov)
    with pytest.raises(EditingError, match="another network"):
        edit(zoo.load("facts"), bern(), SITE, cov)
    with pytest.raises(EditingError, match="no town 24"):
        fact(0, 1, 24)
    with pytest.raises(ValueError, match="subjects"):
        fact(48, 1, 2)
    with pytest.raises(EditingError, match="at least one edit"):
        compare(planted, [], SITE, cov)
    with pytest.raises(EditingError, match="No method 'rome'"):
        compare(planted, [bern()], SITE, cov, methods=["rome"])


# --- a CNN -------------------------------------------------------------------------------------


def test_one_drawing_of_a_digit_is_edited_in_the_cnn():
    """No positions, no words: the same call, at a fully connected layer."""
    model = zoo.load("cnn-challenge")
    images = digits.make("held-out", 1300, seed=3).images
    chosen = int(
        model(images).argmax(-1).argmax()
    )  # of class 1; those of class 0 have silent ReLUs
    one, others = images[[chosen]], images[torch.arange(1300) != chosen]
    request = Request(
        contexts=one, new=0, changed={"efficacy": one}, kept={"others": others},
        protect=None, drift=others[:200],
    )  # fmt: skip
    site = Site("hook_fc1_pre")
    cov = covariance(model, site, others[:1000], ridge=0.01)
    weight = model.fc1.weight.clone()
    before = site.read(model, one)[0]
    with edit(model, request, site, cov) as made:
        assert torch.allclose(site.read(model, one)[0], before + made.change, atol=1e-3)
        assert int(model(one).argmax()) == request.new
        report = made.report()
    assert torch.equal(model.fc1.weight, weight)
    assert report["efficacy"].value == 1
    assert report["others"].value > report["others, identity covariance"].value
    assert other_site(model, site, one).hook == "hook_logits"
    assert report.protocol["wrong site"] == "hook_logits"
