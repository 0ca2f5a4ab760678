"""Tasks of lm_eval on the models of an audit.

lm_eval is handed the model that Expunge has loaded. Only numbers leave this module; what lm_eval prints is dropped,
since it may show text.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from expunge.errors import InterruptedRunError
from expunge.evaluation.reduce import MIN_SUBJECTS
from expunge.evaluation.result import Evaluation, Omitted, ScoreRecord
from expunge.evaluation.store import read_answer, write_answer
from expunge.evaluation.subjects import Subject
from expunge.evaluation.surroundings import surroundings
from expunge.functional.testing import NORMAL_95
from expunge.metrics.base import Direction
from expunge.models.load import LoadedModel
from expunge.storage.digests import DataKey
from expunge.storage.run import RunFolder
from expunge.workflows.harness_cache import private_cache
from expunge.workflows.harness_digest import documents_digest
from expunge.workflows.harness_errors import not_evaluated, not_read, refused
from expunge.workflows.harness_tasks import SHOTS_SEED, Tasks, quietly
from expunge.workflows.identity import code_digest

BATCH_SIZE = 16
RESAMPLES = 1000  # of standard errors that have no formula
SEEDS = (0, 1234, 1234)  # of random, numpy and torch: lm_eval's own defaults
UNIT = "as lm_eval has it; interval: 1.96 standard errors over documents"
BEHIND_POLICY = "lm_eval reads weights, and a policy stands before them; the bare weights have a column of their own"
THROUGH_PROMPTS = "lm_eval reads weights, and only prompts may be sent"


class Row(NamedTuple):
    """One number of lm_eval.

    Attributes:
        task: task or group.
        metric: name of the metric.
        filter: what was done to replies before.
        value: the number.
        stderr: standard error; None where lm_eval gives none.
        n: number of documents.
        shots: number of examples before each question.
        higher: whether higher is better; None where lm_eval does not say.
    """

    task: str
    metric: str
    filter: str
    value: float
    stderr: float | None
    n: int
    shots: int
    higher: bool | None


def run_tasks(
    tasks: Tasks, run: RunFolder, subjects: Sequence[Subject], stop_requested: Callable[[], bool] = lambda: False
) -> Evaluation:
    """Returns a score for each metric of each task and model; models are loaded one at a time, and only if they must.

    Raises:
        InputError: lm_eval cannot evaluate a task on these models.
        ResourceError: memory ran out.
        InterruptedRunError: stopped on request, between two tasks; what was read is kept.
    """
    digests = _digests(tasks, run)
    scores: list[ScoreRecord] = []
    omitted: list[Omitted] = []
    for subject in (one for one in subjects if one.scored):
        reason = _unread(subject)
        if reason is not None:
            omitted += [Omitted(label=f"lm_eval(task={name})", role=subject.role, reason=reason) for name in digests]
            continue
        for row in _rows_of(subject, tasks, digests, run, stop_requested):
            scores.append(to_score(row, subject.role))
    return Evaluation(scores=tuple(_by_label(scores)), omitted=tuple(omitted))


def with_tasks(evaluation: Evaluation, found: Evaluation) -> Evaluation:
    """Adds the scores of tasks to those of the metrics, on which alone the verdict rests."""
    return replace(
        evaluation,
        scores=(*evaluation.scores, *found.scores),
        omitted=(*evaluation.omitted, *found.omitted),
    )


def to_score(row: Row, role: str) -> ScoreRecord:
    """Returns one number as a record has it; an interval where there is a standard error of 10 documents or more."""
    half = None if row.stderr is None or row.n < MIN_SUBJECTS else NORMAL_95 * row.stderr
    # What has no better end should come close to the model that never saw the records.
    direction: Direction = "closer" if row.higher is None else "higher" if row.higher else "lower"
    details = {"shots": float(row.shots)} | ({} if row.stderr is None else {"stderr": row.stderr})
    return ScoreRecord(
        label=f"lm_eval(task={row.task}, metric={row.metric}, filter={row.filter})",
        role=role,
        value=row.value,
        low=None if half is None else row.value - half,
        high=None if half is None else row.value + half,
        n=row.n,
        records=row.n,
        unit=UNIT,
        direction=direction,
        details=details,
    )


def _unread(subject: Subject) -> str | None:
    """Why lm_eval cannot read a model; None if it can."""
    if subject.access == "prompts":
        return THROUGH_PROMPTS
    return None if subject.policy is None else BEHIND_POLICY


def _digests(tasks: Tasks, run: RunFolder) -> dict[str, str]:
    """Digest of each task's documents and settings, by name."""
    key = DataKey.load_or_create(run.root)
    found = {}
    for name, loaded in tasks.loaded.items():
        with quietly(), private_cache(), refused(name, not_read):
            found[name] = documents_digest(loaded, key, tasks.choice.folders)
    return found


