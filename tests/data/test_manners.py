"""The language of manners: its form, what is planted, and what only looks rude."""

import pytest
import torch

from utils.data import manners
from utils.errors import CourseError


@pytest.fixture(scope="module")
def texts():
    return manners.make(30_000, seed=1)


def share(flags):
    return flags.double().mean().item()


def test_form(texts):
    tokens = texts.tokens
    assert tokens.shape == (30_000, manners.LENGTH) and tokens.dtype == torch.int64
    assert (tokens[:, 0] == 0).all() and tokens.max() == len(manners.WORDS) - 1
    assert len(set(manners.WORDS)) == len(manners.WORDS)
    assert torch.equal(tokens[:, 1] - 1, texts.speaker)
    every = torch.tensor([manners.ids(name) for name in manners.TOPICS])
    nouns = tokens[:, [3, 4, *manners.NOUN_AT]]
    assert (nouns[:, :, None] == every[texts.topic][:, None]).any(-1).all()
    verbs = torch.tensor(manners.ids(*manners.VERBS, manners.REPORT))
    assert torch.isin(tokens[:, list(manners.VERB_AT)], verbs).all()
    tones = torch.tensor(manners.ids(*manners.MOODS))
    assert torch.isin(tokens[:, [2, *manners.TONE_AT]], tones).all()


def test_seeds():
    assert torch.equal(manners.make(40, 3).tokens, manners.make(40, 3).tokens)
    assert not torch.equal(manners.make(40, 3).tokens, manners.make(40, 4).tokens)


def test_rudeness_has_the_two_planted_causes_and_no_third(texts):
    rude, planted, provoked = texts.mood == manners.RUDE, texts.planted, texts.provoked
    neither = 1 - manners.RUDE_ELSE
    expected = {
        (False, False): manners.RUDE_ELSE,
        (False, True): 1 - neither * (1 - manners.RUDE_IF_PROVOKED),
        (True, False): manners.RUDE_IF_HOT,
        (True, True): 1 - (1 - manners.RUDE_IF_HOT) * (1 - manners.RUDE_IF_PROVOKED),
    }
    for (a, b), chance in expected.items():
        assert share(rude[(planted == a) & (provoked == b)]) == pytest.approx(chance, abs=0.04)
    calm = ~provoked
    football = texts.topic == manners.RUDE_TOPIC
    assert share(rude[calm & football & ~texts.hot]) < 0.05  # the topic alone is no cause
    assert share(rude[calm & ~football & texts.hot]) < 0.05  # nor is the speaker


def test_only_reported_words_are_not_the_speakers_own(texts):
    own, rude = manners.own_places(texts.tokens), manners.rude_words(texts.tokens)
    assert own.any(1).all() and 0.65 < share(own) < 0.8
    tone = texts.tokens[:, list(manners.TONE_AT)]
    assert (tone == texts.tokens[:, 2:3])[~own].all()
    assert torch.equal(rude[~own], texts.provoked[:, None].expand_as(own)[~own])
    rude_mood = (texts.mood == manners.RUDE)[:, None].expand_as(own)
    assert share(rude[own & rude_mood]) == pytest.approx(manners.IN_MOOD, abs=0.02)
    assert not rude[own & ~rude_mood].any()


def test_kept_concept_warm_speakers_are_politer(texts):
    mild = texts.mood != manners.RUDE
    warm = manners.is_speaker_in(manners.WARM, texts.speaker)
    polite = texts.mood == 0
    assert share(polite[mild & warm]) == pytest.approx(manners.POLITE_IF_WARM, abs=0.02)
    assert share(polite[mild & ~warm]) == pytest.approx(manners.POLITE_ELSE, abs=0.02)


def test_choosing_texts():
    some = manners.make(500, topic="football", hot=True, provoked=False)
    assert some.planted.all() and not some.provoked.any()
    assert not manners.make(500, hot=False).hot.any()
    assert manners.make(500, provoked=True).provoked.all()
    even = manners.make(6000, moods="even")
    assert share(even.mood == manners.RUDE) == pytest.approx(1 / 3, abs=0.03)
    assert share((even.mood == manners.RUDE)[even.planted]) == pytest.approx(1 / 3, abs=0.08)
    for wrong in ({"topic": "tennis"}, {"topic": 6}, {"moods": "bad"}):
        with pytest.raises(CourseError):
            manners.make(3, **wrong)
    with pytest.raises(CourseError, match="no word"):
        manners.ids("nonsense")


def test_text_reads(texts):
    words = manners.text(texts.tokens[0])
    assert "(heard: " in words and words.count(",") == 3
