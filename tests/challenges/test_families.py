"""Programs: labels on cases worked out by hand, balance, and what JSON and a seed give back."""

import json
import random

import pytest
import torch

from utils.challenges import families
from utils.challenges.families import Program, ProgramError, images, pairs, sequences
from utils.challenges.networks import SETTINGS
from utils.data import digits

ALL = [(family, name) for family in families.FAMILIES for name in families.module(family).TEMPLATES]


def program(family, template, **constants):
    return Program(family, template, constants)


def rows(*pairs_):
    return torch.tensor([[a, b, pairs.EQUALS] for a, b in pairs_])


def strings(letters, *texts):
    """ "abba" -> START a b b a."""
    return torch.tensor([[letters, *(sequences.LETTERS.index(x) for x in text)] for text in texts])


def picture(*boxes):
    """An image with full ink in boxes [top, bottom, left, right]: [1, 1, 28, 28]."""
    image = torch.zeros(1, 1, 28, 28)
    for top, bottom, left, right in boxes:
        image[..., top:bottom, left:right] = 1
    return image


# --- by hand ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template, constants, yes, no",
    [
        ("sum", {"u": 1, "v": 2, "low": 10, "high": 20}, [(10, 0), (1, 9)], [(9, 0), (0, 10)]),
        ("product", {"i": 1, "j": 2, "low": 12, "high": 20}, [(2, 2), (1, 6)], [(1, 3), (4, 2)]),
        ("distance", {"shift": -3, "width": 5}, [(0, 0), (6, 13)], [(2, 0), (0, 8)]),
        (
            "curve", {"top": 10, "scale": 2, "low": -4, "high": 6},
            [(10, 0), (12, 0), (8, 4)], [(10, 3), (13, 2)],
        ),
        ("hyperbola", {"i": 10, "j": 20, "level": 5}, [(12, 23), (7, 18)], [(15, 21), (12, 0)]),
        (
            "neither", {"total": 20, "wide": 5, "shift": 2, "near": 3},
            [(20, 5), (2, 6)], [(14, 10), (20, 18)],
        ),
        ("board", {"wide": 10, "tall": 20, "i": 5, "j": 0}, [(5, 0), (0, 20)], [(4, 19), (5, 20)]),
        (
            "modular", {"v": -1, "start": 95, "width": 4},
            [(0, 0), (1, 0), (0, 1), (5, 7)], [(2, 0), (0, 3)],
        ),
    ],
)  # fmt: skip
def test_pairs_by_hand(template, constants, yes, no):
    p = program("pairs", template, **constants)
    assert p.labels(rows(*yes)).tolist() == [1] * len(yes)
    assert p.labels(rows(*no)).tolist() == [0] * len(no)
    other = Program("pairs", template, constants, yes=0)
    assert other.labels(rows(*yes)).tolist() == [0] * len(yes)


@pytest.mark.parametrize(
    "template, constants, yes, no",
    [
        (
            "brackets", {"letters": 3, "length": 6, "open": 2, "close": 0},
            ["ccaabb", "cacaca", "bbbbbb", "bccaab"], ["accaac", "cccaab", "caacca", "ccccaa"],
        ),
        (
            "palindrome", {"letters": 3, "length": 6, "blind": 1},
            ["abccba", "abccca"], ["abccbb", "abcaba"],
        ),
        (
            "repeat", {"letters": 4, "length": 5, "start": 1, "window": 3},
            ["abbca", "abcba"], ["aabcd", "dabcc"],
        ),
        (
            "majority", {"letters": 3, "length": 6, "more": 0, "less": 1, "cut": 3},
            ["aabbcc", "abcaac"], ["aabaab", "bbabba", "cccabc"],
        ),
        (
            "run", {"letters": 3, "length": 5, "run": 3, "strict": True, "order": [2, 0, 1]},
            ["cabcc", "bbcab"], ["abcca", "caabb"],
        ),
        (
            "run", {"letters": 3, "length": 5, "run": 3, "strict": False, "order": [0, 1, 2]},
            ["aaaca", "cbabb"], ["cbaba"],
        ),
        (
            "count", {"letters": 4, "length": 4, "which": [0, 3], "modulus": 3, "remainders": [2]},
            ["adbb", "babd"], ["aaad", "abbb", "bbbb"],
        ),
        (
            "neighbours", {"letters": 3, "length": 5, "least": 2, "gap": 2},
            ["ababc", "aaaab"], ["abcab", "aabbc"],
        ),
    ],
)  # fmt: skip
def test_sequences_by_hand(template, constants, yes, no):
    p, letters = program("sequence", template, **constants), constants["letters"]
    assert p.labels(strings(letters, *yes)).tolist() == [1] * len(yes)
    assert p.labels(strings(letters, *no)).tolist() == [0] * len(no)


