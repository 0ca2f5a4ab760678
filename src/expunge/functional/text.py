"""Scores of one text against another.

Words as TOFU and rouge-score count them: lower case, ``[a-z0-9]+``, Porter stems of words longer than 3 letters.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from expunge.functional import porter


class Rouge(NamedTuple):
    """ROUGE-L: shares in [0, 1] of words in the longest common subsequence."""

    precision: float
    recall: float
    f1: float


def words(text: str, *, stem: bool = True) -> list[str]:
    """Splits as TOFU and rouge-score do; everything outside a-z and 0-9 separates, so other scripts vanish."""
    found = re.findall(r"[a-z0-9]+", text.lower())
    return [porter.stem(word) if len(word) > 3 else word for word in found] if stem else found


def lcs_length(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Equals the table ``L[i, j] = L[i-1, j-1] + 1 if left[i] == right[j] else max(L[i-1, j], L[i, j-1])``, a row at a
    time: bit j of ``row`` is 0 where the row grows at j, and one addition carries all its changes.

    Source: Hyyro, "Bit-parallel LCS-length computation revisited", 2004.
    """
    places: dict[str, int] = {}
    for place, item in enumerate(right):
        places[item] = places.get(item, 0) | 1 << place
    full = (1 << len(right)) - 1
    row = full
    for item in left:
        matches = row & places.get(item, 0)
        row = (row + matches | row - matches) & full
    return len(right) - row.bit_count()


def rouge_l(candidate: str, reference: str, *, stem: bool = True) -> Rouge:
    """ROUGE-L of a text against the true one; all 0 where they share no word.

    Args:
        candidate: what was generated.
        reference: the true text.
        stem: compare stems, as TOFU does.

    Source: Lin, 2004, https://aclanthology.org/W04-1013.
    """
    left, right = words(candidate, stem=stem), words(reference, stem=stem)
    common = lcs_length(left, right)
    if not common:
        return Rouge(0.0, 0.0, 0.0)
    precision, recall = common / len(left), common / len(right)
    return Rouge(precision, recall, 2 * precision * recall / (precision + recall))


def rouge_l_recall(generated: str, truth: str) -> float:
    """Recall of ``rouge_l``, TOFU's ROUGE."""
    return rouge_l(generated, truth).recall


SCORERS: dict[str, Callable[[str, str], float]] = {"rouge_l_recall": rouge_l_recall}


def zlib_bytes(text: str) -> int:
    """Length of the zlib-compressed UTF-8 text, bytes: a model-free measure of its information."""
    return len(zlib.compress(text.encode("utf-8")))
