"""What atomic writing is made of: private folders, forced entries, temporary names, system errors in plain words."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expunge.errors import InputError, ResourceError

FULL = {errno.ENOSPC, errno.EDQUOT}
TOO_LARGE = {errno.EFBIG}
REFUSED = {
    *(
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ELOOP,
        errno.ENAMETOOLONG,
    ),
}
_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{12}-[0-9a-f]{16}")


@contextmanager
def full_disk(place: Path) -> Iterator[None]:
    """Turns the system's errors about a full disk or quota or a too large file into ``ResourceError`` with advice."""
    try:
        yield
    except OSError as error:
        if error.errno in TOO_LARGE:
            raise too_large(place) from None
        if error.errno not in FULL:
            raise
        # "from None": the system's own message repeats file names.
        raise ResourceError(
            f"The disk or quota that holds {place} is full; what was there before is untouched. Free some space or "
            f"choose a folder on another disk, then run the same command again."
        ) from None


def too_large(place: Path | None = None) -> ResourceError:
    """Returns the error about a file that would pass the limit on file sizes."""
    where = "A file" if place is None else f"A file in {place}"
    return ResourceError(
        f"{where} would exceed the largest size that this system allows for a file. Raise the limit (ulimit -f) or "
        "choose a file system that takes larger files, then run the same command again."
    )


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turns errors about a full disk, a too large file (``ResourceError``) or a forbidden place (``InputError``)."""
    try:
        with full_disk(place):
            yield
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        reason = os.strerror(error.errno or 0)
        raise InputError(f"{place} cannot be written to ({reason}); choose a folder of your own.") from None


def make_folder(path: Path) -> None:
    """Creates a folder and its missing parents, each with mode 0700 whatever the umask."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Forces the entries of a folder to disk, so that a rename survives a power cut."""
    if os.name != "nt":  # Windows has no such call
        sync_file(path)


def sync_file(path: Path) -> None:
    """Forces what was written to a file to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of ``data``; one call to the system may write less than it was given."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def temporary_start(path: Path) -> str:
    """How the names of temporary siblings of ``path`` begin: a digest, so that no name of the user's spreads."""
    return f".tmp-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}-"


def temporary_sibling(path: Path) -> Path:
    """Returns a new name beside ``path``."""
    return path.with_name(temporary_start(path) + secrets.token_hex(8))


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is a write that was not finished."""
    return _TEMPORARY.fullmatch(name) is not None


def remove(path: Path) -> None:
    """Removes a file, a link or a whole folder; a folder loses its name first, so that no half of it keeps it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path if is_leftover(path.name) else path.rename(temporary_sibling(path)))
    else:
        path.unlink(missing_ok=True)
    sync_folder(path.parent)
