"""What was read of a model before all of it was: numbers appended batch by batch, so that a killed evaluation goes on.

Each need has a file of its own beside its place in the store, ``<name>.partial``: a line that says what decides the
numbers, then one line for each batch, each after its own digest. Numbers only, as the bytes of float64, never text or
token ids. A line that was cut short is dropped together with all that follows it, and its batch is read again.

Lines are handed to the system at least every second or so and not forced to disk: a killed process loses less than
that, a power cut perhaps more. Once a need is complete it goes into the store, and its file goes away.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from expunge.evaluation.store import Store
from expunge.evaluation.surroundings import surroundings
from expunge.metrics.base import Answer, Floats, Need
from expunge.storage.disk import disk_errors, make_folder, write_all
from expunge.storage.plain import from_json, to_json

SUFFIX = ".partial"
EVERY = 0.5  # seconds between two writes: batches that take less are written together
Rows = tuple[int, ...]
# What a batch gave: for each need that is read together one array, or number, for each of its rows, and maybe more.
Batch = Sequence[Sequence[Any]]


class Pages:
    """Needs that are read together, batch by batch."""

    def once(self, rows: Sequence[int], read: Callable[[], Batch]) -> Batch:
        """Returns what a batch gave: read back where all needs have it, else read by the model and noted.

        Args:
            rows: what the batch consists of, by numbers that mean the same in every process.
            read: reads it; for each need, in order, a list of arrays or numbers.
        """
        return read()

    def knows(self, rows: Sequence[int]) -> bool:
        """Returns whether a batch would be read back."""
        return False

    def known(self) -> int:
        """Returns how many rows would be read back."""
        return 0

    def expect(self, rows: int) -> None:
        """Is called once, before the first batch, with the number of rows of all batches."""


UNKEPT = Pages()


class Journal:
    """Keeps nothing: for those who have no folder."""

    @contextmanager
    def pages(self, needs: Sequence[Need]) -> Iterator[Pages]:
        """Yields what notes the batches of needs that are read together; what waits is written when the block ends."""
        yield UNKEPT

    def keep(self, answers: Mapping[Need, Answer]) -> Mapping[Need, Answer]:
        """Takes complete answers, and returns them."""
        return answers


NO_JOURNAL = Journal()


@dataclass(frozen=True)
class AnswersAlone(Journal):
    """Keeps complete answers and no batches: for what is read of texts that would be others after a kill.

    Batches go by numbers of rows. A service that is asked again may say something else in the same rows.

    Attributes:
        journal: takes the answers.
    """

    journal: Journal

    def keep(self, answers: Mapping[Need, Answer]) -> Mapping[Need, Answer]:
        """Takes complete answers, and returns them."""
        return self.journal.keep(answers)


@dataclass(frozen=True)
class StoredJournal(Journal):
    """Keeps batches, and complete answers, of one model in a store.

    What was appended is read back by what decides it: the key of the need in the store, the batches, the device, the
    number of its threads, and the libraries. Which needs were read together changes no number and does not count.

    Attributes:
        store: of the answers.
        identity: of the model.
        second: identity of the other model that a need depends on, or None.
        batch_size: sequences in one forward pass.
        every: seconds between two writes.
    """

    store: Store
    identity: Mapping[str, str]
    second: Callable[[Need], Mapping[str, str] | None]
    batch_size: int
    every: float = field(default_factory=lambda: EVERY)

    @contextmanager
    def pages(self, needs: Sequence[Need]) -> Iterator[Pages]:
        """Yields the files of needs that are read together; what waits is written when the block ends, however."""
        found = _StoredPages([_Page.open(self._path(need), self._head(need)) for need in needs], self.every)
        try:
            yield found
        except BaseException:
            found.write()
            raise

    def keep(self, answers: Mapping[Need, Answer]) -> Mapping[Need, Answer]:
        """Stores complete answers, takes away what was appended of them, and returns them."""
        for need, answer in answers.items():
            self.store.put(self.identity, need, answer, self.second(need))
            self._path(need).unlink(missing_ok=True)
        return answers

    def _path(self, need: Need) -> Path:
        return self.store.path(self.identity, need, self.second(need)).with_suffix(SUFFIX)

    def _head(self, need: Need) -> bytes:
        key = self.store.key(self.identity, need, self.second(need))
        around = {**surroundings(self.batch_size), "threads": torch.get_num_threads()}
        return _line({"version": 1, "key": key, "surroundings": around})


def clear(folder: Path) -> None:
    """Takes away all that was appended below a store's folder: a finished evaluation has no use for any of it."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        path.unlink(missing_ok=True)


