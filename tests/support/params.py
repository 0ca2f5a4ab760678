"""Parameters of which a few run in the fast tests and all in the slow ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def few(values: Iterable[Any], *fast: int) -> list[Any]:
    """Marks all values slow but those at the places ``fast``, by default the first.

    Args:
        values: what ``parametrize`` takes; a tuple stands for several arguments.
        fast: places, from 0.
    """
    values, chosen = list(values), fast or (0,)
    assert max(chosen) < len(values), "no value has this place"
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)), marks=[] if place in chosen else [pytest.mark.slow]
        )
        for place, value in enumerate(values)
    ]
