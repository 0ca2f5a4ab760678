"""Answers by hand, as the runner would hand them in."""

from __future__ import annotations

import numpy as np

from expunge.metrics.base import Answers, Metric, Need


def array(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64)


def answers(metric: Metric, *per_need, **others) -> Answers:
    """One list of records for each need, each record a list of forms; ``others`` the same by role.

    Optional needs at the end may be missing.
    """
    return Answers(_by_need(metric, per_need), {role: _by_need(metric, lists) for role, lists in others.items()})


def _by_need(metric: Metric, lists) -> dict[Need, list]:
    needs = metric.needs()
    assert all(need.optional for need in needs[len(lists) :])
    return dict(zip(needs[: len(lists)], lists, strict=True))


def need(kind: str, split: str, form: str = "trained") -> Need:
    return Need(kind=kind, split=split, form=form)