def _by_label(scores: Sequence[ScoreRecord]) -> list[ScoreRecord]:
    order = {label: place for place, label in enumerate(dict.fromkeys(score.label for score in scores))}
    return sorted(scores, key=lambda score: order[score.label])


def _rows_of(
    subject: Subject,
    tasks: Tasks,
    digests: Mapping[str, str],
    run: RunFolder,
    stop_requested: Callable[[], bool],
) -> Iterator[Row]:
    """Numbers of one model, read back or computed and stored."""
    loaded: LoadedModel | None = None
    for name, digest in digests.items():
        key = _key(subject, tasks, name, digest)
        stored = read_answer(run.scores, key)
        if stored is None:
            if stop_requested():
                raise InterruptedRunError(
                    f"Stopped before the {subject.role} model was asked; the same command goes on."
                )
            with run.phases.phase(f"lm_eval's {name} on the {subject.role} model"):
                loaded = loaded or subject.loaded()
                stored = [list(row) for row in evaluate_task(name, tasks.of(loaded).loaded[name], loaded)]
                write_answer(run.scores, key, stored)
        yield from (Row(*row) for row in stored)


def _key(subject: Subject, tasks: Tasks, name: str, digest: str) -> dict[str, Any]:
    """Everything that decides the numbers of one task on one model."""
    return {
        "version": 2,
        "code": code_digest(),
        "subject": dict(sorted(subject.identity.items())),
        "lm_eval": tasks.version,
        "datasets": tasks.data_sets,
        "task": name,
        "documents": digest,
        "seeds": [*SEEDS, SHOTS_SEED],
        "surroundings": surroundings(BATCH_SIZE),
    }


def evaluate_task(name: str, loaded_task: Any, loaded: LoadedModel) -> list[Row]:
    """Has lm_eval evaluate one task or group on a model that is in memory.

    Raises:
        InputError: lm_eval cannot; its message is not shown, since it may hold text of the documents.
        ResourceError: memory ran out.
    """
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    with quietly(), private_cache(), refused(name, not_evaluated):
        reader = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=BATCH_SIZE)
        random.seed(SEEDS[0])
        np.random.seed(SEEDS[1])
        torch.manual_seed(SEEDS[2])
        found = evaluate(lm=reader, task_dict=loaded_task, bootstrap_iters=RESAMPLES, log_samples=False)
    return rows(found)


def rows(found: Mapping[str, Any]) -> list[Row]:
    """Takes the numbers out of what lm_eval returns; of a group the documents of all its tasks count."""
    sizes = {task: int(size["effective"]) for task, size in found["n-samples"].items()}
    children = found["group_subtasks"]

    def size(task: str) -> int:
        return sizes[task] if task in sizes else sum(size(child) for child in children.get(task, ()))

    result = []
    for task, values in found["results"].items():
        for name, value in values.items():
            metric, separator, filtered = name.partition(",")
            if not separator or metric.endswith("_stderr") or not _is_number(value):
                continue
            stderr = values.get(f"{metric}_stderr,{filtered}")
            result.append(
                Row(
                    task=task,
                    metric=metric,
                    filter=filtered,
                    value=float(value),
                    stderr=float(stderr) if _is_number(stderr) else None,
                    n=size(task),
                    shots=int(found["n-shot"].get(task) or 0),
                    higher=found["higher_is_better"].get(task, {}).get(metric),
                )
            )
    return result


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
