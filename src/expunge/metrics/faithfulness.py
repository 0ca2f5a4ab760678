"""Whether a metric tells models that know the forget set from models that never saw it, as measured on pools of both.

Maini et al., "OpenUnlearning", 2025, https://arxiv.org/abs/2506.12618, call the area under that curve faithfulness. The
numbers beside this file were measured by ``perf/faithfulness.py`` on pools of very small models (``fictional``, preset
``pool``); a slow test measures them again.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from expunge.metrics.base import Knows

FIT = 0.9  # least area of a metric that may be relied on
FILE = "faithfulness.json"


class Separation(NamedTuple):
    """How well one metric separates the pools.

    Attributes:
        label: recorded name of the metric.
        area: probability that a model that knows has the value that tells so, against one that does not; ties half.
        low: lower bound of its 95 % interval.
        knows: models that know and have a value.
        lacks: models that do not know and have a value.
    """

    label: str
    area: float
    low: float
    knows: int
    lacks: int

    @property
    def fit(self) -> bool:
        """Whether the metric may be relied on."""
        return self.area >= FIT


@cache
def measured() -> tuple[Separation, ...]:
    """Returns what was measured for this version's metrics; empty before the first measurement."""
    file = resources.files("expunge.metrics").joinpath(FILE)
    if not file.is_file():
        return ()
    plain: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return tuple(Separation(label, **numbers) for label, numbers in plain["metrics"].items())


def of_metric(name: str) -> list[Separation]:
    """Returns the separations of all settings of one metric."""
    return [one for one in measured() if one.label.partition("(")[0] == name]


def oriented(value: float, knows: Knows) -> float:
    """Returns the value so that higher means that the model knows."""
    return -value if knows == "low" else value
