"""Statistics of scores: areas, rates, intervals and tests."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from expunge.errors import InputError
from expunge.functional.privacy_bounds import clopper_pearson as clopper_pearson
from expunge.functional.privacy_bounds import one_run_epsilon as one_run_epsilon

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
_TINY = 1e-12  # stands for an end of the interval, where the spread of an area is 0
_ROUNDING = 1e-12  # 0.29 * 100 is 28.999999999999996 in binary, and floor would allow 28


class Interval(NamedTuple):
    """Lower and upper bound; NaN where there is too little to resample."""

    low: float
    high: float


class KSResult(NamedTuple):
    """Two-sample Kolmogorov-Smirnov test: largest gap D of the distribution functions, two-sided p, sample sizes."""

    statistic: float
    p_value: float
    n: int
    m: int


def _scores(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise InputError(f"{name} must be a list of at least one number.")
    if np.isnan(array).any():
        raise InputError(f"{name} holds NaN; leave out what could not be scored.")
    return array


def auc(positive: ArrayLike, negative: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counted half (Mann-Whitney U / nm); 0.5 is chance.

    Raises:
        InputError: NaN, or nothing to compare.
    """
    high, low = _scores(positive, "positive"), _scores(negative, "negative")
    low = np.sort(low)
    below, not_above = (np.searchsorted(low, high, side=side).sum() for side in ("left", "right"))
    return float((below + not_above) / 2 / (len(high) * len(low)))


def auc_interval(value: float, positives: int, negatives: int, *, level: float = 0.95) -> Interval:
    """Returns an interval for an area under the ROC curve of independent units that also holds near 0 and 1.

    All areas whose own standard error reaches the observed one: Newcombe, 2006, method 5,
    https://doi.org/10.1002/sim.2324.

    Args:
        value: the observed area.
        positives: units on one side.
        negatives: units on the other.
        level: coverage.
    """
    if not 0 <= value <= 1 or positives < 1 or negatives < 1:
        raise InputError(f"An area of {value} over {positives} and {negatives} units is none; see auc.")
    quantile = float(scipy.stats.norm.ppf(0.5 + level / 2))
    extra = (positives + negatives) / 2 - 1

    def beyond(area: float) -> float:
        spread = area * (1 - area) * (1 + extra * (1 - area) / (2 - area) + extra * area / (1 + area))
        return float((area - value) ** 2 - quantile**2 * spread / (positives * negatives))

    # At the observed area itself the difference is 0 and at the ends the spread is, so that each side has one root.
    low = 0.0 if value == 0 else float(brentq(beyond, 0.0, value if value < 1 else 1 - _TINY))
    high = 1.0 if value == 1 else float(brentq(beyond, value if value > 0 else _TINY, 1.0))
    return Interval(low, high)


def tpr_at_fpr(positive: ArrayLike, negative: ArrayLike, fpr: float) -> float:
    """Largest share of positives above a threshold that at most the share ``fpr`` of negatives exceed.

    The threshold is one of the negatives, so a tie with it counts on neither side and the rate is never exceeded.

    Raises:
        InputError: NaN, nothing to compare, or a rate outside 0 to 1.
    """
    if not 0 <= fpr <= 1:
        raise InputError(f"A false positive rate lies between 0 and 1, not at {fpr}.")
    high, low = _scores(positive, "positive"), np.sort(_scores(negative, "negative"))[::-1]
    allowed = math.floor(fpr * len(low) * (1 + _ROUNDING))
    if allowed >= len(low):
        return 1.0
    return float(np.mean(high > low[allowed]))


def best_balanced_accuracy(positive: ArrayLike, negative: ArrayLike) -> float:
    """Largest mean of true positive and true negative rate over all thresholds; at least 0.5.

    The threshold is chosen on the numbers that it is judged by, so that chance is above 0.5 for few of them.

    Raises:
        InputError: NaN, or nothing to compare.
    """
    high, low = np.sort(_scores(positive, "positive")), np.sort(_scores(negative, "negative"))
    thresholds = np.concatenate([high, [np.inf]])  # positive from here on; one between two positives is no better
    found = 1 - np.searchsorted(high, thresholds) / len(high)
    spared = np.searchsorted(low, thresholds) / len(low)
    return float(np.max(found + spared) / 2)


