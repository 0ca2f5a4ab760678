"""How much of a text a model says again: shared n-grams, chances of drawing it, and leaks among several draws.

Overlap of n-grams (EL_n): Jang et al., 2022, https://arxiv.org/abs/2210.01504.
(n, p)-discoverable extraction: Hayes et al., 2024, https://arxiv.org/abs/2410.19482.
The estimator of leak@k is that of pass@k: Chen et al., 2021, https://arxiv.org/abs/2107.03374.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from expunge.errors import InputError

TINY = -36.0  # log of a probability below what a float can take from 1
LARGEST = 709.0  # log of nearly the largest float


def ngram_overlap(said: Sequence[int], truth: Sequence[int], n: int) -> float:
    """Returns the share of n-grams of a continuation that occur anywhere in the true one; NaN where that has none.

    ``sum over c in ngrams(said) of [c in ngrams(truth)] / (len(truth) - n + 1)``, repetitions counted as often as they
    are said. For continuations of equal length that is the paper's share of the n-grams said; one that ended early
    said nothing where the rest should be, which does not count for it.

    Args:
        said: token ids of the continuation, at most as many as of the true one.
        truth: token ids of the true continuation.
        n: tokens of an n-gram.
    """
    if len(truth) < n:
        return math.nan
    known = {tuple(truth[start : start + n]) for start in range(len(truth) - n + 1)}
    hits = sum(tuple(said[start : start + n]) in known for start in range(len(said) - n + 1))
    return hits / (len(truth) - n + 1)


def drawn_within(logq: float, tries: int) -> float:
    """Returns ``1 - (1 - q)^n``, the chance that at least one of n draws is it, for ``log q`` in nats.

    Exact to rounding for q near 0 and near 1.
    """
    return -math.expm1(tries * _log_miss(logq))


def tries_needed(logq: float, chance: float) -> float:
    """Returns the least n with ``1 - (1 - q)^n >= chance``; infinity where it is never drawn or no float holds n.

    ``n = ceil(log(1 - chance) / log(1 - q))``, at least 1.

    Args:
        logq: log-probability of one draw, nats.
        chance: above 0 and below 1.
    """
    if not 0 < chance < 1:
        raise InputError(f"A chance of {chance} is never or always reached; give one above 0 and below 1.")
    if logq < TINY:  # log(1 - q) = -q to the last bit, and no underflow of q
        log_tries = math.log(-math.log1p(-chance)) - logq
        return max(1.0, float(math.ceil(math.exp(log_tries)))) if log_tries < LARGEST else math.inf
    exact = math.log1p(-chance) / _log_miss(logq)
    # The quotient may round to just above a whole number that suffices.
    near = max(1, math.floor(exact))
    return float(near if drawn_within(logq, near) >= chance else max(1, math.ceil(exact)))


def _log_miss(logq: float) -> float:
    """``log(1 - q)``: each of the two forms is exact where the other loses its digits."""
    logq = min(logq, 0.0)  # a sum of log-probabilities may round to above 0
    if logq == 0.0:
        return -math.inf
    return math.log(-math.expm1(logq)) if logq > -math.log(2) else math.log1p(-math.exp(logq))


def leak_at_k(leaks: int, draws: int, k: int) -> float:
    """Returns ``1 - C(N - c, k) / C(N, k)``: the chance that k of N draws, c of which leak, hold at least one leak.

    Unbiased: the mean over c of a binomial (N, q) is ``1 - (1 - q)^k``.

    Raises:
        InputError: k is not between 1 and the number of draws, or more leaks than draws.
    """
    if not 1 <= k <= draws or not 0 <= leaks <= draws:
        raise InputError(f"k={k} of {draws} draws with {leaks} leaks: k is from 1 to the draws, leaks from 0 to them.")
    return 1.0 - math.comb(draws - leaks, k) / math.comb(draws, k)
