"""Jobs without a pool of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from expunge.errors import ExpungeError
from expunge.executors.local import HEARD, Hear, Job, Outcome
from expunge.storage.events import Event, Listener


def run_here(
    jobs: Sequence[Job], work: Callable[[Any, Listener], None], *, workers: int | None, hear: Hear
) -> Iterator[Outcome]:
    """Does the work of the pool in this process."""
    for job in jobs:
        try:
            work(job.argument, partial(_heard, hear, job.name))
            yield Outcome(job.name, None)
        except ExpungeError as error:
            yield Outcome(job.name, str(error), error.exit_code)


def _heard(hear: Hear, job: str, event: Event) -> None:
    if event.kind in HEARD:
        hear(job, event)