def harmonic_mean(values: ArrayLike) -> float:
    """Harmonic mean; 0 if any value is 0.

    Raises:
        InputError: a negative value.
    """
    array = _scores(values, "values")
    if (array < 0).any():
        raise InputError("A harmonic mean takes no negative values.")
    return 0.0 if (array == 0).any() else float(len(array) / np.sum(1 / array))


def ks_test(left: ArrayLike, right: ArrayLike) -> KSResult:
    """Two-sample Kolmogorov-Smirnov test, two-sided; the p-value is exact where that is feasible.

    Raises:
        InputError: NaN, or an empty sample.
    """
    a, b = _scores(left, "left"), _scores(right, "right")
    with warnings.catch_warnings():
        # Where rounding takes the exact p above 1, scipy warns and gives the asymptotic one, above 0.9999.
        warnings.simplefilter("ignore", RuntimeWarning)
        result = scipy.stats.ks_2samp(a, b)
    return KSResult(float(result.statistic), float(result.pvalue), len(a), len(b))


def rank_test(left: ArrayLike, right: ArrayLike) -> float:
    """Two-sided p-value of the Mann-Whitney U test; exact without ties and for few numbers, 1 for an empty sample.

    Raises:
        InputError: NaN.
    """
    a, b = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(a) or not len(b):
        return 1.0
    return float(scipy.stats.mannwhitneyu(_scores(a, "left"), _scores(b, "right")).pvalue)


