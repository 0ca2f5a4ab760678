"""Compares a model with the original and with models that never saw the records; writes record and report."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

import expunge
from expunge.config import Choice, to_plain
from expunge.data.checks import check_splits
from expunge.data.record import Record
from expunge.errors import InputError
from expunge.evaluation.result import Evaluation
from expunge.evaluation.runner import evaluate
from expunge.evaluation.store import Store
from expunge.evaluation.subjects import Subject
from expunge.evaluation.verdict import Thresholds, Verdict, judge
from expunge.methods.guardrail import GuardrailPolicy
from expunge.methods.preset import resolve
from expunge.models.folder import check_folder
from expunge.models.load import describe, load_model, local_folder
from expunge.registry import suites
from expunge.reports.record import from_plain, write_record
from expunge.reports.render import write_report
from expunge.storage import atomic
from expunge.storage.digests import DataKey, folder_digest, text_digest
from expunge.storage.events import read_events
from expunge.storage.plain import to_json
from expunge.storage.run import RunFolder, harden_umask
from expunge.workflows.inputs import bind_data, data_summary, read_inputs

LIMITS = (
    "Every number is a lower bound of what the model still knows: another prompt, attack or sample may show more.",
    "Facts learnt in fine-tuning are easier to remove than facts from pretraining.",
    "No relearning, quantisation or jailbreak attack was run, so removal cannot be told from suppression.",
    "This is a measurement, not a statement of legal compliance.",
)


@dataclass(frozen=True, kw_only=True)
class AuditRequest:
    """What to compare.

    Attributes:
        target: a run folder of ``expunge unlearn``, or a model folder whoever unlearned it.
        out: where scores, record and report go; the run folder itself if None.
        original: the model before; taken from the run where there is one.
        retrained: models that never saw the records.
        forget: file of the records to forget.
        benchmark: where all splits come from for which no file is given; a run made on one knows it.
        retain: file of records to keep.
        holdout: file of records no model has seen.
        evaluation: further splits by name, such as world_facts.
        suite: metrics.
        max_length: longest record, tokens.
    """

    target: Path
    forget: Path | None = None
    benchmark: Choice | None = None
    out: Path | None = None
    original: str | None = None
    retrained: tuple[str, ...] = ()
    retain: Path | None = None
    holdout: Path | None = None
    evaluation: Mapping[str, Path] = field(default_factory=dict)
    suite: str = "quick"
    max_length: int = 512


class Audited(NamedTuple):
    """What an audit found."""

    evaluation: Evaluation
    verdict: Verdict
    thresholds: Thresholds
    seconds: float


def audit(request: AuditRequest, listeners: Sequence[Any] = ()) -> tuple[RunFolder, dict[str, Any]]:
    """Audits a run folder or any model folder.

    Raises:
        InputError: something is missing, or the records are not those the run was made with.
    """
    harden_umask()
    is_run = RunFolder.is_run(request.target)
    files = {"forget": request.forget, "retain": request.retain, "holdout": request.holdout, **request.evaluation}
    splits = read_inputs(files, request.benchmark or (_benchmark_of(request.target) if is_run else None)).splits
    check_splits(splits.get("forget", []), [])
    if is_run:
        run = RunFolder.open(request.target, tuple(listeners))
        settings = run.config
        original, policy = request.original or settings["model"], stored_policy(run)
        candidate = original if policy else str(run.model)
    else:
        if request.out is None:
            raise InputError("Auditing a model folder needs a place for the report: pass --out DIR.")
        if request.original is None:
            raise InputError("Auditing a model folder needs the model before unlearning: pass --original MODEL.")
        original, candidate, policy = request.original, str(request.target), None
        settings = {
            "verb": "audit",
            "model": str(Path(original).resolve()),
            "target": str(request.target.resolve()),
            "max_length": request.max_length,
            "benchmark": to_plain(request.benchmark),
            "records": {split: len(records) for split, records in splits.items()},
        }
        run = RunFolder.create(request.out, settings, tuple(listeners))
    with run.locked():
        if not is_run:
            bind_data(run, splits)
        record = audit_models(
            run,
            splits,
            original=original,
            retrained=request.retrained,
            candidate=candidate,
            policy=policy,
            suite=request.suite,
            max_length=int(settings.get("max_length", request.max_length)),
        )
        run.set_state("done")
    return run, record


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
    max_length: int,
) -> dict[str, Any]:
    """Evaluates all models, judges, and writes ``record.json`` and ``report.html``; returns the record."""
    run.events.append("phase", name=f"audit with suite {suite}")
    began = time.perf_counter()
    summary = _data_of(run, splits)
    subjects = _subjects(original, retrained, candidate, policy)
    store = Store(run.scores, {split: data["hmac"] for split, data in summary.items()}, max_length)
    evaluation = evaluate(
        subjects,
        splits,
        suites.get(suite)(tuple(splits)),
        store,
        log=lambda role: _log_phase(run, f"read the {role} model"),
    )
    thresholds = Thresholds()
    # A policy is judged by the weights it stands before: whoever has them bypasses it.
    verdict = judge(evaluation, thresholds, role="original" if policy else "unlearned")
    audited = Audited(evaluation, verdict, thresholds, time.perf_counter() - began)
    record = build_record(run, audited, summary, original=original)
    write_record(run.record, from_plain(record))
    write_report(run.root, from_plain(record))
    run.events.append("verdict", word=verdict.word, reasons=list(verdict.reasons), seconds=audited.seconds)
    return record


def _log_phase(run: RunFolder, name: str) -> None:
    run.events.append("phase", name=name)


def build_record(run: RunFolder, audited: Audited, data: Mapping[str, Any], *, original: str) -> dict[str, Any]:
    """Returns ``record.json`` as plain data: what was done, with what, and every number found."""
    settings = run.config
    log = read_events(run.events_path)
    saved = next((event.data for event in reversed(log) if event.kind == "saved"), {})
    described = describe(load_model(original).model)
    return {
        "schema_version": 1,
        "expunge": expunge.__version__,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": Path(original).name,
            "digest": saved.get("before") or _digest(original),
            "dtype": described.dtype,
            "parameters": described.parameters,
        },
        "method": _method_facts(settings),
        "axes": settings.get("axes", {}),
        "training": settings.get("training", {}),
        "data": dict(data),
        "run": {
            "steps": saved.get("steps", 0),
            "reason": saved.get("reason", "the model was made elsewhere"),
            "seconds": saved.get("seconds", 0.0),
            "curves": [
                {"step": event.data["step"], "terms": dict(event.data["terms"])}
                for event in log
                if event.kind == "metric"
            ],
        },
        "result": {"digest": saved["digest"], "folder": "model"} if saved.get("digest") else None,
        "columns": audited.evaluation.roles,
        "scores": [to_plain(score) for score in audited.evaluation.scores],
        "gaps": [to_plain(gap) for gap in audited.evaluation.gaps],
        "omitted": [to_plain(item) for item in audited.evaluation.omitted],
        "verdict": {"word": audited.verdict.word, "reasons": list(audited.verdict.reasons)},
        "thresholds": to_plain(audited.thresholds),
        "limits": list(LIMITS),
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "threads": torch.get_num_threads(),
        },
    }


def _method_facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    if "method" not in settings:
        unknown = {"guarantee": "unknown", "artefact": "weights", "reversible": None, "access": "unknown", "paper": ""}
        return {"name": "unknown", **unknown, "settings": {}}
    spec = resolve(settings["method"], settings["settings"]).method.spec
    return {
        "name": settings["method"],
        "guarantee": spec.guarantee,
        "artefact": spec.artefact,
        "reversible": spec.reversible,
        "access": spec.access,
        "paper": spec.paper,
        "settings": settings["settings"],
    }


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


def _subjects(original: str, retrained: Sequence[str], candidate: str, policy: Any) -> list[Subject]:
    found = [_subject("original", original)]
    for number, source in enumerate(retrained, start=1):
        found.append(_subject("retrained" if number == 1 else f"retrained_{number}", source))
    if policy is not None:
        # The bare weights under a policy are the original's column.
        found.append(_subject("policy", candidate, policy))
    else:
        found.append(_subject("unlearned", candidate))
    return found


def _subject(role: str, source: str, policy: Any = None) -> Subject:
    identity = {
        "weights": _digest(source),
        "adapter": "none",
        "policy": "none" if policy is None else str(hash_plain(policy.to_plain())),
        "attack": "none",
        "dtype": "saved",
        "template": "default",
    }
    return Subject(role=role, identity=identity, load=partial(load_model, source), policy=policy)


def hash_plain(plain: Any) -> str:
    """SHA-256 of plain data."""
    return text_digest(to_json(plain))


def _digest(source: str) -> str:
    """Digest of everything in a model folder or Hub snapshot: weights, configuration, tokenizer and template."""
    path = local_folder(source)
    check_folder(path)
    return folder_digest(path).root


def stored_policy(run: RunFolder) -> GuardrailPolicy | None:
    """Returns the policy that a run made; None if it made a model."""
    path = run.root / "policy.json"
    return GuardrailPolicy.from_plain(atomic.read_json(path)) if path.is_file() else None
