"""Distances by hand and against scipy; the power that is promised, by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.functional.distances import critical_ks, detectable_ks, wasserstein
from expunge.functional.statistics import ks_test

CLOSE = 1e-9
NUMBERS = st.lists(st.floats(-100, 100), min_size=1, max_size=12)


def test_wasserstein_by_hand():
    """Sorted pairs are 1 and 3 apart; of one number against two, half the mass goes 1 and half 3."""
    assert wasserstein(np.array([5.0, 0.0]), np.array([1.0, 8.0])) == pytest.approx(2, abs=CLOSE)
    assert wasserstein(np.array([1.0]), np.array([2.0, 4.0])) == pytest.approx(2, abs=CLOSE)
    assert math.isnan(wasserstein(np.array([]), np.array([1.0])))


@given(NUMBERS, NUMBERS)
def test_wasserstein_is_that_of_scipy(left, right):
    wanted = scipy.stats.wasserstein_distance(left, right)
    assert wasserstein(np.array(left), np.array(right)) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(("n", "wanted"), [(40, 0.304), (200, 0.136), (300, 0.111), (400, 0.096), (1000, 0.061)])
def test_critical_distances_are_those_of_tables(n, wanted):
    assert critical_ks(n, n) == pytest.approx(wanted, abs=5e-4)


@pytest.mark.parametrize("n", [60, 200])
def test_critical_distance_agrees_with_the_exact_test(n):
    """The next possible D above it has p below 0.05, and the one two steps below has not."""
    steps = math.floor(critical_ks(n, n) * n)
    grid = np.arange(n, dtype=np.float64)
    assert ks_test(grid, grid + steps + 1 - 0.5).p_value < 0.05
    assert ks_test(grid, grid + steps - 1 - 0.5).p_value > 0.05


def two_points(rng, n, distance):
    """The hardest pair: all mass at 0 and 1, shares 1/2 -+ D/2."""
    return (rng.random(n) < 0.5 - distance / 2) * 1.0, (rng.random(n) < 0.5 + distance / 2) * 1.0


def shifted(rng, n, distance):
    """Normal numbers, shifted so that the distribution functions are D apart."""
    return rng.normal(size=n), rng.normal(size=n) + 2 * scipy.stats.norm.ppf((1 + distance) / 2)


def test_the_detectable_distance_is_found_as_often_as_promised():
    """For two points the bound is about sharp; a shift is found more often."""
    n, trials, rng = 100, 400, np.random.default_rng(0)
    distance, critical = detectable_ks(n, n), critical_ks(n, n)
    found = {
        draw: np.mean([ks_test(*draw(rng, n, distance)).statistic >= critical for _ in range(trials)])
        for draw in (two_points, shifted)
    }
    assert 0.75 < found[two_points] < 0.88
    assert found[shifted] > 0.88


@pytest.mark.parametrize(("n", "m"), [(400, 40), (40, 400), (25, 300)])
def test_the_bound_is_that_of_the_place_where_the_sample_varies_most(n, m):
    distance = detectable_ks(n, m)
    high = np.linspace(distance, 1, 100_001)
    low = high - distance
    widest = np.sqrt(high * (1 - high) / n + low * (1 - low) / m).max()
    assert distance == pytest.approx(critical_ks(n, m) + scipy.stats.norm.ppf(0.8) * widest, abs=1e-8)


def test_more_numbers_find_less_and_few_find_nothing():
    assert detectable_ks(400, 400) == pytest.approx(0.09603 + 0.84162 * math.sqrt(0.98424 / 4 * 2 / 400), abs=1e-5)
    assert detectable_ks(40, 40) > detectable_ks(400, 40) > detectable_ks(400, 400)
    assert detectable_ks(400, 40) == pytest.approx(detectable_ks(40, 400), abs=CLOSE)
    assert math.isnan(detectable_ks(3, 3))
    assert math.isnan(detectable_ks(0, 3))
    with pytest.raises(InputError, match="usual"):
        detectable_ks(3, 3, power=1)
