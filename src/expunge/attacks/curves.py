"""How soon a curve gets back to where it was: steps to recover, and what hidden knowledge saves of them.

Savings are Ebbinghaus' measure of memory, 1885: what was learnt before is learnt again in fewer steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def steps_to_recover(curve: Mapping[float, float], target: float, *, falling: bool = False) -> float:
    """Returns the first place at which a curve reaches a target, on straight lines between its points.

    Args:
        curve: value at each place, such as extraction strength by optimizer steps; values that are NaN are left out.
        target: what is to be reached, such as half of the way from the retrained model to the original.
        falling: whether a curve reaches the target from above, such as a loss.

    Returns:
        The place; NaN where the curve never gets there.
    """
    sign = -1 if falling else 1
    points = [(at, sign * value) for at, value in sorted(curve.items()) if not math.isnan(value)]
    goal = sign * target
    before: tuple[float, float] | None = None
    for at, value in points:
        if value >= goal:
            # The point before was below the goal, so the two values differ.
            return at if before is None else before[0] + (at - before[0]) * (goal - before[1]) / (value - before[1])
        before = at, value
    return math.nan


def savings(retrained: float, unlearned: float) -> float:
    """Returns how many times the steps of the unlearned model the retrained one takes; 1 where nothing is saved.

    Args:
        retrained: steps to recover of the model that never saw the records; NaN for never.
        unlearned: steps to recover of the model under attack; NaN for never.

    Returns:
        The ratio; infinity where the retrained model never gets there or the unlearned one is there at once, 1 where
        both are, and NaN where the unlearned model never gets there.
    """
    if math.isnan(unlearned):
        return math.nan
    if retrained == unlearned:
        return 1.0
    return math.inf if math.isnan(retrained) or unlearned == 0 else retrained / unlearned
