"""What jobs in other processes say of themselves, as the steps of one phase here."""

from __future__ import annotations

from collections.abc import Mapping

from expunge.storage.events import Event
from expunge.storage.progress import PHASE, Steps


class Heard:
    """Counts the steps of a phase whose work is done by jobs, and says what the last one heard of is doing.

    Args:
        steps: of the phase.
        sizes: steps that each job counts for, by name. A job of more than one counts its optimizer steps while it runs;
            the rest of its steps, or the only one, come with its end.
    """

    def __init__(self, steps: Steps, sizes: Mapping[str, int]) -> None:
        self._steps, self._sizes = steps, sizes
        self._counted = dict.fromkeys(sizes, 0)
        self._loops: dict[str, tuple[int, int]] = {}  # steps of the loops before, and of the one under way
        self._phases: dict[str, tuple[str, int]] = {}

    def hear(self, job: str, event: Event) -> None:
        """Takes a phase, or a step of one, that a job began or took."""
        data = event.data
        if event.kind == PHASE:
            self._phases[job] = (str(data["name"]), int(data.get("total") or 1))
            self._steps.describe(f"{job}: {data['name']}")
            return
        name, total = self._phases.get(job, ("", 1))
        done, total = int(data["step"]), int(data.get("total") or total)
        self._steps.describe(f"{job}: {name} {done}/{total}")
        if event.kind == "metric":
            before, last = self._loops.get(job, (0, 0))
            before += last if done <= last else 0
            self._loops[job] = (before, done)
            # The last step waits for the end: the model is not saved yet.
            self._count(job, min(before + done, self._sizes[job] - 1))

    def ended(self, job: str) -> None:
        """Counts all steps of a job, whether it took them or failed."""
        self._count(job, self._sizes[job])

    def _count(self, job: str, done: int) -> None:
        if done > self._counted[job]:
            self._steps.advance(done - self._counted[job])
            self._counted[job] = done
