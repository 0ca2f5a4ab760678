"""The command line changes its process for good (environment, umask, hooks); a test puts all of that back."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _same_process_afterwards() -> Iterator[None]:
    variables = dict(os.environ)
    umask = os.umask(0o022)
    hooks = threading.excepthook, sys.unraisablehook, logging.raiseExceptions
    with warnings.catch_warnings():
        yield
    threading.excepthook, sys.unraisablehook, logging.raiseExceptions = hooks
    os.umask(umask)
    os.environ.clear()
    os.environ.update(variables)
