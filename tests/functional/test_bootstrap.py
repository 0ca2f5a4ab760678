"""Bootstrap intervals against the slow code, draw by draw."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import scipy.stats

from expunge.errors import InputError
from expunge.functional.bootstrap import Draws, Vectorised, bootstrap_interval, draw_means, expanded_tail, mean_of
from expunge.functional.statistics import auc

EXACT = 1e-12


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def difference(left, right):
    return float(np.mean(left) - np.mean(right))


def mean(values):
    return float(np.mean(values))


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
    widths = [np.ptp(bootstrap_interval([values], mean_of, clusters=[list(range(10))])) for values in samples]
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


def with_gaps(paired):
    """Two samples of 24 with NaN in both, one list of clusters or two, and a constant for ties."""
    left, right = np.round(normal(24), 1), np.round(normal(24, seed=5), 1)
    left[[3, 7]], right[11] = np.nan, np.nan
    names = [number // 3 for number in range(24)]
    return [left, right], [names, names if paired else [("other", number // 2) for number in range(24)]]


def known(statistic):
    return lambda *arrays: statistic(*(values[~np.isnan(values)] for values in arrays))


STATISTICS = {
    "mean": (mean_of, np.mean, slice(0, 1)),
    "difference of means": (
        Vectorised(None, lambda draws, samples, places: np.subtract(*draw_means(draws, samples, places))),
        lambda one, other: np.mean(one) - np.mean(other),
        slice(0, 2),
    ),
    "area": (Vectorised(None, lambda draws, samples, places: draws.areas(*samples, places)), auc, slice(0, 2)),
}


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("name", STATISTICS)
def test_all_draws_at_once_are_the_draws_one_by_one(name, paired):
    samples, clusters = with_gaps(paired)
    fast, slow, chosen = STATISTICS[name]
    draws = Draws(clusters[chosen], resamples=200, seed=7)
    at_once, one_by_one = (draws.values(each, samples[chosen]) for each in (fast, known(slow)))
    assert at_once.shape == (200,)
    assert np.ptp(one_by_one) > 0.05
    assert at_once == pytest.approx(one_by_one, abs=0 if name == "area" else EXACT)


def test_statistics_of_different_samples_share_their_draws():
    """The second statistic names its samples by their place: it is drawn like them, not like the first two."""
    samples, clusters = with_gaps(paired=False)
    draws = Draws([*clusters, *clusters], resamples=50)
    first, second = (draws.values(known(np.median), [samples[1]], [place]) for place in (1, 3))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, draws.values(known(np.median), [samples[1]], [0]))


def test_draws_of_no_known_number_have_no_value():
    numbers = np.array([math.nan, 1.0, 2.0])
    draws = Draws([[0, 1, 2], ["a", "b", "c"]], resamples=300)
    means, areas = draws.values(mean_of, [numbers], [0]), draws.areas(numbers, numbers, [0, 1])
    assert 0 < np.isnan(means).sum() < 100  # one in 27
    assert np.isnan(areas).sum() > np.isnan(means).sum()
    assert np.isnan(bootstrap_interval([np.ones(24)], mean_of, clusters=[[0] * 24])).all()


def test_what_is_gathered_in_parts_is_the_whole(monkeypatch):
    samples, clusters = with_gaps(paired=False)
    whole = Draws(clusters, resamples=30, seed=1).values(known(auc), samples)
    monkeypatch.setattr("expunge.functional.bootstrap._GATHERED", 100)
    monkeypatch.setattr("expunge.functional.bootstrap._KEPT_PICKS", 0)
    assert np.array_equal(whole, Draws(clusters, resamples=30, seed=1).values(known(auc), samples))
