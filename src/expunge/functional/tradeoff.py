"""Forgetting against utility: comparing runs at one utility, and what no other run beats.

A method that forgets more and breaks more is not better. Weights between the unlearned and the original model give a
path of models, from all of the unlearning to none; runs are compared where their utility is the same share of the
original's.
Wang et al., 2024, https://arxiv.org/abs/2406.09179.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from expunge.errors import InputError

KEPT = 0.95  # share of the original's utility at which runs are compared
_SPAN = 1e-9  # two utilities closer than this are the same


class Point(NamedTuple):
    """One model on the way from the unlearned to the original one.

    Attributes:
        share: of the original in the weights: 0 is the unlearned model, 1 the original.
        forgetting: forget quality, higher is better.
        utility: higher is better.
    """

    share: float
    forgetting: float
    utility: float


class Matched(NamedTuple):
    """Where a run has the wanted utility: the smallest share of the original, and the forgetting that is left there."""

    share: float
    forgetting: float
    utility: float


def matched(path: Sequence[Point], kept: float = KEPT) -> Matched:
    """Returns the point of a path where utility first reaches ``kept`` times the original's.

    Between two measured points both numbers are taken to be linear in the share. A path that dips again further on is
    read at its first arrival.

    Args:
        path: points in any order, the unlearned model (share 0) and the original (share 1) among them.
        kept: share of the original's utility, above 0 and at most 1.

    Raises:
        InputError: points that make no path.
    """
    points = _ordered(path, kept)
    wanted = kept * points[-1].utility
    if points[0].utility >= wanted:
        return Matched(*points[0])
    for before, after in pairwise(points):
        if after.utility >= wanted:
            part = (wanted - before.utility) / (after.utility - before.utility)
            share, forgetting = (low + part * (high - low) for low, high in zip(before[:2], after[:2], strict=True))
            return Matched(share, forgetting, wanted)
    return Matched(*points[-1])  # only where kept is 1 and rounding is in the way


def compare_matched(paths: Mapping[str, Sequence[Point]], kept: float = KEPT) -> dict[str, Matched]:
    """Returns each run at the same utility, the best forgetting first; equal ones in their order.

    Args:
        paths: of each run, see ``matched``; all end at one original model.
        kept: share of the original's utility.

    Raises:
        InputError: paths that end at different utilities, whose runs cannot be compared.
    """
    ends = [_ordered(path, kept)[-1].utility for path in paths.values()]
    if ends and max(ends) - min(ends) > _SPAN * max(1.0, max(map(abs, ends))):
        raise InputError(
            f"The originals of these runs have utilities from {min(ends):g} to {max(ends):g}; only runs that began "
            "from one model can be compared at one utility."
        )
    found = {name: matched(path, kept) for name, path in paths.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1].forgetting))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns which points no other beats: at least as good in both numbers, and better in one. Higher is better.

    Args:
        points: forgetting and utility of each run.
    """
    return [
        place
        for place, one in enumerate(points)
        if not any(other != one and other[0] >= one[0] and other[1] >= one[1] for other in points)
    ]


def _ordered(path: Sequence[Point], kept: float) -> list[Point]:
    if not 0 < kept <= 1:
        raise InputError(f"kept={kept} is no share of the original's utility; give a number above 0 and at most 1.")
    points = sorted(path)
    shares = [point.share for point in points]
    if len(set(shares)) < len(shares) or shares[:1] != [0.0] or shares[-1:] != [1.0] or len(points) < 2:
        raise InputError(
            "A path has one point for each share of the original, from 0 (the unlearned model) to 1 (the original)."
        )
    if any(math.isnan(number) for point in points for number in point):
        raise InputError("A point of this path has no number; leave out what could not be measured.")
    return points
