"""Two majorities: the strings, the steps on the network, and wrong accounts that get less."""

import dataclasses

import pytest
import torch

from utils.challenges import sequence
from utils.challenges.explanation import Explanation
from utils.challenges.families import sequences
from utils.challenges.judge import judge
from utils.models import recipes, zoo
from utils.scrubbing import Step
from utils.sites import run


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return zoo.load("sequence")


def tried(steps, name="sequence"):
    return judge(
        sequence.challenge(), Explanation(steps), inputs=2000, references=300, resamples=2
    )  # fmt: skip


def parse(text):
    return torch.tensor([[3, *("abc".index(letter) for letter in text)]])


# --- strings and program -------------------------------------------------------------------------


def test_no_string_is_both_trained_on_and_judged():
    seen, kept = sequence.strings(5000, 1), sequence.strings(1000, 1, held_out=True)
    assert seen.shape == (5000, 11) and kept.shape == (1000, 11)
    assert not sequences.set_aside(seen).any() and sequences.set_aside(kept).all()
    assert set(seen[:, 0].tolist()) == {3} and set(seen[:, 1:].unique().tolist()) == {0, 1, 2}
    both = torch.cat([seen.unique(dim=0), kept.unique(dim=0)])
    assert len(both.unique(dim=0)) == len(both)


@pytest.mark.parametrize(
    "text, leads, answer",
    [
        ("aacccbcccc", (2, -1), True),
        ("aabbcacccc", (0, 1), True),
        ("acccccccca", (1, 1), False),
        ("bbccccabcc", (-2, 0), False),
        ("ccccaabbbb", (1, -3), True),
    ],
)
def test_the_steps_on_strings_done_by_hand(text, leads, answer):
    tokens = parse(text)
    assert (int(sequence.front(tokens)), int(sequence.back(tokens))) == leads
    assert bool(sequence.answer_of(tokens)) == answer == bool(sequence.PROGRAM.labels(tokens))


def test_the_steps_say_what_the_family_s_program_says(model):
    tokens = sequence.strings(3000, 4)
    said = Explanation(sequence.reference_steps(model)).labels(tokens)
    assert torch.equal(said, sequence.PROGRAM.labels(tokens))
    assert 0.4 < said.double().mean() < 0.6


def test_equal_strings_are_one_group_and_draws_differ():
    case = sequence.challenge()
    sample = case.draw(3000, 5)
    assert len(sample) == 3000 and sequences.set_aside(sample.inputs).all()
    assert len(sample.groups.unique()) == len(sample.inputs.unique(dim=0)) < 3000
    assert torch.equal(sample.inputs, case.draw(3000, 5).inputs)
    assert not torch.equal(sample.inputs, case.draw(3000, 6).inputs)


# --- the network ---------------------------------------------------------------------------------


def test_directions_are_unit_orthogonal_and_close_to_the_slopes(model):
    found = sequence.directions(model)
    for basis in found.values():
        assert basis.shape == (48, 1) and basis.norm().item() == pytest.approx(1, abs=1e-5)
    assert abs(float((found["front"] * found["back"]).sum())) < 1e-5
    slopes = sequence.slopes(model, sequence.strings(4000, 9)).float()
    for i, name in enumerate(("front", "back")):
        cosines = torch.cosine_similarity(slopes, found[name], dim=0)
        assert cosines[i] > 0.97 and cosines[1 - i] < 0.2


def test_a_planted_lead_turns_the_answer(model):
    """Along a lead's direction one unit more or less is a letter more or less."""
    tokens = parse("cccccccccc")  # both leads are 0: no
    slopes = sequence.slopes(model, sequence.strings(4000, 9)).float()
    added = sequence.Site(sequence.ATTENTION, position=0)
    for steps, answers in (((2, 0), 1), ((0, 2), 1), ((2, 2), 0), ((-2, -2), 0), ((2, -2), 1)):
        value = added.read(model, tokens) + slopes @ torch.tensor(steps, dtype=torch.float32)
        assert run(model, tokens, edits=[(added, value)]).output[0, 0].argmax() == answers


def test_the_walk_has_its_nulls_and_its_control(model):
    report = sequence.mechanism_report(model)
    value = {row.name: row.estimate.value for row in report}
    assert {row.role for row in report} >= {"result", "null", "control", "baseline", "ceiling"}
    told = "variance of what attention adds, told by the two leads"
    assert value[told] > 0.97 > 0.75 > value[f"{told}, untrained network"]
    assert abs(value[f"{told}, of other strings"]) < 0.02
    for own, other in (("front", "back"), ("back", "front")):
        along = f"variance along the direction of {own}, told by"
        assert value[f"{along} {own}"] > 0.95 > 0.05 > value[f"{along} {other}"]
    assert value["right answers, attention's weights held at their mean"] > 0.98
    assert value["right answers, only the two directions vary"] > 0.98
    assert value["right answers, only two random directions vary"] < 0.6
    read = "answer, read off linearly what"
    assert value[f"{read} the MLP adds"] > 0.8 > 0.5 > value[f"{read} attention adds"]
    assert value[f"{read} the MLP adds, of other strings"] < 0.02


def test_the_recipe_trains_on_no_string_that_is_set_aside(monkeypatch):
    batches = []
    monkeypatch.setattr(
        recipes, "train_language", lambda model, batch, loss, **options: batches.append(batch)
    )
    recipe = recipes.RECIPES["sequence"]
    recipe.train(recipe.build(), lambda *call: None, None)
    rows, answers = batches[0](3)
    assert not sequences.set_aside(rows).any()
    assert torch.equal(answers, sequence.PROGRAM.labels(rows))
    assert torch.equal(rows, batches[0](3)[0]) and not torch.equal(rows, batches[0](4)[0])


# --- verdicts ------------------------------------------------------------------------------------


def test_the_reference_account_is_program_and_mechanism(model):
    found = tried(sequence.reference_steps(model))
    assert found.verdict == "program and mechanism", found.reasons


def moved(model, **new):
    return sequence.reference_steps(model, {**sequence.directions(model), **new})


def random_directions(model):
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(48, 2, generator=generator)).Q
    return moved(model, front=basis[:, :1], back=basis[:, 1:])


def other_cut(model):
    """The halves as four and six letters."""

    def four(tokens):
        part = tokens[:, 1:5]
        return (part == 0).sum(1) - (part == 1).sum(1)

    def six(tokens):
        part = tokens[:, 5:]
        return (part == 0).sum(1) - (part == 1).sum(1)

    steps = sequence.reference_steps(model)
    steps[0] = dataclasses.replace(steps[0], function=four)
    steps[1] = dataclasses.replace(steps[1], function=six)
    return steps


def only_the_end(model):
    """No leads at all: the answer, at the MLP."""
    site = sequence.reference_steps(model)[2].site
    return [
        Step("found", sequence.answer_of, site=site),
        Step("answer", sequence.same, ("found",)),
    ]


@pytest.mark.parametrize(
    "account, verdict, unmet",
    [
        (sequence.exchanged_steps, "program", "recovered above random classes"),
        (sequence.label_steps, "program", "steps placed that say more than the answer"),
        (only_the_end, "program", "steps placed that say more than the answer"),
        (random_directions, "program", "worst step, answers that change as predicted"),
        (other_cut, "labels only", "agreement with the network"),
    ],
)
def test_wrong_accounts_get_less(model, account, verdict, unmet):
    found = tried(account(model))
    assert found.verdict == verdict, found.reasons
    assert unmet in {f.rule.measure for f in found.findings if not f.met}
