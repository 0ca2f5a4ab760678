"""From a metric's per-record numbers to a value with an interval, and to its distance from the retrained model."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from expunge.data.record import Record
from expunge.evaluation.result import Gap, ScoreRecord
from expunge.functional.statistics import bootstrap_interval
from expunge.metrics.base import Floats, Metric, Sample, Score

MIN_SUBJECTS = 10  # fewer give no interval
Clusters = list[list[int]]


class Bootstrap(NamedTuple):
    """Settings of all intervals: number of draws, and their seed."""

    resamples: int = 1000
    seed: int = 0


def score_record(
    metric: Metric, role: str, score: Score, splits: Mapping[str, Sequence[Record]], bootstrap: Bootstrap
) -> ScoreRecord:
    """Returns one score with its sizes and, where it has one, its interval."""
    clusters = _clusters(score.samples, splits)
    low, high = _interval(metric, score, clusters, bootstrap)
    return ScoreRecord(
        label=metric.label,
        role=role,
        value=score.value,
        low=low,
        high=high,
        n=_subjects(clusters),
        records=min((len(names) for names in clusters), default=0),
        unit=metric.unit,
        direction=metric.aim,
        details=dict(score.details),
    )


def gap(
    metric: Metric,
    role: str,
    score: Score,
    reference: Score,
    splits: Mapping[str, Sequence[Record]],
    bootstrap: Bootstrap,
) -> Gap:
    """Returns the value minus the retrained model's.

    Both models are read on the same records, so one draw of subjects serves both: what the subjects have in common
    cancels, and the interval is narrower than those of the two values suggest.
    """
    count = len(score.samples)

    def difference(*values: Floats) -> float:
        return score.statistic(*values[:count]) - reference.statistic(*values[count:])

    joint = Score((*score.samples, *reference.samples), difference)
    clusters = _clusters(joint.samples, splits)
    low, high = _interval(metric, joint, clusters, bootstrap)
    return Gap(label=metric.label, role=role, value=joint.value, low=low, high=high, n=_subjects(clusters))


def _interval(
    metric: Metric, score: Score, clusters: Clusters, bootstrap: Bootstrap
) -> tuple[float | None, float | None]:
    if not metric.resampled or _subjects(clusters) < MIN_SUBJECTS:
        return None, None
    arrays = [sample.values[~np.isnan(sample.values)] for sample in score.samples]
    interval = bootstrap_interval(
        arrays, score.statistic, clusters=clusters, resamples=bootstrap.resamples, seed=bootstrap.seed
    )
    return (None, None) if math.isnan(interval.low) else (interval.low, interval.high)


def _subjects(clusters: Clusters) -> int:
    """Number of subjects of the smallest sample: it limits what the number can show."""
    return min((len(set(names)) for names in clusters), default=0)


def _clusters(samples: Sequence[Sample], splits: Mapping[str, Sequence[Record]]) -> Clusters:
    """For each sample the number of the subject of each record with a value; a record without a subject is its own.

    The split is part of a subject's name: the bootstrap draws samples with equal numbers together, and record 3 of the
    holdout set is no pair of record 3 of the forget set.
    """
    numbers: dict[Hashable, int] = {}
    return [
        [
            numbers.setdefault((sample.split, row if record.subject is None else record.subject), len(numbers))
            for row, (record, value) in enumerate(zip(splits[sample.split], sample.values, strict=True))
            if not np.isnan(value)
        ]
        for sample in samples
    ]
