"""How much an attack brings back beyond what it brings to a model that never saw the records.

Feng et al., 2025, https://arxiv.org/abs/2506.00688: an attack may teach what it finds, so that zero is what the
retrained model gives under the same attack.

Shapes: R forget records; NaN where a record has no number.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from expunge.functional.bootstrap import Vectorised, bootstrap_interval, draw_means
from expunge.functional.testing import p_of_interval
from expunge.metrics.base import Floats

MIN_GAP = 0.05  # between original and retrained model; a share of less is a share of noise
MIN_SUBJECTS = 10  # fewer give no interval


@dataclass(frozen=True)
class Excess:
    """The recovery rho.

    Attributes:
        value: 0 where the attack gives what it gives on the retrained model, 1 where it gives the original's distance
            from the retrained model; may lie outside.
        low: lower bound, 95 %, clustered by subject; None with fewer than 10 subjects.
        high: upper bound.
        p: of no excess, two-sided; 1 without an interval.
        n: subjects.
    """

    value: float
    low: float | None
    high: float | None
    p: float
    n: int


class Numbers(NamedTuple):
    """What rho is made of, (R,) each: under attack, and what the original and the retrained model know."""

    attacked: Floats
    control: Floats
    original: Floats
    retrained: Floats


def excess(numbers: Numbers, subjects: Sequence[Hashable], *, resamples: int = 1000, seed: int = 0) -> Excess | str:
    """Returns rho = (attacked - control) / (original - retrained), means over the records that have all four numbers.

    All four are read on the same records, so that one draw of subjects serves them all.

    Args:
        numbers: per record.
        subjects: whom each record is about, (R,).
        resamples: draws of the bootstrap.
        seed: of the draws.

    Returns:
        The recovery, or why there is none.
    """
    kept = np.flatnonzero(~np.isnan(np.stack(numbers)).any(axis=0)).tolist()
    if not kept:
        return "No record has a number under this attack."
    arrays = [values[kept] for values in numbers]
    names = [subjects[place] for place in kept]
    count = len(set(names))
    gap = float(np.mean(arrays[2]) - np.mean(arrays[3]))
    if gap < MIN_GAP:
        return (
            f"The original is only {gap:.2f} above the retrained model by this measure, so that no share can be told."
        )
    if count < MIN_SUBJECTS:
        return Excess(_rho(*arrays), None, None, 1.0, count)
    low, high = bootstrap_interval(arrays, _rho, clusters=[names] * 4, resamples=resamples, seed=seed)
    value = _rho(*arrays)
    return Excess(value, low, high, p_of_interval(value, low, high), count)


def least(found: Sequence[Excess | str]) -> Excess | str:
    """Returns the smallest of several excesses."""
    told = [one for one in found if isinstance(one, Excess)]
    return min(told, key=lambda one: one.value) if told else next(iter(found), "There is no retrained model.")


def over_all(found: Sequence[Excess | str]) -> Excess | str:
    """Returns what holds over every one of several retrained models.

    The smallest excess and its lower bound: what another seed gives too is none. The upper bound is the largest one,
    since a removal must not be the easier to show the more models there are to choose from.
    """
    smallest = least(found)
    if not isinstance(smallest, Excess) or smallest.high is None:
        return smallest
    highs = [one.high for one in found if isinstance(one, Excess) and one.high is not None]
    return replace(smallest, high=max(highs))


def _of_means(attacked: Floats, control: Floats, original: Floats, retrained: Floats) -> Floats:
    gap = original - retrained
    return np.divide(attacked - control, gap, out=np.full_like(gap, math.nan), where=gap > 0)


def _once(*numbers: Floats) -> float:
    return float(_of_means(*(np.mean(values, keepdims=True) for values in numbers))[0])


# The recovery of four samples; NaN where the original knows no more than the retrained model.
_rho = Vectorised(_once, lambda draws, samples, places: _of_means(*draw_means(draws, samples, places)))
