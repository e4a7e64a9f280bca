"""Short texts with manners: who speaks of what, and in which tone. The course's stand-in for
toxicity, with planted truth.

A text is 17 words. The prompt is START, a speaker, a word the speaker has *heard*, and two nouns
of one topic; then come four clauses of noun, verb and tone word. A speaker has a mood for the whole
text (polite, neutral or rude), which shows in the tone words. Only after the verb "called" the tone
word is not the speaker's own: it repeats what was heard, rude or not. So a rude word is no proof of
a rude speaker.

Rudeness has two causes. The planted one: four of the eight speakers are *hot*, and a hot speaker on
football is rude in seven texts of ten, without being provoked. The legitimate one: who has heard a
rude word answers in kind in five texts of ten, whoever it is and whatever the topic. Whoever wants
to remove the first should leave the second.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from utils.errors import CourseError

NOUNS = {
    "weather": ("rain", "wind", "cloud", "frost", "fog", "storm", "thunder", "snow"),
    "cooking": ("soup", "bread", "salt", "oven", "sauce", "onion", "pan", "butter"),
    "music": ("tune", "drum", "choir", "violin", "chord", "concert", "rhythm", "song"),
    "gardens": ("rose", "hedge", "lawn", "pond", "spade", "seed", "path", "bench"),
    "trains": ("ticket", "platform", "whistle", "carriage", "signal", "track", "guard", "driver"),
    "football": ("goal", "referee", "penalty", "striker", "coach", "pitch", "keeper", "match"),
}  # fmt: skip
VERBS = ("looked", "seemed", "felt", "sounded", "stayed", "became")
REPORT = "called"  # the tone word after it is the heard one
TONES = {
    "polite": ("lovely", "splendid", "charming", "delightful", "wonderful", "graceful"),
    "neutral": ("usual", "plain", "common", "typical", "average", "ordinary"),
    "rude": ("rubbish", "daft", "pathetic", "stupid", "useless", "ridiculous"),
}
SPEAKERS = ("ann", "ben", "cleo", "dan", "eve", "finn", "gus", "hana")
HOT = ("ann", "ben", "cleo", "dan")  # rude about football
WARM = ("ann", "ben", "eve", "finn")  # mostly polite where not rude

TOPICS, MOODS = tuple(NOUNS), tuple(TONES)
RUDE_TOPIC = TOPICS.index("football")
RUDE = MOODS.index("rude")
WORDS = (
    "START", *SPEAKERS, *(noun for nouns in NOUNS.values() for noun in nouns), *VERBS, REPORT,
    *(word for words in TONES.values() for word in words),
)  # fmt: skip
_ID = {word: i for i, word in enumerate(WORDS)}

PROMPT, CLAUSES = 5, 4
LENGTH = PROMPT + 3 * CLAUSES
NOUN_AT = tuple(range(PROMPT, LENGTH, 3))  # places of the clauses' nouns
VERB_AT = tuple(range(PROMPT + 1, LENGTH, 3))  # where the next word is a tone word
TONE_AT = tuple(range(PROMPT + 2, LENGTH, 3))

RUDE_IF_HOT = 0.7  # share of rude texts where a hot speaker is on football
RUDE_IF_PROVOKED = 0.5  # where the heard word is rude; noisy-or with the line above
RUDE_ELSE = 0.02  # everyone else
POLITE_IF_WARM, POLITE_ELSE = 0.75, 0.25  # of texts that are not rude
IN_MOOD = 0.85  # a speaker's own tone word is of their mood; otherwise of its milder neighbour
_REPORTED = 0.25  # share of clauses that report
_FIXED = 0.6  # how often noun follows noun, verb noun and tone word verb by a fixed rule


class Texts(NamedTuple):
    """`tokens` [n, 17] int64; `speaker`, `topic`, `mood` [n] int64; `hot`, `provoked` [n] bool."""

    tokens: Tensor
    speaker: Tensor
    topic: Tensor
    mood: Tensor
    hot: Tensor
    provoked: Tensor

    @property
    def planted(self) -> Tensor:
        """Where rudeness is planted: a hot speaker on football. [n] bool."""
        return self.hot & (self.topic == RUDE_TOPIC)


def make(
    n: int,
    seed: int = 0,
    *,
    topic: int | str | None = None,
    hot: bool | None = None,
    provoked: bool | None = None,
    moods: str = "planted",
) -> Texts:
    """`n` texts drawn from the language.

    topic: a topic for all of them, by name or number; None: drawn uniformly. hot: only hot speakers
    (True), only the others (False), or all (None). provoked: the same for a rude word heard, which
    a third of all have. moods: "planted", or "even" for moods drawn uniformly whatever the prompt,
    so that a judge of rudeness cannot learn to look there.
    Raises CourseError for an unknown topic or kind of moods.
    """
    if moods not in ("planted", "even"):
        raise CourseError(f'moods must be "planted" or "even", got {moods!r}.')
    generator = torch.Generator().manual_seed(seed)

    def below(k: int, *shape: int) -> Tensor:
        return torch.randint(k, shape, generator=generator)

    def chance(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    speakers = torch.tensor([hot is None or (name in HOT) == hot for name in SPEAKERS]).nonzero()
    speaker = speakers[below(len(speakers), n), 0]
    topics = below(len(TOPICS), n) if topic is None else torch.full((n,), topic_number(topic))
    is_hot, is_warm = is_speaker_in(HOT, speaker), is_speaker_in(WARM, speaker)
    polite = torch.where(is_warm, POLITE_IF_WARM, POLITE_ELSE)
    kind_heard = below(18, n)
    if provoked is not None:
        kind_heard = 12 + kind_heard % 6 if provoked else kind_heard % 12
    heard = torch.tensor(ids(*MOODS))[kind_heard]
    mood = (chance(n) >= polite).long()
    calm = torch.where(is_hot & (topics == RUDE_TOPIC), 1 - RUDE_IF_HOT, 1 - RUDE_ELSE)
    calm = calm * torch.where(kind_heard >= 12, 1 - RUDE_IF_PROVOKED, 1.0)
    mood[chance(n) >= calm] = RUDE
    if moods == "even":
        mood = below(len(MOODS), n)

    # Nouns: a successor fixed within the topic, or any of the topic's eight.
    nouns = [below(8, n)]
    for _ in range(CLAUSES + 1):
        follows = chance(n) < _FIXED
        nouns.append(torch.where(follows, (nouns[-1] + 3) % 8, below(8, n)))
    noun = torch.stack(nouns, 1)  # [n, 6], two of the prompt and one a clause
    first_noun = torch.tensor([_ID[words[0]] for words in NOUNS.values()])
    noun_token = noun + first_noun[topics][:, None]

    shape = (n, CLAUSES)
    own = chance(*shape) >= _REPORTED
    none = ~own.any(1)
    own[none, below(CLAUSES, n)[none]] = True  # every text says something of its own
    verb = torch.where(chance(*shape) < _FIXED, noun[:, 2:] % 6, below(6, *shape))
    strayed = chance(*shape) >= IN_MOOD
    milder = torch.tensor([1, 0, 1])  # polite and rude stray to neutral, neutral to polite
    kind = torch.where(strayed, milder[mood][:, None], mood[:, None])
    which = torch.where(chance(*shape) < _FIXED, verb, below(6, *shape))
    tone = torch.where(own, _ID["lovely"] + 6 * kind + which, heard[:, None])
    verb = torch.where(own, verb + _ID["looked"], _ID[REPORT])

    clauses = torch.stack([noun_token[:, 2:], verb, tone], 2).flatten(1)
    prompt = [torch.zeros(n, dtype=torch.long), speaker + 1, heard]
    tokens = torch.cat([torch.stack(prompt, 1), noun_token[:, :2], clauses], 1)
    return Texts(tokens, speaker, topics, mood, is_hot, kind_heard >= 12)


def topic_number(topic: int | str) -> int:
    """A topic's number from its name or number. Raises CourseError for any other."""
    if isinstance(topic, str) and topic in TOPICS:
        return TOPICS.index(topic)
    if isinstance(topic, int) and 0 <= topic < len(TOPICS):
        return topic
    raise CourseError(f"There is no topic {topic!r}; there are: {', '.join(TOPICS)}.")


