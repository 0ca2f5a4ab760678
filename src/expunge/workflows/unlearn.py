"""The main verb: a model and records to forget in; an unlearned model, an audit and a report out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from expunge.config import Choice, to_plain
from expunge.data.checks import check_overlaps, check_splits
from expunge.errors import DivergedError, ExpungeError, InterruptedRunError
from expunge.evaluation.verdict.policy import VerdictPolicy
from expunge.methods.base import ExactMethod
from expunge.methods.recipe import Recipe, resolve
from expunge.models.load import load_model, local_folder, save_model, weights_digest
from expunge.registry import suites
from expunge.reports.notebook import RunReport
from expunge.storage import atomic
from expunge.storage.digests import DataKey
from expunge.storage.run import RunFolder, harden_umask
from expunge.training.distributed import launched_strategy, leads, meet
from expunge.workflows.bound import bind_models
from expunge.workflows.card import Reading, make_card
from expunge.workflows.columns import Columns, stored_policy
from expunge.workflows.finished import Finished
from expunge.workflows.forms import FormChoice
from expunge.workflows.identity import model_digest, place_of
from expunge.workflows.inputs import (
    SELF,
    Inputs,
    bind_data,
    check_models,
    for_model,
    model_is_saved,
    read_inputs,
    warn_of_rejected,
)
from expunge.workflows.own_texts import own_records
from expunge.workflows.places import refuse_model_folder
from expunge.workflows.produce import produce, remove_traces
from expunge.workflows.saving import check_dtype, save_and_reload, saved_dtype
from expunge.workflows.signals import STOPPED, stop_on_signal, stopped_by_request
from expunge.workflows.steps import loop_steps
from expunge.workflows.work import Work


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to unlearn, from what, and how.

    Attributes:
        model: folder or Hub id of the model that knows the records.
        out: the run folder.
        forget: file of the records to forget.
        benchmark: where all splits come from for which no file is given.
        retain: file of records to keep, ``"self"`` for text that the model writes itself, or None.
        holdout: file of records of the same kind that no model has seen, for membership inference.
        base: the model as it was before it saw the records, for exact methods.
        retrained: models trained without the records, to compare with.
        method: registry name.
        settings: changes to the method's settings, numbers of the loop and axes.
        evaluation: further splits by name, for the audit (such as world_facts) or for the method (such as general).
        suite: metrics of the audit.
        forms: further forms of the forget records for the audit: ``auto``, ``none``, or names with commas.
        paraphraser: model folder, Hub id or address that gives other wordings where there are none.
        allow_remote: whether records may be sent to an address.
        dtype: of the saved weights: float32, bfloat16 or float16; None for the dtype of the model.
        audit: whether to audit at all.
        policy: what the result is held to, fixed with the run; None for the default thresholds.
        max_length: longest record, tokens.
        columns: column of each field whose column in the files has another name, such as ``{"answer": "response"}``.
        allow_rejected: leave out records to forget that cannot be read, instead of refusing their file.
        allow_overlap: go on although records are in two sets; the report says how many.
        keep_helpers: keep checkpoints and helper models, whose weights hold the forget set.
        family: folder whose key the run shares with its siblings in it; what a sibling stored of a model that both
            read is taken from there.
    """

    model: str
    out: Path
    forget: Path | None = None
    benchmark: Choice | None = None
    retain: Path | str | None = None
    holdout: Path | None = None
    base: str | None = None
    retrained: tuple[str, ...] = ()
    method: str = "npo"
    settings: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Path] = field(default_factory=dict)
    suite: str = "quick"
    forms: str = "auto"
    paraphraser: str | None = None
    allow_remote: bool = False
    dtype: str | None = None
    audit: bool = True
    policy: VerdictPolicy | None = None
    max_length: int = 512
    columns: Mapping[str, str] = field(default_factory=dict)
    allow_rejected: bool = False
    allow_overlap: bool = False
    keep_helpers: bool = False
    family: Path | None = None

    @property
    def siblings(self) -> tuple[Path, ...]:
        """``scores/`` of the other runs of the family."""
        found = () if self.family is None else sorted(self.out.parent.glob("*/scores"))
        return tuple(folder for folder in found if folder.parent != self.out)

    @property
    def retain_file(self) -> Path | None:
        """The retain file, if a file was given."""
        return Path(self.retain) if self.retain is not None and str(self.retain) != SELF else None

    @property
    def form_choice(self) -> FormChoice:
        """What the audit adds to the forget records."""
        return FormChoice(names=self.forms, paraphraser=self.paraphraser, allow_remote=self.allow_remote)

    def read(self, *, check_model: bool = True) -> tuple[Recipe, Inputs]:
        """Resolves the method and reads the records, and refuses what cannot be run before any model is loaded.

        Args:
            check_model: read the model folders' layout too, adapt the recipe to the model, look for the paraphraser.

        Raises:
            InputError: a record, a setting or a need that is wrong or missing.
        """
        refuse_model_folder(self.out, (self.model, self.base, *self.retrained, self.paraphraser))
        self.form_choice.check(fetch=check_model)
        recipe = resolve(self.method, self.settings)
        recipe.create_axes()
        check_dtype(self.dtype, recipe)
        suites.get(self.suite)
        files = {"forget": self.forget, "retain": self.retain_file, "holdout": self.holdout}
        read = read_inputs(
            files, self.evaluation, self.benchmark, columns=self.columns, allow_rejected=self.allow_rejected
        )
        inputs = read.with_needs(recipe.needs())
        supplied = {"base": self.base is not None, "retain": self.retain == SELF}
        recipe.check(inputs.available | {need for need, there in supplied.items() if there})
        kept = [] if self.retain == SELF else inputs.training.get("retain", [])
        forget, trained = inputs.training.get("forget", []), set(recipe.needs()) - {"forget", "retain", "holdout"}
        for name, records in (("retain", kept), *((name, inputs.training.get(name, [])) for name in sorted(trained))):
            check_splits(forget, records, allow_overlap=self.allow_overlap, name=name)
        check_overlaps(inputs.audited, allow_overlap=self.allow_overlap)
        if check_model:
            check_models(self.model, self.base, *self.retrained)
            recipe = for_model(recipe, self.model, inputs.training)
        return recipe, inputs


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


