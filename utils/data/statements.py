"""Statements in English whose truth is known: which city lies in which country.

For pretrained language models. Truth is crossed with negation ("is not a city in"), so that a probe
that has learnt the word "not" is not taken for one that has learnt what is true.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# One line a country; its cities are large or well known, and no name is shared with another here.
COUNTRIES: dict[str, tuple[str, ...]] = {
    "France": ("Paris", "Lyon", "Marseille", "Bordeaux"),
    "Germany": ("Berlin", "Munich", "Hamburg", "Cologne"),
    "Italy": ("Rome", "Milan", "Naples", "Turin"),
    "Spain": ("Madrid", "Barcelona", "Seville", "Bilbao"),
    "Japan": ("Tokyo", "Osaka", "Kyoto", "Nagoya"),
    "China": ("Beijing", "Shanghai", "Wuhan", "Nanjing"),
    "India": ("Mumbai", "Delhi", "Chennai", "Kolkata"),
    "Russia": ("Moscow", "Novosibirsk", "Kazan", "Omsk"),
    "Canada": ("Toronto", "Montreal", "Vancouver", "Calgary"),
    "Brazil": ("Salvador", "Brasilia", "Recife", "Fortaleza"),
    "Australia": ("Sydney", "Melbourne", "Brisbane", "Adelaide"),
    "Egypt": ("Cairo", "Giza", "Luxor", "Aswan"),
    "Turkey": ("Istanbul", "Ankara", "Izmir", "Antalya"),
    "Poland": ("Warsaw", "Krakow", "Gdansk", "Poznan"),
    "Sweden": ("Stockholm", "Gothenburg", "Uppsala", "Linkoping"),
    "Mexico": ("Guadalajara", "Monterrey", "Puebla", "Tijuana"),
}


@dataclass(frozen=True)
class Statements:
    """n statements and what is known of each: truth, negated [n] bool; the city and the country
    that they name [n]."""

    texts: tuple[str, ...]
    truth: np.ndarray
    negated: np.ndarray
    city: tuple[str, ...]
    country: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def answered(self, yes: bool) -> tuple[str, ...]:
        """Each statement as a question with the answer yes or no: one side of a contrast pair."""
        word = "true" if yes else "false"
        return tuple(f"{text} This statement is {word}." for text in self.texts)


def make(seed: int = 0) -> Statements:
    """Four statements for each of 64 cities: right or wrong country, with and without "not".

    The wrong country is drawn from `seed`, every country equally often.
    """
    rng = np.random.default_rng(seed)
    countries = list(COUNTRIES)
    ahead = rng.integers(1, len(countries), size=4)  # how far away the wrong country stands
    texts, truth, negated, cities, named_in = [], [], [], [], []
    for place, country in enumerate(countries):
        for number, city in enumerate(COUNTRIES[country]):
            wrong = countries[(place + ahead[number]) % len(countries)]
            for named, right in ((country, True), (wrong, False)):
                for no in (False, True):
                    texts.append(f"{city} is {'not ' if no else ''}a city in {named}.")
                    truth.append(right != no)
                    negated.append(no)
                    cities.append(city)
                    named_in.append(named)
    return Statements(
        tuple(texts), np.array(truth), np.array(negated), tuple(cities), tuple(named_in)
    )
