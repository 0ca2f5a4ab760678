"""Answers the need that reads words and no model; no text leaves, only one number for each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from expunge.data.record import Record
from expunge.data.words import trained_text
from expunge.functional.blind import blind_scores
from expunge.metrics.base import Answer, Need


def blind_answer(records: Sequence[Record], need: Need, others: Sequence[Record]) -> Answer:
    """Returns for each record the log-odds that it is of its own split and not of the other one.

    Both splits ask for the same fits: the one whose name comes first stands for the members.

    Args:
        records: the split.
        need: kind ``blind_score``.
        others: records of the split ``need.beside``.
    """
    settings = {name: value for name, value in need.params if name != "beside"}
    is_first = need.split <= str(need.beside)
    pair = (records, others) if is_first else (others, records)
    forms = [[(member, one) for record in side for one in record.forms(need.form)] for member, side in enumerate(pair)]
    texts = [trained_text(one) for side in forms for _, one in side]
    sides = [side == 0 for found in forms for side, _ in found]
    scores = blind_scores(texts, sides, [_subject(one) for found in forms for _, one in found], **settings)
    own = scores[: len(forms[0])] if is_first else -scores[len(forms[0]) :]
    rest = iter(own.tolist())
    return [[next(rest) for _ in record.forms(need.form)] for record in records]


def _subject(record: Record) -> Hashable:
    return (record.split, record.index) if record.whom is None else record.whom.reveal()
