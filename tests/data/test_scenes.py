"""Scenes: what is drawn is what the phrases say, from a seed, and nothing else."""

import pytest
import torch

from utils.data import scenes
from utils.data.stencils import STENCILS


def test_every_object_has_a_stencil_unlike_the_others():
    assert STENCILS.shape == (len(scenes.OBJECTS), 7, 7)
    assert set(STENCILS.unique().tolist()) == {0, 1}
    apart = (STENCILS[:, None] - STENCILS[None]).abs().sum((2, 3)) + 99 * torch.eye(24)
    assert apart.min() >= 8
    assert len(set(scenes.WORDS)) == len(scenes.WORDS) == 33


def test_scenes_come_from_their_seed_and_leave_the_callers_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, again, other = (scenes.make(40, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(a, b) for a, b in zip(tuple(first), tuple(again), strict=True))
    assert not torch.equal(first.images, other.images)
    assert first.images.shape == (40, 3, 16, 16)
    assert first.images.min() >= 0 and first.images.max() <= 1


def test_scenes_hold_one_to_most_different_objects():
    rows = scenes.make(500, 0, most=2)
    count = (rows.objects >= 0).sum(1)
    assert set(count.tolist()) == {1, 2}
    assert torch.equal(rows.objects >= 0, rows.colours >= 0)
    both = rows[count == 2]
    assert all(len(set(row) - {-1}) == 2 for row in both.objects.tolist())
    assert len(both) == int((count == 2).sum()) == len(both.images)
    with pytest.raises(scenes.SceneError, match="most=5"):
        scenes.make(3, 0, most=5)


def test_an_object_is_drawn_in_its_quarter_and_colour():
    rows = scenes.draw(
        torch.tensor([[-1, -1, -1, 3]]), torch.tensor([[-1, -1, -1, 2]]), torch.tensor([0]), seed=0
    )
    empty = scenes.draw(
        torch.full((1, 4), -1), torch.full((1, 4), -1), torch.tensor([0]), seed=0
    )  # fmt: skip
    changed = (rows.images - empty.images).abs().amax(1)[0] > 0.2
    assert int(changed.sum()) == int(STENCILS[3].sum())
    assert not changed[:8].any() and not changed[:, :8].any()
    blue = rows.images[0][:, changed].mean(1)
    assert blue.argmax() == 2 and blue[2] > 0.8


def test_a_phrase_is_read_and_written():
    for text in ("snake", "red snake", "snake night", "red snake night", "red", "night"):
        assert scenes.phrase(*scenes.parse(text)) == text
    assert scenes.parse("night snake red") == scenes.parse("red snake night")


@pytest.mark.parametrize("text, says", [("dragon", "dragon"), ("red blue snake", "two of a sort")])
def test_a_phrase_that_cannot_be_read(text, says):
    with pytest.raises(scenes.SceneError, match=says):
        scenes.parse(text)


def test_holds_wants_colour_and_object_in_one_quarter():
    rows = scenes.draw(
        torch.tensor([[6, 18, -1, -1]]), torch.tensor([[0, 2, -1, -1]]), torch.tensor([1]), seed=0
    )  # a red snake and a blue fish at night
    said = {
        "snake": True, "red snake": True, "blue fish night": True, "night": True, "blue": True,
        "blue snake": False, "red fish": False, "snake day": False, "green": False, "cup": False,
    }  # fmt: skip
    parsed = torch.tensor([scenes.parse(text) for text in said])
    assert scenes.holds(rows, parsed)[0].tolist() == list(said.values())


def test_a_scene_of_a_phrase_shows_it():
    phrases = ["red snake night", "fish", "blue cup", "sand"]
    rows = scenes.of(phrases, seed=4, ground="room")
    parsed = torch.tensor([scenes.parse(text) for text in phrases])
    assert scenes.holds(rows, parsed).diagonal().all()
    assert [scenes.GROUNDS[g] for g in rows.ground] == ["night", "room", "room", "sand"]
    assert (rows.objects >= 0).sum(1).tolist() == [1, 1, 1, 0]


def test_adding_keeps_what_is_there():
    rows = scenes.make(50, 1)
    more = scenes.add(rows, torch.full((50,), 20), torch.full((50,), 1), seed=9)
    assert ((more.objects >= 0).sum(1) == (rows.objects >= 0).sum(1) + 1).all()
    assert ((more.objects == rows.objects) | (rows.objects < 0)).all()
    assert torch.equal(more.ground, rows.ground)
    full = scenes.draw(*(torch.zeros(1, 4).long() for _ in range(2)), torch.tensor([0]), seed=0)
    with pytest.raises(scenes.SceneError, match="no room"):
        scenes.add(full, torch.tensor([1]), torch.tensor([1]), seed=0)


def test_the_dictionary_and_its_bags():
    names = scenes.dictionary()
    assert len(names) == len(set(names)) == 249 and len(set(scenes.long_phrases())) == 480
    assert not set(names) & set(scenes.long_phrases())
    bags = scenes.bags(["red snake night", "snake"])
    assert bags.sum(1).tolist() == [3, 1]
    assert [scenes.WORDS[i] for i in bags[0].nonzero()[:, 0]] == ["snake", "red", "night"]
