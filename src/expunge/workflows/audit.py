"""Compares a model with the original and with models that never saw the records; writes record and report."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from expunge.config import Choice, build, to_plain
from expunge.data.checks import check_overlaps, check_splits
from expunge.data.record import Record
from expunge.data.templates import DEFAULT, Rendering
from expunge.errors import InputError
from expunge.evaluation.subjects import Access
from expunge.evaluation.verdict.policy import VerdictPolicy
from expunge.metrics.ulira import INSIDE, OUTSIDE
from expunge.registry import suites
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder, harden_umask
from expunge.workflows.attacks import AttackChoice
from expunge.workflows.card import Reading, data_of, make_card
from expunge.workflows.columns import REMEMBERED, Columns, is_gone, stored_policy
from expunge.workflows.finished import Finished
from expunge.workflows.forms import FormChoice
from expunge.workflows.harness_tasks import TaskChoice, Tasks, load_tasks
from expunge.workflows.identity import place_of
from expunge.workflows.inputs import Inputs, bind_data, model_is_saved, read_inputs, warn_of_rejected
from expunge.workflows.places import refuse_model_folder
from expunge.workflows.prompted import check_access, parse_audited
from expunge.workflows.remote import is_address
from expunge.workflows.rendering import keep_rendering, kept_rendering, rendering_config, settle_end
from expunge.workflows.signals import STOPPED, stop_on_signal, stopped_by_request
from expunge.workflows.states import logged_states


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What to compare.

    Attributes:
        target: a run folder of ``expunge unlearn``, a model folder whoever unlearned it, or, as text, the address of a
            model such as ``https://host/v1#name``.
        out: where scores, record and report go; not for a run, since it keeps its own.
        original: the model before; taken from the run where there is one. Through prompts alone it may be missing.
        retrained: models that never saw the records.
        reference: other models that never saw the records, such as the base model, for attacks that compare with one;
            those of the last audit of a run where none are named.
        shadow_unlearned: models of the same recipe with other seeds, trained with the records and unlearned, for
            U-LiRA; those of the last audit of a run where none are named.
        shadow_retrained: the same, trained without the records.
        forget: file of the records to forget.
        benchmark: where all splits come from for which no file is given; a run made on one knows it.
        retain: file of records to keep.
        holdout: file of records no model has seen.
        evaluation: further splits by name, such as world_facts.
        suite: metrics.
        forms: further forms of the forget records by rule: ``auto``, ``none``, or names with commas.
        paraphraser: model folder, Hub id or address that gives other wordings where there are none.
        allow_remote: whether records may be sent to an address.
        access: what may be read of the target: its weights, or only what it says to prompts.
        max_length: longest record, tokens.
        columns: column of each field whose column in the files has another name, such as ``{"answer": "response"}``.
        rendering: how records are written: template, system prompt, date, thinking; None for as the run wrote them.
        allow_rejected: leave out records to forget that cannot be read, instead of refusing their file.
        allow_overlap: go on although records are in two sets; the report says how many.
        policy: what the result is held to; None for the run's own, or the defaults.
        lm_eval: tasks of lm_eval, with commas.
        lm_eval_tasks: folders of further task files for it.
        attacks: attacks to run first; None for none.
    """

    target: Path | str
    forget: Path | None = None
    benchmark: Choice | None = None
    out: Path | None = None
    original: str | None = None
    retrained: tuple[str, ...] = ()
    reference: tuple[str, ...] = ()
    shadow_unlearned: tuple[str, ...] = ()
    shadow_retrained: tuple[str, ...] = ()
    retain: Path | None = None
    holdout: Path | None = None
    evaluation: Mapping[str, Path] = field(default_factory=dict)
    suite: str = "quick"
    forms: str = "auto"
    paraphraser: str | None = None
    allow_remote: bool = False
    access: Access = "weights"
    max_length: int = 512
    columns: Mapping[str, str] = field(default_factory=dict)
    rendering: Rendering | None = None
    allow_rejected: bool = False
    allow_overlap: bool = False
    policy: VerdictPolicy | None = None
    lm_eval: str | None = None
    lm_eval_tasks: tuple[Path, ...] = ()
    attacks: AttackChoice | None = None

    @property
    def form_choice(self) -> FormChoice:
        """What to add to the forget records."""
        return FormChoice(names=self.forms, paraphraser=self.paraphraser, allow_remote=self.allow_remote)

    @property
    def models(self) -> tuple[str | Path | None, ...]:
        """Every place that may be a model folder."""
        target = None if is_address(self.target) or RunFolder.is_run(self.folder) else self.target
        shadows = (*self.shadow_unlearned, *self.shadow_retrained)
        return (target, self.original, self.paraphraser, *self.retrained, *self.reference, *shadows)

    @property
    def folder(self) -> Path:
        """The target as a folder."""
        return Path(self.target)


