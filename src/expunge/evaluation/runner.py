"""Collects what all metrics need, asks each model once, and turns the answers into scores with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from expunge.data.record import Record
from expunge.evaluation.answering import answer_needs, zlib_answer
from expunge.evaluation.needs import plan
from expunge.evaluation.reduce import Bootstrap, gap, score_record
from expunge.evaluation.result import Evaluation, Gap, Traits
from expunge.evaluation.store import Store
from expunge.evaluation.subjects import Subject
from expunge.metrics.base import Answer, Answers, Metric, Need, Score
from expunge.registry import metrics as registry

REFERENCE = "retrained"  # role that the others are compared with


def evaluate(
    subjects: Sequence[Subject],
    splits: Mapping[str, Sequence[Record]],
    metrics: Sequence[Metric],
    store: Store,
    *,
    batch_size: int = 16,
    seed: int = 0,
    resamples: int = 1000,
    log: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Scores every metric on every subject.

    Args:
        subjects: models, in the order of the report's columns; each role once.
        splits: records by split.
        metrics: what to measure.
        store: answers of earlier calls; new ones are added.
        batch_size: sequences in one forward pass; changes no number.
        seed: of the bootstrap.
        resamples: draws of the bootstrap.
        log: told which model is being read.

    Returns:
        Scores, their distances from the retrained model, and what was left out and why.

    Raises:
        InputError: subjects that cannot be told apart, or a split that the store has no digest of.
        DivergedError: a model whose log-probabilities are not numbers.
    """
    planned = plan(subjects, splits, metrics)
    answers: dict[str, dict[Need, Answer]] = {}
    for subject in subjects:
        log(subject.role)
        answers[subject.role] = _answers(subject, planned.needs[subject.role], splits, store, batch_size)
    scores: dict[Metric, dict[str, Score]] = {metric: {} for metric in metrics}
    for role, chosen in planned.metrics.items():
        for metric in chosen:
            scores[metric][role] = metric.compute(Answers(answers[role], answers))
    bootstrap = Bootstrap(resamples, seed)
    return Evaluation(
        scores=tuple(
            score_record(metric, role, score, splits, bootstrap)
            for metric, of_roles in scores.items()
            for role, score in of_roles.items()
        ),
        omitted=planned.omitted,
        gaps=tuple(
            found for metric, of_roles in scores.items() for found in _gaps(metric, of_roles, splits, bootstrap)
        ),
        traits={metric.label: _traits(metric) for metric in scores},
    )


def _gaps(
    metric: Metric, scores: Mapping[str, Score], splits: Mapping[str, Sequence[Record]], bootstrap: Bootstrap
) -> list[Gap]:
    """Distances of a metric that should come close to the retrained model."""
    if metric.aim != "closer" or REFERENCE not in scores:
        return []
    reference = scores[REFERENCE]
    return [
        gap(metric, role, score, reference, splits, bootstrap) for role, score in scores.items() if role != REFERENCE
    ]


def _traits(metric: Metric) -> Traits:
    needs = metric.needs()
    return Traits(
        name=registry.name_of(metric),
        splits=tuple(dict.fromkeys(need.split for need in needs)),
        forms=tuple(dict.fromkeys(need.form for need in needs)),
    )


def _answers(
    subject: Subject, needs: Sequence[Need], splits: Mapping[str, Sequence[Record]], store: Store, batch_size: int
) -> dict[Need, Answer]:
    found: dict[Need, Answer] = {}
    missing: list[Need] = []
    for need in needs:
        if need.kind == "zlib_bytes":  # cheaper to count again than to read back
            found[need] = zlib_answer(splits[need.split], need.form)
        elif (stored := store.get(subject.identity, need)) is not None:
            found[need] = stored
        else:
            missing.append(need)
    if missing:
        fresh = answer_needs(
            subject.load(), splits, missing, max_length=store.max_length, batch_size=batch_size, policy=subject.policy
        )
        for need, answer in fresh.items():
            store.put(subject.identity, need, answer)
        found.update(fresh)
    return found
