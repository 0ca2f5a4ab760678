"""What a run will take: steps, tokens, memory, disk and time, before the model's weights are read.

Small models are measured: an untrained model of the same configuration takes a few real steps and answers some records.
Large ones are estimated from arithmetic and the speed of a matrix product here, and say so. What counts are processor
seconds, which are the same beside other work; the time on an idle machine is between them and their share of a thread.
"""

from __future__ import annotations

import contextlib
import resource
import tempfile
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from expunge.data.forms import with_forms
from expunge.data.forms.value import question_of
from expunge.data.record import Record
from expunge.data.tokenize import encode_all
from expunge.errors import DivergedError, InputError, InterruptedRunError, UnfitModelError
from expunge.evaluation.answering import answer_needs
from expunge.evaluation.reduce import MIN_SUBJECTS
from expunge.evaluation.verdict.policy import VerdictPolicy
from expunge.functional.statistics import auc, bootstrap_interval
from expunge.methods.base import EditMethod, InferenceMethod
from expunge.methods.recipe import Recipe
from expunge.metrics.base import Need
from expunge.models.load import HUB_ID, LoadedModel, build_model
from expunge.models.tokenizer import load_config, load_tokenizer
from expunge.registry import suites
from expunge.storage.events import Event
from expunge.storage.run import RunFolder
from expunge.workflows.arithmetic import Trial, estimate
from expunge.workflows.effort import NOTHING, Effort, measured, median, now
from expunge.workflows.inputs import SELF, check_models, rejected_facts
from expunge.workflows.produce import produce
from expunge.workflows.rendering import check_written
from expunge.workflows.request import Request
from expunge.workflows.steps import count_steps, own_steps
from expunge.workflows.weights import check_recipe, for_model
from expunge.workflows.work import Work

MEASURED_BYTES = 2_000_000_000  # models up to this size are built and measured
# Up to this many weights by one thread: threads that wait for each other at every small product compute in vain
# meanwhile, beside other work many times as long. Larger models have products long enough, and need all threads.
SMALL_PARAMETERS = 20_000_000
TRIAL_STEPS = 12  # at most; the first one warms up and does not count
TRIAL_SECONDS = 3.0  # processor seconds of steps after which no further one is tried, once three counted
LEAST_STEPS = 3
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
        threads: threads that the run will compute with, if it is started as this plan was.
        train: processor seconds of unlearning.
        train_seconds: fewest and most seconds of unlearning on a machine that does nothing else.
        audit: processor seconds of the audit, without what a paraphraser takes to answer.
        audit_seconds: fewest and most seconds of the audit on a machine that does nothing else.
        basis: ``measured`` on an untrained model of the same size, or ``estimated`` from arithmetic.
        policy: what the verdict will be held to.
        notes: sentences about weights that the choice of weights leaves out.
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
    threads: int
    train: float
    train_seconds: tuple[float, float]
    audit: float
    audit_seconds: tuple[float, float]
    basis: str
    policy: VerdictPolicy
    notes: tuple[str, ...] = ()


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
    check_written(request.model, request.rendering, inputs.audited)
    notes = check_recipe(recipe, request.model)
    recipe = for_model(recipe, request.model, inputs.training)
    splits = {**inputs.training, **inputs.evaluation}
    if request.retain == SELF:
        splits["retain"] = splits["forget"]  # of like length, for the estimate only
    config, tokenizer = load_config(folder), load_tokenizer(folder, request.rendering)
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
    trial = _measure if weights <= MEASURED_BYTES else estimate
    memory, training, audit, parameters = trial(request, recipe, splits, config, tokenizer, steps, tokens)
    audit, threads = audit if request.audit else NOTHING, torch.get_num_threads()
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
        threads=threads,
        train=training.processor,
        train_seconds=training.alone(threads),
        audit=audit.processor,
        audit_seconds=audit.alone(threads),
        basis="measured" if trial is _measure else "estimated",
        policy=request.policy or VerdictPolicy(),
        notes=tuple(notes),
    )


def is_here(source: str | None) -> bool:
    """Whether a model can be looked at without a download."""
    return source is not None and (Path(source).exists() or HUB_ID.fullmatch(source) is None)


