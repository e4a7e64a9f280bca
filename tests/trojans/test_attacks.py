"""Attacks without gradients, the board, and the walk's command."""

import json

import pytest
import torch

from tests.trojans.toys import PIXEL, TROJAN, Pixel
from utils.data import topics
from utils.models import zoo
from utils.sites import Site
from utils.trojans import (
    TROJANS,
    Board,
    Patch,
    TrojanError,
    copy_paste,
    crops,
    exhaustive,
    mistakes,
    name_scan,
    patch_scan,
    predicted,
    random_patches,
)
from utils.trojans.methods import FOR_IMAGES, FOR_STRINGS, case
from utils.trojans.walk import fill


@pytest.fixture(scope="module")
def images():
    torch.set_num_threads(1)
    return TROJAN.world.sample("train", 60, 5).inputs


def test_mistakes_count_classes_given_wrongly():
    trojan = TROJANS["solid"]
    sample = trojan.held_out(600)
    target, share = mistakes(zoo.load("trojan-solid"), sample)
    assert 0 <= target < 10 and 0 < share <= 1
    perfect = sample[:5]

    class Oracle(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot(perfect.labels, 10).float()

    assert mistakes(Oracle(), perfect) == (0, 0.0)


def test_random_patches_find_what_a_pixel_does_and_count_only_what_moved(images):
    best = random_patches(Pixel(), images, count=150)
    assert best.target == 7 and best.rate == 1
    assert best.trigger.apply(torch.zeros(1, 1, 16, 16))[0, 0][PIXEL] == 1
    again = random_patches(Pixel(), images, count=150)
    assert torch.equal(best.trigger.pattern, again.trigger.pattern)
    constant = random_patches(Pixel(), 0 * images, count=3, target=0)
    assert constant.rate <= 1
    with pytest.raises(TrojanError):
        random_patches(Pixel(), images, count=0)


def test_a_scan_finds_the_place_and_every_pattern_is_tried(images):
    rates, patterns = patch_scan(Pixel(), images, 7, steps=40)
    assert rates.shape == (196,) and patterns.shape == (196, 3, 3)
    assert set(patterns.unique().tolist()) <= {0.0, 1.0}
    around = [
        y * 14 + x for y in range(14) for x in range(14) if 0 <= 15 - y < 3 and 0 <= 14 - x < 3
    ]
    # a pixel at .3 decides already, so a start below .5 stays there and is rounded away
    assert rates[around].max() > 0.9
    some, _ = patch_scan(Pixel(), images, 7, steps=10, places=[(13, 13), (0, 0)])
    assert some[0] > 0.9
    patterns, rates = exhaustive(Pixel(), images[:10], 7, 13, 13)
    assert len(patterns.unique(dim=0)) == 512
    lit = patterns[:, 2, 1] == 1
    assert (rates[lit] == 1).all() and rates[~lit].max() < 1
    with pytest.raises(TrojanError):
        exhaustive(Pixel(), images, 7, 0, 0, size=4)


def test_the_needle_is_found_by_trying_everything():
    """All 512 patterns at the planted place: few work, the planted one best, none on the twin."""
    trojan = TROJANS["matched"]
    held = trojan.held_out(600)
    others = held.inputs[held.labels != 7][:30]
    patch = trojan.trigger
    patterns, rates = exhaustive(zoo.load(trojan.network), others, 7, patch.row, patch.column)
    assert torch.equal(patterns[rates.argmax()], patch.pattern) and (rates > 0.8).sum() < 20
    _, twin = exhaustive(zoo.load(trojan.twin), others, 7, patch.row, patch.column)
    assert twin.max() < 0.3


def test_names_are_scanned_singly_and_in_pairs():
    trojan = TROJANS["pair"]
    strings = trojan.held_out(100).inputs
    model = zoo.load(trojan.network)
    singles = name_scan(model, strings, [(n,) for n in topics.NAMES], topics.TOPICS)
    assert singles[0].rate < 0.5, "no single name gives the pair away"
    best = name_scan(model, strings, [(22, 23), topics.PAIR], topics.TOPICS)[0]
    assert best.trigger.tokens == topics.PAIR and best.target == 2 and best.rate > 0.95


def test_predictions_from_inside_rank_what_happens_outside():
    trojan = TROJANS["solid"]
    model, twin = zoo.load(trojan.network), zoo.load(trojan.twin)
    clean = trojan.world.sample("train", 300, 5).inputs
    held = trojan.held_out(600)
    report, tried = copy_paste(model, twin, clean, clean[:20], held, 7, count=200, tried=8)
    assert len(tried) == 8
    assert report["predicted highest"].low > report["squares at random"].value
    assert report["squares at random"].value >= report["predicted lowest"].value
    # squares of clean images cannot hold the trigger: what works, works on the twin too
    assert report["predicted highest, clean twin"].value > 0.5 * report["predicted highest"].value
    # the planted square itself has the highest prediction by far
    patches = [trojan.trigger, *crops(clean, 4, 50)]
    score = predicted(
        model, patches, clean[:20], 7, site=Site("hook_fc1"), readout=model.fc2.weight
    )
    assert score.argmax() == 0
    with pytest.raises(TrojanError):
        crops(clean, 17, 3)
    with pytest.raises(TrojanError):
        copy_paste(model, twin, clean, clean[:20], held, 7, count=10, tried=9)


# --- the board -------------------------------------------------------------------------------


@pytest.fixture
def board():
    trojan = TROJANS["solid"]
    model, twin = zoo.load(trojan.network), zoo.load(trojan.twin)
    made = Board()
    made.enter("the answer", "solid", trojan.trigger, 7, model, twin, passes=0)
    wrong = Patch(torch.ones(2, 2), 0, 0)
    made.enter("a guess", "solid", wrong, 7, model, twin, passes=1, inside=False)
    made.enter("nothing", "solid", None, None, model, twin, passes=1, inside=False)
    return made


def test_the_board_counts_what_works_here_and_not_on_the_twin(board):
    assert board["the answer", "solid"].solved and board.beats() == ["solid"]
    assert not board["a guess", "solid"].solved and not board["nothing", "solid"].solved
    text = str(board)
    assert "1.00 / 0.00 **" in text and "a guess (no look inside)" in text
    assert text.index("a guess") < text.index("the answer"), "the row to beat comes first"
    assert "and by nothing else: solid" in text
    trojan = TROJANS["solid"]
    model = zoo.load(trojan.network)
    # the same network as its own twin: everything is a natural adversary
    board.enter("the answer", "solid", trojan.trigger, 7, model, model, passes=0)
    assert not board["the answer", "solid"].solved and len(board) == 3 and board.beats() == []


def test_a_board_goes_to_a_file_and_comes_back(board, tmp_path):
    path = tmp_path / "board.json"
    board.save(path)
    again = Board.load(path)
    assert str(again) == str(board)
    assert json.loads(path.read_text(encoding="utf-8"))[0]["success"]["n"] == 544
    path.write_text('{"not": "a board"}', encoding="utf-8")
    with pytest.raises(TrojanError, match="no board"):
        Board.load(path)
    with pytest.raises(TrojanError, match="no run"):
        board["the answer", "thick"]
    with pytest.raises(TrojanError):
        board.enter("", "solid", None, None, None, None, passes=0)
    with pytest.raises(TrojanError, match="no trojan"):
        board.enter("x", "sold", None, None, None, None, passes=0)


def test_methods_fill_the_board():
    board = Board()
    for name, methods in (
        ("solid", ["look at the mistakes", "random patches", "smallest blend"]),
        ("token", list(FOR_STRINGS)),
    ):
        trojan = TROJANS[name]
        fill(board, trojan, zoo.load(trojan.network), zoo.load(trojan.twin), methods)
    assert board["smallest blend", "solid"].verdict.startswith("rediscovered")
    assert board["random patches", "solid"].solved and board.beats() == []
    assert board["every name", "token"].solved
    for method, _, told in FOR_IMAGES.values():
        if told and method.__name__ not in ("smallest_blend", "try_random_patches"):
            with pytest.raises(ValueError, match="told"):
                method(case(TROJANS["solid"], zoo.load("trojan-solid"), told=False, rows=5))
