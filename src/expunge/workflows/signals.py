"""Turns SIGTERM, SIGHUP and the first Ctrl-C into a stop after the current step or batch; a second Ctrl-C aborts."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from expunge.errors import DivergedError, InterruptedRunError

POLL = 0.1  # seconds between two looks at whether a stop was asked for
STOPPED = "Stopped on request; the same command goes on."
STOPPING = "Stopping after the current step or batch. Ctrl-C again aborts at once."
Asked = Callable[[], bool]  # whether a stop was asked for


@contextlib.contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether a stop was asked for; earlier handlers are restored at the end.

    Outside the main thread, where Python forbids signal handlers, the function never says so.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not asked.is_set():
            _say_at_once(STOPPING)
        asked.set()

    previous = {number: signal.signal(number, handle) for number in _stopping()}
    try:
        yield asked.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _say_at_once(text: str) -> None:
    """Writes to stderr past Python's buffers, which a signal handler must not enter; the first process alone speaks."""
    if multiprocessing.parent_process() is None and not int(os.environ.get("RANK", "0")):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # no stderr, or a terminal that is gone
            os.write(sys.stderr.fileno(), f"{text}\n".encode())


def _stopping() -> list[signal.Signals]:
    """Signals that ask for a stop. A hang-up that the parent has this process ignore (nohup) stays ignored."""
    found = [signal.SIGTERM, signal.SIGINT]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        found.append(signal.SIGHUP)
    return found


def stop_if_asked(stop_requested: Asked, text: str) -> None:
    """Ends the work where a stop was asked for.

    Raises:
        InterruptedRunError: with this text.
    """
    if stop_requested():
        raise InterruptedRunError(text)


@contextlib.contextmanager
def stopped_by_request(stop_requested: Asked, text: str) -> Iterator[None]:
    """Whatever fails after a stop was asked for, such as processes that got the same signal, failed because of it.

    Raises:
        InterruptedRunError: with this text, in place of such a failure.
    """
    try:
        yield
    except (InterruptedRunError, DivergedError):
        raise
    except Exception as error:
        if stop_requested():
            raise InterruptedRunError(text) from error
        raise


def wait(seconds: float, stop_requested: Asked, text: str) -> None:
    """Sleeps, but not past a request to stop.

    Raises:
        InterruptedRunError: stopped on request, with this text.
    """
    end = time.monotonic() + seconds
    stop_if_asked(stop_requested, text)
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(POLL, left))
        stop_if_asked(stop_requested, text)