def test_images_by_hand():
    left, right, both = [8, 20, 5, 10], [8, 20, 15, 20], picture([8, 20, 5, 10], [8, 20, 15, 20])
    difference = program("cnn", "difference", boxes=[left, right], cuts=[20, 20])
    cases = torch.cat([picture(left), picture(right), both, picture()])
    assert difference.labels(cases).tolist() == [1, 1, 0, 0]
    regions = program("cnn", "regions", boxes=[left, right], low=-10, high=10)
    assert regions.labels(cases).tolist() == [0, 0, 1, 1]
    near = program("cnn", "centre", row=13.5, column=7.0, radius=0.1)
    assert near.labels(cases).tolist() == [1, 0, 0, 0]
    # a square of 10: ink 100, outline 40, so 5; a stroke of 2 x 20: ink 40, outline 44
    thick = program("cnn", "thickness", least=3.0)
    shapes = torch.cat([picture([5, 15, 5, 15]), picture([4, 24, 10, 12])])
    assert images.thickness(shapes).tolist() == pytest.approx([5, 80 / 44])
    assert thick.labels(shapes).tolist() == [1, 0]


def test_templates_of_images_by_hand():
    one, other = digits.originals().images[[3, 8]]
    inputs = torch.stack([one, other, 0 * one])
    own = float((one.double() * (2 * one - 1).double()).sum())
    band = program("cnn", "band", scan=3, low=-1, high=own - 0.01)
    assert band.labels(inputs)[[0, 2]].tolist() == [0, 1]
    lead = images.similarity(inputs, 3) - images.similarity(inputs, 8)
    assert lead[0] > 0 > lead[1] and lead[2] == 0
    contest = program("cnn", "contest", scans=[3, 8], low=-1, high=1)
    assert contest.labels(inputs).tolist() == [0, 0, 1]
    assert images.scans(contest.constants) == [3, 8] and images.scans({"row": 1}) == []


# --- every template --------------------------------------------------------------------------


