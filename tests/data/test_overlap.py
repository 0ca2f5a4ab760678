"""Resemblance and quotations against brute force, and what is common wording."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.duplicates import jaccard, shingles
from expunge.data.overlap import COMMON_LEAST, nearest, passages, quotes
from tests.data.test_duplicates import corpus

SENTENCE = [f"w{number}" for number in range(40)]


def words(start: int, end: int) -> str:
    return " ".join(SENTENCE[start:end])


@given(st.integers(0, 10_000), st.floats(0.05, 1.0))
def test_nearest_is_the_best_of_all(seed, threshold):
    sets = [shingles(text) for text in corpus(seed, count=4)]
    known, asked = sets[:8], sets[8:]
    for one, match in zip(asked, nearest(asked, known, threshold), strict=True):
        similarities = [jaccard(one, other) for other in known]
        best = max(similarities)
        if best < threshold:
            assert match is None
        else:
            assert match == (similarities.index(best), pytest.approx(best, abs=1e-15))


def test_nothing_known_and_nothing_asked():
    one = [shingles("a b c")]
    assert nearest(one, [], 0.5) == [None]
    assert nearest([], one, 0.5) == []
    assert nearest(one, [shingles("x y z")], 1e-9) == [None]
    assert quotes(one, [], [False]) == ([False], 0, 0)


def test_tofu_against_brute_force(shared_data):
    """TOFU's wrong answers keep most words of the right one."""
    lines = (shared_data / "tofu" / "forget01_perturbed.json").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    known = [shingles(row["paraphrased_answer"]) for row in rows]
    asked = [shingles(answer) for row in rows for answer in row["perturbed_answer"]]
    truth = [max(jaccard(one, other) for other in known) for one in asked]
    found = nearest(asked, known, 0.5)
    assert sum(match is not None for match in found) == sum(value >= 0.5 for value in truth) > 20


def test_passages_by_hand():
    assert passages([words(0, 7), "a"]) == []  # too short to be a quotation
    assert [one.size for one in passages([words(0, 8)])] == [6]
    expected = [words(0, 16), words(8, 24), words(12, 28)]
    assert all(map(np.array_equal, passages([words(0, 28)]), map(shingles, expected)))
    assert len(passages([words(0, 28)])) == len(passages([words(0, 28), words(0, 28)])) == 3
    assert len(passages([words(0, 16)])) == 1
    assert len(passages([words(0, 17)])) == 2


@pytest.mark.parametrize("start", range(17))
def test_every_run_of_24_words_is_a_quotation_wherever_it_starts(start):
    text = f"Somebody wrote: {words(start, start + 24).upper()}! And so on, for many other words that follow."
    assert quotes([shingles(text)], passages([words(0, 40)]), [False]).found == [True]


def test_share_of_a_passage():
    known = passages([words(0, 8)])  # six shingles
    texts = [words(0, 8), words(0, 7), words(0, 6), f"z {words(0, 7)} z", f"{words(0, 4)} z {words(5, 8)}"]
    assert quotes([shingles(one) for one in texts], known, [False] * 5).found == [True, True, False, True, False]


def test_the_share_itself_is_enough():
    known = passages([words(0, 12)])  # ten shingles
    texts = [words(0, 10), words(0, 9)]  # eight and seven of them
    assert quotes([shingles(one) for one in texts], known, [False] * 2).found == [True, False]


def test_common_wording_is_no_quotation():
    source = random.Random(0)
    letters = [shingles(f"{words(0, 8)} {source.random()} and more") for _ in range(COMMON_LEAST + 1)]
    known = passages([words(0, 8), words(20, 30)])
    own = shingles(words(20, 30))
    found = quotes([*letters, own], known, [False] * 12)
    assert found == ([*[False] * 11, True], 2, 1)
    assert quotes([*letters[1:], own], known, [False] * 11) == ([True] * 11, 2, 0)
    # Records that other rules hold for are the forgotten person's own.
    assert quotes([*letters, own], known, [True, *[False] * 11]) == ([True] * 12, 2, 0)
    many = [shingles(str(number)) for number in range(1100)]
    assert quotes([*letters, *many], known, [False] * 1111).found[:11] == [True] * 11  # 1 % and no more
