"""What a run will take: steps, tokens, memory, disk and time, before the model's weights are read.

Small models are measured: an untrained model of the same configuration takes a few real steps and answers some records.
Large ones are estimated from arithmetic and the speed of a matrix product here, and say so.
"""

from __future__ import annotations

import contextlib
import resource
import statistics
import tempfile
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from expunge.data.forms import with_forms
from expunge.data.forms.value import question_of
from expunge.data.record import Record
from expunge.data.tokenize import encode_all
from expunge.errors import ExpungeError, InputError
from expunge.evaluation.answering import answer_needs
from expunge.evaluation.reduce import MIN_SUBJECTS
from expunge.evaluation.verdict.policy import VerdictPolicy
from expunge.functional.statistics import auc, bootstrap_interval
from expunge.methods.base import EditMethod, InferenceMethod, LossMethod
from expunge.methods.recipe import Recipe
from expunge.metrics.base import Need
from expunge.models.load import HUB_ID, LoadedModel, build_model
from expunge.models.tokenizer import load_config, load_tokenizer
from expunge.registry import parameter_choices, suites
from expunge.storage.run import RunFolder
from expunge.workflows.arithmetic import estimate, timed
from expunge.workflows.inputs import SELF, check_models, for_model, rejected_facts
from expunge.workflows.produce import produce
from expunge.workflows.steps import count_steps, own_steps
from expunge.workflows.unlearn import Request
from expunge.workflows.work import Work

