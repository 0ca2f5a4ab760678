"""Jobs without a pool of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from expunge.executors.local import Job, Outcome, attempt


def run_here(jobs: Sequence[Job], work: Callable[[Any], None], *, workers: int | None) -> Iterator[Outcome]:
    """Does the work of the pool in this process."""
    yield from (attempt(job, work) for job in jobs)
