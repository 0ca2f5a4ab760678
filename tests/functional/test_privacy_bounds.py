"""Bounds against published values, closed forms, and simulated mechanisms whose epsilon is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest

from expunge.errors import InputError
from expunge.functional import statistics
from expunge.functional.privacy_bounds import (
    clopper_pearson,
    one_run_epsilon,
    one_run_p_value,
    two_point_epsilon,
)

EXACT = 1e-12
PRINTED = 0.006  # numbers with two decimals, some of them rounded twice


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 20), (7, 20), (20, 20), (150, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_interval_of_a_rate_against_scipy(successes, trials, level):
    expected = binomtest(successes, trials).proportion_ci(level, method="exact")
    assert clopper_pearson(successes, trials, level) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_interval_by_hand():
    """Without successes the upper end solves (1 - p)^n = tail."""
    assert clopper_pearson(0, 10) == (0.0, pytest.approx(1 - 0.025**0.1, abs=EXACT))
    assert clopper_pearson(10, 10) == (pytest.approx(0.025**0.1, abs=EXACT), 1.0)


def test_two_points_by_hand():
    """All of 10 and none of 10: log(low / high) with low = 1 - high = 0.025^(1/10)."""
    low = 0.025**0.1
    assert two_point_epsilon(10, 10, 0, 10) == pytest.approx(math.log(low / (1 - low)), abs=EXACT)
    shifted = math.log((low - 0.1) / (1 - low))
    assert two_point_epsilon(10, 10, 0, 10, delta=0.1) == pytest.approx(shifted, abs=EXACT)
    assert two_point_epsilon(5, 10, 5, 10) == 0
    assert two_point_epsilon(0, 10, 10, 10) == 0  # an attack that is always wrong is another attack


def test_two_points_take_the_better_of_both_sides():
    """Nearly all others are spared and few members found: the positive side says more; mirrored, the negative one."""
    positive = two_point_epsilon(30, 100, 0, 1000)
    assert positive == pytest.approx(math.log(clopper_pearson(30, 100).low / clopper_pearson(0, 1000).high), abs=EXACT)
    assert two_point_epsilon(1000, 1000, 70, 100) == pytest.approx(positive, abs=1e-9)


def test_two_points_stay_below_the_truth_of_randomised_response():
    """Truth with rate e / (1 + e): epsilon is 1, and the bound exceeds it in at most 5 % of trials."""
    rng, rate = np.random.default_rng(0), math.e / (1 + math.e)
    found = [two_point_epsilon(rng.binomial(300, rate), 300, rng.binomial(300, 1 - rate), 300) for _ in range(400)]
    assert np.mean(np.array(found) > 1) <= 0.05
    assert np.mean(found) > 0.5


@pytest.mark.parametrize(("right", "expected"), [(50, 2.78), (100, 3.49), (200, 4.19), (400, 4.89), (1000, 5.81)])
def test_one_run_where_all_guesses_are_right(right, expected):
    found = one_run_epsilon(right, right, right)
    assert found == pytest.approx(expected, abs=PRINTED)
    rate = 0.05 ** (1 / right)  # P[B >= r] = q^r
    assert found == pytest.approx(math.log(rate / (1 - rate)), abs=1e-9)


@pytest.mark.parametrize(("right", "expected"), [(240, 0.23), (280, 0.66), (320, 1.18)])
def test_one_run_of_four_hundred(right, expected):
    assert one_run_epsilon(400, 400, right) == pytest.approx(expected, abs=PRINTED)


@pytest.mark.parametrize(
    ("canaries", "guesses", "right", "delta", "expected"),
    [(1000, 100, 75, 1e-4, 0.673), (100_000, 1510, 1439, 1e-5, 2.676)],
)
def test_one_run_with_delta_reproduces_the_papers_examples(canaries, guesses, right, delta, expected):
    """The paper prints 2.675 for the second one, which is 2.67585."""
    assert one_run_epsilon(canaries, guesses, right, delta=delta) == pytest.approx(expected, abs=5.1e-4)


@pytest.mark.parametrize(
    ("right", "guesses", "expected"),
    [(35, 50, 0.31), (60, 100, 0.05), (70, 100, 0.47), (140, 200, 0.59), (350, 500, 0.68), (600, 1000, 0.30)],
)
def test_one_run_with_a_small_delta(right, guesses, expected):
    assert one_run_epsilon(guesses, guesses, right, delta=1e-5) == pytest.approx(expected, abs=PRINTED)


@given(st.integers(1, 60), st.data())
def test_without_delta_the_bound_is_the_one_sided_clopper_pearson_bound(guesses, data):
    right = data.draw(st.integers(0, guesses))
    rate = beta.ppf(0.05, right, guesses - right + 1) if right else 0.0
    expected = max(0.0, math.log(rate / (1 - rate))) if rate > 0 else 0.0
    assert one_run_epsilon(guesses + 5, guesses, right) == pytest.approx(expected, abs=1e-7)


def test_p_value_by_the_slow_sums():
    canaries, guesses, right, delta, epsilon = 50, 12, 9, 1e-3, 0.4
    rate = math.exp(epsilon) / (1 + math.exp(epsilon))
    mass = [math.comb(guesses, k) * rate**k * (1 - rate) ** (guesses - k) for k in range(guesses + 1)]
    above = sum(mass[right:])
    near = max(sum(mass[right - i : right]) / i for i in range(1, right + 1))
    expected = above + 2 * canaries * delta * near
    assert one_run_p_value(epsilon, canaries, guesses, right, delta) == pytest.approx(expected, abs=EXACT)
    assert one_run_p_value(epsilon, canaries, guesses, 0, delta) == 1


def test_one_run_stays_below_the_truth_of_randomised_response():
    rng, rate = np.random.default_rng(1), math.e / (1 + math.e)
    found = np.array([one_run_epsilon(200, 200, right) for right in rng.binomial(200, rate, 200)])
    assert np.mean(found > 1) <= 0.05
    assert binom(200, rate).mean() == pytest.approx(146.2, abs=0.1)
    assert found.mean() > 0.6


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.floats(0, 1e-3))
def test_more_right_guesses_never_show_less(guesses, delta):
    bounds = [one_run_epsilon(100, guesses, right, delta=delta) for right in range(0, guesses + 1, 3)]
    assert bounds == sorted(bounds)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: clopper_pearson(3, 2), "no rate"),
        (lambda: clopper_pearson(0, 0), "no rate"),
        (lambda: clopper_pearson(1, 2, 1.0), "level of a bound"),
        (lambda: two_point_epsilon(1, 2, 1, 2, delta=-0.1), "delta"),
        (lambda: one_run_epsilon(2, 3, 1), "at most one guess"),
        (lambda: one_run_epsilon(3, 3, 1, delta=1.0), "delta"),
    ],
)
def test_counts_that_cannot_be(call, match):
    with pytest.raises(InputError, match=match):
        call()


def test_they_are_found_among_the_statistics_too():
    assert statistics.one_run_epsilon is one_run_epsilon
    assert statistics.clopper_pearson is clopper_pearson
