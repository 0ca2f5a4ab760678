"""How far a phase is: steps counted while they are taken, for those who listen; only the beginning goes into a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

PHASE, PROGRESS = "phase", "progress"  # kinds of events
Tell = Callable[[str, Mapping[str, Any]], None]  # (kind of event, plain data)
_Item = TypeVar("_Item")


class Steps:
    """Counts the steps of one phase and never says more than its total.

    Args:
        total: steps of the phase, those of earlier calls included.
        done: steps that an earlier call took.
        tell: called with (steps done, total, part) after every change.
    """

    def __init__(
        self, total: int, done: int = 0, tell: Callable[[int, int, str], None] = lambda done, total, part: None
    ) -> None:
        self.total, self.done = total, min(done, total)
        self._limit, self._part, self._tell = total, "", tell

    def advance(self, count: int = 1) -> None:
        """Counts steps, no more than the part that is under way has."""
        self._reach(min(self.done + count, self._limit))

    def describe(self, part: str) -> None:
        """Says which part is under way, in a few words; no record text."""
        if part != self._part:
            self._part = part
            self._tell(self.done, self.total, part)

    @contextmanager
    def part(self, size: int, name: str = "") -> Iterator[None]:
        """Counts a part of the phase: exactly ``size`` steps once the block ends, however many it said.

        Args:
            size: steps of the part that are still to be taken.
            name: what it is, in a few words; no record text.
        """
        outer, self._limit = self._limit, min(self.done + size, self._limit)
        if name:
            self.describe(name)
        end = self._limit
        try:
            yield
            self._reach(end)
        finally:
            self._limit = outer

    def over(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """Yields items and counts each one once the next is asked for."""
        for item in items:
            yield item
            self.advance()

    def end(self, total: int | None = None) -> None:
        """Ends the phase at its total.

        Args:
            total: another total than the one it began with, such as the steps after which a stopper was content.
        """
        self.done = self.total = self._limit = self.total if total is None else total
        self._part = ""
        self._tell(self.done, self.total, "")

    def _reach(self, done: int) -> None:
        if done > self.done:
            self.done = done
            self._tell(self.done, self.total, self._part)


class Phases:
    """Begins phases.

    Args:
        tell: called with each event: ``phase`` at the beginning, ``progress`` after each step.
    """

    def __init__(self, tell: Tell = lambda kind, data: None) -> None:
        self._tell = tell

    def begin(self, name: str, total: int, done: int | None = 0) -> Steps:
        """Begins a phase; the one before is over.

        Args:
            name: what is done, in a few words; no record text.
            total: steps of the phase, those of earlier calls included.
            done: steps that an earlier call took; None where that is not known before the first one is told.
        """
        self._tell(PHASE, {"name": name, "total": total, **({} if done is None else {"done": done})})
        return Steps(total, done or 0, self._step)

    @contextmanager
    def phase(self, name: str, total: int = 1, done: int = 0) -> Iterator[Steps]:
        """Begins a phase that ends at its total with the block; an error leaves it where it was."""
        steps = self.begin(name, total, done)
        yield steps
        steps.end()

    def _step(self, done: int, total: int, part: str) -> None:
        self._tell(PROGRESS, {"step": done, "total": total, "part": part})


SILENT = Phases()
UNCOUNTED = Steps(0)
