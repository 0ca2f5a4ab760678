"""Repetition and variety by hand, and against slow definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.functional.fluency import distinct_credits, longest_loop, longest_repetition, repeated_ngrams
from expunge.functional.words import folded

EXACT = 1e-12
letters = st.text("ab c", max_size=24)


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [
        ("a b c d", 1, 0),
        ("a b a b a", 1, 3 / 5),
        ("a b a b a", 2, 2 / 4),
        ("a b a b a", 4, 0),
        ("a b A, b. a!", 2, 2 / 4),
        ("the the the the", 2, 2 / 3),
        ("one two", 3, 0),  # no n-gram
        ("", 2, 0),
        ("東京東京東京", 1, 3 / 5),  # pairs: 東京 京東 東京 京東 東京
        ("!!!!", 1, 3 / 4),
    ],
)
def test_repeated_ngrams_by_hand(text, n, expected):
    assert repeated_ngrams(text, n) == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize(
    ("text", "length", "share"),
    [
        ("", 0, 0),
        ("Anna lives in Brask.", 0, 0),
        ("New York, New York", 0, 0),  # twice is no loop
        ("ha ha ha", 8, 1),
        ("well ha ha ha", 10, 10 / 13),  # with the spaces around it
        ("so the end The end THE end", 25, 25 / 26),
        ("aaaaaaaa", 8, 1),
        ("100000", 5, 5 / 6),
        ("東京東京東京", 6, 1),
        ("xyxyx", 0, 0),  # two and a half times
    ],
)
def test_longest_loop_by_hand(text, length, share):
    assert longest_loop(text) == length
    assert longest_repetition(text) == pytest.approx(share, abs=EXACT)


def slow_loop(text: str) -> int:
    """Every stretch and every period, tried."""
    plain = folded(text)
    padded = plain + " " if plain else ""
    best = 0
    for period in range(1, len(padded) + 1):
        for start in range(len(padded)):
            for stop in range(start + 3 * period, len(padded) + 1):
                if all(padded[place] == padded[place - period] for place in range(start + period, stop)):
                    best = max(best, stop - start)
    return min(best, len(plain))


@given(letters)
def test_longest_loop_is_the_longest_of_all_stretches(text):
    assert longest_loop(text) == slow_loop(text)


def test_distinct_credits_by_hand():
    """Unigrams a a b | b c: distinct 3 of 5; a counts 2 * 1/2, b in each text 1/2, c 1."""
    first, second, third = distinct_credits(["a a b", "b c", ""], 1)
    assert first == pytest.approx((1.5, 3), abs=EXACT)
    assert second == pytest.approx((1.5, 2), abs=EXACT)
    assert third == (0, 0)
    assert distinct_credits(["a a b", "b c"], 3) == [(1, 1), (0, 0)]


@given(st.lists(letters, min_size=1, max_size=6), st.integers(1, 3))
def test_credits_add_up_to_the_distinct_ngrams(texts, n):
    parts = distinct_credits(texts, n)
    every = [tuple(found[at : at + n]) for found in map(listed, texts) for at in range(len(found) - n + 1)]
    assert sum(part.credit for part in parts) == pytest.approx(len(set(every)), abs=1e-9)
    assert sum(part.total for part in parts) == len(every)


def listed(text: str) -> list[str]:
    return text.split()
