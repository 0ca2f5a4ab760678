"""Which of many texts that a model wrote it may have learned by heart, and which of them differ.

Carlini et al., 2020, https://arxiv.org/abs/2012.07805, section 5.2 and 6.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from expunge.functional.words import words

Rank = Literal["zlib", "perplexity", "reference"]
GRAM = 3  # words
SURE = 1e-9  # nats per token; a text of probability 1 is as sure as this


def suspicion(
    rank: Rank, nats_N: Sequence[float], bytes_N: Sequence[int], reference_N: Sequence[float] = ()
) -> list[float]:
    """Returns a number for each text by which they are sorted; the lowest is the most suspicious.

    ``perplexity``: l, the nats per token; ``zlib``: l / compressed bytes; ``reference``: l of the original / l.

    Args:
        rank: which.
        nats_N: negative log-likelihood per token of each text.
        bytes_N: length of each compressed text.
        reference_N: nats per token under the original, for ``reference``.
    """
    if rank == "perplexity":
        return list(nats_N)
    if rank == "zlib":
        return [nats / size for nats, size in zip(nats_N, bytes_N, strict=True)]
    return [other / max(own, SURE) for own, other in zip(nats_N, reference_N, strict=True)]


def distinct_rows(texts: Sequence[str]) -> list[int]:
    """Returns the rows of texts that repeat no earlier one that stays.

    A text repeats another where the trigrams of words that they share, as often as both have them, are at least half of
    its own. A text of fewer than three words repeats one of the same words.
    """
    stays: list[int] = []
    places: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    short: set[tuple[str, ...]] = set()
    for row, text in enumerate(texts):
        said = words(text)
        grams = Counter(zip(*(said[skipped:] for skipped in range(GRAM)), strict=False))
        if not grams:
            if tuple(said) in short:
                continue
            short.add(tuple(said))
        elif 2 * _most_shared(grams, places) >= grams.total():
            continue
        for gram, count in grams.items():
            places.setdefault(gram, []).append((row, count))
        stays.append(row)
    return stays


def _most_shared(grams: Counter[tuple[str, ...]], places: Mapping[tuple[str, ...], list[tuple[int, int]]]) -> int:
    """Largest number of trigrams, with repetitions, that one earlier text shares."""
    shared: Counter[int] = Counter()
    for gram, count in grams.items():
        for row, other in places.get(gram, ()):
            shared[row] += min(count, other)
    return max(shared.values(), default=0)
