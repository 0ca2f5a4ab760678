"""Repeats work with smaller micro-batches while memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from expunge.errors import is_out_of_memory

Result = TypeVar("Result")


def fitting(work: Callable[[], Result], shrink: Callable[[], bool]) -> Result:
    """Does some work; each time memory runs out, shrinks it and does it again from its start.

    Args:
        work: leaves nothing behind that changes its result when it fails.
        shrink: makes the next attempt smaller; returns False if it cannot, and then the error is raised.
    """
    while True:
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or not shrink():
                raise
        # Only here: until the handler above ends, the error's traceback keeps the tensors of the failed attempt.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
