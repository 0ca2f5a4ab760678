"""Statistics of scores: areas, rates, intervals and tests."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from expunge.errors import InputError
from expunge.functional.bootstrap import Interval as Interval
from expunge.functional.bootstrap import bootstrap_interval as bootstrap_interval
from expunge.functional.privacy_bounds import clopper_pearson as clopper_pearson
from expunge.functional.privacy_bounds import one_run_epsilon as one_run_epsilon

Floats = NDArray[np.float64]
_TINY = 1e-12  # stands for an end of the interval, where the spread of an area is 0
_ROUNDING = 1e-12  # 0.29 * 100 is 28.999999999999996 in binary, and floor would allow 28


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
