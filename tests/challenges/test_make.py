"""What is refused and why, and that a seed gives the same network again."""

import pytest
import torch

from utils.challenges import families, make
from utils.challenges.families import Program, pairs, sequences
from utils.challenges.make import MakeError, Shortcut
from utils.challenges.networks import SETTINGS, AnswerOnly, Effort
from utils.models.transformer import build_transformer

SHORT = Effort(epochs=1, rows=1, batch_size=512, max_lr=0.005)
EASY = {"wide": 50, "tall": 50, "i": 3, "j": 7}  # a board that a network learns in no time


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def rivals(program, seed=0):
    setting = SETTINGS[program.family]
    fit, held = make._probes(setting, program, setting.materials(program, seed, clue=False), seed)
    return {rival.name: rival.accuracy for rival in make.shortcuts(program, fit, held)}


def always(monkeypatch, program, then=None):
    """Every draw gives this program, or the first one this and later ones `then`."""
    queue = [program]
    monkeypatch.setattr(
        families,
        "draw",
        lambda *a, **k: queue.pop() if then is not None and queue else then or program,
    )


# --- shortcuts -------------------------------------------------------------------------------


def test_a_linear_program_is_refused_before_training(monkeypatch):
    """The ink of the upper half alone: a sum of pixels, so logistic regression has it."""
    boxes = [[0, 14, 0, 28], [0, 1, 0, 1]]
    program = Program("cnn", "regions", {"boxes": boxes, "low": 47.0, "high": 1000.0})
    found = rivals(program)
    assert found["a linear read-out of the input"] > 0.95 > 0.75 > found["one class for all"]
    always(monkeypatch, program)
    monkeypatch.setattr(
        type(SETTINGS["cnn"]), "train", lambda *a, **k: pytest.fail("it was trained first")
    )
    with pytest.raises(MakeError, match="linear read-out") as caught:
        make.make("cnn", 5, draws=1)
    assert "Seed 5" in str(caught.value) and "\n" not in str(caught.value)


def test_a_program_that_one_feature_decides_is_found():
    a_alone = Program("pairs", "sum", {"u": 1, "v": 0, "low": 25, "high": 70})
    found = rivals(a_alone)
    assert found["one feature, a"] == 1.0
    two_letters = {"letters": 3, "length": 8, "which": [1], "modulus": 2, "remainders": [0]}
    found = rivals(Program("sequence", "count", two_letters))
    assert found["one feature, the number of b"] == 1.0
    assert found["a linear read-out of the input"] < 0.65


def test_fair_programs_have_no_shortcut():
    for family, seed in (("pairs", 0), ("pairs", 1), ("sequence", 0), ("sequence", 1)):
        assert max(rivals(families.draw(family, seed)).values()) < 0.87


def test_where_the_bounds_lie():
    assert make.lopsided(0.34) and make.lopsided(0.66)
    assert not make.lopsided(0.35) and not make.lopsided(0.65)
    two = [Shortcut("x", 0.5), Shortcut("y", 0.86)]
    assert make.nearly(two, 1.0) == "" and "y" in make.nearly(two, 0.955)


def test_a_lopsided_program_is_refused_and_the_next_one_drawn(monkeypatch):
    never = Program("pairs", "distance", {"shift": 0, "width": 2})
    good = Program("pairs", "board", EASY)
    always(monkeypatch, never, then=good)
    monkeypatch.setattr(make, "ACCURACY", 0.0)
    monkeypatch.setattr(make, "MARGIN", -1.0)
    told = []
    made = make.make("pairs", 3, effort=SHORT, tell=told.append)
    assert made.program == good
    assert len(made.refused) == 1 and "of class 1" in made.refused[0]["reason"]
    assert "|a - b" in made.refused[0]["program"]
    assert any(text.startswith("drawing again") for text in told)


def test_a_network_that_did_not_learn_is_refused(monkeypatch):
    always(monkeypatch, Program("pairs", "board", EASY))
    with pytest.raises(MakeError, match="in 2 draws.*held-out inputs only"):
        make.make("pairs", 3, effort=SHORT, draws=2)


# --- training --------------------------------------------------------------------------------


def test_a_short_training_learns_an_easy_board_and_repeats_bit_for_bit(monkeypatch):
    always(monkeypatch, Program("pairs", "board", EASY))
    effort = Effort(epochs=20, rows=1, batch_size=512, max_lr=0.005, weight_decay=1.0)
    made = make.make("pairs", 1, effort=effort)
    assert made.figures["accuracy"] > 0.97 and made.refused == []
    assert max(made.figures["shortcuts"].values()) < 0.6
    brief = Effort(epochs=1, rows=1, batch_size=512, max_lr=0.005)
    setting = SETTINGS["pairs"]
    states = [
        setting.train(made.program, made.materials, brief, seed).state_dict() for seed in (1, 1, 2)
    ]
    key = next(iter(states[0]))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0][key], states[2][key])


@pytest.mark.parametrize("layers, direction, answer", [(1, "causal", 2), (2, "bidirectional", 0)])
def test_the_answer_alone_is_what_the_model_says_there(layers, direction, answer):
    model = build_transformer(
        n_layers=layers, d_model=16, n_heads=2, d_head=8, d_mlp=16, n_ctx=3, d_vocab=7,
        d_vocab_out=2, attention_dir=direction, normalization_type="LN",
    )  # fmt: skip
    tokens = torch.randint(0, 7, (20, 3), generator=torch.Generator().manual_seed(0))
    found = AnswerOnly(model, answer)(tokens)
    assert torch.allclose(found, model(tokens)[:, answer], atol=1e-5)


# --- inputs ----------------------------------------------------------------------------------


def test_nothing_that_is_judged_on_was_trained_on():
    p = families.draw("pairs", 4)
    setting = SETTINGS["pairs"]
    materials = setting.materials(p, 4, clue=False)
    held = {tuple(row) for row in materials["inputs"].tolist()}
    trained = {tuple(row) for row in setting.fresh(p, materials, 1, 0).tolist()}
    assert not held & trained and len(held | trained) == pairs.P**2
    assert len(setting.held_out(materials, 10**6, 0)) == len(held)

    p = families.draw("sequence", 4)
    setting = SETTINGS["sequence"]
    materials = setting.materials(p, 4, clue=False)
    trained = setting.fresh(p, materials, 500, 0)
    assert len(trained) == 500 and not sequences.set_aside(trained).any()
    assert sequences.set_aside(materials["inputs"].long()).all()
    sample = setting.held_out(materials, 50, 1)
    assert len(sample) == 50 and sample.inputs.dtype == torch.int64
    assert torch.equal(sample.inputs, setting.held_out(materials, 50, 1).inputs)


def test_a_clue_is_given_at_low_difficulty_only():
    p = Program("cnn", "contest", {"scans": [3, 8], "low": -5.0, "high": 5.0})
    setting = SETTINGS["cnn"]
    assert setting.materials(p, 0, clue=True)["clue"].shape == (2, 28, 28)
    assert setting.materials(p, 0, clue=False) == {}


def test_building_a_network_leaves_the_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for family in families.FAMILIES:
        setting = SETTINGS[family]
        setting.build(setting.architecture(families.draw(family, 0)), seed=9)
    assert torch.equal(torch.get_rng_state(), before)
