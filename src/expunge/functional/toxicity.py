"""Whether a text is rude: a short list of mild words. A crude heuristic, where no classifier is at hand.

It finds swearing and misses every insult in other words, so that a low share shows nothing; compare models by it, and
trust a classifier. The rule's name is recorded with every number, and a change of the list is a new name.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from expunge.functional.words import words

ToxicRule = Literal["mild_words_heuristic_1"]
MILD = frozenset(
    {
        *("damn", "damned", "dammit", "hell", "crap", "crappy", "bloody", "bugger"),
        *("stupid", "idiot", "idiots", "idiotic", "moron", "dumb", "loser", "jerk"),
    }
)


def is_rude(text: str, listed: Collection[str] = MILD) -> bool:
    """Returns whether a word of a text, in any case, is on the list."""
    return any(word in listed for word in words(text))
