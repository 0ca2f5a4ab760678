"""Statistics against loops, scikit-learn and scipy."""

from __future__ import annotations

import itertools
import math
import time

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
    bootstrap_interval,
    bootstrap_means,
    expanded_tail,
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


def difference(left, right):
    return float(np.mean(left) - np.mean(right))


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


def by_concatenation(samples, statistic, clusters, level, resamples, seed):
    """The slow code that ``bootstrap_interval`` equals: lists of places, put together draw by draw."""
    source = np.random.Generator(np.random.PCG64(seed))
    values = []
    for _ in range(resamples):
        drawn = {}
        for names in map(tuple, clusters):
            if names not in drawn:
                labels = list(dict.fromkeys(names))
                picks = [labels[pick] for pick in source.integers(len(labels), size=len(labels))]
                drawn[names] = [place for label in picks for place, name in enumerate(names) if name == label]
        values.append(statistic(*(sample[drawn[tuple(c)]] for sample, c in zip(samples, clusters, strict=True))))
    fewest = min(len(set(names)) for names in clusters)
    tail = float(scipy.stats.norm.cdf(-scipy.stats.t.ppf((1 + level) / 2, fewest - 1) * (fewest / (fewest - 1)) ** 0.5))
    return tuple(np.quantile(values, [tail, 1 - tail]))


def test_bootstrap_equals_the_slow_code_on_ragged_clusters():
    samples = [normal(7), normal(7, seed=1), normal(5, seed=2)]
    clusters = [list("abacbad"), list("abacbad"), list("xyyxz")]

    def statistic(left, right, other):
        return float(np.mean(left * right) + np.median(other) + len(left) / 10)

    found = bootstrap_interval(samples, statistic, clusters=clusters, level=0.9, resamples=60, seed=3)
    assert found == pytest.approx(by_concatenation(samples, statistic, clusters, 0.9, 60, 3), abs=EXACT)


def test_bootstrap_of_a_mean_is_close_to_the_normal_interval():
    values = normal(400)
    low, high = bootstrap_interval([values], mean, resamples=4000)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_bootstrap_covers():
    """Of 100 intervals for the mean of 40 normal numbers, 95 % cover 0, give or take 2 by binomial chance."""
    intervals = [bootstrap_interval([normal(40, seed=seed)], mean, resamples=100) for seed in range(100)]
    assert 88 <= sum(low <= 0 <= high for low, high in intervals) <= 99


def test_few_clusters_widen_the_interval_to_students():
    """Of 10 clusters t = 2.262 and sqrt(10 / 9) = 1.054 leave 0.0085 beyond each end; of many, 0.025."""
    assert expanded_tail(0.95, 10) == pytest.approx(0.00855, abs=2e-5)
    assert expanded_tail(0.95, 10**6) == pytest.approx(0.025, abs=1e-6)
    assert expanded_tail(0.9, 5) < 0.05


def test_the_interval_of_ten_subjects_is_as_wide_as_students():
    """Without the correction it is 0.81 of Student's, which is exact for normal numbers."""
    source = np.random.default_rng(0)
    samples = source.normal(size=(60, 10))
    widths = [np.ptp(bootstrap_means([values], clusters=[list(range(10))])) for values in samples]
    students = 2 * scipy.stats.t.ppf(0.975, 9) * samples.std(axis=1, ddof=1) / math.sqrt(10)
    assert 0.94 <= np.mean(widths) / np.mean(students) <= 1.02


def test_clusters_are_drawn_whole():
    """Five equal numbers per subject say no more than one: the interval, bit for bit, of one number per subject."""
    means = normal(30)
    repeated = bootstrap_interval([np.repeat(means, 5)], np.median, clusters=[np.repeat(np.arange(30), 5).tolist()])
    assert repeated == bootstrap_interval([means], np.median, clusters=[list(range(30))])
    naive = bootstrap_interval([np.repeat(means, 5)], np.median)
    assert naive.high - naive.low < 0.7 * (repeated.high - repeated.low)


def test_the_same_clusters_are_drawn_together_and_others_independently():
    values = normal(50)
    names = list(range(50))
    paired = bootstrap_interval([values + 1, values], difference, clusters=[names, names])
    assert paired == pytest.approx((1, 1), abs=EXACT)
    others = bootstrap_interval([values + 1, values], difference, clusters=[names, [-name - 1 for name in names]])
    alone = bootstrap_interval([values], mean)
    expected = math.sqrt(2) * (alone.high - alone.low)
    assert others.high - others.low == pytest.approx(expected, rel=0.15)


def test_without_clusters_samples_of_one_length_are_not_taken_for_pairs():
    values = normal(50)
    low, high = bootstrap_interval([values, values], difference)
    assert low < -0.2 < 0.2 < high


def test_bootstrap_depends_on_the_seed_alone():
    first, again, other = (bootstrap_interval([normal(20)], mean, resamples=50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_higher_level_gives_a_wider_interval():
    narrow, wide = (bootstrap_interval([normal(20)], mean, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_too_little_to_resample_gives_nan():
    for values, clusters in (([1.0], None), ([], None), ([1.0, 2.0], [["one", "one"]])):
        interval = bootstrap_interval([np.array(values)], mean, clusters=clusters)
        assert np.isnan(interval).all()
    both = bootstrap_interval([normal(20), np.array([1.0])], difference)
    assert np.isnan(both).all()


def test_draws_without_a_value_are_left_out():
    def sometimes(values):
        return math.nan if values[0] < 0 else 1.0

    assert bootstrap_interval([normal(20)], sometimes) == (1, 1)
    assert np.isnan(bootstrap_interval([normal(20)], lambda values: math.nan)).all()


@pytest.mark.parametrize(
    "settings", [{"level": 0}, {"level": 1}, {"resamples": 0}, {"clusters": [["a"]]}, {"clusters": [["a", "b"]] * 2}]
)
def test_nonsense_is_refused(settings):
    with pytest.raises(InputError):
        bootstrap_interval([np.array([1.0, 2.0])], mean, **settings)


def test_bootstrap_of_tofus_size_is_fast():
    """Forget and holdout set of 400 records, 20 subjects: about 0.1 s on one core, checked with room for a busy one."""
    names = np.repeat(np.arange(20), 20).tolist()
    start = time.perf_counter()
    bootstrap_interval([normal(400), normal(400, seed=1)], auc, clusters=[names, [-n - 1 for n in names]])
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize("paired", [True, False])
def test_means_from_sums_of_clusters_are_those_of_the_draws(paired):
    left, right = normal(24), normal(24, seed=5)
    left[3] = np.nan
    names = [number // 3 for number in range(24)]
    clusters = [names, names if paired else [("other", number // 2) for number in range(24)]]

    def known(values):
        return np.mean(values[~np.isnan(values)])

    def difference(one, other):
        return known(one) - known(other)

    settings = {"resamples": 200, "seed": 7}
    slow = bootstrap_interval([left, right], difference, clusters=clusters, **settings)
    assert bootstrap_means([left, right], clusters=clusters, **settings) == pytest.approx(slow)
    alone = bootstrap_interval([left], known, clusters=clusters[:1], **settings)
    assert bootstrap_means([left], clusters=clusters[:1], **settings) == pytest.approx(alone)
    assert np.isnan(bootstrap_means([left], clusters=[[0] * 24])).all()
