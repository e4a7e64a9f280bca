"""What a folder and a key prove, and every way in which they may be wrong."""

import json
import shutil

import pytest
import torch

from utils.challenges import envelope, families, seal
from utils.challenges.envelope import (
    DamagedError,
    ExistsError,
    ForeignError,
    LearnerError,
    MissingError,
    SealError,
    WrongKeyError,
)
from utils.challenges.families import derived
from utils.challenges.make import HELD, Made, measure
from utils.challenges.networks import SETTINGS
from utils.sites import Site

COURSE = b"sixteen bytes or more"


def untrained(family="pairs", seed=1, **options):
    """A `Made` whose network was not trained: what is sealed does not depend on how good it is."""
    program = families.draw(family, seed, **options)
    setting = SETTINGS[family]
    materials = setting.materials(program, seed, clue=True)
    architecture = setting.architecture(program)
    model = setting.build(architecture, seed=derived(seed, "weights") % 2**31).eval()
    held = setting.held_out(materials, HELD, 0).inputs
    figures = measure(setting, program, model, held)
    data = setting.data(architecture)
    return Made(program, 3, model, architecture, data, materials, figures, [])


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    place = tmp_path_factory.mktemp("sealed")
    key = seal.seal(untrained(), 1, place / "one")
    return place / "one", key


@pytest.fixture
def copy(sealed, tmp_path):
    """A folder and key to damage."""
    folder, key = tmp_path / "one", tmp_path / "one.key.json"
    shutil.copytree(sealed[0], folder)
    shutil.copy(sealed[1], key)
    return folder, key


# --- what is in it ---------------------------------------------------------------------------


def test_what_is_written_and_what_it_says(sealed):
    folder, key = sealed
    assert {p.name for p in folder.iterdir()} == {seal.CARD, seal.WEIGHTS, seal.MATERIALS}
    assert key == folder.parent / "one.key.json"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["one", "one.key.json"]
    card = json.loads((folder / seal.CARD).read_text())
    assert set(card) == {
        "format", "family", "difficulty", "classes", "architecture", "data", "weights",
        "materials", "commitment",
    }  # fmt: skip
    secret = json.loads(key.read_text())
    public = (folder / seal.CARD).read_text()
    assert secret["nonce"] not in public and secret["program"]["template"] not in public
    assert secret["seed"] == 1 and secret["refused"] == []


@pytest.mark.parametrize("family", families.FAMILIES)
def test_load_and_reveal(family, tmp_path):
    made = untrained(family, 2, difficulty=2)
    key = seal.seal(made, 2, tmp_path / "c")
    challenge = seal.load(tmp_path / "c")
    assert (challenge.name, challenge.family) == ("c", family)
    sample = challenge.draw(HELD, 0)
    said = challenge.predict(sample.inputs)
    right = (said == made.program.labels(sample.inputs)).double().mean()
    assert float(right) == pytest.approx(made.figures["accuracy"], abs=1e-4)
    # a network of images is cut wherever it is claimed that something happens
    cuts = ("hook_pool1", "hook_pool2", "hook_fc1") if family == "cnn" else ()
    graph = challenge.graph_for([Site(hook) for hook in cuts], sample.inputs)
    output = graph.clean(sample.inputs[:4], {"output": None}, {})[0]["output"]
    assert torch.allclose(output, challenge.logits(sample.inputs[:4]), atol=1e-4)
    found = seal.reveal(tmp_path / "c", key)
    assert found.sentence == made.program.describe() and found.program == made.program
    assert found.accuracy == pytest.approx(found.recorded, abs=1e-3)


def test_an_unlearnable_region_shows_in_the_key_and_nowhere_else(tmp_path):
    plain, planted = (untrained(seed=5, unlearnable=x) for x in (False, True))
    keys = [seal.seal(m, 5, tmp_path / n) for m, n in ((plain, "a"), (planted, "b"))]
    cards = [json.loads((tmp_path / n / seal.CARD).read_text()) for n in "ab"]
    assert cards[0].pop("commitment") != cards[1].pop("commitment") and cards[0] == cards[1]
    secret = json.loads(keys[1].read_text())
    assert secret["program"]["region"]["a"] and "accuracy_in_region" in secret["figures"]
    assert "a is one of" in seal.reveal(tmp_path / "b", keys[1]).sentence


