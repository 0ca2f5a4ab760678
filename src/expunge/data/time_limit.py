"""A limit on the time that pure Python code may run, for chat templates, which are programs from a model folder."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

MOST_WAITS, WAIT = 100, 0.01  # for an error that was sent and has not arrived, seconds each


class OutOfTimeError(Exception):
    """Code ran longer than its limit."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises ``OutOfTimeError`` inside the block after so many seconds, in any thread.

    The error arrives between two steps of Python code, so one long call into C is not interrupted.
    """
    thread, lock, is_done, is_sent = threading.get_ident(), threading.Lock(), False, False

    def interrupt() -> None:
        nonlocal is_sent
        with lock:
            if not is_done:
                is_sent = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(OutOfTimeError))

    timer = threading.Timer(seconds, interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
        with lock:
            is_done = True
        for _ in range(MOST_WAITS if is_sent else 0):  # sent as the block ended: it must not arrive anywhere else
            time.sleep(WAIT)
    finally:
        with lock:
            is_done = True
        timer.cancel()