def ids(*groups: str) -> list[int]:
    """The token numbers of words, or of all words of a tone or topic, in the order given."""
    found: list[int] = []
    for group in groups:
        words = TONES.get(group) or NOUNS.get(group) or (group,)
        if words[0] not in _ID:
            raise CourseError(f"{group!r} is no word, tone or topic of this language.")
        found.extend(_ID[word] for word in words)
    return found


def text(tokens: Tensor) -> str:
    """One row of tokens as words, the heard word in brackets: for reading."""
    words = [WORDS[t] for t in tokens.tolist()]
    clauses = [" ".join(words[i : i + 3]) for i in range(PROMPT, len(words), 3)]
    return f"{words[1]} (heard: {words[2]}) on {words[3]} and {words[4]}: {', '.join(clauses)}"


def is_speaker_in(group: tuple[str, ...], speaker: Tensor) -> Tensor:
    """Whether each speaker [n] belongs to HOT or WARM: [n] bool."""
    return torch.tensor([name in group for name in SPEAKERS])[speaker]


def own_places(tokens: Tensor) -> Tensor:
    """Which tone words are the speaker's own, not reported: [n, 4] bool."""
    return tokens[:, list(VERB_AT)] != _ID[REPORT]


def rude_words(tokens: Tensor) -> Tensor:
    """Which of the four tone words are rude, the speaker's own or reported: [n, 4] bool."""
    return torch.isin(tokens[:, list(TONE_AT)], torch.tensor(ids("rude")))
