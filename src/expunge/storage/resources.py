"""Errors of Python, torch and the system that mean that this machine has too little memory or disk."""

from __future__ import annotations

from expunge.errors import ResourceError, is_out_of_memory
from expunge.storage.disk import FULL, TOO_LARGE, too_large


def resource_error(error: BaseException) -> ResourceError | None:
    """Returns the ``ResourceError`` that an error stands for, with advice and without its text; None for any other."""
    if is_out_of_memory(error):
        return ResourceError(
            "This machine ran out of memory. Use smaller batches (--set micro_batch=1), --lora, fewer --workers where "
            "several jobs run side by side, or a smaller model; a run that was cut short resumes."
        )
    if isinstance(error, OSError) and error.errno in TOO_LARGE:
        return too_large()
    if isinstance(error, OSError) and error.errno in FULL:
        return ResourceError("The disk or quota is full. Free some space, then run the same command again.")
    return None
