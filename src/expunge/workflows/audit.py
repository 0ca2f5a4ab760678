"""Compares a model with the original and with models that never saw the records; writes record and report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from expunge.config import Choice, to_plain
from expunge.data.checks import check_splits, own_digest
from expunge.data.record import Record
from expunge.errors import InputError, InterruptedRunError, VerificationError
from expunge.evaluation.runner import evaluate
from expunge.evaluation.store import Store
from expunge.evaluation.subjects import Subject
from expunge.evaluation.verdict import Thresholds, judge
from expunge.methods.guardrail import GuardrailPolicy
from expunge.models.load import load_model
from expunge.registry import suites
from expunge.reports.notebook import RunReport
from expunge.reports.record import from_plain, write_record
from expunge.reports.render import write_report
from expunge.storage import atomic
from expunge.storage.digests import DataKey
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder, harden_umask
from expunge.workflows.finished import Finished
from expunge.workflows.forms import FormChoice, add_forms, form_counts, form_hmacs, form_report
from expunge.workflows.identity import code_digest, hash_plain, model_digest, place_of
from expunge.workflows.inputs import (
    bind_data,
    check_models,
    data_summary,
    model_is_saved,
    read_inputs,
    warn_of_rejected,
)
from expunge.workflows.record import Audited, build_record
from expunge.workflows.signals import stop_on_signal
from expunge.workflows.states import logged_states


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What to compare.

    Attributes:
        target: a run folder of ``expunge unlearn``, or a model folder whoever unlearned it.
        out: where scores, record and report go; for a model folder only, since a run keeps its own.
        original: the model before; taken from the run where there is one.
        retrained: models that never saw the records.
        reference: other models that never saw the records, such as the base model, for attacks that compare with one.
        forget: file of the records to forget.
        benchmark: where all splits come from for which no file is given; a run made on one knows it.
        retain: file of records to keep.
        holdout: file of records no model has seen.
        evaluation: further splits by name, such as world_facts.
        suite: metrics.
        forms: further forms of the forget records by rule: ``auto``, ``none``, or names with commas.
        paraphraser: model folder, Hub id or address that gives other wordings where there are none.
        allow_remote: whether records may be sent to an address.
        max_length: longest record, tokens.
    """

    target: Path
    forget: Path | None = None
    benchmark: Choice | None = None
    out: Path | None = None
    original: str | None = None
    retrained: tuple[str, ...] = ()
    reference: tuple[str, ...] = ()
    retain: Path | None = None
    holdout: Path | None = None
    evaluation: Mapping[str, Path] = field(default_factory=dict)
    suite: str = "quick"
    forms: str = "auto"
    paraphraser: str | None = None
    allow_remote: bool = False
    max_length: int = 512

    @property
    def form_choice(self) -> FormChoice:
        """What to add to the forget records."""
        return FormChoice(names=self.forms, paraphraser=self.paraphraser, allow_remote=self.allow_remote)


