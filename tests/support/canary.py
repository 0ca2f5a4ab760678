"""Looks for a canary, a text that must not spread, in all that a run leaves, in every form text takes."""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

_DEPTH = 4  # archives inside archives
_SHORTEST = 6  # characters of base64 below which a hit would mean nothing


def find_canary(place: Path | bytes, canary: str) -> list[str]:
    """Searches bytes, a file, or a folder with everything below it, names included.

    Args:
        place: what to search. Gzip, zip and zlib data are searched both packed and unpacked.
        canary: at least 6 characters that occur nowhere else.

    Returns:
        One line ``where: form`` for each place and form; empty when the canary is nowhere.
    """
    if len(canary) < _SHORTEST:
        raise ValueError("a canary this short would be found by chance")
    searches = _searches(canary)
    if isinstance(place, bytes):
        return list(_in_bytes(place, "bytes", searches, _DEPTH))
    return list(_in_path(place, place.name, searches))


def _in_path(path: Path, where: str, searches: _Searches) -> Iterator[str]:
    for form in _forms_in(os.fsencode(path.name), searches):
        yield f"{where} (name): {form}"
    if path.is_symlink():
        yield from _in_bytes(os.fsencode(path.readlink()), f"{where} (link)", searches, 0)
    elif path.is_dir():
        for child in sorted(path.iterdir()):
            yield from _in_path(child, f"{where}/{child.name}", searches)
    elif path.is_file():
        yield from _in_bytes(path.read_bytes(), where, searches, _DEPTH)


def _in_bytes(data: bytes, where: str, searches: _Searches, depth: int) -> Iterator[str]:
    for form in _forms_in(data, searches):
        yield f"{where}: {form}"
    if depth:
        for name, inner in _unpacked(data):
            yield from _in_bytes(inner, f"{where} > {name}", searches, depth - 1)


def _unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yields names and contents of what is packed in ``data``; damaged archives yield what can be read."""
    if data.startswith(b"\x1f\x8b"):
        yield (
            "gzip",
            _attempt(lambda: gzip.decompress(data)) or _attempt(lambda: zlib.decompressobj(31).decompress(data)),
        )
    if data[:1] == b"\x78":
        yield "zlib", _attempt(lambda: zlib.decompressobj().decompress(data))
    if b"PK\x03\x04" in data and zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for number, info in enumerate(archive.infolist()):
                # The name is searched as content, since it is stored in the archive and nowhere on disk.
                yield f"zip name {number}", info.filename.encode("utf-8", "surrogatepass")
                yield f"zip entry {number}", _attempt(lambda info=info: archive.read(info))


def _attempt(unpack: Callable[[], bytes]) -> bytes:
    try:
        return unpack()
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return b""


_Searches = list[tuple[str, bool, list[bytes]]]  # form, whether case counts, patterns


def _forms_in(data: bytes, searches: _Searches) -> list[str]:
    lower = data.lower()
    unbroken = data.translate(None, b"\r\n \t")  # base64 and hex are often broken into lines
    haystacks = {True: (data, unbroken), False: (lower, unbroken.lower())}
    return [
        form
        for form, exact, patterns in searches
        if any(pattern in haystack for pattern in patterns for haystack in haystacks[exact])
    ]


def _searches(canary: str) -> _Searches:
    cases = {canary, canary.lower(), canary.upper(), canary.casefold(), canary.title(), canary.swapcase()}
    plain = [case.encode("utf-8", "surrogatepass") for case in cases]
    backwards = [case[::-1].encode("utf-8", "surrogatepass") for case in cases]
    escaped = [json.dumps(case)[1:-1] for case in cases]
    texts: list[tuple[str, bool, list[bytes]]] = [
        ("plain", False, plain),
        ("reversed", False, backwards),
        ("json", False, [text.encode() for text in escaped]),
        ("json in json", False, [json.dumps(text)[1:-1].encode() for text in escaped]),
        ("json, not ascii", False, [json.dumps(case, ensure_ascii=False)[1:-1].encode() for case in cases]),
        ("python repr", False, [text.encode() for case in cases for text in (repr(case)[1:-1], ascii(case)[1:-1])]),
        ("html", False, [html.escape(case).encode() for case in cases]),
        (
            "url",
            False,
            [text.encode() for case in cases for text in (quote(case, safe=""), quote(case), quote_plus(case))],
        ),
        ("utf-16-le", False, [case.encode("utf-16-le") for case in cases]),
        ("utf-16-be", False, [case.encode("utf-16-be") for case in cases]),
        ("hex", False, [data.hex().encode() for data in plain]),
        ("base64", True, [pattern for data in plain for pattern in base64_patterns(data)]),
    ]
    searches: _Searches = []
    known: set[bytes] = set()  # for simple canaries several forms are the same; the first one is named
    for form, exact, patterns in texts:
        new = {pattern if exact else pattern.lower() for pattern in patterns} - known
        known |= new
        searches.append((form, exact, sorted(new)))
    return searches


def base64_patterns(data: bytes) -> list[bytes]:
    """Returns what base64 (both alphabets) makes of ``data`` at each of the three places in a group of 3 bytes.

    Characters that also hold bits of what stands before or after it are left out.
    """
    patterns = []
    for offset in range(3):
        first = -(-8 * offset // 6)  # first character made of bits of ``data`` only
        last = 8 * (offset + len(data)) // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            patterns.append(encode(bytes(offset) + data)[first:last])
    return [pattern for pattern in patterns if len(pattern) >= _SHORTEST]
