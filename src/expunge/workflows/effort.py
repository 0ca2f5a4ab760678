"""What a piece of work takes: the seconds in which processors compute for it, which other work does not lengthen."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

LEAST = 0.2  # processor seconds that are measured before a number is believed
MOST = 9  # times that a short call is repeated


class Effort(NamedTuple):
    """Seconds.

    Attributes:
        processor: in which processors computed, those of all threads together.
        wall: that went by; never below what the threads need together, and with other work on the machine more.
    """

    processor: float = 0.0
    wall: float = 0.0

    def times(self, factor: float) -> Effort:
        """Returns the effort of doing it ``factor`` times."""
        return Effort(factor * self.processor, factor * self.wall)

    def plus(self, other: Effort) -> Effort:
        """Returns the effort of both, one after the other."""
        return Effort(self.processor + other.processor, self.wall + other.wall)

    def alone(self, threads: int) -> tuple[float, float]:
        """Returns the fewest and the most seconds that it takes on a machine that does nothing else.

        At best all threads compute all the time; at worst one at a time, or as long as it took here beside other work.
        """
        least = self.processor / threads
        return least, max(least, min(self.processor, self.wall))


NOTHING = Effort()


def measured(call: Callable[[], Any]) -> Effort:
    """Returns the median effort of a call that has been made before; a short one is repeated."""
    found: list[Effort] = []
    while not found or (sum(one.processor for one in found) < LEAST and len(found) < MOST):
        before = now()
        call()
        found.append(since(before))
    return median(found)


def median(efforts: Sequence[Effort]) -> Effort:
    """Returns the median of each kind of seconds; nothing of nothing."""
    if not efforts:
        return NOTHING
    processor, wall = zip(*efforts, strict=True)
    return Effort(statistics.median(processor), statistics.median(wall))


def now() -> Effort:
    """Returns both clocks."""
    return Effort(time.process_time(), time.perf_counter())


def since(before: Effort) -> Effort:
    """Returns what both clocks have gone on."""
    after = now()
    return Effort(after.processor - before.processor, after.wall - before.wall)