def audit(request: AuditRequest, listeners: Sequence[Any] = ()) -> Finished:
    """Audits a run folder or any model folder.

    Raises:
        InputError: something is missing, or the records are not those the run was made with.
    """
    harden_umask()
    suites.get(request.suite)
    request.form_choice.check()
    is_run = RunFolder.is_run(request.target)
    files = {"forget": request.forget, "retain": request.retain, "holdout": request.holdout}
    benchmark = request.benchmark or (_benchmark_of(request.target) if is_run else None)
    inputs = read_inputs(files, request.evaluation, benchmark)
    splits = inputs.audited
    check_splits(splits.get("forget", []), [])
    retrained = request.retrained
    if is_run:
        if request.out is not None:
            raise InputError("The report of a run lies in its own folder; leave out --out, or audit its model folder.")
        run = RunFolder.open(request.target, tuple(listeners))
        settings = run.config
        if settings.get("verb") == "bench":
            raise InputError(f"{request.target} is a bench; audit one of its runs, in {request.target / 'runs'}.")
        if settings.get("verb") == "unlearn" and not model_is_saved(run):
            raise InputError(f"{request.target} has no finished model (the run is {run.state}); finish it first.")
        target = settings.get("target")
        original, policy = request.original or settings["model"], stored_policy(run)
        candidate = original if policy else str(target or run.model)
        retrained = request.retrained or _retrained_before(run)
    else:
        if request.out is None:
            raise InputError("Auditing a model folder needs a place for the report: pass --out DIR.")
        if request.original is None:
            raise InputError("Auditing a model folder needs the model before unlearning: pass --original MODEL.")
        original, candidate, policy = request.original, str(request.target), None
        settings = {
            "verb": "audit",
            "model": place_of(original),
            "target": str(request.target.resolve()),
            "max_length": request.max_length,
            "benchmark": to_plain(request.benchmark),
            "records": {split: len(records) for split, records in splits.items()},
        }
        check_models(candidate, original, *request.retrained)
        run = RunFolder.create(request.out, settings, tuple(listeners))
    check_models(candidate, original, *retrained, *request.reference)
    with run.locked(), stop_on_signal() as stop_requested, contextlib.ExitStack() as states:
        warn_of_rejected(run, inputs)
        if not is_run:
            bind_data(run, splits)
        _warn_of_losses(run, splits, retrained)
        _data_of(run, splits)  # refused before the state says anything else
        states.enter_context(logged_states(run) if settings["verb"] == "audit" else contextlib.nullcontext())
        record = audit_models(
            run,
            splits,
            original=original,
            retrained=retrained,
            reference=request.reference,
            candidate=candidate,
            policy=policy,
            suite=request.suite,
            forms=request.form_choice,
            max_length=int(settings.get("max_length", request.max_length)),
            stop_requested=stop_requested,
        )
    return Finished(run, record)


def _last_audit(run: RunFolder) -> Mapping[str, Any]:
    """Models and splits of the audit before; empty for the first one."""
    return next((event.data for event in reversed(read_events(run.events_path)) if event.kind == "audit"), {})


def _retrained_before(run: RunFolder) -> tuple[str, ...]:
    """The retrained models of the last audit: a new one without a word of them is not meant to lose the column."""
    return tuple(place for place in _last_audit(run).get("retrained", ()) if not _is_gone(place))


def _is_gone(place: str) -> bool:
    return Path(place).is_absolute() and not Path(place).is_dir()


def _warn_of_losses(run: RunFolder, splits: Mapping[str, Sequence[Record]], retrained: Sequence[str]) -> None:
    """Logs what the report before rested on and this one will not."""
    last = _last_audit(run)
    lost = sorted(set(last.get("splits", ())) - set(splits))
    if lost:
        run.events.append(
            "warning", text=f"The report before had {', '.join(lost)}; hand them in again to keep what rests on them."
        )
    gone = sum(_is_gone(place) for place in last.get("retrained", ()))
    if gone and not retrained:
        run.events.append(
            "warning", text=f"{gone} retrained models of the report before are gone; hand in others with --retrained."
        )


def _benchmark_of(folder: Path) -> Choice | None:
    stored = RunFolder.open(folder).config.get("benchmark")
    return Choice.parse(stored) if stored else None


