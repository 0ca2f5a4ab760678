"""Repeats work with smaller micro-batches while memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch

from expunge.errors import ResourceError, is_out_of_memory

Result = TypeVar("Result")


def largest_piece(batch: int, micro_batch: int, ranks: int) -> int:
    """Returns how many records of a batch one forward pass reads at most: every rank gets as many passes."""
    pieces = math.ceil(math.ceil(batch / micro_batch) / ranks) * ranks
    return math.ceil(batch / pieces)


def not_repeated(step: int, size: int) -> ResourceError:
    """Returns the error of a process of a launch that ran out of memory in a step, from 1, with so many records.

    The others wait for its gradient inside the step, so that one process cannot repeat the step by itself.
    """
    return ResourceError(
        f"Memory ran out in step {step} with micro-batches of {size} records. In a launch of several processes a step "
        f"is not repeated with fewer. Run again with --set micro_batch={size // 2} and another --out; the effective "
        "batch stays the same."
    )


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