def bootstrap_interval(
    samples: Sequence[Floats],
    statistic: Callable[..., float],
    *,
    clusters: Sequence[Sequence[Hashable]] | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap that draws whole clusters (subjects) with replacement, widened for few clusters.

    A bootstrap of C clusters takes the spread with C instead of C - 1 and normal tails instead of Student's, and covers
    too little: 0.88 to 0.90 at 10 clusters and a level of 0.95. The quantiles are moved out to what Student's t asks of
    the smallest sample, as in Hesterberg, 2015, https://arxiv.org/abs/1411.5279, section 5.3. Where all clusters are
    equal the interval has no width.

    Samples with the same list of clusters are drawn together, so paired numbers stay paired; others independently.

    Args:
        samples: arrays that ``statistic`` takes.
        statistic: maps the arrays to a number; draws where it is NaN are left out.
        clusters: for each sample, the cluster of each number. None makes each number its own and draws every sample
            independently.
        level: coverage, between 0 and 1.
        resamples: number of draws.
        seed: of the draws.

    Returns:
        The interval; NaN with fewer than two clusters in a sample, or where every draw is NaN.

    Raises:
        InputError: ``clusters`` does not fit ``samples``, or ``level`` or ``resamples`` is out of range.
    """
    _check_bootstrap(samples, clusters, level, resamples)
    if clusters is None:
        clusters = [[(number, place) for place in range(len(sample))] for number, sample in enumerate(samples)]
    keys = [tuple(names) for names in clusters]
    groups = {key: _Clusters.of(key) for key in keys}
    if any(len(group.sizes) < 2 for group in groups.values()):
        return Interval(math.nan, math.nan)
    source = np.random.Generator(np.random.PCG64(seed))
    order = [list(groups).index(key) for key in keys]  # hashed once, not in every draw
    values = np.empty(resamples)
    for number in range(resamples):
        draws = [group.draw(source) for group in groups.values()]
        values[number] = statistic(*(sample[draws[place]] for sample, place in zip(samples, order, strict=True)))
    return _percentiles(values, expanded_tail(level, _fewest(groups)))


def bootstrap_means(
    samples: Sequence[Floats],
    *,
    clusters: Sequence[Sequence[Hashable]],
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """``bootstrap_interval`` of a mean, or of the first sample's mean minus the second's, from sums of clusters alone.

    Args:
        samples: one array or two; NaN is left out after the draw.
        clusters: for each sample, the cluster of each number.
        level: coverage, between 0 and 1.
        resamples: number of draws.
        seed: of the draws; the same draws as those of ``bootstrap_interval``.

    Returns:
        The interval; NaN with fewer than two clusters in a sample, or where every draw is NaN.
    """
    _check_bootstrap(samples, clusters, level, resamples)
    keys = [tuple(names) for names in clusters]
    groups = {key: _Clusters.of(key) for key in keys}
    if any(len(group.sizes) < 2 for group in groups.values()):
        return Interval(math.nan, math.nan)
    counts = _counts(groups, resamples, np.random.Generator(np.random.PCG64(seed)))
    tail = expanded_tail(level, _fewest(groups))
    means = []
    for sample, key in zip(samples, keys, strict=True):
        ordered_K, starts_C = sample[groups[key].places], groups[key].starts
        sums_C = np.add.reduceat(np.nan_to_num(ordered_K), starts_C)
        sizes_C = np.add.reduceat((~np.isnan(ordered_K)).astype(np.float64), starts_C)
        with np.errstate(invalid="ignore"):
            means.append(counts[key] @ sums_C / (counts[key] @ sizes_C))
    return _percentiles(means[0] if len(means) == 1 else means[0] - means[1], tail)


def _counts(
    groups: Mapping[tuple[Hashable, ...], _Clusters], resamples: int, source: np.random.Generator
) -> dict[tuple[Hashable, ...], Floats]:
    """How often each cluster (C) comes up in each draw (R), for every group: (R, C)."""
    if len(groups) == 1:  # all draws at once: the same numbers in the same order
        ((key, group),) = groups.items()
        size = len(group.sizes)
        picks_RC = source.integers(size, size=(resamples, size)) + size * np.arange(resamples)[:, None]
        return {key: np.bincount(picks_RC.ravel(), minlength=resamples * size).reshape(resamples, size).astype(float)}
    counts = {key: np.empty((resamples, len(group.sizes))) for key, group in groups.items()}
    for number in range(resamples):
        for key, group in groups.items():
            counts[key][number] = np.bincount(group.picks(source), minlength=len(group.sizes))
    return counts


def expanded_tail(level: float, clusters: int) -> float:
    """Share of the draws beyond each end of an interval: ``normal_cdf(-sqrt(C / (C - 1)) t)`` for C clusters.

    ``t`` is Student's quantile with C - 1 degrees of freedom; with many clusters the share is ``(1 - level) / 2``.
    """
    quantile = scipy.stats.t.ppf((1 + level) / 2, clusters - 1)
    return float(scipy.stats.norm.cdf(-math.sqrt(clusters / (clusters - 1)) * quantile))


def _fewest(groups: Mapping[tuple[Hashable, ...], _Clusters]) -> int:
    return min(len(group.sizes) for group in groups.values())


def _percentiles(values: Floats, tail: float) -> Interval:
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(math.nan, math.nan)
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _check_bootstrap(
    samples: Sequence[Floats], clusters: Sequence[Sequence[Hashable]] | None, level: float, resamples: int
) -> None:
    if not 0 < level < 1:
        raise InputError(f"The level of an interval lies between 0 and 1, not at {level}; 0.95 is usual.")
    if resamples < 1:
        raise InputError(f"A bootstrap needs at least one draw, not {resamples}; 1000 is usual.")
    if clusters is not None and [len(names) for names in clusters] != [len(sample) for sample in samples]:
        raise InputError("Each number of each sample needs one cluster; the lengths differ.")


class _Clusters(NamedTuple):
    """Places of a sample, cluster after cluster (K,), and where each cluster starts and how long it is (C,)."""

    places: Places
    starts: Places
    sizes: Places

    @classmethod
    def of(cls, names: Sequence[Hashable]) -> _Clusters:
        members: dict[Hashable, list[int]] = {}
        for place, name in enumerate(names):
            members.setdefault(name, []).append(place)
        sizes_C = np.array([len(found) for found in members.values()], dtype=np.int64)
        places_K = np.array([place for found in members.values() for place in found], dtype=np.int64)
        return cls(places_K, np.cumsum(sizes_C) - sizes_C, sizes_C)

    def picks(self, source: np.random.Generator) -> Places:
        """As many clusters as there are, drawn with replacement."""
        return source.integers(len(self.sizes), size=len(self.sizes))

    def draw(self, source: np.random.Generator) -> Places:
        """Places of drawn clusters; a cluster's places stay together."""
        picks_C = self.picks(source)
        sizes_C = self.sizes[picks_C]
        # Moves each picked run from where it comes to lie (the sizes before it) to where it starts.
        shifts_C = self.starts[picks_C] - (np.cumsum(sizes_C) - sizes_C)
        drawn_K = np.repeat(shifts_C, sizes_C) + np.arange(sizes_C.sum())
        return np.asarray(self.places[drawn_K])
