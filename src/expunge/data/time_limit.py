"""A limit on the time that pure Python code may run, for chat templates, which are programs from a model folder."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

TICK = 0.1  # seconds between two looks at the clock; a limit is exceeded by little more than this


class OutOfTimeError(BaseException):
    """Code ran longer than its limit. No ``Exception``, since template engines drop exceptions of any class."""


class _Block(NamedTuple):
    """A block that runs under a limit: number of its thread, and when its time is over."""

    thread: int
    deadline: float


class _Watch:
    """One thread for all blocks of a process, since a thread for each would take longer than most blocks.

    It ends when no block runs. The next block starts it again, also in a forked process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: list[_Block] = []
        self._thread: threading.Thread | None = None

    def add(self, block: _Block) -> None:
        with self._lock:
            self._blocks.append(block)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, name="time limit", daemon=True)
                self._thread.start()

    def remove(self, block: _Block) -> None:
        """Ends the watch over a block; what was sent and has not arrived never does."""
        with self._lock:
            self._blocks = [one for one in self._blocks if one is not block]
            _send(block.thread, None)

    def _look(self) -> None:
        while True:
            time.sleep(TICK)
            with self._lock:
                if not self._blocks:
                    self._thread = None
                    return
                for block in self._blocks:
                    if time.monotonic() > block.deadline:  # at every look: the code may have dropped the last error
                        _send(block.thread, OutOfTimeError)


def _send(thread: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error)
    )


_WATCH = _Watch()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises ``OutOfTimeError`` inside the block after so many seconds, in any thread.

    The error arrives between two steps of Python code, so one long call into C is not interrupted.
    """
    block = _Block(threading.get_ident(), time.monotonic() + seconds)
    _WATCH.add(block)
    try:
        yield
    finally:
        _WATCH.remove(block)