def audit_models(
    run: RunFolder,
    splits: Mapping[str, Sequence[Record]],
    *,
    original: str,
    retrained: Sequence[str],
    candidate: str,
    policy: Any,
    suite: str,
    forms: FormChoice,
    max_length: int,
    reference: Sequence[str] = (),
    stop_requested: Callable[[], bool] = lambda: False,
) -> RunReport:
    """Evaluates all models, judges, and writes record, report and tables of scores; returns the record.

    Raises:
        VerificationError: the original or the unlearned model is not the one that the run read or made.
        InterruptedRunError: stopped on request, between two models or two questions to a paraphraser; what was read
            of models is kept.
    """
    run.events.append("phase", name=f"audit with suite {suite}")
    began = time.perf_counter()
    summary = _data_of(run, splits)
    subjects = _subjects(original, retrained, candidate, policy, reference)
    _check_digests(run, subjects)
    run.events.append("audit", retrained=[place_of(place) for place in retrained], splits=sorted(splits), suite=suite)
    read = add_forms(run, splits, forms, has_reference=bool(retrained), stop_requested=stop_requested)
    key = DataKey.load_or_create(run.root)
    # Stored numbers hang on the forms too, and the data that the run is bound to does not.
    digests = {split: data["hmac"] for split, data in data_summary(read, key).items()}
    for split, facts in summary.items():
        facts["own_hmac"] = key.hmac_many(own_digest(record).hex() for record in read[split])
        facts["form_hmacs"] = form_hmacs(read[split], key)
    summary["forget"]["forms"] = form_counts(read["forget"])
    evaluation = evaluate(
        subjects,
        read,
        suites.get(suite)(tuple(splits)),
        Store(run.scores, digests, max_length, code_digest()),
        log=lambda role: _next_model(run, role, stop_requested),
    )
    thresholds = Thresholds()
    # A policy is judged by the weights it stands before: whoever has them bypasses it.
    judged = "original" if policy else "unlearned"
    verdict = judge(evaluation, thresholds, role=judged)
    report = form_report(evaluation, read["forget"], forms, judged)
    audited = Audited(evaluation, verdict, thresholds, time.perf_counter() - began, report)
    record = RunReport(build_record(run, audited, summary, subjects, original=original))
    write_record(run.record, from_plain(record))
    write_report(run.root, from_plain(record))
    run.events.append("verdict", word=verdict.word, reasons=list(verdict.reasons), seconds=audited.seconds)
    return record


def _next_model(run: RunFolder, role: str, stop_requested: Callable[[], bool]) -> None:
    if stop_requested():
        raise InterruptedRunError(f"Stopped before the {role} model was read; the same command goes on.")
    run.events.append("phase", name=f"read the {role} model")


def _check_digests(run: RunFolder, subjects: Sequence[Subject]) -> None:
    """Refuses models that are not those the run vouches for."""
    saved = next((event.data for event in reversed(read_events(run.events_path)) if event.kind == "saved"), {})
    known = saved.get("folders", {}) if run.config.get("verb") == "unlearn" else {}
    for subject in subjects:
        if subject.role in known and subject.identity["weights"] != known[subject.role]:
            raise VerificationError(
                f"The {subject.role} model is not the one that {run.root} was made with: its files have changed. "
                "Restore it, or audit the folder by itself with --original and --out."
            )


def _data_of(run: RunFolder, splits: Mapping[str, Sequence[Record]]) -> dict[str, dict[str, Any]]:
    """Counts and HMACs of all splits, checked against those the run was made with."""
    summary = data_summary(splits, DataKey.load_or_create(run.root))
    made_with: Mapping[str, Any] = next(
        (event.data["data"] for event in read_events(run.events_path) if event.kind == "inputs"), {}
    )
    for split, data in made_with.items():
        if split in summary and summary[split]["hmac"] != data["hmac"]:
            raise InputError(f"The {split} records are not those that {run.root} was made with; hand in the same file.")
    return summary


def _subjects(
    original: str, retrained: Sequence[str], candidate: str, policy: Any, reference: Sequence[str]
) -> list[Subject]:
    found = [_subject("original", original)]
    for family, sources in (("retrained", retrained), ("reference", reference)):
        for number, source in enumerate(sources, start=1):
            role = family if number == 1 else f"{family}_{number}"
            found.append(_subject(role, source, scored=family == "retrained"))
    if policy is not None:
        # The bare weights under a policy are the original's column.
        found.append(_subject("policy", candidate, policy))
    else:
        found.append(_subject("unlearned", candidate))
    return found


def _subject(role: str, source: str, policy: Any = None, *, scored: bool = True) -> Subject:
    identity = {
        "weights": model_digest(source),
        "adapter": "none",
        "policy": "none" if policy is None else str(hash_plain(policy.to_plain())),
        "attack": "none",
        "dtype": "saved",
        "template": "default",
    }
    return Subject(role=role, identity=identity, load=partial(load_model, source), policy=policy, scored=scored)


def stored_policy(run: RunFolder) -> GuardrailPolicy | None:
    """Returns the policy that a run made; None if it made a model."""
    path = run.root / "policy.json"
    return GuardrailPolicy.from_plain(atomic.read_json(path)) if path.is_file() else None