class _Target(NamedTuple):
    """Where an audit writes, and which models it reads."""

    run: RunFolder
    columns: Columns
    is_new: bool  # a folder of the audit's own, not that of a run


def audit(request: AuditRequest, listeners: Sequence[Any] = ()) -> Finished:
    """Audits a run folder, any model folder, or a model behind an address.

    Raises:
        InputError: something is missing, or the records are not those the run was made with.
    """
    harden_umask()
    suites.get(request.suite)
    check_access(request.access, is_address=is_address(request.target))
    refuse_model_folder(request.out, request.models)
    request.form_choice.check()
    is_run = not is_address(request.target) and RunFolder.is_run(request.folder)
    files = {"forget": request.forget, "retain": request.retain, "holdout": request.holdout}
    benchmark = request.benchmark or (_benchmark_of(request.folder) if is_run else None)
    TaskChoice.parse(request.lm_eval, request.lm_eval_tasks).check()
    inputs = read_inputs(
        files, request.evaluation, benchmark, columns=request.columns, allow_rejected=request.allow_rejected
    )
    check_splits(inputs.audited.get("forget", []), [])
    check_overlaps(inputs.audited, allow_overlap=request.allow_overlap)
    if request.attacks is not None:
        request.attacks.create()  # refuses names and settings that do not exist
    tasks = _tasks_of(request, benchmark)
    run, columns, is_new = _of_run(request, inputs, listeners) if is_run else _of_model(request, inputs, listeners)
    max_length = int(run.config.get("max_length", request.max_length))
    reading = Reading(
        suite=request.suite,
        forms=request.form_choice,
        max_length=max_length,
        policy=request.policy or _policy_of(run),
        tasks=tasks,
        attacks=request.attacks,
        rejected=inputs.rejected,
    )
    with run.locked(), stop_on_signal() as stop_requested, contextlib.ExitStack() as states:
        keep_rendering(run, columns.rendering)
        warn_of_rejected(run, inputs)
        if is_new:
            bind_data(run, inputs.audited)
        _warn_of_losses(run, inputs.audited, columns)
        data_of(run, inputs.audited)  # refused before the state says anything else
        states.enter_context(logged_states(run) if run.config["verb"] == "audit" else contextlib.nullcontext())
        states.enter_context(stopped_by_request(stop_requested, STOPPED))
        rendering = settle_end(run, columns.rendering, columns.original, inputs.audited, max_length)
        columns = replace(columns, rendering=rendering)
        return Finished(run, make_card(run, inputs.audited, columns, reading, stop_requested=stop_requested))


def _tasks_of(request: AuditRequest, benchmark: Choice | None) -> Tasks | None:
    """Tasks of lm_eval with their documents, before a folder is made or a model read; None if none were asked for.

    Raises:
        InputError: there is no model whose weights lm_eval could read, or a task cannot be loaded.
    """
    choice = TaskChoice.parse(request.lm_eval, request.lm_eval_tasks, benchmark)
    is_run = not is_address(request.target) and RunFolder.is_run(request.folder)
    original = request.original or (RunFolder.open(request.folder).config.get("model") if is_run else None)
    if choice.names and original is None:
        raise InputError(
            f"--lm-eval {','.join(choice.names)}: lm_eval reads weights, and none are named that may be read; pass "
            "--original MODEL, or leave out --lm-eval."
        )
    rendering = kept_rendering(RunFolder.open(request.folder), request.rendering) if is_run else request.rendering
    return load_tasks(choice, original, rendering or DEFAULT) if choice.names and original is not None else None