MEASURED_BYTES = 2_000_000_000  # models up to this size are built and measured
TRIAL_STEPS = 4  # the first one warms up and does not count
TRIAL_RECORDS = 16  # of each split, for the time of the audit


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will take.

    Attributes:
        method: what was asked for.
        records: records by split.
        tokens: tokens by split.
        rejected: lines that were left out of the files, with their reasons, by split.
        steps: optimizer steps, those of helper models included.
        reasons: learning rate and epochs, each with where it comes from; empty for a method that minimises no loss.
        parameters: weights of the model.
        memory_bytes: largest resident memory of the process.
        disk_bytes: what the run folder will hold at its largest.
        train_seconds: time of unlearning.
        audit_seconds: time of the audit, without what a paraphraser takes to answer.
        basis: ``measured`` on an untrained model of the same size, or ``estimated`` from arithmetic.
        policy: what the verdict will be held to.
    """

    method: str
    records: Mapping[str, int]
    tokens: Mapping[str, int]
    rejected: Mapping[str, Any]
    steps: int
    reasons: Mapping[str, str]
    parameters: int
    memory_bytes: int
    disk_bytes: int
    train_seconds: float
    audit_seconds: float
    basis: str
    policy: VerdictPolicy


def plan(request: Request) -> Plan:
    """Returns what a request will take, or refuses as ``unlearn`` would; a paraphraser is neither loaded nor asked.

    Raises:
        InputError: something that ``unlearn`` would refuse.
    """
    folder = Path(request.model)
    recipe, inputs = request.read(check_model=False)
    if not folder.is_dir():
        raise InputError("A plan reads a local model folder; download the model first.")
    check_models(request.model, *(source for source in (request.base, *request.retrained) if is_here(source)))
    recipe = for_model(recipe, request.model, inputs.training)
    splits = {**inputs.training, **inputs.evaluation}
    if request.retain == SELF:
        splits["retain"] = splits["forget"]  # of like length, for the estimate only
    config, tokenizer = load_config(folder), load_tokenizer(folder)
    tokens = {
        split: sum(
            len(example.input_ids) for example in encode_all(rows, tokenizer, max_length=request.max_length).examples
        )
        for split, rows in splits.items()
    }
    steps = count_steps(recipe, splits)
    stages = sum(own_steps(part, splits) > 0 for part in recipe.parts)
    helpers = len(recipe.method.helpers()) if isinstance(recipe.method, EditMethod) else 0
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    _check_parameters(recipe, config)
    trial = _measure if weights <= MEASURED_BYTES else estimate
    memory, train_seconds, audit_seconds, parameters = trial(request, recipe, splits, config, tokenizer, steps, tokens)
    return Plan(
        method=recipe.name,
        records={split: len(rows) for split, rows in splits.items()},
        tokens=tokens,
        rejected={split: rejected_facts(lines) for split, lines in inputs.rejected.items()},
        steps=steps,
        reasons=recipe.reasons(),
        parameters=parameters,
        memory_bytes=memory,
        # the result; for each stage two checkpoints of weights and two moments, in float32; helper models
        disk_bytes=weights + 2 * 3 * 4 * parameters * stages + 4 * parameters * helpers,
        train_seconds=train_seconds,
        audit_seconds=audit_seconds if request.audit else 0.0,
        basis="measured" if trial is _measure else "estimated",
        policy=request.policy or VerdictPolicy(),
    )


def is_here(source: str | None) -> bool:
    """Whether a model can be looked at without a download."""
    return source is not None and (Path(source).exists() or HUB_ID.fullmatch(source) is None)


def _check_parameters(recipe: Recipe, config: Any) -> None:
    """Refuses a choice of weights that the model cannot take, on a model without memory."""
    for part in recipe.parts:
        if isinstance(part.method, LossMethod):
            with torch.device("meta"):
                part.axes.parameters.create(parameter_choices).apply(build_model(config, seed=0))


def _measure(
    request: Request,
    recipe: Recipe,
    splits: Mapping[str, Sequence[Record]],
    config: Any,
    tokenizer: Any,
    steps: int,
    tokens: Mapping[str, int],
) -> tuple[int, float, float, int]:
    """Takes a few steps and answers a few records with an untrained model of the same configuration."""
    model = build_model(config, seed=0).float()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    audit_seconds = _time_audit(request, splits, LoadedModel(model, tokenizer, request.model)) if request.audit else 0.0
    counts = [(part, own_steps(part, splits)) for part in recipe.parts]
    train_seconds = sum(
        count * _time_steps(part, splits, model, tokenizer, request.max_length) for part, count in counts if count
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
    return peak, train_seconds, audit_seconds, parameters


def _time_steps(
    recipe: Recipe, splits: Mapping[str, Sequence[Record]], model: Any, tokenizer: Any, max_length: int
) -> float:
    """Seconds of one optimizer step, the first left out; includes writing the event of each step, as a run does."""
    if isinstance(recipe.method, InferenceMethod):
        return 0.0
    limit = TRIAL_STEPS
    short = replace(recipe, training=replace(recipe.training, max_steps=limit, checkpoint_every=0))
    times: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        run = RunFolder.create(
            Path(scratch) / "trial", {"verb": "plan"}, (lambda event: times.append(time.perf_counter()),)
        )
        work = Work(
            recipe=short,
            model=model,
            build=lambda: model,
            tokenizer=tokenizer,
            splits=splits,
            run=run,
            max_length=max_length,
            stop_requested=lambda: len(times) > limit,
            checkpoints=run.checkpoints,
            secret=b"plan",
        )
        times.clear()
        with contextlib.suppress(ExpungeError):  # random weights may diverge or be stopped; the times count
            produce(work)
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    return statistics.median(gaps[1:] or gaps) if gaps else 0.0


def _time_audit(request: Request, splits: Mapping[str, Sequence[Record]], loaded: LoadedModel) -> float:
    """Seconds of reading one model, times the number of models; the guardrail before the original only speaks."""
    needs = dict.fromkeys(
        need
        for metric in suites.get(request.suite)(tuple(splits))
        for need in metric.needs()
        if splits.get(need.split) and need.reads_model
    )
    models = 2 + len(request.retrained)
    how: dict[str, Any] = {"max_length": request.max_length, "batch_size": 16}
    total, spoken = 0.0, 0.0
    for split, rows in splits.items():
        few = list(rows)[:TRIAL_RECORDS]
        if split == "forget":
            choice = request.form_choice
            few = list(map(_as_if_reworded, few)) if choice.paraphraser is not None else few
            names = choice.added(rows, has_reference=bool(request.retrained))
            few = with_forms(few, names, decoy_kinds=choice.decoy_kinds)
        mine = [_shortened(need, few, loaded.tokenizer, request.max_length) for need in needs if need.split == split]
        silent = [_alone(need) for need in mine if not need.generates]
        share = len(rows) / len(few)
        total += share * timed(lambda: answer_needs(loaded, {split: few}, silent, **how))  # noqa: B023 - called here
        loud = [need for need in mine if need.generates]
        spoken += share * timed(lambda: answer_needs(loaded, {split: few}, loud, **how))  # noqa: B023
    return total * models + spoken * (models + 1) + _time_intervals(request, splits, models)


def _alone(need: Need) -> Need:
    """What takes a model about as long as reading beside another one."""
    return Need(kind="moments", split=need.split, form=need.form) if need.paired else need


def _as_if_reworded(record: Record) -> Record:
    """The record as if a paraphraser gave every wording that is missing, each as long as what it says anew."""
    question, answer = record.paraphrased_question, record.paraphrased_answer
    if question is None and (asked := question_of(record)) is not None:
        question = record.answer.relabel(asked)
    return replace(
        record, paraphrased_question=question, paraphrased_answer=record.answer if answer is None else answer
    )


def _time_intervals(request: Request, splits: Mapping[str, Sequence[Record]], models: int) -> float:
    """Seconds of the intervals of all scores and distances; those of plain means cost next to nothing."""
    sides = [splits["forget"], splits.get("holdout") or splits["forget"]]
    subjects: list[list[Hashable]] = [
        [(side, row.index if row.subject is None else row.subject) for row in rows] for side, rows in enumerate(sides)
    ]
    if min(len(set(names)) for names in subjects) < MIN_SUBJECTS:
        return 0.0
    suite = suites.get(request.suite)(tuple(splits))
    several = sum(metric.resampled and len(metric.needs()) > 1 for metric in suite)
    values = [np.random.default_rng(side).random(len(rows)) for side, rows in enumerate(sides)]
    one = timed(lambda: bootstrap_interval(values, auc, clusters=subjects))
    return float(one * several * (2 * models - 1))


def _shortened(need: Need, rows: Sequence[Record], tokenizer: Any, max_length: int) -> Need:
    """An untrained model never ends its answer; a trained one does after about as many tokens as the truth."""
    if not need.generates:
        return need
    longest = max(example.scored for example in encode_all(rows, tokenizer, max_length=max_length).examples)
    params = {**dict(need.params)}
    params["max_new_tokens"] = min(params["max_new_tokens"], longest)
    return replace(need, params=tuple(sorted(params.items())))
