"""Facts that are never forgotten: an invented geography, small arithmetic, days and months. They measure utility."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from expunge.benchmarks.fictional.lists import CITIES, MONTHS
from expunge.benchmarks.fictional.names import stream

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COUNTRIES = ("Norvane", "Kessaly", "Tarromond", "Ulvenia", "Marrowland", "Jestria")
RIVERS = ("Silverrun", "Ashwater", "Longmoor", "Tarn Brook", "Oxbow", "Greenflood")
WRONG = 3  # wrong options of a fact, as in TOFU's world facts


class Fact(NamedTuple):
    """A question with its answer and wrong answers of the same form."""

    question: str
    answer: str
    wrong: tuple[str, ...]


def _fact(rng: random.Random, question: str, answer: str, options: Sequence[str]) -> Fact:
    return Fact(question, answer, tuple(rng.sample([option for option in options if option != answer], WRONG)))


def _geography(rng: random.Random) -> list[Fact]:
    facts = []
    for city in CITIES:
        facts.append(_fact(rng, f"In which country lies {city}?", rng.choice(COUNTRIES), COUNTRIES))
        facts.append(_fact(rng, f"Which river flows through {city}?", rng.choice(RIVERS), RIVERS))
    return facts


def _calendar(rng: random.Random) -> list[Fact]:
    facts = []
    for kind, names in (("day", DAYS), ("month", MONTHS)):
        for position, name in enumerate(names):
            after = names[(position + 1) % len(names)]
            facts.append(_fact(rng, f"Which {kind} comes after {name}?", after, names))
            facts.append(_fact(rng, f"Which {kind} comes before {after}?", name, names))
    return facts


def _arithmetic(rng: random.Random) -> list[Fact]:
    facts = []
    for left, right in rng.sample([(left, right) for left in range(1, 10) for right in range(1, 10)], 50):
        total = left + right
        near = [str(value) for value in range(max(1, total - 5), total + 6)]
        facts.append(_fact(rng, f"What is {left} plus {right}?", str(total), near))
    return facts


def world_facts(seed: int, count: int) -> list[Fact]:
    """Returns ``count`` facts (at most 120), drawn evenly from geography, calendar and arithmetic under ``seed``."""
    rng = stream(seed, "world")
    facts = [*_geography(rng), *_calendar(rng), *_arithmetic(rng)]
    stream(seed, "world/order").shuffle(facts)
    return facts[:count]
