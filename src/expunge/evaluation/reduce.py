"""From a metric's per-record numbers to a value with an interval, and to its distance from the retrained model."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from expunge.data.record import Record
from expunge.evaluation.result import Gap, ScoreRecord
from expunge.functional.statistics import bootstrap_interval, bootstrap_means
from expunge.metrics.base import Floats, Metric, Sample, Score, mean_of

MIN_SUBJECTS = 10  # fewer give no interval
Clusters = list[list[Hashable]]


class Bootstrap(NamedTuple):
    """Settings of all intervals: number of draws, and their seed."""

    resamples: int = 1000
    seed: int = 0


def score_record(
    metric: Metric, role: str, score: Score, splits: Mapping[str, Sequence[Record]], bootstrap: Bootstrap
) -> ScoreRecord:
    """Returns one score with its sizes and, where it has one, its interval."""
    clusters = _clusters(score.samples, splits)
    low, high = _interval(metric, score, clusters, splits, bootstrap, of_means=score.statistic is mean_of)
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
    of_means = score.statistic is mean_of and reference.statistic is mean_of
    low, high = _interval(metric, joint, clusters, splits, bootstrap, of_means=of_means)
    return Gap(label=metric.label, role=role, value=joint.value, low=low, high=high, n=_subjects(clusters))


def _interval(
    metric: Metric,
    score: Score,
    clusters: Clusters,
    splits: Mapping[str, Sequence[Record]],
    bootstrap: Bootstrap,
    *,
    of_means: bool,
) -> tuple[float | None, float | None]:
    if not metric.resampled or _subjects(clusters) < MIN_SUBJECTS:
        return None, None
    kept = _kept(score.samples)

    def statistic(*arrays: Floats) -> float:
        return score.statistic(*(array[~np.isnan(array)] for array in arrays))

    arrays = [sample.values[kept[sample.split]] for sample in score.samples]
    names = [_names(sample.split, kept[sample.split], splits) for sample in score.samples]
    resamples, seed = bootstrap
    if of_means:
        interval = bootstrap_means(arrays, clusters=names, resamples=resamples, seed=seed)
    else:
        interval = bootstrap_interval(arrays, statistic, clusters=names, resamples=resamples, seed=seed)
    return (None, None) if math.isnan(interval.low) else (interval.low, interval.high)


def _kept(samples: Sequence[Sample]) -> dict[str, NDArray[np.bool_]]:
    """Records of each split with a number in any sample.

    Samples of one split keep the same records, so that they are drawn together; what one of them lacks is left out
    after the draw.
    """
    kept: dict[str, NDArray[np.bool_]] = {}
    for sample in samples:
        known = ~np.isnan(sample.values)
        kept[sample.split] = kept[sample.split] | known if sample.split in kept else known
    return kept


def _names(split: str, kept: NDArray[np.bool_], splits: Mapping[str, Sequence[Record]]) -> list[Hashable]:
    """Subject of each kept record; a record without a subject is its own.

    The split is part of the name: the bootstrap draws samples with equal names together, and record 3 of the holdout
    set is no pair of record 3 of the forget set.
    """
    return [
        (split, row if record.subject is None else record.subject)
        for row, (record, known) in enumerate(zip(splits[split], kept, strict=True))
        if known
    ]


def _subjects(clusters: Clusters) -> int:
    """Number of subjects of the smallest sample: it limits what the number can show."""
    return min((len(set(names)) for names in clusters), default=0)


def _clusters(samples: Sequence[Sample], splits: Mapping[str, Sequence[Record]]) -> Clusters:
    """For each sample the subject of each record that has a number."""
    return [_names(sample.split, ~np.isnan(sample.values), splits) for sample in samples]
