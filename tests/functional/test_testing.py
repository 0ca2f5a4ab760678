"""Several tests at once, p-values read off intervals, and what a sample would show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from expunge.functional.testing import (
    DETECTABLE,
    POWER,
    detectable_auc,
    detectable_mean,
    holm,
    p_of_interval,
    sign_flip,
    subjects_needed,
)


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, never falling: 0.04, 0.06, 0.06, 0.06."""
    np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.02]), [0.06, 0.04, 0.06, 0.06])
    assert len(holm([])) == 0
    np.testing.assert_allclose(holm([0.6, 0.9]), [1.0, 1.0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.2))
def test_holm_rejects_what_the_step_down_test_rejects(p_values, level):
    """Smallest first: reject while p <= level / number left, and stop at the first that is not."""
    rejected = np.zeros(len(p_values), dtype=bool)
    for step, place in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[place] * (len(p_values) - step) > level:
            break
        rejected[place] = True
    assert ((holm(p_values) <= level) == rejected).all()


@given(st.floats(-3, 3), st.floats(0.01, 2), st.floats(-1, 1))
def test_p_of_a_symmetric_interval_is_that_of_a_normal_distribution(value, half, null):
    p = p_of_interval(value, value - half, value + half, null)
    z = abs(value - null) / (half / stats.norm.ppf(0.975))
    assert p == pytest.approx(2 * stats.norm.sf(z), abs=1e-12)


def test_p_is_five_percent_where_the_interval_ends_at_the_null():
    """The side that faces it counts, however far the other side reaches."""
    assert p_of_interval(0.3, 0.0, 9.0) == pytest.approx(0.05)
    assert p_of_interval(-0.3, -9.0, 0.0) == pytest.approx(0.05)
    assert p_of_interval(0.7, 0.5, 0.71, null=0.5) == pytest.approx(0.05)
    assert p_of_interval(0.3, 0.3, 0.3) == 0.0
    assert p_of_interval(0.0, -0.1, 0.1) == 1.0


def test_what_a_sample_would_show():
    """z(0.975) + z(0.8) = 2.80; persons from 20 to 2,000 as in the tables of Hanley and McNeil's formula."""
    assert pytest.approx(2.8016, abs=1e-4) == POWER
    assert pytest.approx(POWER / 1.959964, abs=1e-5) == DETECTABLE
    shown = [round(detectable_auc(n), 3) for n in (50, 100, 200, 400, 1000, 2000)]
    assert shown == [0.163, 0.115, 0.081, 0.057, 0.036, 0.026]
    assert detectable_auc(2) == 0.5
    assert detectable_mean(80) == pytest.approx(POWER * (1 / 80) ** 0.5)
    assert detectable_mean(1) == 1.0


@pytest.mark.parametrize("n", [30, 200])
def test_the_smallest_detectable_area_is_found_in_four_of_five_samples(n):
    """Two normal populations whose area is what the formula says; the rank test at 5 % finds it at about 80 %."""
    draw = np.random.default_rng(0)
    area = 0.5 + detectable_auc(n)
    shift = np.sqrt(2) * stats.norm.ppf(area)
    found = np.mean(
        [stats.mannwhitneyu(draw.normal(shift, 1, n), draw.normal(0, 1, n)).pvalue < 0.05 for _ in range(400)]
    )
    assert 0.72 < found < 0.90


@pytest.mark.parametrize("count", [2, 6, 9])
def test_sign_flip_is_scipys_permutation_test(count):
    differences = np.random.default_rng(count).normal(0.4, 1.0, count)
    exact = stats.permutation_test(
        (differences, np.zeros(count)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(differences) == pytest.approx(exact.pvalue, abs=1e-12)


def test_sign_flip_by_hand():
    assert sign_flip([1.0, 2.0, 3.0]) == 2 / 8  # all signs, and none
    assert sign_flip([1.0, -1.0]) == 1.0
    assert sign_flip([0.0, 0.0]) == 1.0
    assert sign_flip([0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]) == 2 / 2**6, "a difference of 0 has no sign"


def test_many_differences_are_flipped_by_chance_and_always_alike():
    differences = np.random.default_rng(0).normal(0.0, 1.0, 40) + 0.3
    found = sign_flip(differences)
    assert found == sign_flip(differences)
    assert found == pytest.approx(stats.ttest_1samp(differences, 0.0).pvalue, abs=0.02)


@pytest.mark.parametrize(
    ("n", "half", "wanted", "expected"),
    [
        (10, 0.05, 0.05, 10),
        (10, 0.10, 0.05, 40),  # half the width takes four times the subjects
        (10, 0.12, 0.05, 58),  # 57.6
        (20, 0.25, 0.05, 500),
        (20, 0.2501, 0.05, 510),  # 500.4, and two digits are rounded up
        (30, 0.9, 0.05, 9800),  # 9,720
        (10, 0.02, 0.05, 2),  # 1.6
        (10, math.inf, 0.05, None),
        (10, 0.1, 0.0, None),
        (0, 0.1, 0.05, None),
    ],
)
def test_subjects_needed_by_hand(n, half, wanted, expected):
    assert subjects_needed(n, half, wanted) == expected


@given(st.integers(1, 10_000), st.floats(0.001, 1), st.floats(0.001, 1))
def test_so_many_subjects_are_enough_and_hardly_too_many(n, half, wanted):
    needed = subjects_needed(n, half, wanted)
    assert half * math.sqrt(n / needed) <= wanted * (1 + 1e-6)
    exact = n * (half / wanted) ** 2
    assert needed <= max(exact + 1, 1.1 * exact) + 1e-6
