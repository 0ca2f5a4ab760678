"""The main verb: a model and records to forget in; an unlearned model, an audit and a report out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from expunge.data.templates import attach
from expunge.errors import DivergedError, ExpungeError, InterruptedRunError
from expunge.evaluation.verdict.policy import VerdictPolicy
from expunge.methods.base import ExactMethod
from expunge.methods.recipe import Recipe
from expunge.models.load import load_model, local_folder, save_model, weights_digest
from expunge.reports.notebook import RunReport
from expunge.storage import atomic
from expunge.storage.digests import DataKey
from expunge.storage.run import RunFolder, harden_umask
from expunge.training.distributed import launched_strategy, leads, meet
from expunge.workflows.bound import bind_models
from expunge.workflows.card import Reading, make_card
from expunge.workflows.columns import Columns, stored_policy
from expunge.workflows.finished import Finished
from expunge.workflows.identity import model_digest
from expunge.workflows.inputs import SELF, Inputs, bind_data, model_is_saved, warn_of_rejected
from expunge.workflows.own_texts import own_records
from expunge.workflows.produce import produce, remove_traces
from expunge.workflows.rendering import keep_rendering, settle_end
from expunge.workflows.request import Request
from expunge.workflows.run_config import run_config
from expunge.workflows.saving import save_and_reload, saved_dtype
from expunge.workflows.signals import STOPPED, stop_on_signal, stopped_by_request
from expunge.workflows.work import Work


def unlearn(request: Request, listeners: Sequence[Any] = ()) -> Finished:
    """Runs a request; run again, it goes on where an interrupted run stopped.

    Args:
        request: what to do.
        listeners: called with each event.

    Raises:
        InputError: something handed in cannot be used; nothing was written unless the run folder says so.
        DivergedError: the training diverged; the last good checkpoint is in the run folder.
        InterruptedRunError: stopped on request.
        VerificationError: a model is not the one that the run was made with.
    """
    harden_umask()
    recipe, inputs = request.read()
    launched_strategy()  # refuses a launch that the loop does not know
    if not leads():
        return _train_along(request, recipe, inputs)
    run = RunFolder.create(request.out, run_config(request, recipe, inputs), tuple(listeners))
    with run.locked(), stop_on_signal() as stop_requested:
        keep_rendering(run, request.rendering)
        warn_of_rejected(run, inputs)
        if request.family is not None:
            DataKey.share(request.family, run.root)
        bind_data(run, inputs.splits)
        bound = bind_models(run, {"model": request.model, "base": request.base})
        is_saved = model_is_saved(run)
        meet()  # from here on the other processes find the run folder
        try:
            with stopped_by_request(stop_requested, STOPPED):
                if not is_saved:
                    _make_model(request, recipe, inputs, run, stop_requested, bound["model"])
                if not request.keep_helpers:
                    remove_traces(run)  # also those of a process that died before it came here
                return Finished(run, _audit(request, inputs, run, stop_requested))
        except (InterruptedRunError, KeyboardInterrupt):
            run.set_state("interrupted")
            raise
        except DivergedError:
            raise  # the state says so already
        except Exception:
            with contextlib.suppress(ExpungeError):  # the disk may be what failed
                run.set_state("failed")
            raise


class LoadedWork(NamedTuple):
    """A loaded model and everything its recipe needs."""

    work: Work
    digest: str  # of the weights as they were loaded
    dtype: torch.dtype  # of the weights to save
    source: Path  # folder of the model


def _prepare(
    request: Request, recipe: Recipe, inputs: Inputs, run: RunFolder, stop_requested: Callable[[], bool]
) -> LoadedWork:
    start = request.base if isinstance(recipe.method, ExactMethod) and request.base else request.model
    loaded = load_model(start, rendering=request.rendering)
    dtype = saved_dtype(loaded.model, request.dtype)
    splits = inputs.training
    if request.retain == SELF:
        splits["retain"] = own_records(loaded, recipe.training.seed, request.max_length)
    digest = weights_digest(loaded.model)
    max_length = loaded.limit(request.max_length)
    same = (lambda: loaded) if start == request.model else None
    attach(
        loaded.tokenizer,
        settle_end(run, request.rendering, request.model, splits, request.max_length, load=same),
    )
    if max_length < request.max_length:
        run.events.append("warning", text=f"Records are cut to the {max_length} positions that the model has.")
    work = Work(
        recipe=recipe,
        model=loaded.model.float(),  # small updates vanish in half precision; the result is saved in the saved dtype
        build=lambda: load_model(start, rendering=request.rendering).model.float(),
        tokenizer=loaded.tokenizer,
        splits=splits,
        run=run,
        max_length=max_length,
        stop_requested=stop_requested,
        checkpoints=run.checkpoints,
        secret=bytes.fromhex(DataKey.load_or_create(run.root).hmac("policy")),
    )
    return LoadedWork(work, digest, dtype, local_folder(start))


def _train_along(request: Request, recipe: Recipe, inputs: Inputs) -> Finished:
    """What every process of a launch but the first does: its share of the training, and no writing."""
    meet()
    run = RunFolder.watch(request.out)
    with stop_on_signal() as stop_requested:
        if not model_is_saved(run):
            produce(_prepare(request, recipe, inputs, run, stop_requested).work)
    return Finished(run, None)


def _make_model(
    request: Request,
    recipe: Recipe,
    inputs: Inputs,
    run: RunFolder,
    stop_requested: Callable[[], bool],
    original: str,
) -> None:
    run.set_state("running")
    with run.phases.phase("load the model"):
        work, before, dtype, source = _prepare(request, recipe, inputs, run, stop_requested)
    began = time.perf_counter()
    product = produce(work)
    seconds = time.perf_counter() - began
    if product.trouble is not None:
        save_model(product.model, work.tokenizer, run.model, dtype=dtype, source=source, replace=True)
        run.set_state("diverged", reason=str(product.trouble))
        raise product.trouble
    if product.policy is not None:
        atomic.write_json(run.root / "policy.json", product.policy.to_plain())
        digest = None
    else:
        digest = save_and_reload(product.model, work.tokenizer, run, dtype, source)
        if digest == before:
            run.events.append("warning", text="The weights did not change; the method did nothing.")
    run.events.append(
        "saved",
        before=before,
        digest=digest,
        dtype=None if digest is None else str(dtype).removeprefix("torch."),
        folders={"original": original, **({"unlearned": model_digest(run.model)} if digest else {})},
        steps=product.result.steps,
        reason=product.result.reason,
        seconds=seconds,
    )


def _audit(request: Request, inputs: Inputs, run: RunFolder, stop_requested: Callable[[], bool]) -> RunReport | None:
    record = None
    if request.audit:
        policy = stored_policy(run)
        columns = Columns(
            original=request.model,
            candidate=request.model if policy else str(run.model),
            retrained=request.retrained,
            policy=policy,
            rendering=settle_end(run, request.rendering, request.model, inputs.splits, request.max_length),
        )
        reading = Reading(
            suite=request.suite,
            forms=request.form_choice,
            max_length=request.max_length,
            policy=request.policy or VerdictPolicy(),
            known=request.siblings,
            rejected=inputs.rejected,
        )
        record = make_card(run, inputs.audited, columns, reading, stop_requested=stop_requested)
    run.set_state("done")
    return record
