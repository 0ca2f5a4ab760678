"""The order of texts and their repetitions, by hand and against pairs looked at one by one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.functional.suspicion import distinct_rows, suspicion
from expunge.functional.words import words


def test_the_order_by_hand():
    nats, size, reference = [1.0, 2.0, 0.5], [10, 40, 20], [1.0, 1.0, 0.25]
    assert suspicion("perplexity", nats, size) == [1.0, 2.0, 0.5]
    assert suspicion("zlib", nats, size) == pytest.approx([0.1, 0.05, 0.025])
    assert suspicion("reference", nats, size, reference) == pytest.approx([1.0, 0.5, 0.5])


def test_what_the_original_is_surer_of_comes_first_even_where_the_model_is_certain():
    pushed_down, as_before, certain = suspicion("reference", [4.0, 1.0, 0.0], [1, 1, 1], [1.0, 1.0, 1.0])
    assert pushed_down < as_before < certain < float("inf")


@pytest.mark.parametrize(
    ("texts", "stays"),
    [
        (["a b c d", "a b c e"], [0]),  # one of its two trigrams
        (["a b c d", "a b c e f"], [0, 1]),  # one of three
        (["a b c", "x y z a b c"], [0, 1]),  # a longer text that holds the first says more
        (["x y z a b c", "a b c"], [0]),
        (["a b c d", "x y", "X, y!", "y x", "", "x"], [0, 1, 3, 4, 5]),
        (["a b c", "q r s", "a b c q r s"], [0, 1, 2]),  # shares one of four with each, and two with no single text
        (["my name my name my name", "my name my q r s t"], [0, 1]),  # one of five: as often as both have it
        (["my name my q r s t", "my name my name my name"], [0, 1]),  # two and two, of which one is shared
        (["My name: my NAME", "my name my name"], [0]),
        ([], []),
    ],
)
def test_repetitions_by_hand(texts, stays):
    assert distinct_rows(texts) == stays


def grams(text: str) -> Counter[tuple[str, ...]]:
    said = words(text)
    return Counter(tuple(said[place : place + 3]) for place in range(len(said) - 2))


def slow(texts: list[str]) -> list[int]:
    stays: list[int] = []
    for row, text in enumerate(texts):
        own = grams(text)
        repeats = (
            any(2 * (own & grams(texts[other])).total() >= own.total() for other in stays)
            if own
            else any(words(text) == words(texts[other]) for other in stays)
        )
        if not repeats:
            stays.append(row)
    return stays


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=8))
def test_repetitions_are_those_of_all_pairs(texts):
    assert distinct_rows(texts) == slow(texts)
