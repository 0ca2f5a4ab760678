"""Tests of several differences at once, and the smallest difference that a sample would show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SIGNIFICANT = 0.05
NORMAL_95 = NormalDist().inv_cdf(0.975)  # half a 95 % interval, in standard errors
# A difference is found at the 5 % level with 80 % power from z(0.975) + z(0.8) standard errors.
POWER = NORMAL_95 + NormalDist().inv_cdf(0.8)
DETECTABLE = POWER / NORMAL_95  # the same in half intervals
EXACT = 16  # differences up to which every choice of signs is tried
FLIPS = 20_000  # choices of signs that are drawn for more
ROUNDING = 1e-12  # relative, by which sums in another order differ


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Returns adjusted p-values: each at most alpha where Holm's step-down test rejects at alpha for all together.

    Sorted, the i-th of n is max over j <= i of min(1, (n - j + 1) p_j). Holm, 1979,
    https://www.jstor.org/stable/4615733.
    """
    p_N = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_N, kind="stable")
    scaled = np.minimum(1.0, p_N[order] * np.arange(len(p_N), 0, -1))
    adjusted = np.empty_like(scaled)
    adjusted[order] = np.maximum.accumulate(scaled)
    return adjusted


def p_of_interval(value: float, low: float, high: float, null: float = 0.0) -> float:
    """Returns the two-sided p-value of ``null``, read off a 95 % interval by the normal distribution.

    p is 0.05 where the interval ends at ``null``. The side of the interval that faces it counts, so that an interval
    that is not symmetric says the same as its end. An interval of no width leaves no doubt.
    """
    distance = abs(value - null)
    if distance == 0 or math.isinf(low) or math.isinf(high):
        return 1.0
    half = value - low if value > null else high - value
    return 0.0 if half <= 0 else math.erfc(NORMAL_95 * distance / half / math.sqrt(2))


def sign_flip(differences: Sequence[float] | Floats) -> float:
    """Returns the two-sided p-value of a mean of 0, by flipping the sign of each difference.

    Where the differences are as likely to have one sign as the other, every choice of signs is equally likely; p is the
    share of them whose mean is at least as far from 0. All of them are tried for at most ``EXACT`` differences other
    than 0, else ``FLIPS`` drawn ones with a fixed seed, of which the observed one counts as one. At least six
    differences are needed for a p below 0.05. Fisher, 1935, The Design of Experiments, section 21.

    Args:
        differences: one for each subject, (C,).
    """
    known_C = np.asarray(differences, dtype=np.float64)
    known_C = known_C[known_C != 0]
    count = len(known_C)
    if not count:
        return 1.0
    limit = abs(known_C.sum()) * (1 - ROUNDING)
    if count <= EXACT:
        numbers = np.arange(2**count)[:, None]
        signs_RC = 1.0 - 2.0 * ((numbers >> np.arange(count)) & 1)
        return float(np.mean(np.abs(signs_RC @ known_C) >= limit))
    source = np.random.Generator(np.random.PCG64(0))
    far = sum(
        int(np.sum(np.abs(source.choice((-1.0, 1.0), size=(1000, count)) @ known_C) >= limit))
        for _ in range(FLIPS // 1000)
    )
    return (far + 1) / (FLIPS + 1)


def detectable_auc(n: int) -> float:
    """Smallest distance from 0.5 that n members and n non-members show (Hanley and McNeil, 1982), at most 0.5."""
    return min(0.5, POWER * math.sqrt((2 * n + 1) / (12 * n * n)))


def detectable_mean(n: int) -> float:
    """Smallest difference of two models' mean scores between 0 and 1 that n subjects show, at the largest spread.

    A difference of one subject lies between -1 and 1, so that its variance is at most 1.
    """
    return min(1.0, POWER * math.sqrt(1 / n))


def subjects_needed(n: int, half: float, wanted: float) -> int | None:
    """Returns how many subjects are enough for ``wanted``, rounded up to two significant digits.

    Half an interval, and the smallest difference that is found, fall with the square root of the subjects:
    n (half / wanted)^2.

    Args:
        n: subjects behind ``half``.
        half: half an interval, or the smallest difference that n subjects show, in the unit of the metric.
        wanted: what it should be at most, in the same unit.

    Returns:
        None where no number follows: no subjects, no interval, or nothing but 0 is wanted.
    """
    if n <= 0 or wanted <= 0 or not math.isfinite(half):
        return None
    exact = round(n * (half / wanted) ** 2, 9)
    step = 10 ** max(0, math.floor(math.log10(exact)) - 1) if exact >= 1 else 1
    return max(1, math.ceil(exact / step)) * step
