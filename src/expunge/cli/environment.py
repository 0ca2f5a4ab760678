"""What every process of the command line sets first: no telemetry, private files, no record text in warnings."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings

from expunge.cli.output import complain
from expunge.errors import ExpungeWarning

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "DISABLE_KUBEFLOW_INTEGRATION": "TRUE",  # transformers adds this reporter where a cluster sets its address
    "TOKENIZERS_PARALLELISM": "false",
}
UMASK = 0o077  # files readable by their owner only


def prepare(*, debug: bool = False) -> None:
    """Sets environment, umask and hooks of this process; processes it starts inherit the first two.

    Args:
        debug: leave Python's own messages as they are. They may show record text.
    """
    os.environ.update(ENVIRONMENT)
    os.umask(UMASK)
    _ignore_size_signal()
    if debug:
        return
    logging.raiseExceptions = False  # a log call that fails prints its arguments
    threading.excepthook = _thread_failed
    sys.unraisablehook = _clean_up_failed
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", ExpungeWarning)
    warnings.showwarning = _warn


def _ignore_size_signal() -> None:
    """Has a write beyond the limit on file sizes fail with an error, in place of a signal that ends the process."""
    if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    complain(f"error: a thread stopped with {failure.exc_type.__name__}; run with --debug for its text.")


def _clean_up_failed(failure: sys.UnraisableHookArgs) -> None:
    complain(f"warning: cleaning up failed with {failure.exc_type.__name__}; run with --debug for its text.")


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """Shows the text of our own warnings, and of others only that there was one."""
    complain(f"warning: {message}" if issubclass(category, ExpungeWarning) else f"warning: {category.__name__}")
