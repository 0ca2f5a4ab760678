"""Stops a run that leaves the finite or the sane, before its step is taken."""

from __future__ import annotations

import math
from collections.abc import Mapping


def runaway(
    terms: Mapping[str, float], grad_norm: float, limit: float, scales: Mapping[str, float] | None = None
) -> str | None:
    """Returns why a step must not be taken, or None.

    Args:
        terms: value of each term over the effective batch.
        grad_norm: global norm of the gradient before clipping.
        limit: largest absolute value a term may have, nats.
        scales: units of a term in one nat, where it is not 1.
    """
    limits = {name: limit * (scales or {}).get(name, 1.0) for name in terms}
    for name, value in terms.items():
        if not math.isfinite(value):
            return f"the term {name!r} is {value}"
        if abs(value) > limits[name]:
            return f"the term {name!r} is {value:.4g}, beyond the limit of {limits[name]:g}"
    if not math.isfinite(grad_norm):
        return f"the gradient norm is {grad_norm}"
    return None
