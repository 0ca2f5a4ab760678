"""Formulas of extraction by hand, and against exact fractions and enumeration."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.functional.extraction import drawn_within, leak_at_k, ngram_overlap, tries_needed

EXACT = 1e-12


@pytest.mark.parametrize(
    ("said", "truth", "n", "expected"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 2, 1.0),
        ([1, 2, 9, 4], [1, 2, 3, 4], 2, 1 / 3),
        ([3, 4, 1, 2], [1, 2, 3, 4], 2, 2 / 3),  # anywhere in the truth
        ([1, 2, 1, 2], [1, 2, 3, 4], 2, 2 / 3),  # as often as it is said
        ([1, 2, 3], [1, 2, 3, 4, 5], 2, 2 / 4),  # ended early
        ([1], [1, 2, 3], 2, 0.0),
        ([], [1, 2], 2, 0.0),
        ([1, 2, 3], [1, 2, 3], 3, 1.0),
        ([2, 1], [1, 2], 1, 1.0),
    ],
)
def test_overlap_by_hand(said, truth, n, expected):
    assert ngram_overlap(said, truth, n) == pytest.approx(expected, abs=EXACT)


def test_a_truth_shorter_than_an_ngram_has_no_overlap():
    assert math.isnan(ngram_overlap([1, 2], [1, 2], 3))


def test_chances_by_hand():
    assert drawn_within(math.log(0.5), 3) == pytest.approx(0.875, abs=EXACT)
    assert drawn_within(0.0, 1) == 1.0
    assert drawn_within(1e-9, 5) == 1.0  # rounding above 1
    assert drawn_within(-1e4, 10**9) == 0.0
    assert drawn_within(math.log(1e-20), 10**6) == pytest.approx(1e-14, rel=1e-9)
    assert drawn_within(-1e-18, 1) == pytest.approx(1.0, abs=EXACT)


@pytest.mark.parametrize(
    ("q", "chance", "tries"),
    [(0.5, 0.5, 1), (0.5, 0.875, 3), (0.5, 0.876, 4), (0.1, 0.9, 22), (0.25, 0.25, 1), (1.0, 0.999, 1), (0.9, 0.01, 1)],
)
def test_least_tries_by_hand(q, chance, tries):
    assert tries_needed(math.log(q), chance) == tries


def test_tries_of_what_is_almost_never_drawn():
    assert tries_needed(math.log(1e-30), 0.5) == pytest.approx(math.log(2) * 1e30, rel=1e-9)
    assert tries_needed(-600.0, 0.5) == pytest.approx(math.log(2) * math.exp(600), rel=1e-9)
    assert tries_needed(-800.0, 0.5) == math.inf  # above the largest float
    assert tries_needed(-744.0, 0.5) == math.inf  # its probability is the smallest float but one
    assert tries_needed(-36.001, 0.5) == pytest.approx(tries_needed(-35.999, 0.5) * math.exp(0.002), rel=1e-9)
    assert tries_needed(-40.0, 1e-30) == 1.0
    assert tries_needed(-1e4, 0.5) == math.inf
    with pytest.raises(InputError, match="never or always"):
        tries_needed(-1.0, 1.0)


@given(st.integers(1, 99), st.integers(1, 99))
def test_least_tries_are_least(percent, chance):
    """Against exact fractions of nearly the same q; ties are left to rounding."""
    q, wanted = Fraction(percent, 100), Fraction(chance, 100)
    tries = int(tries_needed(math.log(percent / 100), chance / 100))
    assert 1 - (1 - q) ** tries >= wanted - Fraction(1, 10**12)
    assert tries == 1 or 1 - (1 - q) ** (tries - 1) < wanted + Fraction(1, 10**12)


@given(st.integers(1, 7), st.data())
def test_leak_at_k_is_the_share_of_choices_that_leak(draws, data):
    leaks, k = data.draw(st.integers(0, draws)), data.draw(st.integers(1, draws))
    chosen = list(combinations([True] * leaks + [False] * (draws - leaks), k))
    assert leak_at_k(leaks, draws, k) == pytest.approx(sum(map(any, chosen)) / len(chosen), abs=EXACT)


@pytest.mark.parametrize("q", [0.0, 0.07, 0.5, 1.0])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_leak_at_k_is_unbiased(q, k):
    """Its mean over all outcomes of eight draws; the plain guess 1 - (1 - c/N)^k is not."""
    shares = [math.comb(8, leaks) * q**leaks * (1 - q) ** (8 - leaks) for leaks in range(9)]
    mean = sum(share * leak_at_k(leaks, 8, k) for leaks, share in enumerate(shares))
    assert mean == pytest.approx(1 - (1 - q) ** k, abs=EXACT)


@pytest.mark.parametrize(("leaks", "draws", "k"), [(0, 4, 0), (0, 4, 5), (5, 4, 1), (-1, 4, 1)])
def test_choices_that_cannot_be(leaks, draws, k):
    with pytest.raises(InputError, match="from 1 to the draws"):
        leak_at_k(leaks, draws, k)
