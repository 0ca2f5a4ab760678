"""A limit on the time that pure Python code may run, for chat templates, which are programs from a model folder."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

TICK = 0.1  # seconds between two looks at the clock; a limit is exceeded by this much at most
MOST_WAITS, WAIT = 100, 0.01  # for an error that was sent and has not arrived, seconds each


class OutOfTimeError(Exception):
    """Code ran longer than its limit."""


@dataclass
class _Running:
    """A block that runs under a limit, in the thread of this number."""

    thread: int
    deadline: float
    is_late: bool = False


class _Watch:
    """One thread that looks after all blocks of a process, since a thread for each would take longer than the blocks.

    It ends when no block runs, and is started again by the next one, also in a forked process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: list[_Running] = []
        self._thread: threading.Thread | None = None

    def add(self, block: _Running) -> None:
        with self._lock:
            self._blocks.append(block)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, name="time limit", daemon=True)
                self._thread.start()

    def remove(self, block: _Running) -> None:
        with self._lock:
            self._blocks = [one for one in self._blocks if one is not block]

    def _look(self) -> None:
        while True:
            time.sleep(TICK)
            with self._lock:
                for block in self._blocks:
                    if not block.is_late and time.monotonic() > block.deadline:
                        block.is_late = True
                        number, error = ctypes.c_ulong(block.thread), ctypes.py_object(OutOfTimeError)
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(number, error)
                if not self._blocks:
                    self._thread = None
                    return


_WATCH = _Watch()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises ``OutOfTimeError`` inside the block after so many seconds, in any thread.

    The error arrives between two steps of Python code, so one long call into C is not interrupted.
    """
    block = _Running(threading.get_ident(), time.monotonic() + seconds)
    _WATCH.add(block)
    try:
        yield
        _WATCH.remove(block)
        for _ in range(MOST_WAITS if block.is_late else 0):  # sent as the block ended: it must not arrive elsewhere
            time.sleep(WAIT)
    finally:
        _WATCH.remove(block)
