"""Files and folders that are there whole or not at all, readable by their owner only.

A file is written beside its target under a name of its own (``.tmp-…``, created exclusively, mode 0600), forced to
disk, and renamed over the target; then the folder entry is forced to disk. A killed process leaves the old file or the
new one, and at most a ``.tmp-…`` that ``recover`` and ``recover_tree`` take away. A target that is a symbolic link is
replaced, not followed.

Folders cannot be exchanged in one step. ``folder(..., replace=True)`` moves the old one to ``.old-<name>``, the new one
in, and the old one out; in between nothing has the final name, and ``recover`` puts the complete old folder back.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from expunge.errors import InputError
from expunge.storage.disk import (
    disk_errors,
    full_disk,
    is_leftover,
    make_folder,
    remove,
    sync_file,
    sync_folder,
    temporary_sibling,
    temporary_start,
    write_all,
)
from expunge.storage.plain import from_json, to_json

ASIDE = ".old-"  # start of the name of a folder that is being replaced
_CHUNK = 1 << 20  # bytes copied at a time
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; missing parent folders are created with mode 0700.

    Raises:
        ResourceError: the disk or quota is full; what stood there before still does.
        InputError: this place cannot be written to.
    """
    _put(path, [data], _replace)


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, whole or not at all; errors as ``write_bytes``."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, plain: Any) -> None:
    """Writes plain data as JSON (see ``expunge.storage.plain``), whole or not at all; errors as ``write_bytes``.

    Keys keep their order. Floats that are not finite are written as ``{"$float": "nan"}`` and read back as floats.
    """
    write_text(path, to_json(plain, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Returns what ``write_json`` wrote.

    Raises:
        InputError: the file is missing, unreadable or not strict JSON.
    """
    try:
        return from_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path.name} in {path.parent} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise InputError(f"{path.name} in {path.parent} is not valid JSON; restore it or make it again.") from None


def create_bytes(path: Path, data: bytes) -> bool:
    """Writes a file only where there is none, also against other processes; returns whether this call wrote it.

    On file systems without hard links (some network and USB drives) two processes that create it at the same moment may
    both return True; the file is whole all the same.

    Raises:
        ResourceError, InputError: as ``write_bytes``.
    """
    return _put(path, [data], _link)


def copy_file(source: Path, target: Path) -> None:
    """Copies the bytes of a file (links are followed), whole or not at all; the copy has mode 0600.

    Raises:
        InputError: the source is no readable file, or the target's place cannot be written to.
        ResourceError: the disk or quota is full; what stood there before still does.
    """
    try:
        stream = source.open("rb")
    except OSError as error:
        raise InputError(f"The file to copy into {target.parent} cannot be read: {error.strerror}.") from None
    with stream:
        _put(target, _chunks(stream), _replace)


@contextmanager
def folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a hidden folder beside ``path``; when the block ends it is forced to disk and renamed to ``path``.

    An error in the block removes it. Files end with mode 0600 and folders with 0700.

    Args:
        path: the final place.
        replace: take the place of an existing folder, which stays complete until the new one is.

    Raises:
        InputError: ``path`` exists and ``replace`` is off, the block made something else than files and folders, or
            this place cannot be written to.
        ResourceError: the disk or quota is full; what stood at ``path`` still does.
    """
    temporary = temporary_sibling(path)
    with disk_errors(path.parent):
        _restore_aside(path)
        if not replace:
            _refuse_existing(path)
        make_folder(path.parent)
        temporary.mkdir(mode=0o700)
    try:
        with full_disk(path.parent):
            yield temporary
        with disk_errors(path.parent):
            _sync_tree(temporary)
            _move_in(temporary, path, replace=replace)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def recover(path: Path) -> None:
    """Takes away what killed processes left beside ``path``, and puts back an old folder that was being replaced.

    Call it while holding the lock of the work on ``path``: it cannot tell a killed writer from one still at work.
    """
    if not path.parent.is_dir():
        return
    starts = (temporary_start(path), temporary_start(_aside(path)))
    with disk_errors(path.parent):
        _restore_aside(path)
        for child in sorted(path.parent.iterdir()):
            if child.name.startswith(starts) and is_leftover(child.name):
                remove(child)


def recover_tree(root: Path) -> None:
    """Does what ``recover`` does for everything inside a folder; call it while holding the folder's lock."""
    with disk_errors(root):
        for child in sorted(root.iterdir()):
            if child.name.startswith(ASIDE):
                _restore_aside(root / child.name.removeprefix(ASIDE))
            elif is_leftover(child.name):
                remove(child)
        for child in sorted(root.iterdir()):
            if child.is_dir() and not child.is_symlink():
                recover_tree(child)


def _put(target: Path, chunks: Iterable[bytes], publish: Callable[[Path, Path], bool]) -> bool:
    """Writes a temporary file and publishes it as ``target``; returns what ``publish`` does."""
    with disk_errors(target.parent):
        make_folder(target.parent)
        temporary = temporary_sibling(target)
        try:
            _write_temporary(temporary, chunks)
            published = publish(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
    return published


def _write_temporary(path: Path, chunks: Iterable[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for chunk in chunks:
            write_all(descriptor, chunk)
        os.fsync(descriptor)  # before the rename: otherwise a power cut can leave an empty file under the final name
    finally:
        os.close(descriptor)


def _replace(temporary: Path, target: Path) -> bool:
    temporary.replace(target)
    return True


def _link(temporary: Path, target: Path) -> bool:
    try:
        os.link(temporary, target)  # unlike a rename, a link never replaces
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return not os.path.lexists(target) and _replace(temporary, target)
    return True


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _aside(path: Path) -> Path:
    return path.with_name(ASIDE + path.name)


def _restore_aside(path: Path) -> None:
    """Ends an exchange that was cut short: forwards when the new folder is in place, backwards when it is not."""
    aside = _aside(path)
    if not os.path.lexists(aside):
        return
    if os.path.lexists(path):
        remove(aside)
    else:
        aside.rename(path)
        sync_folder(path.parent)


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise InputError(f"{path} exists already; choose another place or remove it first.")


def _move_in(temporary: Path, path: Path, *, replace: bool) -> None:
    if not replace:
        _refuse_existing(path)  # a rename would silently replace an empty folder
    replacing = os.path.lexists(path)
    if replacing:
        path.rename(_aside(path))
    try:
        temporary.rename(path)
    except OSError as error:
        _restore_aside(path)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise InputError(f"{path} was created by another process meanwhile; choose another place.") from None
        raise
    sync_folder(path.parent)
    if replacing:
        remove(_aside(path))


def _sync_tree(root: Path) -> None:
    """Forces a folder with all its files to disk and takes away the rights of everybody but the owner."""
    for child in sorted(root.iterdir()):
        mode = child.lstat().st_mode
        if stat.S_ISDIR(mode):
            _sync_tree(child)
        elif stat.S_ISREG(mode):
            child.chmod(mode & 0o700)
            sync_file(child)
        else:
            raise InputError("A folder to be kept holds a link or a device; only files and folders can be kept.")
    root.chmod(0o700)
    sync_folder(root)
