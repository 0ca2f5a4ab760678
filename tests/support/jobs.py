"""Jobs without a pool of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from expunge.executors.local import HEARD, Hear, Job, Outcome, attempt
from expunge.storage.events import Event, Listener


def run_here(
    jobs: Sequence[Job], work: Callable[[Any, Listener], None], *, workers: int | None, hear: Hear
) -> Iterator[Outcome]:
    """Does the work of the pool in this process."""
    yield from (attempt(job, work, partial(_heard, hear, job.name)) for job in jobs)


def _heard(hear: Hear, job: str, event: Event) -> None:
    if event.kind in HEARD:
        hear(job, event)
