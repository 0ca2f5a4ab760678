"""From a metric's per-record numbers to a value with an interval, and to its distance from the retrained model."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from expunge.data.record import Record
from expunge.evaluation.result import Gap, ScoreRecord
from expunge.functional.bootstrap import Draws, Vectorised
from expunge.metrics.base import Metric, Sample, Score

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
    low, high = _interval(metric, clusters, (score,), splits, bootstrap)
    value = score.value
    return ScoreRecord(
        label=metric.label,
        role=role,
        value=value,
        low=low,
        high=high,
        n=_subjects(clusters),
        records=min((len(names) for names in clusters), default=0),
        unit=metric.unit,
        direction=metric.aim,
        details=dict(score.details),
        missing=_missing(score) if math.isnan(value) else "",
    )


def _missing(score: Score) -> str:
    """Why there is no value: what the metric says, else the splits of which no record has a number."""
    empty = dict.fromkeys(sample.split for sample in score.samples if np.isnan(sample.values).all())
    said = f"no {' and no '.join(empty)} record has a number" if empty else "its formula has no value on these numbers"
    return score.missing or said


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
    clusters = _clusters((*score.samples, *reference.samples), splits)
    low, high = _interval(metric, clusters, (score, reference), splits, bootstrap)
    value = score.value - reference.value
    return Gap(label=metric.label, role=role, value=value, low=low, high=high, n=_subjects(clusters))


def _interval(
    metric: Metric,
    clusters: Clusters,
    scores: Sequence[Score],
    splits: Mapping[str, Sequence[Record]],
    bootstrap: Bootstrap,
) -> tuple[float | None, float | None]:
    """Of a score, or of the first minus the second, drawn together."""
    if not metric.resampled or _subjects(clusters) < MIN_SUBJECTS:
        return None, None
    samples = [sample for score in scores for sample in score.samples]
    kept = _kept(samples)
    draws = Draws([_names(sample.split, kept[sample.split], splits) for sample in samples], **bootstrap._asdict())
    values, place = [], 0
    for score in scores:
        arrays = [sample.values[kept[sample.split]] for sample in score.samples]
        values.append(draws.values(_of_known(score.statistic), arrays, range(place, place + len(arrays))))
        place += len(arrays)
    interval = draws.interval(values[0] if len(values) == 1 else values[0] - values[1])
    return (None, None) if math.isnan(interval.low) else (interval.low, interval.high)


def _of_known(statistic: Callable[..., float]) -> Callable[..., float]:
    """Leaves out of each draw what has no number; a vectorised statistic does so by itself."""
    if isinstance(statistic, Vectorised):
        return statistic
    return lambda *arrays: statistic(*(array[~np.isnan(array)] for array in arrays))


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
    """Subject of each kept record, given or found; a record without one is its own.

    The split is part of the name: the bootstrap draws samples with equal names together, and record 3 of the holdout
    set is no pair of record 3 of the forget set.
    """
    return [
        (split, row if record.whom is None else record.whom)
        for row, (record, known) in enumerate(zip(splits[split], kept, strict=True))
        if known
    ]


def _subjects(clusters: Clusters) -> int:
    """Number of subjects of the smallest sample: it limits what the number can show."""
    return min((len(set(names)) for names in clusters), default=0)


def _clusters(samples: Sequence[Sample], splits: Mapping[str, Sequence[Record]]) -> Clusters:
    """For each sample the subject of each record that has a number."""
    return [_names(sample.split, ~np.isnan(sample.values), splits) for sample in samples]
