"""MinHash against brute force, and what may never happen to duplicates."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.data import duplicates
from expunge.data.duplicates import HASHES, Match, Near, jaccard, near_duplicates, shingles, signatures
from expunge.errors import InputError

WORDS = [f"w{number}" for number in range(400)]


def runs(text: str, size: int = 3) -> set[tuple[str, ...]]:
    """The runs of words of a text, as text; an oracle without hashes."""
    parts = text.casefold().split()
    span = min(size, len(parts))
    return {tuple(parts[start : start + span]) for start in range(len(parts) - span + 1)}


def similarity(one: set[tuple[str, ...]], two: set[tuple[str, ...]]) -> float:
    return len(one & two) / len(one | two)


def brute(left: str, right: str) -> float:
    return similarity(runs(left), runs(right))


def corpus(seed: int, count: int = 60, copies: int = 4) -> list[str]:
    """Random texts, and copies of them with a few words exchanged, shuffled."""
    source = random.Random(seed)
    texts = []
    for _ in range(count):
        base = [source.choice(WORDS) for _ in range(source.randint(8, 80))]
        texts.append(base)
        for _ in range(copies):
            copy = list(base)
            for _ in range(source.randint(0, 6)):
                copy[source.randrange(len(copy))] = source.choice(WORDS)
            texts.append(copy)
    source.shuffle(texts)
    return [" ".join(text) for text in texts]


def test_jaccard_by_hand():
    # runs of "a b c d": abc bcd; of "a b c e": abc bce; one of three is common
    assert jaccard(shingles("a b c d"), shingles("A, b: c e!")) == 1 / 3
    assert jaccard(shingles("a b"), shingles("a b")) == 1.0
    assert jaccard(shingles("a b"), shingles("b a")) == 0.0


def test_shingles_are_never_empty_and_keep_order():
    assert shingles("🙂🙂").size == 1
    assert jaccard(shingles("🙂"), shingles("🙃")) == 0
    assert jaccard(shingles("a b c"), shingles("c b a")) == 0
    assert shingles("東京タワー").size == 3  # characters: 東京タ 京タワ タワー


@given(st.lists(st.sampled_from("abcd"), min_size=3, max_size=12), st.lists(st.sampled_from("abcd"), min_size=3))
def test_shingles_equal_runs_of_words(left, right):
    one, two = " ".join(left), " ".join(right)
    assert jaccard(shingles(one), shingles(two)) == pytest.approx(brute(one, two), abs=1e-12)


@pytest.mark.parametrize(("threshold", "rows"), [(0.8, 5), (0.5, 2), (1.0, HASHES), (0.05, 1)])
def test_bands_let_pairs_at_the_threshold_meet(threshold, rows):
    assert Near(threshold=threshold).band_rows == rows
    if rows > 1:
        assert 1 - (1 - threshold**rows) ** (HASHES // rows) >= 0.999


def test_signatures_estimate_the_similarity():
    texts = corpus(1, count=20)
    sets = [shingles(text) for text in texts]
    signed = signatures(sets, 0)
    assert signed.shape == (len(texts), HASHES)
    errors = [
        (signed[a] == signed[b]).mean() - jaccard(sets[a], sets[b])
        for a in range(len(texts))
        for b in range(a)
        if jaccard(sets[a], sets[b]) > 0.1
    ]
    assert abs(np.mean(errors)) < 0.02  # no bias
    assert np.std(errors) < 0.6 / HASHES**0.5  # at most the spread of as many coins


def test_signatures_do_not_depend_on_what_stands_beside():
    sets = [shingles(text) for text in corpus(2, count=5)]
    together = signatures(sets, 3)
    for row, one in enumerate(sets):
        assert (signatures([one], 3)[0] == together[row]).all()
    assert (signatures(sets, 4) != together).mean() > 0.99


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_recall_against_brute_force(threshold):
    """A text is dropped if and only if one that stays before it is close enough."""
    expected = found = 0
    for seed in range(3):
        texts = corpus(seed, count=40)
        matches = near_duplicates([shingles(text) for text in texts], Near(threshold=threshold))
        runs_of, kept = [runs(text) for text in texts], []
        for row, match in enumerate(matches):
            best = max((similarity(runs_of[row], runs_of[one]) for one in kept), default=0.0)
            expected += best >= threshold
            found += match is not None
            if match is None:
                kept.append(row)
            else:
                assert match.similarity == pytest.approx(best, abs=1e-12)
                assert best >= threshold
    assert expected > 100
    assert found / expected > 0.995


def test_a_crowd_of_letters_takes_linear_work(monkeypatch):
    """Letters of one form are too different to be duplicates, and share so many bands that all would meet."""
    source, compared = random.Random(0), []
    form = [f"x{number}" for number in range(38)]
    texts = [" ".join([*form, *(f"y{source.randrange(10**6)}" for _ in range(8))]) for _ in range(600)]
    texts += [texts[500] + " more"]
    real = duplicates.jaccard
    monkeypatch.setattr(duplicates, "jaccard", lambda *pair: compared.append(1) or real(*pair))
    matches = near_duplicates([shingles(text) for text in texts], Near())
    assert 0.6 < brute(texts[0], texts[1]) < 0.8
    assert matches[:-1] == [None] * 600
    assert matches[-1].row == 500
    assert len(compared) <= 601 * duplicates.CANDIDATES


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_who_is_dropped_is_close_to_one_that_stays(seed):
    texts = corpus(seed, count=8)
    near = Near(threshold=0.6, seed=seed)
    matches = near_duplicates([shingles(text) for text in texts], near)
    for row, match in enumerate(matches):
        if match is not None:
            assert match.row < row
            assert matches[match.row] is None
            assert brute(texts[row], texts[match.row]) >= 0.6
    again = near_duplicates([shingles(text) for text in texts], near)
    assert again == matches


def test_chains_keep_what_is_far_from_the_first():
    words = [f"x{number}" for number in range(40)]
    first, middle, last = words, words[:-4] + ["p1", "p2", "p3", "p4"], words[4:-4] + ["p1", "p2", "p3", "p4"]
    texts = [" ".join(one) for one in (first, middle, last)]
    similar = [brute(left, right) for left, right in pairwise(texts)]
    assert min(similar) >= 0.8 > brute(texts[0], texts[2])
    matches = near_duplicates([shingles(text) for text in texts], Near())
    assert matches == [None, Match(0, pytest.approx(similar[0])), None]


def test_two_subjects_are_never_duplicates():
    sets = [shingles("the same words for all of them")] * 5
    found = near_duplicates(sets, Near(), ["a", "b", None, "a", "b"])
    assert [match and match.row for match in found] == [None, None, 0, 0, 1]


def test_bounds_of_the_threshold():
    for wrong in (0.0, -1, 1.01, float("nan")):
        with pytest.raises(InputError, match="--near"):
            Near(threshold=wrong)
    sets = [shingles("a b c d e"), shingles("a b c d f"), shingles("A b c d e")]
    assert near_duplicates(sets, Near(threshold=1.0)) == [None, None, Match(0, 1.0)]
    assert near_duplicates([], Near()) == []
