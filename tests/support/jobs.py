"""Jobs without a pool of processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from expunge.errors import ExpungeError
from expunge.executors.local import Job, Outcome


def run_here(jobs: Sequence[Job], work: Callable[[Any], None], *, workers: int | None) -> Iterator[Outcome]:
    """Does the work of the pool in this process."""
    for job in jobs:
        try:
            work(job.argument)
            yield Outcome(job.name, None)
        except ExpungeError as error:
            yield Outcome(job.name, str(error), error.exit_code)