def test_the_same_seed_gives_the_same_bytes(sealed, tmp_path):
    key = seal.seal(untrained(), 1, tmp_path / "one")
    assert key.read_bytes() == sealed[1].read_bytes()
    for name in (seal.CARD, seal.WEIGHTS, seal.MATERIALS):
        assert (tmp_path / "one" / name).read_bytes() == (sealed[0] / name).read_bytes()


# --- changes ---------------------------------------------------------------------------------


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [seal.CARD, seal.WEIGHTS, seal.MATERIALS, "key"])
def test_one_changed_byte_anywhere_is_noticed(copy, name):
    folder, key = copy
    path = key if name == "key" else folder / name
    original = path.read_bytes()
    size = len(original)
    places = range(size) if name in (seal.CARD, "key") else (0, 9, size // 3, size - 1)
    # every byte of the JSON before the network is looked at; the whole of `reveal` at a few
    for at in places:
        flip(path, at)
        with pytest.raises(SealError) as caught:
            envelope.opened(folder, key)
            seal.load(folder)
        assert "\n" not in str(caught.value)
        path.write_bytes(original)
    for at in (size // 4, size // 2):
        flip(path, at)
        with pytest.raises(SealError):
            seal.reveal(folder, key)
        path.write_bytes(original)
    seal.reveal(folder, key)


def test_a_blank_more_is_a_change_too(copy):
    for path in (copy[0] / seal.CARD, copy[1]):
        original = path.read_bytes()
        path.write_bytes(original.replace(b": ", b":  ", 1))
        with pytest.raises(DamagedError, match="not written as it was sealed"):
            seal.reveal(*copy)
        path.write_bytes(original)


def test_a_card_that_was_written_anew_does_not_open(copy):
    folder, key = copy
    card = json.loads((folder / seal.CARD).read_text())
    (folder / seal.CARD).write_bytes(seal.render({**card, "difficulty": 4}))
    with pytest.raises(DamagedError, match="no longer give the commitment"):
        seal.reveal(folder, key)


def test_another_program_with_a_commitment_of_its_own_does_not_fit_the_network(copy):
    """A maker who lies: all hashes are right, but the network was not trained on it."""
    folder, key = copy
    card = json.loads((folder / seal.CARD).read_text())
    secret = json.loads(key.read_text())
    secret["figures"]["accuracy"] = 0.99
    committed = seal.commitment(card, secret)
    (folder / seal.CARD).write_bytes(seal.render({**card, "commitment": committed}))
    key.write_bytes(seal.render({**secret, "commitment": committed}))
    with pytest.raises(DamagedError, match="made otherwise"):
        seal.reveal(folder, key)


def test_the_key_of_another_challenge(sealed, tmp_path):
    other = seal.seal(untrained(seed=2), 2, tmp_path / "two")
    with pytest.raises(WrongKeyError, match="another challenge"):
        seal.reveal(sealed[0], other)


# --- missing and foreign ---------------------------------------------------------------------


@pytest.mark.parametrize("name", [seal.CARD, seal.WEIGHTS, seal.MATERIALS])
def test_missing_files(copy, name):
    (copy[0] / name).unlink()
    with pytest.raises(MissingError, match=name):
        seal.load(copy[0])


def test_missing_folder_and_key(copy, tmp_path):
    with pytest.raises(MissingError, match="no folder"):
        seal.load(tmp_path / "nowhere")
    with pytest.raises(MissingError, match="is not there"):
        seal.reveal(copy[0], tmp_path / "no.key.json")
    with pytest.raises(MissingError, match="is a folder"):
        seal.reveal(copy[0], copy[0])


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"format": 2}', '{"format": 1}'])
def test_foreign_json(copy, text):
    (copy[0] / seal.CARD).write_text(text)
    with pytest.raises(ForeignError, match="card"):
        seal.load(copy[0])
    shutil.rmtree(copy[0])
    copy[1].write_text(text)
    with pytest.raises(ForeignError, match="key"):
        envelope.read_key(copy[1])


def test_a_card_may_not_point_to_other_files(copy):
    card = json.loads((copy[0] / seal.CARD).read_text())
    card["weights"]["file"] = "../other.safetensors"
    (copy[0] / seal.CARD).write_bytes(seal.render(card))
    with pytest.raises(ForeignError, match="weights"):
        seal.load(copy[0])


@pytest.mark.parametrize("change", [{"d_model": 32}, {"kind": 1, "n_layers": "x"}, {"n_ctx": 2}])
def test_a_card_whose_network_cannot_be_built(copy, change):
    card = json.loads((copy[0] / seal.CARD).read_text())
    card["architecture"].update(change)
    (copy[0] / seal.CARD).write_bytes(seal.render(card))
    with pytest.raises(ForeignError, match="cannot be built"):
        seal.load(copy[0])


# --- places ----------------------------------------------------------------------------------


def test_nothing_is_overwritten(copy, tmp_path):
    before = {p: p.read_bytes() for p in [*copy[0].iterdir(), copy[1]]}
    made = untrained(seed=2)
    with pytest.raises(ExistsError, match="never overwritten"):
        seal.seal(made, 2, copy[0])
    with pytest.raises(ExistsError, match="one.key.json"):
        seal.seal(made, 2, tmp_path / "two", copy[1])
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ExistsError):
        seal.seal(made, 2, tmp_path / "link")
    assert {p: p.read_bytes() for p in before} == before and not (tmp_path / "two").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "one", "one.key.json"]


