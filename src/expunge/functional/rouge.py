"""ROUGE-L: words in common and in order. Lin, 2004, https://aclanthology.org/W04-1013."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from expunge.functional.words import Split, words


class Rouge(NamedTuple):
    """ROUGE-L: shares in [0, 1] of words in the longest common subsequence."""

    precision: float
    recall: float
    f1: float


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


def rouge_l(candidate: str, reference: str, split: Split = words) -> Rouge:
    """ROUGE-L of a text against the true one; all 0 where they share no word.

    Args:
        candidate: what was generated.
        reference: the true text.
        split: makes words of a text; ``tofu_words`` for published numbers of TOFU.
    """
    left, right = split(candidate), split(reference)
    common = lcs_length(left, right)
    if not common:
        return Rouge(0.0, 0.0, 0.0)
    precision, recall = common / len(left), common / len(right)
    return Rouge(precision, recall, 2 * precision * recall / (precision + recall))