def _of_run(request: AuditRequest, inputs: Inputs, listeners: Sequence[Any]) -> _Target:
    if request.out is not None:
        raise InputError("The report of a run lies in its own folder; leave out --out, or audit its model folder.")
    if request.access == "prompts":
        raise InputError(
            "The report of a run rests on its weights; to see what prompts alone would show, audit its model folder: "
            f"expunge audit {request.folder / 'model'} --access prompts --out DIR."
        )
    run = RunFolder.open(request.folder, tuple(listeners))
    settings = run.config
    if settings.get("verb") == "bench":
        raise InputError(f"{request.target} is a bench; audit one of its runs, in {request.folder / 'runs'}.")
    if settings.get("verb") == "unlearn" and not model_is_saved(run):
        raise InputError(f"{request.target} has no finished model (the run is {run.state}); finish it first.")
    if settings.get("endpoint"):
        raise InputError(
            f"{request.target} is the audit of a model behind an address; call it again with the address and --out."
        )
    original, policy = request.original or settings["model"], stored_policy(run)
    columns = Columns(
        access=settings.get("access", "weights"),
        original=original,
        candidate=original if policy else str(settings.get("target") or run.model),
        retrained=request.retrained or _before(run, "retrained"),
        reference=request.reference or _before(run, "reference"),
        shadow_unlearned=request.shadow_unlearned or _before(run, INSIDE),
        shadow_retrained=request.shadow_retrained or _before(run, OUTSIDE),
        policy=policy,
        rendering=kept_rendering(run, request.rendering),
    )
    columns.check(inputs.audited)
    return _Target(run, columns, is_new=False)


def _of_model(request: AuditRequest, inputs: Inputs, listeners: Sequence[Any]) -> _Target:
    """A model folder or address, and the folder of the audit's own."""
    if request.out is None:
        raise InputError("Auditing a model needs a place for the report: pass --out DIR.")
    if request.original is None and request.access == "weights":
        raise InputError("Auditing a model folder needs the model before unlearning: pass --original MODEL.")
    endpoint = None
    if is_address(request.target):
        endpoint = parse_audited(str(request.target), allow_remote=request.allow_remote)
    columns = Columns(
        original=request.original,
        candidate=str(request.target) if endpoint is None else None,
        retrained=request.retrained,
        reference=request.reference,
        endpoint=endpoint,
        access=request.access,
        shadow_unlearned=request.shadow_unlearned,
        shadow_retrained=request.shadow_retrained,
        rendering=request.rendering or DEFAULT,
    )
    if endpoint is not None and replace(columns.rendering, system="") != DEFAULT:
        raise InputError(
            "--template, --thinking and --date say how a local model is asked; an address writes prompts by itself. "
            "Leave them out; --system is sent."
        )
    columns.check(inputs.audited)
    settings = {
        "verb": "audit",
        "model": None if request.original is None else place_of(request.original),
        "target": str(request.folder.resolve()) if endpoint is None else endpoint.name,
        "max_length": request.max_length,
        "benchmark": to_plain(request.benchmark),
        "records": {split: len(records) for split, records in inputs.audited.items()},
        **({"access": request.access} if request.access != "weights" else {}),
        **({"endpoint": endpoint.digest} if endpoint is not None else {}),
        **rendering_config(columns.rendering),
    }
    return _Target(RunFolder.create(request.out, settings, tuple(listeners)), columns, is_new=True)


def last_audit(run: RunFolder) -> Mapping[str, Any]:
    """Models and splits of the audit before; empty for the first one."""
    return next((event.data for event in reversed(read_events(run.events_path)) if event.kind == "audit"), {})


def _before(run: RunFolder, role: str) -> tuple[str, ...]:
    """Models of a role in the last audit that are still there.

    A new audit without a word of them is not meant to lose what they showed.
    """
    return tuple(place for place in last_audit(run).get(role, ()) if not is_gone(place))


def _warn_of_losses(run: RunFolder, splits: Mapping[str, Sequence[Record]], columns: Columns) -> None:
    """Logs what the report before rested on and this one will not."""
    last = last_audit(run)
    lost = sorted(set(last.get("splits", ())) - set(splits))
    if lost:
        run.events.append(
            "warning", text=f"The report before had {', '.join(lost)}; hand them in again to keep what rests on them."
        )
    for role in REMEMBERED:
        flag = "--" + role.replace("_", "-")
        gone = sum(is_gone(place) for place in last.get(role, ()))
        if gone and not columns.families[role]:
            text = f"{gone} {role} models of the report before are gone; hand in others with {flag}."
            run.events.append("warning", text=text)


def _policy_of(run: RunFolder) -> VerdictPolicy:
    """What the run was made to meet."""
    return build(VerdictPolicy, run.config.get("policy") or {}, where="the policy of the run")


def _benchmark_of(folder: Path) -> Choice | None:
    stored = RunFolder.open(folder).config.get("benchmark")
    return Choice.parse(stored) if stored else None
