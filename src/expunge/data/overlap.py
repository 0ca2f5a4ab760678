"""Which known texts a text resembles or quotes: exact counts of common shingles, by sparse matrix products.

Resemblance and containment: Broder, "On the resemblance and containment of documents", 1997,
https://doi.org/10.1109/SEQUEN.1997.666900.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from expunge.data.duplicates import Hashes, Match, chunks, shingles
from expunge.data.words import word_matches
from expunge.functional.words import folded

LEAST, PASSAGE, STEP = 8, 16, 8  # words: of the shortest quotation, of a passage, between the starts of two
QUOTED = 0.8  # least share of a passage's shingles that make a quotation of it
COMMON_SHARE, COMMON_LEAST = 0.01, 10  # a passage in more texts than both is common wording
_CHUNK = 1 << 13  # shingles multiplied at once, since texts of one form all meet each other

Rows = NDArray[np.int32]


class Quotes(NamedTuple):
    """For each text whether it quotes a passage; how many passages there are, and how many are common wording."""

    found: list[bool]
    passages: int
    common: int


def nearest(sets: Sequence[Hashes], known: Sequence[Hashes], threshold: float) -> list[Match | None]:
    """For each set the first of ``known`` with the largest Jaccard similarity, if that reaches the threshold."""
    sizes = np.array([one.size for one in known])
    found: list[Match | None] = []
    for one, (rows, common) in zip(sets, _overlaps(sets, known), strict=True):
        similarity = common / (one.size + sizes[rows] - common)
        best = int(np.argmax(similarity)) if rows.size else -1
        near = best >= 0 and similarity[best] >= threshold
        found.append(Match(int(rows[best]), float(similarity[best])) if near else None)
    return found


def passages(texts: Iterable[str]) -> list[Hashes]:
    """Shingles of the passages of texts: of a short text itself, of a longer one overlapping runs of ``PASSAGE`` words.

    A text of less than ``LEAST`` words has none, since other texts hold it by chance.
    """
    return [shingles(one) for one in dict.fromkeys(one for text in texts for one in _windows(folded(text)))]


def quotes(sets: Sequence[Hashes], known: Sequence[Hashes], judged: Sequence[bool]) -> Quotes:
    """Finds the texts that hold at least the share ``QUOTED`` of the shingles of a passage.

    Args:
        sets: shingles of each text.
        known: shingles of passages.
        judged: texts that are known to be about the same and do not show that a passage is common wording.
    """
    sizes = np.array([one.size for one in known])
    held = [rows[common >= QUOTED * sizes[rows]] for rows, common in _overlaps(sets, known)]
    free = [rows for rows, is_judged in zip(held, judged, strict=True) if not is_judged]
    counts = np.bincount(np.concatenate([np.zeros(0, np.int32), *free]), minlength=len(known))
    common_wording = counts > max(COMMON_LEAST, COMMON_SHARE * len(sets))
    return Quotes([not common_wording[rows].all() for rows in held], len(known), int(common_wording.sum()))


def _overlaps(sets: Sequence[Hashes], known: Sequence[Hashes]) -> Iterator[tuple[Rows, Rows]]:
    """For each set the rows of ``known`` that share a shingle with it, ascending, and how many they share."""
    columns = np.unique(np.concatenate([np.zeros(0, np.uint64), *known]))
    right = _incidence(known, columns).T.tocsr()
    for chunk in chunks(sets, _CHUNK):
        product = _incidence(chunk, columns) @ right
        product.sort_indices()
        for start, end in pairwise(product.indptr.tolist()):
            yield product.indices[start:end], product.data[start:end]


def _incidence(sets: Sequence[Hashes], columns: Hashes) -> sparse.csr_matrix:
    """Ones where a set (row) has a shingle (column)."""
    flat = np.concatenate([np.zeros(0, np.uint64), *sets])
    places = np.searchsorted(columns, flat)
    known = np.zeros(flat.size, np.bool_)
    inside = places < columns.size
    known[inside] = columns[places[inside]] == flat[inside]
    ends = np.concatenate([[0], np.cumsum(known)])[np.cumsum([0, *(one.size for one in sets)])]
    shape = (len(sets), columns.size)
    return sparse.csr_matrix((np.ones(int(ends[-1]), np.int32), places[known], ends), shape=shape)


def _windows(text: str) -> Iterator[str]:
    found = list(word_matches(text))
    if len(found) < LEAST:
        return
    last = max(0, len(found) - PASSAGE)
    for start in sorted({*range(0, last, STEP), last}):
        yield text[found[start].start() : found[min(start + PASSAGE, len(found)) - 1].end()]
