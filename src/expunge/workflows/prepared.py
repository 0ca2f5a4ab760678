"""The folder that ``prepare`` makes: written whole, or left as it is where an equal request made it.

::

    OUT/retain.jsonl  forget.jsonl  ...     the sets
        excluded.jsonl  duplicates.jsonl  dropped.jsonl    what is in none of them, and why
        manifest.json     counts and settings; no text      data.key    key of its HMACs
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from expunge.data.write import json_lines
from expunge.errors import InputError
from expunge.storage import atomic
from expunge.storage.digests import KEY_NAME, DataKey, file_digest
from expunge.storage.disk import disk_errors, make_folder
from expunge.storage.lock import hold
from expunge.storage.plain import to_json

MANIFEST = "manifest.json"
Rows = Mapping[str, Sequence[Mapping[str, Any]]]  # of each file, by its name without suffix
Counts = Mapping[str, Mapping[str, Any]]  # what is known of each file, by role or name


class Prepared(NamedTuple):
    """A prepared folder, what ``manifest.json`` in it holds, and whether it was there already with the same bytes."""

    folder: Path
    manifest: dict[str, Any]
    unchanged: bool


def store(out: Path, rows: Rows, facts: Mapping[str, Any], digests: Mapping[str, str]) -> Prepared:
    """Writes the folder, or finds it made by an equal request from equal files.

    A file's ``hmac`` in the manifest is the HMAC of its SHA-256 (hex) under the key in the folder: a plain digest of a
    short file tells what it says to whoever can guess it.

    Args:
        out: the folder.
        rows: what is written.
        facts: the manifest without files and HMACs.
        digests: SHA-256 of each file of ``facts["inputs"]``.

    Raises:
        InputError: the folder holds something else.
        ResourceError: the disk is full.
    """
    own = {f"{name}.jsonl": _digest(found) for name, found in rows.items()}
    files = {f"{name}.jsonl": {"records": len(found)} for name, found in rows.items()}

    def manifest(key: DataKey) -> dict[str, Any]:
        inputs = _with_hmacs(facts["inputs"], digests, key)
        return {**facts, "inputs": inputs, "files": _with_hmacs(files, own, key)}

    with disk_errors(out.parent):
        make_folder(out.parent)
    with hold(out):
        atomic.recover(out)  # a killed run leaves records in a hidden folder
        if not _is_free(out):
            _refuse_other_names(out, own)  # before a key is made where there is none
            made = manifest(DataKey.load_or_create(out))
            _refuse_other_bytes(out, made, own)
            return Prepared(out, made, True)
        with atomic.folder(out) as temporary:
            made = manifest(DataKey.load_or_create(temporary))
            for name, found in rows.items():
                with (temporary / f"{name}.jsonl").open("xb") as stream:
                    stream.writelines(json_lines(found))
            (temporary / MANIFEST).write_text(_text(made), encoding="utf-8")
    return Prepared(out, made, False)


def refuse_early(out: Path) -> None:
    """Refuses a place that can never be right, before any work is done.

    Raises:
        InputError: no folder, or one that ``prepare`` did not make.
    """
    with disk_errors(out.parent):
        if out.is_symlink() or (out.exists() and not out.is_dir()):
            raise InputError(f"{out} is not a folder; choose another --out.")
        names = {child.name for child in out.iterdir()} if out.is_dir() else set()
    if names and MANIFEST not in names:
        raise InputError(f"{out} holds files that prepare did not make; choose another --out. Nothing was changed.")


def _with_hmacs(files: Counts, digests: Mapping[str, str], key: DataKey) -> dict[str, dict[str, Any]]:
    return {name: {**known, "hmac": key.hmac(digests[name])} for name, known in files.items()}


def _text(manifest: Mapping[str, Any]) -> str:
    return to_json(manifest, indent=2) + "\n"


def _digest(rows: Iterable[Mapping[str, Any]]) -> str:
    state = hashlib.sha256()
    for line in json_lines(rows):
        state.update(line)
    return state.hexdigest()


def _is_free(out: Path) -> bool:
    """Whether nothing is at a place; an empty folder is taken away."""
    refuse_early(out)
    if out.is_dir() and not any(out.iterdir()):
        with disk_errors(out):
            out.rmdir()
    return not out.is_dir()


def _refuse_other_names(out: Path, files: Iterable[str]) -> None:
    if {child.name for child in out.iterdir()} != {MANIFEST, KEY_NAME, *files}:
        raise _other(out)


def _refuse_other_bytes(out: Path, manifest: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    same = (out / MANIFEST).read_bytes() == _text(manifest).encode()
    if not same or any(file_digest(out / name) != digest for name, digest in digests.items()):
        raise _other(out)


def _other(out: Path) -> InputError:
    return InputError(
        f"{out} holds a data set made from other files, with other settings or by another version, or changed since; "
        "choose another --out. Nothing was changed."
    )