def test_the_key_may_not_lie_in_the_folder(tmp_path):
    for key in (tmp_path / "c" / "key.json", tmp_path / "c"):
        with pytest.raises(SealError, match="own folder"):
            envelope.check_places(tmp_path / "c", key)
    (tmp_path / "file").write_text("")
    with pytest.raises(SealError, match="cannot be a folder"):
        envelope.check_places(tmp_path / "file" / "c")


# --- learners --------------------------------------------------------------------------------


def test_learners_differ_and_each_is_reproduced():
    seeds = {name: envelope.learner_seed(COURSE, name) for name in ("ada", "bob", "é")}
    assert len(set(seeds.values())) == 3
    assert seeds["ada"] == envelope.learner_seed(COURSE, " ada\n")
    assert seeds["é"] == envelope.learner_seed(COURSE, "e\u0301")
    assert seeds["ada"] != envelope.learner_seed(COURSE + b"!", "ada")
    programs = [families.draw("sequence", seeds[name]) for name in ("ada", "bob", "ada")]
    assert programs[0] == programs[2] != programs[1]


def test_ids_and_course_keys_that_cannot_be_used(tmp_path):
    for empty in ("", "  ", "\n"):
        with pytest.raises(LearnerError, match="empty"):
            envelope.learner_seed(COURSE, empty)
    with pytest.raises(LearnerError, match="3 bytes"):
        envelope.learner_seed(b"key", "ada")
    with pytest.raises(LearnerError, match="cannot be read"):
        envelope.read_course_key(tmp_path / "none")
    (tmp_path / "key").write_bytes(COURSE + b"\n")
    assert envelope.read_course_key(tmp_path / "key") == COURSE


def test_the_families_are_those_that_can_be_made():
    assert envelope.FAMILIES == tuple(families.FAMILIES) == tuple(SETTINGS)


def test_secret_seeds_are_not_repeated():
    assert len({envelope.fresh_seed() for _ in range(20)}) == 20


def test_the_practice_challenge_opens_and_is_the_one_that_its_seed_names():
    folder, key = seal.practice()
    opened = seal.reveal(folder, key)
    assert opened.accuracy > 0.99
    assert opened.program == families.draw("pairs", opened.key["seed"], 3)
