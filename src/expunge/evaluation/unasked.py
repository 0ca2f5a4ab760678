"""Records that a model could not be asked about: they are left out of a score, and the score says how many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from expunge.data.record import Record
from expunge.evaluation.result import Omitted, ScoreRecord
from expunge.metrics.base import Answer, Metric, Need

NOT_ASKED = "not_asked"  # name in a score's details


def unasked(metric: Metric, answers: Mapping[Need, Answer], splits: Mapping[str, Sequence[Record]]) -> int:
    """Returns how many records have the form that a metric generates from, and no reply; the most of its needs."""
    counts = [
        sum(1 for record, said in zip(splits[need.split], answers[need], strict=True) if _silent(record, need, said))
        for need in metric.needs()
        if need.generates
    ]
    return max(counts, default=0)


def _silent(record: Record, need: Need, said: Sequence[object]) -> bool:
    return not len(said) and bool(record.forms(need.form))


def with_unasked(score: ScoreRecord, count: int) -> ScoreRecord | Omitted:
    """Returns a score that says how many records it leaves out, or why there is none."""
    if not count:
        return score
    if not score.records:
        reason = (
            f"none of the prompts could be asked ({count} records): they are empty, longer than the limit, leave the "
            "model no position for an answer, or use tools, which an address is not sent"
        )
        return Omitted(label=score.label, role=score.role, reason=reason)
    return replace(score, details={**score.details, NOT_ASKED: float(count)})
