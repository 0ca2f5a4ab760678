"""Runs jobs in processes of this machine, one thread each unless told otherwise."""

from __future__ import annotations

import multiprocessing
import multiprocessing.queues
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from queue import Empty
from threading import Thread
from typing import Any, NamedTuple, TypeAlias

import torch

from expunge.errors import ExpungeError, ResourceError
from expunge.storage.events import Event, Listener
from expunge.storage.progress import PHASE
from expunge.storage.resources import resource_error
from expunge.storage.run import harden_umask

Work = Callable[[Any, Listener], None]  # called with the argument of a job, and with what takes its events
Hear = Callable[[str, Event], None]  # called with the name of a job, and with what it says of itself
HEARD = (PHASE, "progress", "metric")  # kinds of events that are sent on
EVERY = 0.25  # seconds between two messages of one job about steps
LOOK = 0.2  # seconds between two looks at what was sent


_Box: TypeAlias = "multiprocessing.queues.Queue[tuple[str, Event]]"


class Job(NamedTuple):
    """A name for logs, and what the work is handed; plain data, since it is sent to another process."""

    name: str
    argument: Any


class Outcome(NamedTuple):
    """How a job ended: ``trouble`` is None, or one line that holds no record text, with the exit code it stands for."""

    job: str
    trouble: str | None
    exit_code: int = 0


def run_jobs(
    jobs: Sequence[Job],
    work: Work,
    *,
    workers: int | None = None,
    threads: int = 1,
    hear: Hear = lambda job, event: None,
) -> Iterator[Outcome]:
    """Runs ``work`` on every job and yields outcomes as they come; a job that fails stops no other.

    Args:
        jobs: in the order in which they are begun.
        work: a function of a module, since it is found by name in the other process.
        workers: processes at a time; None for as many as there are cores.
        threads: threads of each.
        hear: called in this process with the phases of the jobs and, a few times a second, with their steps.

    Raises:
        ResourceError: a process died without a word, as it does when memory runs out.
    """
    count = min(workers or os.cpu_count() or 1, len(jobs))
    if not count:
        return
    # A fresh interpreter for each process: forking one that has used torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    box: _Box = context.Queue()
    with ProcessPoolExecutor(count, mp_context=context, initializer=_prepare, initargs=(threads, box)) as pool:
        running = {pool.submit(attempt, job, work, _Sender(job.name)) for job in jobs}
        try:
            while running:
                done, _ = wait(running, timeout=LOOK, return_when=FIRST_COMPLETED)
                for message in _sent(box):
                    hear(*message)
                for future in done:
                    running.remove(future)
                    yield future.result()
        except BrokenProcessPool:
            raise ResourceError(
                "A process of the pool died, most likely for want of memory; run again with fewer --workers. "
                "Finished jobs are kept."
            ) from None
        finally:
            for future in running:
                future.cancel()


def _sent(box: _Box) -> Iterator[tuple[str, Event]]:
    """What was sent since the last look."""
    while True:
        try:
            yield box.get_nowait()
        except Empty:
            return


class _Sender:
    """Sends the events of one job to the process that waits for it: each phase, and a few steps a second."""

    def __init__(self, job: str) -> None:
        self._job, self._sent_at = job, float("-inf")

    def __call__(self, event: Event) -> None:
        is_step = event.kind != PHASE
        if event.kind not in HEARD or (is_step and time.monotonic() - self._sent_at < EVERY):
            return
        if is_step:
            self._sent_at = time.monotonic()
        kept = {name: event.data.get(name) for name in ("name", "step", "total")}
        _BOXES[-1].put((self._job, Event(0, "", event.kind, kept)))


# Of a process of the pool: a queue reaches it only where it is started.
_BOXES: list[_Box] = []


def _prepare(threads: int, box: _Box) -> None:
    harden_umask()
    box.cancel_join_thread()  # what nobody hears any more keeps no process alive
    _BOXES.append(box)
    torch.set_num_threads(threads)
    Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """Ends this process when its parent is gone, however it ended: nobody waits for the job any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def attempt(job: Job, work: Work, listener: Listener) -> Outcome:
    """Runs one job in this process; what it raises becomes a line, since tracebacks may hold record text."""
    try:
        work(job.argument, listener)
    except ExpungeError as error:
        return Outcome(job.name, str(error), error.exit_code)
    except Exception as error:
        if (lacking := resource_error(error)) is not None:
            return Outcome(job.name, str(lacking), lacking.exit_code)
        return Outcome(job.name, f"a bug: {type(error).__name__} in {_place(error)}", ExpungeError.exit_code)
    return Outcome(job.name, None)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "unknown" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
