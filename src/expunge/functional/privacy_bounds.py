"""Lower bounds on epsilon from what an attack got right. A bound is one-sided: a small one proves nothing.

Intervals: Clopper and Pearson, 1934, https://doi.org/10.1093/biomet/26.4.404. From many runs: Jagielski et al., 2020,
https://arxiv.org/abs/2006.07709. From one run: Steinke, Nasr, Jagielski, 2023, https://arxiv.org/abs/2305.08846.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.stats
from scipy.special import bdtr, bdtrc, expit

from expunge.errors import InputError

MAX_EPSILON = 64.0  # 2^64 right guesses and no wrong one would show more
_STEPS = 64  # halvings; the interval is then below the spacing of floats


class Rate(NamedTuple):
    """Lower and upper bound of a rate."""

    low: float
    high: float


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> Rate:
    """Returns the exact two-sided interval of a binomial rate; each side errs with at most (1 - level) / 2.

    Raises:
        InputError: counts or a level that cannot be.
    """
    _check_counts(successes, trials, level)
    tail, failures = (1 - level) / 2, trials - successes
    low = scipy.stats.beta.ppf(tail, successes, failures + 1) if successes else 0.0
    high = scipy.stats.beta.ppf(1 - tail, successes + 1, failures) if failures else 1.0
    return Rate(float(low), float(high))


def two_point_epsilon(
    true_positives: int,
    members: int,
    false_positives: int,
    nonmembers: int,
    *,
    delta: float = 0.0,
    level: float = 0.95,
) -> float:
    """Returns a lower bound on epsilon from the counts of one threshold, 0 where they show nothing.

    epsilon >= max(log((TPR - delta) / FPR), log((TNR - delta) / FNR), 0) with TPR, TNR at their lower and FPR, FNR at
    their upper bounds. It holds for trials that are independent, such as those of many runs; the threshold must not be
    chosen on the same counts.

    Args:
        true_positives: members that were called members.
        members: how many members there are.
        false_positives: others that were called members.
        nonmembers: how many others there are.
        delta: of (epsilon, delta).
        level: confidence of the bound; both rates share its error.

    Raises:
        InputError: counts, a level or a delta that cannot be.
    """
    _check_delta(delta)
    found, wrong = (
        clopper_pearson(true_positives, members, level),
        clopper_pearson(false_positives, nonmembers, level),
    )
    # Upper bounds are above 0: an interval of no successes still reaches up.
    pairs = ((found.low - delta, wrong.high), (1 - wrong.high - delta, 1 - found.low))
    return max([0.0, *(math.log(above / below) for above, below in pairs if above > 0)])


def one_run_p_value(epsilon: float, canaries: int, guesses: int, right: int, delta: float = 0.0) -> float:
    """Returns how probable so many right guesses are at most under (epsilon, delta), canaries drawn by fair coins.

    beta + 2 m delta alpha with beta = P[B >= v], alpha = max over i of P[v - i <= B < v] / i, B binomial over r guesses
    with rate e^epsilon / (1 + e^epsilon); m canaries, v right guesses. At most 1.
    """
    rate = expit(epsilon)
    beta = float(bdtrc(right - 1, guesses, rate)) if right else 1.0
    if delta == 0 or right == 0:
        return min(1.0, beta)
    steps = np.arange(1, right + 1)
    below = np.where(steps < right, bdtr(np.maximum(right - 1 - steps, 0), guesses, rate), 0.0)
    alpha = float(np.max((bdtr(right - 1, guesses, rate) - below) / steps))
    return min(1.0, beta + 2 * canaries * delta * alpha)


def one_run_epsilon(canaries: int, guesses: int, right: int, *, delta: float = 0.0, level: float = 0.95) -> float:
    """Returns the largest epsilon that the right guesses about one model rule out, 0 where they rule out none.

    Args:
        canaries: how many were included or not, each by a fair coin of its own.
        guesses: how many coins were guessed; the guesser abstains on the others.
        right: guesses that were right.
        delta: of (epsilon, delta).
        level: confidence of the bound.

    Raises:
        InputError: counts, a level or a delta that cannot be.
    """
    _check_counts(right, guesses, level)
    _check_delta(delta)
    if guesses > canaries:
        raise InputError(f"{guesses} guesses about {canaries} canaries: at most one guess about each.")
    if one_run_p_value(0.0, canaries, guesses, right, delta) >= 1 - level:
        return 0.0
    low, high = 0.0, MAX_EPSILON
    for _ in range(_STEPS):
        middle = (low + high) / 2
        refuted = one_run_p_value(middle, canaries, guesses, right, delta) < 1 - level
        low, high = (middle, high) if refuted else (low, middle)
    return low


def _check_counts(successes: int, trials: int, level: float) -> None:
    if trials < 1 or not 0 <= successes <= trials:
        raise InputError(f"{successes} of {trials} is no rate; give at least one trial and no more successes.")
    if not 0 < level < 1:
        raise InputError(f"The level of a bound lies between 0 and 1, not at {level}; 0.95 is usual.")


def _check_delta(delta: float) -> None:
    if not 0 <= delta < 1:
        raise InputError(f"delta={delta} is no probability below 1; 0 or one far below 1 / records is usual.")
