"""Runs one recipe on a loaded model: trains, edits, retrains or wraps, by the kind of the method."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from expunge.data.batch import Example
from expunge.data.tokenize import pad_id, stop_id
from expunge.errors import DivergedError, InputError
from expunge.exact.retrain import FitTask
from expunge.methods.base import (
    EditMethod,
    EditTask,
    ExactMethod,
    HelperSpec,
    InferenceMethod,
    LossMethod,
    ViewSpec,
    WrapTask,
)
from expunge.methods.finetune import Finetune
from expunge.methods.preset import Axes, Training
from expunge.methods.retain import NoRetain
from expunge.models.tensors import write_tensors
from expunge.registry import parameter_choices
from expunge.storage import atomic
from expunge.storage.run import RunFolder
from expunge.training.curvature import empirical_fisher
from expunge.training.distributed import gathered, launched_strategy, leads
from expunge.training.loop import Job, TrainResult, train
from expunge.training.references import build_references
from expunge.training.step import ReferenceLike, view_specs
from expunge.workflows.steps import helper_steps, loop_steps
from expunge.workflows.work import Work


class Product(NamedTuple):
    """What a recipe made: the plain model, or a policy around the unchanged one, and how the run ended.

    Where the training diverged, ``model`` is the last good checkpoint and ``trouble`` says what happened.
    """

    model: Any
    policy: Any
    result: TrainResult
    trouble: DivergedError | None = None


def produce(work: Work) -> Product:
    """Runs the recipe, its earlier stages first.

    Raises:
        DivergedError: a helper model diverged, so there is nothing to save.
        InterruptedRunError: stopped on request.
    """
    if not work.recipe.before:
        return _stage(work, f"unlearn with {work.recipe.name}", None)
    with work.run.phases.phase(f"unlearn with {work.recipe.name}"):
        # What the last stage reads of the original is read before anything changes it.
        examples = _examples(work)
        prepared = Prepared(examples, _references(work, work.model, examples))
    model = work.model
    for number, recipe in enumerate(work.recipe.before):
        stage = replace(
            work, recipe=recipe, model=model, checkpoints=work.checkpoints / f"before-{number}-{recipe.name}"
        )
        product = _stage(stage, f"first {recipe.name}", None)
        if product.trouble is not None:
            return product
        model = product.model
    return _stage(replace(work, model=model), f"then {work.recipe.name}", prepared)


def _stage(work: Work, name: str, prepared: Prepared | None) -> Product:
    """Runs one recipe as a phase that ends where the loop did; helper models have phases of their own before it."""
    method, loop = work.recipe.method, loop_steps(work.recipe, work.splits)
    helpers = _helpers(work, method) if isinstance(method, EditMethod) else {}
    steps = work.run.phases.begin(name, loop or 1, None)  # a checkpoint says which step comes first
    product = _by_edit(work, method, helpers) if isinstance(method, EditMethod) else _produce(work, prepared)
    if product.trouble is None:
        steps.end(product.result.steps if loop else None)
    return product


def _produce(work: Work, prepared: Prepared | None) -> Product:
    method = work.recipe.method
    if isinstance(method, LossMethod):
        return _by_loss(work, method, prepared)
    if isinstance(method, ExactMethod):
        return _exactly(work, method)
    if isinstance(method, InferenceMethod):
        forget, retain = tuple(work.splits["forget"]), tuple(work.splits.get("retain", ()))
        policy = method.wrap(work.model, WrapTask(forget=forget, retain=retain, secret=work.secret))
        return Product(None, policy, TrainResult(0, "the weights were not touched"))
    raise InputError(f"{type(method).__name__} is of no kind that can be run.")


class Prepared(NamedTuple):
    """What the loop reads: tokenised records of each view, and references to the original."""

    examples: dict[str, list[Example]]
    references: dict[str, ReferenceLike]


def _examples(work: Work) -> dict[str, list[Example]]:
    """Tokenised records of each view; relabellers and token choices read the model as it is now."""
    specs = _specs(work)
    return {spec.name: work.viewed(spec, main=spec.source == specs[0].source) for spec in specs}


def _references(work: Work, model: Any, examples: Mapping[str, list[Example]]) -> dict[str, ReferenceLike]:
    kind, filler = work.recipe.axes.reference, pad_id(work.tokenizer)
    return build_references(model, _specs(work), examples, kind=kind, pad_id=filler, batch_size=16)


def _specs(work: Work) -> tuple[ViewSpec, ...]:
    method = work.recipe.method
    return view_specs(method, work.recipe.retain_term) if isinstance(method, LossMethod) else ()


def _by_loss(work: Work, method: LossMethod, prepared: Prepared | None) -> Product:
    axes = work.recipe.axes
    examples = _examples(work) if prepared is None else prepared.examples
    probes = {source: work.encoded(source) for source in work.recipe.probes()}
    choice = axes.parameters.create(parameter_choices)
    if (note := choice.left_out(work.model)) is not None:
        work.warn(note, limit=True)
    model = choice.apply(work.model)  # with an adapter, it is its own reference
    references = _references(work, model, examples) if prepared is None else prepared.references
    job = Job(
        model=model,
        method=method,
        retain_term=work.recipe.retain_term,
        axes=axes,
        training=work.recipe.training,
        examples=examples,
        references=references,
        pad_id=pad_id(work.tokenizer),
        end_id=stop_id(work.tokenizer),
        probes=probes,
        checkpoints=work.checkpoints,
        listener=work.log_step,
        warn=work.warn,
        micro_batch_changed=work.log_micro_batch,
        stop_requested=work.stop_requested,
    )
    result, trouble = _attempt(lambda: train(job))
    whole = gathered(model, lambda: choice.apply(work.build()))
    return Product(choice.export(whole), None, result, trouble)


def _attempt(training: Callable[[], TrainResult]) -> tuple[TrainResult, DivergedError | None]:
    try:
        return training(), None
    except DivergedError as trouble:
        return TrainResult(0, str(trouble)), trouble


def _helpers(work: Work, method: EditMethod) -> dict[str, dict[str, torch.Tensor]]:
    """Weights of the models that an edit needs, trained one after the other."""
    if launched_strategy() == "fsdp2":
        raise InputError(f"The method {work.recipe.name!r} edits a whole model; launch it without FSDP.")
    specs = method.helpers()
    kept = work.model.named_parameters() if specs else ()  # a copy only where training takes the original's place
    original = {name: weight.detach().clone() for name, weight in kept}
    return {spec.name: _helper(work, spec, original) for spec in specs}


def _by_edit(work: Work, method: EditMethod, helpers: Mapping[str, dict[str, torch.Tensor]]) -> Product:
    task = EditTask(
        helpers=helpers,
        forget=tuple(work.splits["forget"]),
        fisher=lambda split, records: _fisher(work, split, records),
        seed=work.recipe.training.seed,
    )
    method.edit(work.model, task)
    return Product(work.model, None, TrainResult(0, "edited in one step"))


def _fisher(work: Work, split: str, records: int) -> Mapping[str, torch.Tensor]:
    with torch.enable_grad():
        model = work.model.requires_grad_(True)
        return empirical_fisher(model, work.encoded(split), pad_id(work.tokenizer), records)


def _helper(work: Work, spec: HelperSpec, original: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Trains a helper model in the place of the original, keeps its weights in the run, and puts the original back."""
    total = helper_steps(work.recipe.training, spec, work.splits)
    steps = work.run.phases.begin(f"train the helper model {spec.name}", total, None)
    training = Training(
        learning_rate=spec.learning_rate,
        epochs=spec.epochs,
        batch_size=work.recipe.training.batch_size,
        schedule="constant",
        warmup=0.0,
        seed=work.recipe.training.seed,
    )
    result = train(
        Job(
            model=work.model.requires_grad_(True),
            method=Finetune(source=spec.trained_on),
            retain_term=NoRetain(),
            axes=Axes(),
            training=training,
            examples={"train": work.encoded(spec.trained_on)},
            pad_id=pad_id(work.tokenizer),
            checkpoints=work.run.helpers / f"{spec.name}-checkpoints",
            listener=work.log_step,
            warn=work.warn,
            micro_batch_changed=work.log_micro_batch,
            stop_requested=work.stop_requested,
        )
    )
    steps.end(result.steps)
    trained = {name: weight.detach().clone() for name, weight in work.model.named_parameters()}
    if leads():
        with atomic.folder(work.run.helpers / spec.name, replace=True) as temporary:
            write_tensors(temporary / "weights.safetensors", trained)
    with torch.no_grad():
        for name, weight in work.model.named_parameters():
            weight.copy_(original[name])
    return trained


def _exactly(work: Work, method: ExactMethod) -> Product:
    task = FitTask(
        model=work.model.requires_grad_(True),
        keep=work.encoded("retain"),
        leave_out=work.encoded("forget"),
        axes=work.recipe.axes,
        training=work.recipe.training,
        pad_id=pad_id(work.tokenizer),
        checkpoints=work.checkpoints,
        listener=work.log_step,
        warn=work.warn,
        micro_batch_changed=work.log_micro_batch,
        stop_requested=work.stop_requested,
    )
    result, trouble = _attempt(lambda: method.fit(task))
    return Product(gathered(work.model, work.build), None, result, trouble)


def remove_traces(run: RunFolder) -> None:
    """Deletes checkpoints and helper models: their weights hold the forget set."""
    for folder in (run.checkpoints, run.helpers):
        _remove(folder)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
