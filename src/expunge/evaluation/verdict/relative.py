"""Whether a model is nearer to the retrained model or to the original in what it knows of the forget set.

Three samples of the same subjects. Equivalence needs many subjects, since it has to exclude every difference above the
margin. Telling which of two distant models is nearer needs few.

Shapes: N records, C subjects.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from expunge.data.record import Record
from expunge.evaluation.result import Evaluation
from expunge.functional.testing import sign_flip
from expunge.metrics.base import is_of

Floats = NDArray[np.float64]
OPEN = "extraction_strength"  # the metric of knowledge that every open form is read by
LEAST = 6  # subjects for a p-value: with fewer, no choice of signs gives one below 0.05
NEAR = 0.05  # difference between the original and the retrained model below which there is no way to go


class Relative(NamedTuple):
    """Outcome of the test.

    Attributes:
        share: of the way from the original (0) to the retrained model (1).
        subjects: number of subjects with a number from all models.
        p: of being as near to the one as to the other, two-sided; None with fewer than six subjects.
    """

    share: float
    subjects: int
    p: float | None


def relative_test(evaluation: Evaluation, role: str, records: Sequence[Record]) -> Relative | None:
    """Compares a model with the point half-way between the original and the retrained models, subject by subject.

    A subject's number is the mean of extraction strength over its records and their open forms: all forms that the
    verdict takes for knowledge. Of several retrained models their mean counts.

    Args:
        evaluation: with numbers per record.
        role: the model that is judged.
        records: of the forget split.

    Returns:
        None where one of the three was not read, or the original knows no more than the retrained model.
    """
    roles = dict.fromkeys(name for _, name in evaluation.knowledge)
    retrained = [_by_record(evaluation, name) for name in roles if is_of(name, "retrained")]
    original, own = (_by_record(evaluation, name) for name in ("original", role))
    if original is None or own is None or not retrained:
        return None
    reference = np.mean([one for one in retrained if one is not None], axis=0)
    original_C, own_C, reference_C = _by_subject(records, original, own, reference)
    way = float(np.mean(original_C - reference_C)) if len(own_C) else 0.0
    if not way > NEAR:
        return None
    half_C = (original_C + reference_C) / 2
    p = sign_flip(half_C - own_C) if len(own_C) >= LEAST else None
    return Relative(float(np.mean(original_C - own_C)) / way, len(own_C), p)


def _by_record(evaluation: Evaluation, role: str) -> Floats | None:
    """Returns (N,): the mean over open forms of each record; None where the model was not read."""
    found = [
        sample.values
        for (label, name), sample in evaluation.knowledge.items()
        if name == role and evaluation.traits[label].name == OPEN and sample.split == "forget"
    ]
    return _known_mean(np.stack(found)) if found else None


def _by_subject(records: Sequence[Record], *values: Floats) -> list[Floats]:
    """Returns (C,) for each: the mean over the records of each subject that has a number in all of them."""
    names: list[Hashable] = [row if one.whom is None else one.whom for row, one in enumerate(records)]
    known_N = np.all([np.isfinite(one) for one in values], axis=0)
    rows: dict[Hashable, list[int]] = {}
    for row, name in enumerate(names):
        if known_N[row]:
            rows.setdefault(name, []).append(row)
    return [np.array([math.fsum(one[mine]) / len(mine) for mine in rows.values()]) for one in values]


def _known_mean(table_FN: Floats) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a record without any number has none
        found: Floats = np.nanmean(table_FN, axis=0)
    return found
