"""Files and folders that are there whole or not at all, readable by their owner only.

A file is written beside its target under a name of its own (``.tmp-…``, created exclusively, mode 0600), forced to disk, and
renamed over the target; then the folder entry is forced to disk. A killed process leaves the old file or the new one, and at
most a ``.tmp-…`` that ``recover`` and ``recover_tree`` take away. A target that is a symbolic link is replaced, not followed.

Folders cannot be exchanged in one step. ``folder(..., replace=True)`` moves the old one to ``.old-<name>``, the new one in, and
the old one out; in between nothing has the final name, and ``recover`` puts the complete old folder back.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from expunge.errors import InputError, ResourceError
from expunge.storage.plain import from_json, to_json

_CHUNK = 1 << 20  # bytes copied at a time
_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
_TAKEN = {errno.EEXIST, errno.ENOTEMPTY}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_TEMPORARY = re.compile(r"\.tmp-[0-9a-f]{12}-[0-9a-f]{16}")
_ASIDE = ".old-"


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; missing parent folders are created with mode 0700.

    Raises:
        ResourceError: the disk or quota is full; what stood there before still does.
        InputError: this place cannot be written to.
    """
    with _new_file(path) as (descriptor, temporary):
        write_all(descriptor, data)
        _finish(descriptor)
        temporary.replace(path)


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

    On file systems without hard links (some network and USB drives) two processes that create it at the same moment may both
    return True; the file is whole all the same.

    Raises:
        ResourceError, InputError: as ``write_bytes``.
    """
    with _new_file(path) as (descriptor, temporary):
        write_all(descriptor, data)
        _finish(descriptor)
        try:
            os.link(temporary, path)  # unlike a rename, a link never replaces
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if path.exists():
                return False
            temporary.replace(path)
        return True


def copy_file(source: Path, target: Path) -> None:
    """Copies the bytes of a file (links are followed), whole or not at all; the copy has mode 0600.

    Raises:
        InputError: the source is no readable file, or the target's place cannot be written to.
        ResourceError: the disk or quota is full; what stood there before still does.
    """
    if not source.is_file():
        raise InputError(f"The file to copy into {target.parent} does not exist or is not a file.")
    with _new_file(target) as (descriptor, temporary):
        with source.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                write_all(descriptor, chunk)
        _finish(descriptor)
        temporary.replace(target)


@contextmanager
def folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yields a hidden folder beside ``path``; when the block ends it is forced to disk and renamed to ``path``.

    An error in the block removes it. Files end with mode 0600 and folders with 0700.

    Args:
        path: the final place.
        replace: take the place of an existing folder, which stays complete until the new one is.

    Raises:
        InputError: ``path`` exists and ``replace`` is off, it holds something else than files and folders, or it cannot be written.
        ResourceError: the disk or quota is full; what stood at ``path`` still does.
    """
    with disk_errors(path.parent):
        _restore_aside(path)
        if not replace:
            _refuse_existing(path)
        make_folder(path.parent)
        temporary = _temporary(path)
        temporary.mkdir(mode=0o700)
        try:
            yield temporary
            _sync_tree(temporary)
            _move_in(temporary, path, replace=replace)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def recover(path: Path) -> None:
    """Takes away what killed processes left beside ``path``, and puts back an old folder that was being replaced.

    Call it while holding the lock of the work on ``path``: it cannot tell a killed writer from one still at work.
    """
    with disk_errors(path.parent):
        _restore_aside(path)
        if path.parent.is_dir():
            start = _temporary_start(path)
            for child in sorted(path.parent.iterdir()):
                if child.name.startswith(start) and is_leftover(child.name):
                    remove(child)


def recover_tree(root: Path) -> None:
    """Does what ``recover`` does for everything inside a folder; call it while holding the folder's lock."""
    with disk_errors(root):
        for child in sorted(root.iterdir()) if root.is_dir() else []:
            if child.name.startswith(_ASIDE):
                _restore_aside(root / child.name.removeprefix(_ASIDE))
            elif is_leftover(child.name):
                remove(child)
            elif child.is_dir() and not child.is_symlink():
                recover_tree(child)


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is a write that was not finished."""
    return _TEMPORARY.fullmatch(name) is not None


def remove(path: Path) -> None:
    """Removes a file, a link or a whole folder; a folder loses its name first, so that no half of it keeps it."""
    if path.is_dir() and not path.is_symlink():
        doomed = path if is_leftover(path.name) else path.rename(_temporary(path))
        shutil.rmtree(doomed)
    else:
        path.unlink(missing_ok=True)
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Creates a folder and its missing parents, each with mode 0700 whatever the umask."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Forces the entries of a folder to disk, so that a rename survives a power cut."""
    if os.name == "nt":  # Windows has no such call
        return
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


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turns errors of the system about a full disk or a forbidden place into errors that say what to do."""
    try:
        yield
    except (ResourceError, InputError):
        raise
    except OSError as error:
        # "from None": the system's own message repeats file names.
        if error.errno in _FULL:
            advice = "free some space or choose a folder on another disk, then run the same command again"
            message = f"The disk or quota that holds {place} is full; what was there before is untouched: {advice}."
            raise ResourceError(message) from None
        if error.errno in _REFUSED:
            reason = os.strerror(error.errno or 0)
            raise InputError(f"{place} cannot be written to ({reason}); choose a folder of your own.") from None
        raise


@contextmanager
def _new_file(target: Path) -> Iterator[tuple[int, Path]]:
    """Yields descriptor and path of a temporary file; afterwards it is gone and the folder of ``target`` is on disk."""
    with disk_errors(target.parent):
        make_folder(target.parent)
        temporary = _temporary(target)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            yield descriptor, temporary
        finally:
            os.close(descriptor)
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)


def _finish(descriptor: int) -> None:
    os.fsync(descriptor)  # before the rename: otherwise a power cut can leave an empty file under the final name


def _temporary_start(path: Path) -> str:
    return f".tmp-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}-"  # a digest: no name of the user's spreads


def _temporary(path: Path) -> Path:
    return path.with_name(_temporary_start(path) + secrets.token_hex(8))


def _aside(path: Path) -> Path:
    return path.with_name(_ASIDE + path.name)


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
    replacing = replace and os.path.lexists(path)
    if not replacing:
        _refuse_existing(path)  # a rename would silently replace an empty folder
    else:
        path.rename(_aside(path))
    try:
        temporary.rename(path)
    except OSError as error:
        if replacing:
            _restore_aside(path)
        if error.errno in _TAKEN:
            raise InputError(f"{path} was created by someone else meanwhile; choose another place.") from None
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
            _sync_file(child)
        else:
            raise InputError("A folder to be kept holds a link or a device; only files and folders can be kept.")
    root.chmod(0o700)
    sync_folder(root)


def _sync_file(path: Path) -> None:
    path.chmod(path.lstat().st_mode & 0o700)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
