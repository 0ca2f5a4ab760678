"""Collects what all metrics need, asks each model once, and turns the answers into scores with intervals."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np

from expunge.data.record import Record
from expunge.evaluation.answering import answer_needs, zlib_answer
from expunge.evaluation.result import Evaluation, Omitted, ScoreRecord
from expunge.evaluation.store import Store
from expunge.evaluation.subjects import Subject
from expunge.functional.statistics import bootstrap_interval
from expunge.metrics.base import Answer, Answers, Metric, Need, Score

MIN_SUBJECTS = 10  # fewer give no interval


def evaluate(
    subjects: Sequence[Subject],
    splits: Mapping[str, Sequence[Record]],
    metrics: Sequence[Metric],
    store: Store,
    *,
    batch_size: int = 16,
    seed: int = 0,
    log: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Scores every metric on every subject.

    Args:
        subjects: models, in the order of the report's columns.
        splits: records by split.
        metrics: what to measure.
        store: answers of earlier calls; new ones are added.
        batch_size: sequences in one forward pass.
        seed: of the bootstrap.
        log: told which model is being read.

    Returns:
        Scores, and what was left out and why.
    """
    roles = [subject.role for subject in subjects]
    omitted: list[Omitted] = []
    wanted: dict[str, list[Metric]] = {role: [] for role in roles}
    for subject in subjects:
        for metric in metrics:
            reason = _unfit(metric, subject, splits, roles)
            if reason is None:
                wanted[subject.role].append(metric)
            else:
                omitted.append(Omitted(label=metric.label, role=subject.role, reason=reason))
    needs = {role: dict.fromkeys(need for metric in wanted[role] for need in metric.needs()) for role in roles}
    answers = {}
    for subject in subjects:
        log(subject.role)
        answers[subject.role] = _answers(subject, list(needs[subject.role]), splits, store, batch_size)
    scores = [
        _score(metric, role, Answers(answers[role], answers), splits, seed)
        for metric in metrics
        for role in roles
        if metric in wanted[role]
    ]
    return Evaluation(scores=tuple(scores), omitted=tuple(omitted))


def _unfit(metric: Metric, subject: Subject, splits: Mapping[str, Sequence[Record]], roles: Sequence[str]) -> str | None:
    """Why a metric cannot be computed for a model, or None."""
    if subject.policy is not None and any(need.reads_logits for need in metric.needs()):
        return "log-probabilities are not visible through a policy; see the bare weights"
    for role in metric.compares_to:
        if role == subject.role:
            return "this model is what the others are compared with"
        if role not in roles:
            return f"no {role} model was handed in"
    for need in metric.needs():
        if not splits.get(need.split):
            return f"no {need.split} records were handed in"
        if not any(record.forms(need.form) for record in splits[need.split]):
            return f"the {need.split} records have no {need.form}"
        if need.kind == "generation_score" and all(record.kind == "text" for record in splits[need.split]):
            return f"the {need.split} records are plain text without a prompt"
    return None


def _answers(
    subject: Subject, needs: Sequence[Need], splits: Mapping[str, Sequence[Record]], store: Store, batch_size: int
) -> dict[Need, Answer]:
    found: dict[Need, Answer] = {}
    missing: list[Need] = []
    for need in needs:
        stored = store.get(subject.identity, need)
        if stored is not None:
            found[need] = stored
        elif need.kind == "zlib_bytes":
            found[need] = zlib_answer(splits[need.split], need.form)
        else:
            missing.append(need)
    if missing:
        loaded = subject.load()
        fresh = answer_needs(
            loaded, splits, missing, max_length=store.max_length, batch_size=batch_size, policy=subject.policy
        )
        for need, answer in fresh.items():
            store.put(subject.identity, need, answer)
        found.update(fresh)
    return found


def _score(
    metric: Metric, role: str, answers: Answers, splits: Mapping[str, Sequence[Record]], seed: int
) -> ScoreRecord:
    score = metric.compute(answers)
    clusters = [_clusters(splits[sample.split], sample.values) for sample in score.samples]
    subjects = len(set(clusters[0])) if clusters else 0
    low, high = _interval(metric, score, clusters, seed)
    return ScoreRecord(
        label=metric.label,
        role=role,
        value=score.value,
        low=low,
        high=high,
        n=subjects,
        records=len(clusters[0]) if clusters else 0,
        unit=metric.unit,
        direction=metric.aim,
        details=dict(score.details),
    )


def _interval(
    metric: Metric, score: Score, clusters: Sequence[Sequence[Hashable]], seed: int
) -> tuple[float | None, float | None]:
    if not metric.resampled or not clusters or min(len(set(names)) for names in clusters) < MIN_SUBJECTS:
        return None, None
    arrays = [sample.values[~np.isnan(sample.values)] for sample in score.samples]
    interval = bootstrap_interval(arrays, score.statistic, clusters=clusters, seed=seed)
    return interval.low, interval.high


def _clusters(records: Sequence[Record], values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[Hashable]:
    """Subject of each record that has a value; a record without a subject is its own."""
    return [
        record.subject if record.subject is not None else number
        for number, (record, value) in enumerate(zip(records, values, strict=True))
        if not np.isnan(value)
    ]
