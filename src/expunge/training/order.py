"""Which records meet in which step: a pure function of seed and step, so that resuming needs the step number only."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def permutation(size: int, seed: int, name: str, epoch: int) -> Rows:
    """Returns the order of ``size`` records in one epoch of the stream ``name``; no global random state is touched."""
    key = hashlib.sha256(f"{seed}/{name}/{epoch}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "big"))).permutation(size)


def steps_per_epoch(size: int, batch_size: int) -> int:
    """Returns the number of steps that one pass takes; the last one may be smaller."""
    return -(-size // batch_size)


def drawn_before(size: int, batch_size: int, step: int) -> int:
    """Returns how many records earlier steps drew from a stream of ``size`` records."""
    epoch, chunk = divmod(step, steps_per_epoch(size, batch_size))
    return epoch * size + chunk * batch_size


def rows_between(size: int, start: int, stop: int, seed: int, name: str) -> list[int]:
    """Returns records ``start`` to ``stop`` of the endless stream that runs through one permutation after another.

    Nothing is drawn twice before everything was drawn once.
    """
    rows: list[int] = []
    while start < stop:
        epoch, offset = divmod(start, size)
        count = min(stop - start, size - offset)
        rows.extend(int(row) for row in permutation(size, seed, name, epoch)[offset : offset + count])
        start += count
    return rows
