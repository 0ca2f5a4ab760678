"""Near duplicates by MinHash and banded locality-sensitive hashing; every candidate is checked by its true similarity.

Broder, "On the resemblance and containment of documents", 1997, https://doi.org/10.1109/SEQUEN.1997.666900; bands as in
Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3, http://www.mmds.org.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from expunge.data.words import words
from expunge.errors import InputError
from expunge.functional.words import folded
from expunge.storage.progress import UNCOUNTED, Steps

Hashes = NDArray[np.uint64]

WORDS = 3  # words in a shingle; of a script without spaces, characters
HASHES = 128  # values in a signature
RECALL = 0.999  # least probability that two texts as similar as the threshold are compared
# Letters of one form that are not quite similar enough share bands by the thousand; without limits they would take
# quadratic time. Only in such crowds a pair may be missed.
CANDIDATES, BUCKET = 16, 32  # earlier texts that a text is compared with, and that one value of a band keeps
_CHUNK = 1 << 16  # shingles whose signatures are computed at once
_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)  # one for each word


class Match(NamedTuple):
    """An earlier or known text that a text is close to, by its row, and the Jaccard similarity of their shingles."""

    row: int
    similarity: float


def shingles(text: str) -> Hashes:
    """Hashes of the runs of three words of a text, sorted, each once; never empty.

    Case, white space and punctuation do not count. A shorter text is a single run; one without words is taken whole.
    """
    plain = folded(text)
    found = words(plain) or [plain]
    hashed = np.array([_word_hash(word) for word in found], dtype=np.uint64)
    size = min(WORDS, len(found))
    count = len(found) - size + 1
    runs = sum((hashed[place : place + count] * _ODD[place] for place in range(size)), np.zeros(count, np.uint64))
    return np.unique(_mix(runs))


def jaccard(left: Hashes, right: Hashes) -> float:
    """Size of the intersection over size of the union of two sets of shingles, in [0, 1]."""
    common = int(np.intersect1d(left, right, assume_unique=True).size)
    return common / (left.size + right.size - common)


@dataclass(frozen=True, kw_only=True)
class Near:
    """How near duplicates are found.

    Attributes:
        threshold: least Jaccard similarity, in (0, 1].
        seed: of the hash functions.
    """

    threshold: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise InputError(f"--near is a similarity above 0 and up to 1, not {self.threshold}; 0.8 is usual.")

    @cached_property
    def band_rows(self) -> int:
        """Signature values in a band: as many as let pairs at the threshold meet with probability ``RECALL``.

        Two texts of similarity s agree in a band of r values with probability s^r, so of b bands they share one with
        probability 1 - (1 - s^r)^b.
        """
        fitting = [
            rows
            for rows in range(1, HASHES + 1)
            if 1 - (1 - self.threshold**rows) ** (HASHES // rows) >= RECALL or rows == 1
        ]
        return max(fitting)

    def keys(self, sets: Sequence[Hashes]) -> Hashes:
        """Returns one key for each set and band; equal keys in a band make a candidate. Shape (sets, bands)."""
        parts = [_band_keys(signatures(chunk, self.seed), self.band_rows) for chunk in chunks(sets)]
        return np.concatenate(parts) if parts else np.zeros((0, HASHES // self.band_rows), np.uint64)


def signatures(sets: Sequence[Hashes], seed: int) -> Hashes:
    """MinHash: the least value of each hash function over each set, shape (sets, ``HASHES``).

    The share of equal values of two rows estimates the Jaccard similarity of their sets.
    """
    flat = np.concatenate(list(sets))
    starts = np.cumsum([0, *(one.size for one in sets[:-1])])
    return np.stack(
        [np.minimum.reduceat(flat * scale + shift, starts) for scale, shift in _functions(seed)],
        axis=1,
    )


def near_duplicates(
    sets: Sequence[Hashes],
    near: Near,
    apart: Sequence[Hashable | None] | None = None,
    steps: Steps = UNCOUNTED,
) -> list[Match | None]:
    """For each text the closest earlier one that stays and is at least as similar as the threshold; else None.

    A text that has a match does not stay, so no text is dropped for one that is itself dropped.

    Args:
        sets: shingles of each text, in order.
        near: threshold and seed.
        apart: labels; two texts with different ones (None is no label) are never duplicates of each other.
        steps: counts texts.
    """
    keys = near.keys(sets)
    shared = [_occurs_twice(column) for column in keys.T]
    buckets: dict[tuple[int, int], dict[Hashable | None, list[int]]] = {}
    found: list[Match | None] = []
    for row, own in enumerate(steps.over(sets)):
        label = None if apart is None else apart[row]
        places = [(band, int(keys[row, band])) for band, twice in enumerate(shared) if twice[row]]
        met = (islice(_may_match(buckets.get(place, {}), label), BUCKET) for place in places)
        bands = Counter(chain.from_iterable(met))
        # The more bands two texts share, the more similar they are; of equal ones the first.
        likely = heapq.nsmallest(CANDIDATES, bands, key=lambda other: (-bands[other], other))
        match = _closest(own, sets, likely, near.threshold)
        found.append(match)
        for place in places if match is None else ():
            rows = buckets.setdefault(place, {}).setdefault(label, [])
            if len(rows) < BUCKET:
                rows.append(row)
    return found


def _closest(own: Hashes, others: Sequence[Hashes], rows: Iterable[int], threshold: float) -> Match | None:
    matches = [Match(row, jaccard(own, others[row])) for row in sorted(rows)]
    best = max(matches, key=lambda match: (match.similarity, -match.row), default=None)
    return best if best is not None and best.similarity >= threshold else None


def _may_match(bucket: Mapping[Hashable | None, list[int]], label: Hashable | None) -> Iterator[int]:
    """Rows of a bucket that may be duplicates. By label, since one form filled in for many persons fills a bucket."""
    for other in bucket if label is None else (label, None):
        yield from bucket.get(other, ())


def _occurs_twice(values: Hashes) -> NDArray[np.bool_]:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(counts[places] > 1)


def chunks(sets: Sequence[Hashes], limit: int = _CHUNK) -> Iterator[Sequence[Hashes]]:
    """Runs of sets with about ``limit`` shingles together, so that a large file needs no large array."""
    start = size = 0
    for row, one in enumerate(sets):
        size += one.size
        if size >= limit or row + 1 == len(sets):
            yield sets[start : row + 1]
            start, size = row + 1, 0


def _band_keys(values: Hashes, rows: int) -> Hashes:
    bands = HASHES // rows
    grouped = values[:, : bands * rows].reshape(len(values), bands, rows)
    keys = np.zeros((len(values), bands), np.uint64)
    for place in range(rows):
        keys = _mix(keys + grouped[:, :, place])
    return keys


def _functions(seed: int) -> NDArray[np.uint64]:
    """Multiplier (odd, so that no two shingles collide) and shift of each hash function, modulo 2^64."""
    # From a digest and not from numpy's generators, whose streams may differ between versions.
    size = 16 * HASHES
    stream = hashlib.shake_256(f"expunge minhash {seed}".encode()).digest(size)
    drawn = np.frombuffer(stream, dtype="<u8").astype(np.uint64).reshape(HASHES, 2)
    drawn[:, 0] |= np.uint64(1)
    return drawn


def _mix(values: Hashes) -> Hashes:
    """Finaliser of SplitMix64: every bit of the value moves every bit of the result."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@lru_cache(maxsize=1 << 18)
def _word_hash(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
