"""Pairs of things that a task's settings may hold, which differ in what they say; quick to import."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np


class Scorer:
    """Called like a function; what it holds decides what it says."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, value: float) -> float:
        return self.weight * value


def scale(value: float, by: float = 1.0) -> float:
    return value * by


def closed(by: float) -> Callable[[float], float]:
    def inner(value: float) -> float:
        return value * by

    return inner


PAIRS = {
    "partial": (functools.partial(scale, by=2.0), functools.partial(scale, by=3.0)),
    "partial of a partial": (
        functools.partial(functools.partial(scale, by=2.0), 1.0),
        functools.partial(functools.partial(scale, by=3.0), 1.0),
    ),
    "closure": (closed(2.0), closed(3.0)),
    "lambdas of one line": (lambda value: value + 1, lambda value: value + 2),
    "object": (Scorer(2.0), Scorer(3.0)),
    "method": (Scorer(2.0).__call__, Scorer(3.0).__call__),
    "array": (np.arange(5000), np.where(np.arange(5000) == 2500, 0, np.arange(5000))),
    "class": (Scorer, functools.partial),
}
