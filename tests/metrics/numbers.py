"""Answers by hand, as the runner would hand them in."""

from __future__ import annotations

import numpy as np

from expunge.metrics.base import Answers, Metric, Need


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def answers(metric: Metric, *per_need, **others) -> Answers:
    """One list of records for each need, each record a list of forms; ``others`` the same by role."""
    own = dict(zip(metric.needs(), per_need, strict=True))
    return Answers(own, {role: dict(zip(metric.needs(), lists, strict=True)) for role, lists in others.items()})


def need(kind: str, split: str, form: str = "trained") -> Need:
    return Need(kind=kind, split=split, form=form)
