"""Scores of one text against another. TOFU's tokeniser: lower case, ``[a-z0-9]+``, Porter stems of words longer than 3 letters."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from expunge.functional.porter import stem


class Rouge(NamedTuple):
    """ROUGE-L: shares in [0, 1] of words in the longest common subsequence."""

    precision: float
    recall: float
    f1: float


def words(text: str, *, stems: bool = True) -> list[str]:
    """Splits as TOFU and rouge-score do; everything outside a-z and 0-9 separates, so other scripts vanish."""
    found = re.findall(r"[a-z0-9]+", text.lower())
    return [stem(word) if len(word) > 3 else word for word in found] if stems else found


def lcs_length(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(right) + 1)
    for item in left:
        before = 0
        for place, other in enumerate(right, start=1):
            kept = row[place]
            row[place] = before + 1 if item == other else max(row[place], row[place - 1])
            before = kept
    return row[-1]


def rouge_l(generated: str, truth: str, *, stems: bool = True) -> Rouge:
    """ROUGE-L of a generated text against the true one. Lin, 2004, https://aclanthology.org/W04-1013."""
    left, right = words(generated, stems=stems), words(truth, stems=stems)
    if not left or not right:
        return Rouge(0.0, 0.0, 0.0)
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
