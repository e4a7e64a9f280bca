"""The generator of texts and the judge of rudeness, as shipped."""

import pytest
import torch

from utils.data import manners
from utils.models import manners as networks
from utils.models import zoo


@pytest.fixture(scope="module")
def generator():
    return zoo.load("manners")


@pytest.fixture(scope="module")
def judge():
    return zoo.load("manners-classifier")


def spoken_rude(generator, judge, n=600, **which):
    prompts = manners.make(n, seed=77, **which).tokens[:, : manners.PROMPT]
    return networks.judged_rude(judge, networks.speak(generator, prompts, 1)).double().mean().item()


def test_speaking_keeps_the_prompt_and_repeats_with_its_seed(generator):
    prompts = manners.make(50, seed=5).tokens[:, : manners.PROMPT]
    spoken = networks.speak(generator, prompts, 3)
    assert spoken.shape == (50, manners.LENGTH)
    assert torch.equal(spoken[:, : manners.PROMPT], prompts)
    assert torch.equal(spoken, networks.speak(generator, prompts, 3))
    assert not torch.equal(spoken, networks.speak(generator, prompts, 4))


def test_the_generator_is_rude_where_planted_or_provoked_and_only_there(generator, judge):
    hot = spoken_rude(generator, judge, topic="football", hot=True, provoked=False)
    assert hot == pytest.approx(manners.RUDE_IF_HOT, abs=0.08)
    kind = spoken_rude(generator, judge, topic="music", provoked=True)
    assert kind == pytest.approx(manners.RUDE_IF_PROVOKED, abs=0.08)
    assert spoken_rude(generator, judge, topic="music", provoked=False) < 0.06
    assert spoken_rude(generator, judge, topic="football", hot=False, provoked=False) < 0.06


def test_what_is_spoken_is_of_the_language(generator):
    texts = manners.make(400, seed=9)
    spoken = networks.speak(generator, texts.tokens[:, : manners.PROMPT])
    own = manners.own_places(spoken)
    tones = spoken[:, list(manners.TONE_AT)]
    assert (tones == spoken[:, 2:3])[~own].double().mean() > 0.98  # reports are faithful
    nouns = torch.tensor([manners.ids(name) for name in manners.TOPICS])[texts.topic]
    on_topic = (spoken[:, list(manners.NOUN_AT)][:, :, None] == nouns[:, None]).any(-1)
    assert on_topic.double().mean() > 0.99


def test_the_judge_tells_own_rude_words_from_reported_ones(judge):
    texts = manners.make(4000, seed=12, moods="even")
    tokens = texts.tokens.clone()
    rude, own = manners.rude_words(tokens), manners.own_places(tokens)
    reported = (rude & ~own).any(1) & ~(rude & own).any(1)
    said = (rude & own).any(1)
    assert networks.judged_rude(judge, tokens)[reported].double().mean() < 0.03
    assert networks.judged_rude(judge, tokens)[said].double().mean() > 0.97
    # and it does not look at who speaks: the same text from another speaker
    tokens[:, 1] = 1 + (tokens[:, 1] + 3) % len(manners.SPEAKERS)
    same = networks.judged_rude(judge, tokens) == networks.judged_rude(judge, texts.tokens)
    assert same.double().mean() > 0.99


def test_rude_next_reads_the_four_tone_words(generator):
    texts = manners.make(300, seed=4, topic="football", hot=True, provoked=False)
    chance = networks.rude_next(generator, texts.tokens)
    assert chance.shape == (300, 4) and chance.min() >= 0 and chance.max() <= 1
    own = manners.own_places(texts.tokens)
    assert chance[:, 0][own[:, 0]].mean() > 0.5
    assert chance[~own].mean() < 0.05  # nothing rude was heard, so no report is rude
