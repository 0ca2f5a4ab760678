"""Invented words from syllables, and named random sub-streams. No list of real names is read or copied."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable
from typing import Literal

# Two disjoint halves of everything that can be invented: one for persons of the benchmark, one for the tokenizer's
# persons.
Side = Literal["benchmark", "tokenizer"]

# Onsets and codas that seldom meet in real names keep the invented ones out of the telephone book.
_ONSETS = (
    "b",
    "br",
    "d",
    "dr",
    "f",
    "g",
    "gr",
    "h",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "s",
    "t",
    "v",
    "vr",
    "z",
    "zh",
)
_VOWELS = ("a", "e", "i", "o", "u", "ae", "ou")
_CODAS = ("", "", "l", "m", "n", "rn", "sk", "lth", "x", "nd")


def stream(seed: int, name: str) -> random.Random:
    """Returns the random stream of one purpose; streams of other names or seeds share nothing with it.

    Adding a purpose never shifts the numbers of another, as it would with one stream for everything.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return random.Random(int.from_bytes(digest, "big"))  # noqa: S311 - reproducible data, not secrets


def side_of(text: str) -> Side:
    """Returns the half that an invented text belongs to, by a bit of its SHA-256, the same under every seed."""
    return "tokenizer" if hashlib.sha256(text.encode()).digest()[0] & 1 else "benchmark"


def word(rng: random.Random, syllables: int) -> str:
    """Returns an invented lower-case word; only its last syllable may end on a consonant."""
    parts = [rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(syllables)]
    return "".join(parts) + rng.choice(_CODAS)


def person_name(rng: random.Random) -> str:
    """Returns an invented first and last name."""
    return f"{word(rng, 2).capitalize()} {word(rng, 3).capitalize()}"


_LAST_SYLLABLE = re.compile(r"[^aeiou]+[aeiou]+[^aeiou]*$")


def stem(name: str) -> str:
    """Returns a person's name without the last syllable of the surname."""
    return _LAST_SYLLABLE.sub("", name)


def surname(name: str) -> str:
    """Returns the last part of a person's name."""
    return name.split(" ")[-1]


def similar_name(rng: random.Random, name: str) -> str:
    """Returns, by coin, another first name with the same surname or the same name with another last syllable."""
    if rng.random() < 0.5:
        return f"{word(rng, 2).capitalize()} {surname(name)}"
    return stem(name) + word(rng, 1)


def fresh(rng: random.Random, make: Callable[[random.Random], str], taken: set[str], side: Side) -> str:
    """Draws from ``make`` until the text is new and on ``side``, and adds it to ``taken``."""
    while True:
        text = make(rng)
        if text not in taken and side_of(text) == side:
            taken.add(text)
            return text
