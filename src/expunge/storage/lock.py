"""Locks between processes. The system gives them back when a process ends, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from expunge.errors import LockedError
from expunge.storage.disk import disk_errors, make_folder

LOCK_NAME = ".lock"  # stays behind when a lock is given back; never part of a digest
_PATIENCE = 60.0  # seconds; an append takes milliseconds
_POLL = 0.002  # seconds between two tries


@contextmanager
def lock(folder: Path, what: str) -> Iterator[None]:
    """Holds a folder for this process while the block runs; creates the folder (mode 0700) where it is missing.

    Args:
        folder: the folder.
        what: what a user calls it, for the message, such as ``"the run folder"``.

    Raises:
        LockedError: another process, or another lock in this one, holds it. There is no waiting.
    """
    with disk_errors(folder):
        make_folder(folder)
        held = FileLock(folder / LOCK_NAME, mode=0o600)
        try:
            held.acquire(timeout=0)
        except Timeout:
            raise LockedError(
                f"Another process is working in {what} {folder}; wait for it or choose another --out."
            ) from None
    try:
        yield
    finally:
        held.release()


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Holds one file for the moment of a change, through a hidden lock file beside it; waits for its turn.

    Raises:
        LockedError: another process has not given it back within a minute.
    """
    with disk_errors(path.parent):
        held = FileLock(path.with_name(f".{path.name}{LOCK_NAME}"), mode=0o600)
        try:
            held.acquire(timeout=_PATIENCE, poll_interval=_POLL)
        except Timeout:
            raise LockedError(
                f"Another process holds {path.name} in {path.parent} and does not finish; end it first."
            ) from None
    try:
        yield
    finally:
        held.release()
