"""Distances of two samples, and how large one must be to be found.

Kolmogorov-Smirnov: Smirnov, 1948, https://doi.org/10.1214/aoms/1177730256. Wasserstein: Vallender, 1974,
https://doi.org/10.1137/1118101.

Shapes: N and M numbers of the two samples, K of both.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from expunge.errors import InputError

Floats = NDArray[np.float64]
_STEPS = 60  # halvings; the last is below the spacing of floats


def wasserstein(left_N: Floats, right_M: Floats) -> float:
    """Returns the 1-Wasserstein distance, the integral of |F - G| over the line, in the unit of the numbers.

    For samples of one size it is the mean distance of the sorted numbers. NaN if one sample is empty.
    """
    if not len(left_N) or not len(right_M):
        return math.nan
    places_K = np.sort(np.concatenate([left_N, right_M]))
    shares = [np.searchsorted(np.sort(side), places_K[:-1], side="right") / len(side) for side in (left_N, right_M)]
    return float(np.sum(np.abs(shares[0] - shares[1]) * np.diff(places_K)))


def critical_ks(n: int, m: int, level: float = 0.05) -> float:
    """Returns the D from which the two-sided two-sample test rejects at a level: sqrt(-ln(level/2)/2 (n+m)/(nm)).

    The asymptotic value; exact tests differ a little for few numbers.
    """
    _check_shares(level)
    return math.sqrt(-math.log(level / 2) / 2 * (n + m) / (n * m))


def detectable_ks(n: int, m: int, *, level: float = 0.05, power: float = 0.8) -> float:
    """Returns the D that the test finds with at least this probability, whatever the two distributions look like.

    Where F and G are furthest apart, by D, the difference of the sample shares is about normal around D with variance
    p(1-p)/n + q(1-q)/m, p - q = D. D is the solution of D - critical = z(power) * largest standard deviation; the
    largest is at p = 1/2 + D n/(n+m). The test looks at every place and not at this one alone, so most differences are
    found more often. NaN where the samples are too small for any D.
    """
    _check_shares(level, power)
    if min(n, m) < 1:
        return math.nan
    critical, quantile = critical_ks(n, m, level), NormalDist().inv_cdf(power)

    def surplus(distance: float) -> float:
        high = min(1.0, max(distance, 0.5 + distance * n / (n + m)))
        low = high - distance
        return distance - critical - quantile * math.sqrt(high * (1 - high) / n + low * (1 - low) / m)

    below, above = 0.0, 1.0
    if surplus(above) < 0:
        return math.nan
    for _ in range(_STEPS):
        middle = (below + above) / 2
        below, above = (middle, above) if surplus(middle) < 0 else (below, middle)
    return above


def _check_shares(*shares: float) -> None:
    for share in shares:
        if not 0 < share < 1:
            raise InputError(f"A level and a power lie between 0 and 1, not at {share}; 0.05 and 0.8 are usual.")
