"""How long the rest of a phase takes, by its speed so far: recent steps count more than early ones."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

MEMORY = 30.0  # seconds after which a step counts 1/e of what the last one counts
LEAST_SECONDS, LEAST_STEPS = 1.0, 2  # of a phase before its speed means something,
LONG = 10.0  # unless its steps are as long as this: then the first one does


class At(NamedTuple):
    """Where a job is.

    Attributes:
        name: of the phase.
        step: steps done; None where numbers belong to no step.
        total: steps of the phase; None where nobody knows.
        part: what is under way, in a few words.
        numbers: such as losses.
        left: seconds that the rest of the phase takes; None where that is not known yet.
    """

    name: str
    step: int | None = None
    total: int | None = None
    part: str = ""
    numbers: Mapping[str, float] = {}
    left: float | None = None

    @property
    def is_last(self) -> bool:
        """Whether the phase is at its end."""
        return self.step is not None and self.step == self.total


class Pace:
    """The speed of one phase.

    Args:
        done: steps that an earlier call took, which tell nothing of the speed; None where the first step that is noted
            may be any, as in a training that goes on: it starts the clock.
        clock: seconds, going up.
    """

    def __init__(self, done: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first = self._last = done
        self._since = self._noted = clock()
        self._seconds = self._steps = 0.0  # of recent steps, those long ago counted less

    def note(self, step: int) -> None:
        """Takes the number of steps done so far."""
        now = self._clock()
        if self._last is None:
            self._first = self._last = step
            self._since = self._noted = now
        if step <= self._last:
            return
        passed = now - self._noted
        kept = math.exp(-passed / MEMORY)
        self._seconds = kept * self._seconds + passed
        self._steps = kept * self._steps + step - self._last
        self._last, self._noted = step, now

    def left(self, total: int | None) -> float | None:
        """Returns the seconds that the rest of ``total`` steps takes; None before that means something.

        Between two steps it counts down, to the time of the steps after the one that is under way.
        """
        if total is None or self._last is None or self._first is None or self._last >= total or not self._steps:
            return None
        steps, seconds = self._last - self._first, self._noted - self._since
        if seconds < LEAST_SECONDS or (steps < LEAST_STEPS and seconds < LONG):
            return None
        step = self._seconds / self._steps
        rest = total - self._last
        found = rest * step - min(self._clock() - self._noted, step)
        return found if found > 0 else None
