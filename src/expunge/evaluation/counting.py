"""Counts what is read of a model while it is read, so that a person sees how much is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from expunge.evaluation.journal import Batch, Pages
from expunge.storage.progress import Phases, Steps


class Counted(Pages):
    """Pages that count the rows that the model reads; what they know already was counted when the phase began.

    Args:
        pages: of the needs that are read together.
        steps: of the phase that is under way.
    """

    def __init__(self, pages: Pages, steps: Steps) -> None:
        self._pages, self._steps = pages, steps

    def once(self, rows: Sequence[int], read: Callable[[], Batch]) -> Batch:
        """Returns what a batch gave, and counts its rows unless they were known."""
        known = self.knows(rows)
        found = self._pages.once(rows, read)
        if not known:
            self._steps.advance(len(rows))
        return found

    def knows(self, rows: Sequence[int]) -> bool:
        """Returns whether a batch would be read back."""
        return self._pages.knows(rows)

    def known(self) -> int:
        """Returns how many rows would be read back."""
        return self._pages.known()


class Begun(Counted):
    """Counted pages that begin a phase of their own once it is known how many rows there are.

    Args:
        pages: of the needs that are read together.
        phases: where the phase is begun.
        name: of the phase.
    """

    def __init__(self, pages: Pages, phases: Phases, name: str) -> None:
        super().__init__(pages, Steps(0))
        self._phases, self._name = phases, name

    def expect(self, rows: int) -> None:
        """Begins the phase, with what is known already as done; nothing to read is no phase."""
        if rows:
            self._steps = self._phases.begin(self._name, rows, self.known())

    def end(self) -> None:
        """Ends the phase, if there is one."""
        if self._steps.total:
            self._steps.end()