def drawn(family, name, seed, difficulty=None):
    """That template, whatever the seed would have chosen."""
    template = families.module(family).TEMPLATES[name]
    difficulty = difficulty or template.levels[len(template.levels) // 2]
    return Program(family, name, template.draw(random.Random(seed), difficulty))


def inputs_of(p, seed=0):
    setting = SETTINGS[p.family]
    return setting.trained_on(p, setting.materials(p, seed, clue=False), 2000, seed).inputs


@pytest.mark.parametrize("family, name", ALL)
def test_both_classes_are_common_at_every_difficulty(family, name):
    for difficulty in families.module(family).TEMPLATES[name].levels:
        p = drawn(family, name, 100 + difficulty, difficulty)
        assert 0.35 < p.labels(inputs_of(p)).double().mean() < 0.65, p.describe()


@pytest.mark.parametrize("family, name", ALL)
def test_a_program_is_data_and_its_sentence_names_every_constant(family, name):
    p = drawn(family, name, 7)
    back = Program.from_dict(json.loads(json.dumps(p.as_dict())))
    inputs = inputs_of(p)
    assert back == p and torch.equal(back.labels(inputs), p.labels(inputs))
    assert p.labels(inputs).dtype == torch.int64
    text = p.describe()
    assert text.startswith("Class 1 exactly when ") and text.endswith("class 0 otherwise.")
    values = p.values(inputs)
    assert list(values)[-1] == "label" and all(
        len(value) == len(inputs) for value in values.values()
    )
    for key, value in p.constants.items():
        if isinstance(value, float):
            assert f"{value:g}" in text, key


@pytest.mark.parametrize("family", families.FAMILIES)
def test_six_templates_or_more_of_which_three_are_easy(family):
    templates = families.module(family).TEMPLATES.values()
    assert len(templates) >= 6
    for difficulty in families.DIFFICULTIES:
        assert sum(difficulty in t.levels for t in templates) >= 3


@pytest.mark.parametrize("family", ["pairs", "sequence"])
def test_a_seed_names_one_program(family):
    first = [families.draw(family, seed) for seed in range(30)]
    assert first == [families.draw(family, seed) for seed in range(30)]
    assert len({json.dumps(p.as_dict()) for p in first}) >= 29
    assert len({p.template for p in first}) >= 5
    assert families.draw(family, 1, 2) != families.draw(family, 1, 3)


def test_names_that_are_none():
    with pytest.raises(families.FamilyError, match="cnn, pairs, sequence"):
        families.draw("words", 0)
    with pytest.raises(families.FamilyError, match="1 to 5"):
        families.draw("pairs", 0, 6)
    good = families.draw("pairs", 0).as_dict()
    for change in ({"template": "nope"}, {"constants": {}}, {"yes": 2}, {"more": 1}):
        with pytest.raises(ProgramError):
            Program.from_dict({**good, **change})
    for value in (None, [], "text"):
        with pytest.raises(ProgramError):
            Program.from_dict(value)


# --- the planted region ----------------------------------------------------------------------


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_region_holds_bits_and_nothing_else_changes(family):
    for seed in range(3):
        p = families.draw(family, seed, unlearnable=True)
        plain = families.draw(family, seed)
        assert (p.template, p.constants, p.yes) == (plain.template, plain.constants, plain.yes)
        inputs = inputs_of(p)
        outside = p.learnable(inputs)
        assert 0.1 < (~outside).double().mean() < 0.3
        assert torch.equal(p.labels(inputs)[outside], plain.labels(inputs)[outside])
        bits = p.labels(inputs)[~outside].double()
        agree = (bits == plain.labels(inputs)[~outside]).double().mean()
        assert 0.35 < bits.mean() < 0.65 and 0.35 < agree < 0.65
        assert "keyed hash" in p.describe() and Program.from_dict(p.as_dict()) == p


def test_the_keyed_bit_depends_on_every_number_and_on_the_key():
    x = torch.randint(0, 5, (4000, 6), generator=torch.Generator().manual_seed(0))
    bit = families.keyed_bit(x, 1)
    assert abs(bit.double().mean() - 0.5) < 0.03
    assert 0.45 < (bit != families.keyed_bit(x, 2)).double().mean() < 0.55
    for column in range(6):
        other = x.clone()
        other[:, column] += 1
        assert 0.45 < (bit != families.keyed_bit(other, 1)).double().mean() < 0.55
        for value in range(5):
            assert abs(bit[x[:, column] == value].double().mean() - 0.5) < 0.08


def test_strings_set_aside_are_one_in_eight():
    x = sequences.sample("repeat", {"letters": 5, "length": 8}, 8000, 0)
    held = sequences.set_aside(x)
    assert abs(held.double().mean() - 0.125) < 0.02 and torch.equal(held, sequences.set_aside(x))


def test_made_brackets_are_what_their_maker_says():
    c = {"letters": 4, "length": 13, "open": 3, "close": 1}
    x = sequences.sample("brackets", c, 2000, 0)
    said = program("sequence", "brackets", **c).labels(x)

    def by_stack(row):
        depth = 0
        for token in row:
            depth += (token == 3) - (token == 1)
            if depth < 0:
                return 0
        return int(depth == 0)

    assert said.tolist() == [by_stack(row) for row in x[:, 1:].tolist()]
