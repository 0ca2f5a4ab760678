"""Statistics against loops, scikit-learn and scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from expunge.errors import InputError
from expunge.functional.statistics import (
    auc,
    auc_interval,
    harmonic_mean,
    ks_test,
    rank_test,
    tpr_at_fpr,
)

EXACT = 1e-12
# Few distinct values, so that ties are common.
scores = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)


def test_an_interval_of_an_area_reaches_its_own_standard_error():
    for value, n, m in [(0.5, 10, 10), (0.83, 20, 7), (0.02, 5, 40)]:
        extra = (n + m) / 2 - 1
        for bound in auc_interval(value, n, m):
            wide = bound * (1 - bound) * (1 + extra * (1 - bound) / (2 - bound) + extra * bound / (1 + bound)) / (n * m)
            assert abs(bound - value) == pytest.approx(1.959964 * math.sqrt(wide), rel=1e-6)
    low, high = auc_interval(1.0, 20, 20)
    assert (round(low, 2), high) == (0.9, 1.0)
    assert auc_interval(0.0, 20, 20) == pytest.approx((0.0, 1 - low))
    with pytest.raises(InputError):
        auc_interval(1.1, 3, 3)


def test_an_interval_of_an_area_covers():
    """Normal scores whose true area is 0.92, 12 and 12 units: close to 95 % of the intervals hold it."""
    source = np.random.default_rng(0)
    shift = math.sqrt(2) * scipy.stats.norm.ppf(0.92)
    areas = [auc(source.normal(size=12) + shift, source.normal(size=12)) for _ in range(400)]
    held = [low <= 0.92 <= high for low, high in (auc_interval(area, 12, 12) for area in areas)]
    assert 0.92 <= np.mean(held) <= 0.99


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def mean(values):
    return float(np.mean(values))


@given(scores, scores)
def test_auc_is_the_share_of_pairs_and_scikit_learns(positive, negative):
    pairs = [(high > low) + (high == low) / 2 for high in positive for low in negative]
    assert auc(positive, negative) == pytest.approx(sum(pairs) / len(pairs), abs=EXACT)
    truth = [1] * len(positive) + [0] * len(negative)
    assert auc(positive, negative) == pytest.approx(roc_auc_score(truth, positive + negative), abs=EXACT)


def test_auc_by_hand():
    """Pairs of (2, 1) and (1, 0): one tie, three won."""
    assert auc([2, 1], [1, 0]) == 0.875
    assert auc([1, 0], [2, 1]) == 0.125
    assert auc([-math.inf, math.inf], [0]) == 0.5


@given(scores, scores, st.one_of(st.floats(0, 1), st.integers(0, 12).map(lambda count: count / 12)))
def test_tpr_is_the_best_threshold_that_keeps_the_rate(positive, negative, fpr):
    high, low = np.array(positive), np.array(negative)
    allowed = [t for t in (-math.inf, *positive, *negative) if np.mean(low > t) <= fpr + 1e-9]
    found = tpr_at_fpr(positive, negative, fpr)
    assert found == max(np.mean(high > threshold) for threshold in allowed)
    truth = [1] * len(positive) + [0] * len(negative)
    rates, powers, _ = roc_curve(truth, positive + negative, drop_intermediate=False)
    assert found == pytest.approx(powers[rates <= fpr + 1e-9].max(), abs=EXACT)


def test_tpr_by_hand():
    """Of four negatives one may be exceeded: the threshold is 3, and a tie with it does not count."""
    assert tpr_at_fpr([5, 4, 3, 0], [4, 3, 3, 1], 0.25) == 0.5
    assert tpr_at_fpr([5, 4, 3, 0], [4, 3, 3, 1], 0.24) == 0.25
    assert tpr_at_fpr([5, 4, 3, 0], [4, 3, 3, 1], 1.0) == 1


def test_tpr_uses_the_whole_rate_despite_binary_fractions():
    """0.29 * 100 is 28.999999999999996."""
    assert tpr_at_fpr([70.5], np.arange(100), 0.29) == 1  # 71 to 99 are 29 negatives
    assert tpr_at_fpr([69.5], np.arange(100), 0.29) == 0


@pytest.mark.parametrize("score", [auc, lambda high, low: tpr_at_fpr(high, low, 0.1), ks_test])
def test_nan_and_nothing_are_refused(score):
    for bad in ([math.nan, 1.0], [], [[1.0, 2.0]]):
        with pytest.raises(InputError, match=r"NaN|at least one number"):
            score(bad, [0.0])
        with pytest.raises(InputError, match=r"NaN|at least one number"):
            score([0.0], bad)


@pytest.mark.parametrize("fpr", [-0.1, 1.1, math.nan])
def test_a_rate_lies_between_zero_and_one(fpr):
    with pytest.raises(InputError, match="between 0 and 1"):
        tpr_at_fpr([1.0], [0.0], fpr)


def test_ks_by_hand_and_exact():
    """Of 1 2 3 and 4 5 6 nothing overlaps: D = 1, and 2 of the 20 orders are as far apart."""
    result = ks_test([1, 2, 3], [4, 5, 6])
    assert result.statistic == 1
    assert result.p_value == pytest.approx(0.1, abs=EXACT)
    assert (result.n, result.m) == (3, 3)


def share_of_orders(gap, n, m):
    """Share of the orders of n and m numbers whose largest gap reaches ``gap``: paths on a grid that leave a band."""
    inside = np.zeros((n + 1, m + 1))
    for i in range(n + 1):
        for j in range(m + 1):
            before = (inside[i - 1, j] if i else 0) + (inside[i, j - 1] if j else 0)
            inside[i, j] = (before if i or j else 1) if abs(i / n - j / m) < gap - 1e-9 else 0
    return 1 - inside[n, m] / math.comb(n + m, n)


@given(scores, scores)
def test_ks_is_the_largest_gap_and_the_share_of_orders(left, right):
    result = ks_test(left, right)
    gaps = [abs(np.mean(np.array(left) <= x) - np.mean(np.array(right) <= x)) for x in left + right]
    assert result.statistic == pytest.approx(max(gaps), abs=EXACT)
    expected = share_of_orders(max(gaps), len(left), len(right))
    tolerance = 1e-4 if expected > 1 - 1e-9 else 1e-9  # scipy's way out where rounding takes the exact p above 1
    assert result.p_value == pytest.approx(expected, abs=tolerance)
    assert (result.n, result.m) == (len(left), len(right))


@pytest.mark.filterwarnings("error")
def test_ks_says_nothing_where_rounding_takes_the_exact_p_above_one():
    assert ks_test([3, 2, -1, 2, -2], [2, 2, -2, 0, 0]).p_value == pytest.approx(1)


def test_ks_does_not_change_under_a_monotone_map():
    left, right = np.exp(normal(40)), np.exp(normal(30, seed=1) + 0.5)
    assert ks_test(1 / left, 1 / right).p_value == pytest.approx(ks_test(left, right).p_value, abs=EXACT)


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=9))
def test_harmonic_mean_is_scipys(values):
    assert harmonic_mean(values) == pytest.approx(scipy.stats.hmean(values), rel=1e-12)


@pytest.mark.filterwarnings("error")
def test_rank_test_by_hand():
    """Of the 20 ways to draw 3 of 6 ranks one is as low as 1, 2, 3 and one as high as 4, 5, 6."""
    assert rank_test([1, 2, 3], [4, 5, 6]) == pytest.approx(2 / 20, abs=EXACT)
    assert rank_test([4, 5, 6], [1, 2, 3]) == pytest.approx(2 / 20, abs=EXACT)
    assert rank_test([1, 2, 4], [3, 5, 6]) == pytest.approx(4 / 20, abs=EXACT)
    assert rank_test([], [1, 2]) == rank_test([1], []) == 1.0


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=8, unique=True), st.data())
def test_rank_test_is_the_share_of_orders_and_scipys(values, data):
    count = data.draw(st.integers(1, len(values) - 1))
    left, right = values[:count], values[count:]

    def distance(chosen) -> float:
        """Of the number of pairs won from half of all pairs."""
        rest = [value for value in values if value not in chosen]
        return abs(sum(one > other for one in chosen for other in rest) - len(chosen) * len(rest) / 2)

    orders = [distance(chosen) >= distance(left) for chosen in itertools.combinations(values, count)]
    assert rank_test(left, right) == pytest.approx(sum(orders) / len(orders), abs=EXACT)
    assert rank_test(left, right) == scipy.stats.mannwhitneyu(left, right, method="exact").pvalue


def test_rank_test_refuses_nan():
    with pytest.raises(InputError):
        rank_test([math.nan, 1.0], [2.0])


def test_harmonic_mean_by_hand():
    assert harmonic_mean([1, 2, 2]) == 1.5
    assert harmonic_mean([1, 0, 5]) == 0
    for bad in ([1, -1], [0, -1], [], [1, math.nan]):
        with pytest.raises(InputError):
            harmonic_mean(bad)
