"""From numbers per record to what a chart draws: distribution functions, ROC curves, and lists of bounded length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from expunge.metrics.base import Floats, Sample
from expunge.metrics.records import FORGET_SIDE

MOST = 2000  # numbers kept of one sample
_DIGITS = 7  # significant; enough to draw with
Point = tuple[float, float]


class Separation(NamedTuple):
    """Where two distribution functions are furthest apart: the value, both heights there, and their distance."""

    place: float
    left: float
    right: float
    distance: float


def to_distributions(samples: Mapping[tuple[str, str], Sequence[Sample]]) -> list[dict[str, Any]]:
    """Returns the numbers per record of metrics that read records the retrained model has not seen, as plain data.

    Sorted, so that no number can be traced to its record by its place, and of more than 2,000 the evenly spaced
    quantiles. ``records`` is how many there were.
    """
    return [
        {
            "label": label,
            "role": role,
            "split": sample.split,
            "records": int(np.sum(~np.isnan(sample.values))),
            "values": thin(sample.values),
        }
        for (label, role), found in samples.items()
        if all(sample.split in FORGET_SIDE for sample in found)
        for sample in found
    ]


def thin(values: Floats, most: int = MOST) -> list[float]:
    """Returns the numbers sorted, NaN left out; of more than ``most`` the order statistics at even distances."""
    ordered = np.sort(values[~np.isnan(values)])
    if len(ordered) > most:
        ordered = ordered[np.round(np.linspace(0, len(ordered) - 1, most)).astype(int)]
    return [float(f"{value:.{_DIGITS}g}") for value in ordered]


def steps(values: Sequence[float], low: float, high: float) -> list[Point]:
    """Returns the corners of the empirical distribution function between two values, from (low, 0) to (high, 1)."""
    ordered = sorted(min(max(value, low), high) for value in values)
    corners: list[Point] = [(low, 0.0)]
    for rank, value in enumerate(ordered, start=1):
        corners += [(value, (rank - 1) / len(ordered)), (value, rank / len(ordered))]
    return [*corners, (high, 1.0)] if ordered else []


def separation(left: Sequence[float], right: Sequence[float]) -> Separation:
    """Returns where two samples' distribution functions are furthest apart (Kolmogorov-Smirnov's D)."""
    places = np.unique(np.concatenate([left, right]))
    heights = [np.searchsorted(np.sort(side), places, side="right") / len(side) for side in (left, right)]
    worst = int(np.argmax(np.abs(heights[0] - heights[1])))
    at_left, at_right = float(heights[0][worst]), float(heights[1][worst])
    return Separation(float(places[worst]), at_left, at_right, abs(at_left - at_right))


def roc_points(members: Sequence[float], nonmembers: Sequence[float]) -> list[Point]:
    """Returns (false positive rate, true positive rate) for every threshold from above all scores to below them."""
    if not len(members) or not len(nonmembers):
        return []
    thresholds = np.unique(np.concatenate([members, nonmembers]))[::-1]
    rates = [
        1 - np.searchsorted(np.sort(scores), thresholds, side="left") / len(scores) for scores in (nonmembers, members)
    ]
    return [(0.0, 0.0), *((float(x), float(y)) for x, y in zip(*rates, strict=True))]


def finite(values: Sequence[float]) -> list[float]:
    """Returns the numbers that are neither NaN nor infinite."""
    return [value for value in values if math.isfinite(value)]