class _StoredPages(Pages):
    """The files of needs that are read together."""

    def __init__(self, pages: Sequence[_Page], every: float) -> None:
        self._pages, self._every = pages, every
        self._written = time.monotonic()

    def once(self, rows: Sequence[int], read: Callable[[], Batch]) -> Batch:
        own = tuple(rows)
        if self.knows(own):
            return [page.known[own] for page in self._pages]
        found = read()
        for page, numbers in zip(self._pages, found, strict=True):
            page.note(own, numbers)
        if time.monotonic() - self._written >= self._every:
            self.write()
        return found

    def knows(self, rows: Sequence[int]) -> bool:
        return all(tuple(rows) in page.known for page in self._pages)

    def known(self) -> int:
        return sum(len(rows) for rows in self._pages[0].known if self.knows(rows)) if self._pages else 0

    def write(self) -> None:
        """Appends what waits to the files."""
        for page in self._pages:
            page.write()
        self._written = time.monotonic()


@dataclass
class _Page:
    """The file of one need.

    Attributes:
        path: of the file.
        head: its first line.
        known: what is in it, by the rows of each batch.
        waiting: what is not yet.
    """

    path: Path
    head: bytes
    known: dict[Rows, list[Floats]] = field(default_factory=dict)
    waiting: dict[Rows, Sequence[Any]] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, head: bytes) -> _Page:
        """Reads a file back and cuts off what is not whole; one of another head goes away."""
        page = cls(path, head)
        if not path.is_file():
            return page
        with disk_errors(path.parent):
            lines = path.read_bytes().splitlines(keepends=True)
            if not lines or lines[0] != head:
                path.unlink()
                return page
            whole = len(head)
            for line in lines[1:]:
                entry = _entry(line)
                if entry is None:
                    os.truncate(path, whole)
                    break
                page.known[tuple(entry["rows"])] = _arrays(entry)
                whole += len(line)
        return page

    def note(self, rows: Rows, numbers: Sequence[Any]) -> None:
        """Takes a batch to be written; one that is known already stays as it is."""
        if rows not in self.known:
            self.waiting[rows] = numbers

    def write(self) -> None:
        """Appends what waits in one call, and makes the file if it is the first of it."""
        if not self.waiting:
            return
        lines = b"".join(_line(_plain(rows, numbers)) for rows, numbers in self.waiting.items())
        with disk_errors(self.path.parent):
            make_folder(self.path.parent)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                write_all(descriptor, lines if os.fstat(descriptor).st_size else self.head + lines)
            finally:
                os.close(descriptor)
        self.waiting = {}


def _plain(rows: Rows, numbers: Sequence[Any]) -> dict[str, Any]:
    arrays = [np.asarray(one, dtype=np.float64) for one in numbers]
    data = b"".join(array.tobytes() for array in arrays)
    shapes = [list(array.shape) for array in arrays]
    return {"rows": list(rows), "shapes": shapes, "numbers": base64.b64encode(data).decode("ascii")}


def _arrays(entry: Mapping[str, Any]) -> list[Floats]:
    numbers: NDArray[np.float64] = np.frombuffer(base64.b64decode(entry["numbers"]), dtype=np.float64).copy()
    ends = np.cumsum([prod(shape) for shape in entry["shapes"]])[:-1]
    parts = np.split(numbers, ends) if entry["shapes"] else []
    return [part.reshape(shape) for part, shape in zip(parts, entry["shapes"], strict=True)]


def _line(plain: Mapping[str, Any]) -> bytes:
    body = to_json(plain).encode("ascii")
    return b"%s %s\n" % (hashlib.sha256(body).hexdigest().encode("ascii"), body)


def _entry(line: bytes) -> Any:
    """What a line says; None where it is not whole."""
    digest, _, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or hashlib.sha256(body).hexdigest().encode("ascii") != digest:
        return None
    return from_json(body)
