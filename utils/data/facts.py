"""A small world of facts: 48 people, 4 relations with 2 synonyms each, 24 towns.

A prompt is four tokens, `filler filler person relation`, and the town is read off at the last one.
Every relation may answer with every town, so an edit that pushes one town up can be seen wherever
it spills over: to the synonym, to other people, and to the same person's other relations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

FILLERS = ("well", "so", "now", "yes", "then", "again", "still", "indeed", "oh", "and", "but", "ah")
SUBJECTS = (
    "Ada", "Ben", "Cleo", "Dina", "Egon", "Fay", "Gil", "Hana", "Ivo", "Jana", "Karl", "Lea",
    "Milo", "Nora", "Otto", "Pia", "Quin", "Rosa", "Sam", "Tara", "Uwe", "Vera", "Wim", "Xena",
    "Yan", "Zoe", "Alma", "Boris", "Cora", "Dag", "Elif", "Finn", "Greta", "Hugo", "Inga", "Jens",
    "Kira", "Lars", "Mara", "Nils", "Olga", "Paul", "Rita", "Sven", "Tove", "Ulla", "Vito", "Willa",
)  # fmt: skip
RELATIONS = (
    ("was-born-in", "hails-from"),
    ("lives-in", "resides-in"),
    ("works-in", "has-a-job-in"),
    ("is-buried-in", "rests-in"),
)
OBJECTS = (
    "Aachen", "Bern", "Cadiz", "Delft", "Essen", "Faro", "Ghent", "Haifa", "Izmir", "Jena", "Kyoto",
    "Lima", "Metz", "Nice", "Oslo", "Porto", "Quito", "Riga", "Split", "Turin", "Ulm", "Varna",
    "Wells", "York",
)  # fmt: skip

FIRST_SUBJECT = len(FILLERS)
FIRST_RELATION = FIRST_SUBJECT + len(SUBJECTS)
SYNONYMS = 2
VOCABULARY = FIRST_RELATION + SYNONYMS * len(RELATIONS)  # tokens; towns are classes, not tokens
LENGTH, SUBJECT, LAST = 4, 2, 3  # tokens in a prompt; where the person stands; where the answer is


def table(seed: int = 0) -> Tensor:
    """Which town: [48 people, 4 relations] int64. Each town is right for two people a relation."""
    generator = torch.Generator().manual_seed(seed)
    twice = torch.arange(len(OBJECTS)).repeat(len(SUBJECTS) // len(OBJECTS))
    columns = [twice[torch.randperm(len(twice), generator=generator)] for _ in RELATIONS]
    return torch.stack(columns, 1)


def prompts(subjects: Tensor, relations: Tensor, synonyms: Tensor | int = 0, seed: int = 0):
    """Prompts with random fillers, the same for the same seed: [n, 4] int64.

    subjects: [n] in 0..47. relations: [n] in 0..3. synonyms: [n] in 0..1, or one for all.
    """
    _within("subjects", subjects, len(SUBJECTS))
    _within("relations", relations, len(RELATIONS))
    _within("synonyms", torch.as_tensor(synonyms), SYNONYMS)
    generator = torch.Generator().manual_seed(seed)
    fillers = torch.randint(len(FILLERS), (len(subjects), 2), generator=generator)
    ends = [FIRST_SUBJECT + subjects, FIRST_RELATION + SYNONYMS * relations + synonyms]
    return torch.cat([fillers, torch.stack(ends, 1)], 1)


def every_prompt(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """All 384 prompts with random fillers: tokens [384, 4], person [384], relation [384].

    Person by person, within it relation by relation, within it synonym by synonym.
    """
    grid = torch.cartesian_prod(*(torch.arange(n) for n in (len(SUBJECTS), len(RELATIONS), 2)))
    subjects, relations, synonyms = grid.T
    return prompts(subjects, relations, synonyms, seed), subjects, relations


def parse(tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Person, relation and synonym of each prompt: three of [n] int64. ValueError if it is none."""
    if tokens.ndim != 2 or tokens.shape[1] != LENGTH:
        raise ValueError(f"Prompts have shape [n, {LENGTH}], these {list(tokens.shape)}.")
    subjects, ends = tokens[:, SUBJECT] - FIRST_SUBJECT, tokens[:, LAST] - FIRST_RELATION
    _within("person tokens", subjects, len(SUBJECTS))
    _within("relation tokens", ends, SYNONYMS * len(RELATIONS))
    return subjects, ends // SYNONYMS, ends % SYNONYMS


def names(tokens: Sequence[int]) -> str:
    """The words of one prompt: "so well Ada lives-in"."""
    words = [*FILLERS, *SUBJECTS, *(word for pair in RELATIONS for word in pair)]
    return " ".join(words[int(token)] for token in tokens)


def find(words: Sequence[str], word: str) -> int:
    """The number of a person, town or relation by its name. ValueError names what there is."""
    if word not in words:
        raise ValueError(f"There is no {word!r}; there are: {', '.join(words)}.")
    return list(words).index(word)


def _within(what: str, values: Tensor, count: int) -> None:
    if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < count:
        raise ValueError(f"The {what} must lie in 0 to {count - 1}.")
