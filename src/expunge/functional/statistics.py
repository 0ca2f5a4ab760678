"""Statistics of scores: areas, rates, intervals and tests."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from expunge.errors import InputError

Floats = NDArray[np.float64]


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
    """Probability that a positive scores above a negative, ties counted half (Mann-Whitney U / nm); 0.5 is chance."""
    high, low = _scores(positive, "positive"), _scores(negative, "negative")
    ranks = scipy.stats.rankdata(np.concatenate([high, low]))
    u = ranks[: len(high)].sum() - len(high) * (len(high) + 1) / 2
    return float(u / (len(high) * len(low)))


def tpr_at_fpr(positive: ArrayLike, negative: ArrayLike, fpr: float) -> float:
    """Largest share of positives above a threshold that at most the share ``fpr`` of negatives reach."""
    high, low = _scores(positive, "positive"), np.sort(_scores(negative, "negative"))[::-1]
    allowed = int(np.floor(fpr * len(low) + 1e-12))
    if allowed >= len(low):
        return 1.0
    return float(np.mean(high > low[allowed]))


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
    """Two-sample Kolmogorov-Smirnov test, exact where that is feasible."""
    a, b = _scores(left, "left"), _scores(right, "right")
    result = scipy.stats.ks_2samp(a, b)
    return KSResult(float(result.statistic), float(result.pvalue), len(a), len(b))


def bootstrap_interval(
    samples: Sequence[Floats],
    statistic: Callable[..., float],
    *,
    clusters: Sequence[Sequence[Hashable]] | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap that draws whole clusters (subjects) with replacement.

    Samples with the same list of clusters are drawn together, so paired numbers stay paired; others independently.

    Args:
        samples: arrays that ``statistic`` takes.
        statistic: maps the arrays to a number.
        clusters: for each sample, the cluster of each number; None makes each number its own.
        level: coverage.
        resamples: number of draws.
        seed: of the draws.
    """
    names = clusters or [list(range(len(sample))) for sample in samples]
    groups = [_members(name) for name in names]
    if any(len(group) < 2 for group in groups):
        return Interval(float("nan"), float("nan"))
    source = np.random.Generator(np.random.PCG64(seed))
    kinds = {tuple(name): number for number, name in enumerate(names)}
    values = []
    for _ in range(resamples):
        draws = {
            number: np.concatenate([groups[number][pick] for pick in source.integers(len(groups[number]), size=len(groups[number]))])
            for number in kinds.values()
        }
        values.append(
            statistic(*(sample[draws[kinds[tuple(name)]]] for sample, name in zip(samples, names, strict=True)))
        )
    tail = (1 - level) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _members(names: Sequence[Hashable]) -> list[NDArray[np.int64]]:
    places: dict[Hashable, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    return [np.asarray(found) for found in places.values()]