def run_config(request: Request, recipe: Recipe, inputs: Inputs) -> dict[str, Any]:
    """Every setting of a run, without any text or file name of the records."""
    counts = {split: len(records) for split, records in inputs.splits.items()}
    held_to = {} if request.policy is None else {"policy": to_plain(request.policy)}
    return {"verb": "unlearn", **recipe_config(recipe), **source_config(request), **held_to, "records": counts}


def recipe_config(recipe: Recipe) -> dict[str, Any]:
    """What is done to the model."""
    stages = {"before": [recipe_config(stage) for stage in recipe.before]} if recipe.before else {}
    return {
        "method": recipe.name,
        "settings": to_plain(recipe.method),
        "axes": to_plain(recipe.axes),
        "training": to_plain(recipe.training),
        **({} if recipe.adapted is None else {"adapted": to_plain(recipe.adapted)}),
        **stages,
    }


def source_config(request: Request) -> dict[str, Any]:
    """Which models are read, how the records are read, and the dtype of what is saved."""
    return {
        "model": place_of(request.model),
        "base": place_of(request.base) if request.base else None,
        "max_length": request.max_length,
        "retain": "self" if request.retain == SELF else None,
        "benchmark": to_plain(request.benchmark),
        **({} if request.dtype is None else {"dtype": request.dtype}),
    }


def audit_config(request: Request) -> dict[str, Any]:
    """What the audit compares with and asks; a run may be audited again with another, so it is not bound to this."""
    return {
        "retrained": [place_of(place) for place in request.retrained],
        "forms": request.forms,
        "paraphraser": request.form_choice.identity,
    }


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
    loaded = load_model(start)
    dtype = saved_dtype(loaded.model, request.dtype)
    splits = inputs.training
    if request.retain == SELF:
        splits["retain"] = own_records(loaded, recipe.training.seed, request.max_length)
    digest = weights_digest(loaded.model)
    max_length = loaded.limit(request.max_length)
    if max_length < request.max_length:
        run.events.append("warning", text=f"Records are cut to the {max_length} positions that the model has.")
    work = Work(
        recipe=recipe,
        model=loaded.model.float(),  # small updates vanish in half precision; the result is saved in the saved dtype
        build=lambda: load_model(start).model.float(),
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
    run.events.append("phase", name="load the model")
    work, before, dtype, source = _prepare(request, recipe, inputs, run, stop_requested)
    total = None if recipe.before else loop_steps(recipe, work.splits)  # every stage is a phase of its own
    run.events.append("phase", name=f"unlearn with {recipe.name}", total=total)
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
