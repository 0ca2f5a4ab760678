"""How a text repeats itself, and how varied many texts are together. Numbers of texts; no model.

Repeated n-grams: Welleck et al., 2020, https://arxiv.org/abs/1908.04319 (seq-rep-n).
Distinct n-grams: Li et al., 2016, https://arxiv.org/abs/1510.03055.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from expunge.functional.words import folded, words

TIMES = 3  # "New York, New York" is no loop; said a third time in a row, it is


class Distinct(NamedTuple):
    """One text's part in the distinct n-grams of many.

    Attributes:
        credit: sum over its n-grams of 1 / how often that n-gram occurs in all texts; all texts' credits add up to the
            number of distinct n-grams.
        total: number of its n-grams.
    """

    credit: float
    total: float


def repeated_ngrams(text: str, n: int) -> float:
    """Returns the share of a text's n-grams of words that occurred before: 1 - distinct / all; 0 without any."""
    grams = _ngrams(text, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def longest_loop(text: str) -> int:
    """Returns the length, in characters, of the longest stretch that says one thing three or more times in a row.

    A stretch of period p runs on as long as each character is the one p places before; it counts from 3 p on. Case,
    width and the kind of white space do not matter, and the space around a stretch belongs to it; 0 without any.
    """
    plain = folded(text)
    codes_C = np.frombuffer(f"{plain} ".encode("utf-32-le"), dtype=np.uint32) if plain else np.zeros(0, np.uint32)
    longest = 0
    for period in range(1, len(codes_C) // TIMES + 1):
        stretch = _longest_run(codes_C[period:] == codes_C[:-period]) + period
        longest = max(longest, stretch if stretch >= TIMES * period else 0)
    return min(longest, len(plain))


def longest_repetition(text: str) -> float:
    """Returns the share of a text's characters in ``longest_loop``; 0 of an empty text."""
    return longest_loop(text) / max(1, len(folded(text)))


def distinct_credits(texts: Sequence[str], n: int) -> list[Distinct]:
    """Returns each text's part in the distinct n-grams of all; distinct-n is sum of credits / sum of totals.

    Parts add up, so that a bootstrap may draw texts; the frequencies stay those of all texts.
    """
    grams = [_ngrams(text, n) for text in texts]
    often = Counter(gram for found in grams for gram in found)
    return [Distinct(sum(1 / often[gram] for gram in found), float(len(found))) for found in grams]


def _ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    found = words(text)
    return [tuple(found[start : start + n]) for start in range(len(found) - n + 1)]


def _longest_run(same: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> int:
    """Length of the longest run of True."""
    ends = np.flatnonzero(np.diff(np.concatenate(([0], same.astype(np.int8), [0]))))
    return int((ends[1::2] - ends[::2]).max()) if len(ends) else 0
