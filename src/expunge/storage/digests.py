"""Digests: SHA-256 of what may be known, HMAC-SHA256 under a secret key of what may be guessed (a user's data)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from expunge.errors import InputError
from expunge.storage.atomic import create_bytes
from expunge.storage.lock import LOCK_NAME
from expunge.storage.secret import Secret

KEY_NAME = "data.key"
_KEY_BYTES = 32
_LIST_TAG = b"\xff"  # no UTF-8 text begins with it, so that a list never has the HMAC of a text


class FolderDigest(NamedTuple):
    """Digests of a folder.

    Attributes:
        root: SHA-256 (hex) over the lines ``<digest>  <path>`` and a line feed, sorted by path: what ``sha256sum``
            prints.
        files: relative path with forward slashes to SHA-256 (hex), sorted by path.
    """

    root: str
    files: dict[str, str]


def text_digest(text: str) -> str:
    """Returns the SHA-256 (hex) of text in UTF-8. Not for a user's data, which could be guessed: ``DataKey``."""
    return hashlib.sha256(_utf8(text)).hexdigest()


def file_digest(path: Path) -> str:
    """Returns the SHA-256 (hex) of a file.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"A file in {path.parent} cannot be read: {error.strerror}.") from None


def folder_digest(path: Path, exclude: Iterable[str] = (), *, follow_links: bool = False) -> FolderDigest:
    """Returns the digests of all files below a folder; empty folders do not count.

    Args:
        path: the folder.
        exclude: relative paths, with forward slashes, of files and folders to leave out. The folder's own lock file
            always is.
        follow_links: read the files that links point to, as a Hub snapshot is made of links.

    Raises:
        InputError: no folder, an unreadable file, a link or device (its content could change unseen), or a file name
            with a line break or backslash or that is not Unicode (two different folders could have the same lines).
    """
    if follow_links:
        path = path.resolve()
    if path.is_symlink() or not path.is_dir():
        raise InputError(
            f"{path} is not a folder, so it has no folder digest; give the folder itself, not a link to it."
        )
    skip = {*exclude, LOCK_NAME}
    names = sorted(_files_below(path, "", skip, follow_links))
    files = {name: file_digest(path / name) for name in names}
    lines = "".join(f"{digest}  {name}\n" for name, digest in files.items())
    return FolderDigest(text_digest(lines), files)


def _files_below(root: Path, prefix: str, skip: set[str], follow_links: bool) -> Iterator[str]:
    try:
        children = list((root / prefix).iterdir())
    except OSError as error:
        raise InputError(f"A folder in {root} cannot be read: {error.strerror}.") from None
    for child in children:
        name = prefix + child.name
        if name in skip:
            continue
        mode = child.lstat().st_mode
        if follow_links and stat.S_ISLNK(mode) and child.is_file():
            mode = child.stat().st_mode
        if stat.S_ISDIR(mode):
            yield from _files_below(root, f"{name}/", skip, follow_links)
        elif stat.S_ISREG(mode):
            yield _checked_name(root, name)
        else:
            raise InputError(f"{root} holds a link or a device, which has no digest; copy the file itself there.")


def _checked_name(root: Path, name: str) -> str:
    if any(character in "\r\n\\" or "\ud800" <= character <= "\udfff" for character in name):
        raise InputError(
            f"{root} holds a file whose name has a line break, a backslash or broken characters; rename it."
        )
    return name


class DataKey:
    """The secret key of a folder: HMACs of the user's data that only its holder can check.

    It prints without its bytes and cannot be pickled.
    """

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise InputError(f"A data key has {_KEY_BYTES} bytes, not {len(key)}.")
        self._key = key

    @classmethod
    def load_or_create(cls, folder: Path) -> DataKey:
        """Returns the key in ``folder``: 32 random bytes in ``data.key`` (mode 0600), made by the first who asks.

        Raises:
            InputError: the key file cannot be read or is damaged.
            ResourceError: the disk is full.
        """
        path = folder / KEY_NAME
        if not path.exists():
            create_bytes(path, secrets.token_bytes(_KEY_BYTES))
        try:
            key = path.read_bytes()
        except OSError as error:
            raise InputError(f"{KEY_NAME} in {folder} cannot be read: {error.strerror}.") from None
        if len(key) != _KEY_BYTES:
            raise InputError(
                f"{KEY_NAME} in {folder} has {len(key)} bytes instead of {_KEY_BYTES}; restore it from a copy. "
                f"Digests of data made with the old key cannot be checked with a new one."
            )
        return cls(key)

    @classmethod
    def share(cls, source: Path, target: Path) -> None:
        """Gives the folder ``target`` the key of ``source``, unless it has one of its own already."""
        if not (target / KEY_NAME).exists():
            create_bytes(target / KEY_NAME, cls.load_or_create(source)._key)

    def hmac(self, text: str | Secret) -> str:
        """Returns the HMAC-SHA256 (hex) of text in UTF-8."""
        return hmac.digest(self._key, _utf8(_reveal(text)), "sha256").hex()

    def hmac_many(self, texts: Iterable[str | Secret]) -> str:
        """Returns one HMAC-SHA256 (hex) of texts in order, each after its length in bytes (8 bytes, big-endian)."""
        state = hmac.new(self._key, _LIST_TAG, "sha256")
        for text in texts:
            data = _utf8(_reveal(text))
            state.update(len(data).to_bytes(8, "big") + data)
        return state.hexdigest()

    def __repr__(self) -> str:
        return "DataKey(secret)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A data key is secret and is never pickled.")


def _reveal(text: str | Secret) -> str:
    return text.reveal() if isinstance(text, Secret) else text


def _utf8(text: str) -> bytes:
    # Records may hold lone surrogates, on which a digest must not fail. Called so, a Secret is a TypeError.
    return str.encode(text, "utf-8", "surrogatepass")