def _measure(
    request: Request,
    recipe: Recipe,
    splits: Mapping[str, Sequence[Record]],
    config: Any,
    tokenizer: Any,
    steps: int,
    tokens: Mapping[str, int],
) -> Trial:
    """Takes a few steps and answers a few records with an untrained model of the same configuration."""
    model = build_model(config, seed=0).float()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    with _threads(1 if parameters <= SMALL_PARAMETERS else torch.get_num_threads()):
        return _tried(request, recipe, splits, LoadedModel(model, tokenizer, request.model), parameters)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """Computes with so many threads, and then with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tried(
    request: Request, recipe: Recipe, splits: Mapping[str, Sequence[Record]], loaded: LoadedModel, parameters: int
) -> Trial:
    audit = _time_audit(request, splits, loaded) if request.audit else NOTHING
    training = NOTHING
    for part in recipe.parts:
        if count := own_steps(part, splits):
            step = _time_steps(part, splits, loaded.model, loaded.tokenizer, request.max_length)
            training = training.plus(step.times(count))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kilobytes on Linux
    return Trial(peak, training, audit, parameters)


def _time_steps(
    recipe: Recipe, splits: Mapping[str, Sequence[Record]], model: Any, tokenizer: Any, max_length: int
) -> Effort:
    """Effort of one optimizer step, the first left out; includes writing the event of each step, as a run does."""
    if isinstance(recipe.method, InferenceMethod):
        return NOTHING
    short = replace(recipe, training=replace(recipe.training, max_steps=TRIAL_STEPS, checkpoint_every=0))
    times: list[Effort] = []

    def note(event: Event) -> None:
        if event.kind == "metric":
            times.append(now())

    with tempfile.TemporaryDirectory() as scratch:
        run = RunFolder.create(Path(scratch) / "trial", {"verb": "plan"}, (note,))
        work = Work(
            recipe=short,
            model=model,
            build=lambda: model,
            tokenizer=tokenizer,
            splits=splits,
            run=run,
            max_length=max_length,
            stop_requested=lambda: _is_enough(times),
            checkpoints=run.checkpoints,
            secret=b"plan",
        )
        # An untrained model may diverge, is stopped after a few steps, and answers as no trained one does.
        with contextlib.suppress(DivergedError, InterruptedRunError, UnfitModelError):
            produce(work)
    pairs = zip(times, times[1:], strict=False)
    return median([Effort(after.processor - before.processor, after.wall - before.wall) for before, after in pairs])


def _is_enough(times: Sequence[Effort]) -> bool:
    """Whether steps enough were tried: a few at least, and more where they are short."""
    return len(times) > LEAST_STEPS and times[-1].processor - times[0].processor >= TRIAL_SECONDS


def _time_audit(request: Request, splits: Mapping[str, Sequence[Record]], loaded: LoadedModel) -> Effort:
    """Effort of reading one model, times the number of models; the guardrail before the original only speaks."""
    needs = dict.fromkeys(
        need
        for metric in suites.get(request.suite)(tuple(splits))
        for need in metric.needs()
        if splits.get(need.split) and need.reads_model
    )
    models = 2 + len(request.retrained)
    how: dict[str, Any] = {"max_length": request.max_length, "batch_size": 16}
    read, spoken, is_warm = NOTHING, NOTHING, False
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
        loud = [need for need in mine if need.generates]
        if not is_warm:  # the first passes of a process take many times as long
            answer_needs(loaded, {split: few[:1]}, [*silent, *loud], **how)
            is_warm = True
        quiet = measured(partial(answer_needs, loaded, {split: few}, silent, **how))
        read = read.plus(quiet.times(share))
        spoken = spoken.plus(measured(partial(answer_needs, loaded, {split: few}, loud, **how)).times(share))
    return read.times(models).plus(spoken.times(models + 1)).plus(_time_intervals(request, splits, models))


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


def _time_intervals(request: Request, splits: Mapping[str, Sequence[Record]], models: int) -> Effort:
    """Effort of the intervals of all scores and distances; those of plain means cost next to nothing."""
    sides = [splits["forget"], splits.get("holdout") or splits["forget"]]
    subjects: list[list[Hashable]] = [
        [(side, row.index if row.whom is None else row.whom) for row in rows] for side, rows in enumerate(sides)
    ]
    if min(len(set(names)) for names in subjects) < MIN_SUBJECTS:
        return NOTHING
    suite = suites.get(request.suite)(tuple(splits))
    several = sum(metric.resampled and len(metric.needs()) > 1 for metric in suite)
    values = [np.random.default_rng(side).random(len(rows)) for side, rows in enumerate(sides)]
    one = measured(partial(bootstrap_interval, values, auc, clusters=subjects))
    return one.times(several * (2 * models - 1))


def _shortened(need: Need, rows: Sequence[Record], tokenizer: Any, max_length: int) -> Need:
    """An untrained model never ends its answer; a trained one does after about as many tokens as the truth."""
    if not need.generates:
        return need
    longest = max(example.scored for example in encode_all(rows, tokenizer, max_length=max_length).examples)
    params = {**dict(need.params)}
    params["max_new_tokens"] = min(params["max_new_tokens"], longest)
    return replace(need, params=tuple(sorted(params.items())))
