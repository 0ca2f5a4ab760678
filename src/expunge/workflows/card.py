"""The card of an audit: all models read, compared and judged; writes record, report and tables of scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from expunge.attacks.result import AttackResult
from expunge.attacks.verdict import signs, worst_recovery
from expunge.config import to_plain
from expunge.data.checks import Overlap, overlaps, own_digest
from expunge.data.people import found_subjects, subjects_hints
from expunge.data.reader import Rejection
from expunge.data.record import Record
from expunge.errors import InputError, InterruptedRunError
from expunge.evaluation.eight_methods import eight_rows
from expunge.evaluation.prompt_hint import prompt_hint
from expunge.evaluation.result import Evaluation
from expunge.evaluation.runner import evaluate
from expunge.evaluation.store import Store
from expunge.evaluation.subjects import Subject
from expunge.evaluation.untrained_hint import untrained_hint
from expunge.evaluation.verdict.policy import VerdictPolicy
from expunge.evaluation.verdict.relative import relative_test
from expunge.evaluation.verdict.rules import judge
from expunge.metrics.exposure import CANARIES
from expunge.metrics.ulira import ULira
from expunge.models.load import Description
from expunge.registry import suites
from expunge.reports.notebook import RunReport
from expunge.reports.record import from_plain, write_record
from expunge.reports.render import write_report
from expunge.storage.digests import DataKey
from expunge.storage.events import read_events
from expunge.storage.run import RunFolder
from expunge.workflows.attacks import AttackChoice, run_attacks, stored_attacks
from expunge.workflows.columns import REMEMBERED, SHADOW, Columns, baseline_policy, check_digests, noting
from expunge.workflows.forms import FormChoice, add_forms, form_counts, form_hmacs, form_report
from expunge.workflows.harness import run_tasks, with_tasks
from expunge.workflows.harness_tasks import Tasks
from expunge.workflows.identity import code_digest, place_of
from expunge.workflows.inputs import data_summary, reading_digests, rejected_facts
from expunge.workflows.prompted import endpoint_subject
from expunge.workflows.record import Audited, build_record


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How the models are read.

    Attributes:
        suite: metrics.
        forms: further forms of the forget records.
        max_length: longest record, tokens.
        policy: what the result is held to.
        tasks: tasks of lm_eval, loaded before any model.
        known: ``scores/`` of runs on the same models and records, under the same key.
        rejected: lines of the files that were left out, by split.
        attacks: attacks to run first; None for none. Those of earlier audits are told too.
    """

    suite: str
    forms: FormChoice
    max_length: int
    policy: VerdictPolicy
    tasks: Tasks | None = None
    known: tuple[Path, ...] = ()
    rejected: Mapping[str, Sequence[Rejection]] = field(default_factory=dict)
    attacks: AttackChoice | None = None


def make_card(
    run: RunFolder,
    splits: Mapping[str, Sequence[Record]],
    columns: Columns,
    reading: Reading,
    *,
    stop_requested: Callable[[], bool] = lambda: False,
) -> RunReport:
    """Evaluates all models, judges, and writes record, report and tables of scores; returns the record.

    Raises:
        VerificationError: the original or the unlearned model is not the one that the run read or made.
        InterruptedRunError: stopped on request, between two batches or tokens that a model reads or two questions to a
            model at an address; what was read of models is kept.
    """
    began = time.perf_counter()
    with run.phases.phase(f"audit with suite {reading.suite}"):
        subjects, summary, notes = _prepared(run, splits, columns, reading, stop_requested)
    has_reference = bool(columns.retrained)
    read = add_forms(run, splits, reading.forms, has_reference=has_reference, stop_requested=stop_requested)
    if reading.attacks is not None:
        run_attacks(run, read, columns, reading.attacks, max_length=reading.max_length, stop_requested=stop_requested)
    evaluation = _evaluate(run, subjects, read, reading, stop_requested)
    with run.phases.phase("compare the weights"):
        changed = columns.changes()
        facts = columns.facts(changed)
    attacked = stored_attacks(run, read, subjects, reading.max_length)
    recovery = worst_recovery(attacked)
    verdict = judge(
        evaluation,
        reading.policy.thresholds,
        role=columns.judged,
        facts=replace(facts, attacked=signs(attacked, reading.policy.thresholds)),
        worst_recovery=recovery,
    )
    relative = relative_test(evaluation, columns.judged, read["forget"])
    report = form_report(evaluation, read["forget"], reading.forms, columns.judged, has_reference=has_reference)
    if reading.tasks is not None:
        evaluation = with_tasks(evaluation, run_tasks(reading.tasks, run, subjects, stop_requested))
    version = reading.tasks.version if reading.tasks is not None else None
    rows, seconds = _rows(reading.suite, read, attacked), time.perf_counter() - began
    shared = overlaps(splits)
    hints = (*subjects_hints(splits), prompt_hint(evaluation), untrained_hint(evaluation))
    limits = tuple(filter(None, (*columns.limits(), *(found.sentence for found in shared), *hints)))
    for sentence in limits:
        run.events.append("warning", text=sentence)
    audited = Audited(
        evaluation,
        verdict,
        reading.policy,
        seconds,
        report,
        rows,
        changed,
        version,
        tuple(attacked),
        recovery,
        limits,
        relative,
    )
    data = _data_facts(run, summary, read, reading.rejected, shared)
    record = RunReport(build_record(run, audited, data, subjects, columns, notes))
    with run.phases.phase("write the report"):
        write_record(run.record, from_plain(record))
        write_report(run.root, from_plain(record))
    run.events.append("verdict", word=verdict.word, reasons=list(verdict.reasons), seconds=audited.seconds)
    return record


class _Prepared(NamedTuple):
    """What is known before a model is read: the columns, facts about the records, and where models note theirs."""

    subjects: list[Subject]
    summary: dict[str, dict[str, Any]]
    notes: dict[str, Description]


def _prepared(
    run: RunFolder,
    splits: Mapping[str, Sequence[Record]],
    columns: Columns,
    reading: Reading,
    stop_requested: Callable[[], bool],
) -> _Prepared:
    """Finds the models, checks their digests, and logs what is audited."""
    summary = data_of(run, splits)
    notes: dict[str, Description] = {}
    subjects = [noting(subject, notes).stopping(stop_requested) for subject in columns.subjects()]
    if columns.endpoint is not None:
        subjects.append(endpoint_subject(columns.endpoint, run, stop_requested, columns.rendering))
    subjects += columns.baseline(baseline_policy(splits, run))
    check_digests(run, subjects)
    places = {role: [place_of(place) for place in columns.families[role]] for role in REMEMBERED}
    told = {"splits": sorted(splits), "suite": reading.suite, "forms": reading.forms.names}
    run.events.append("audit", **places, **told, policy=to_plain(reading.policy))
    return _Prepared(subjects, summary, notes)


def data_of(run: RunFolder, splits: Mapping[str, Sequence[Record]]) -> dict[str, dict[str, Any]]:
    """Counts and HMACs of all splits.

    Raises:
        InputError: they are not those the run was made with.
    """
    summary = data_summary(splits, DataKey.load_or_create(run.root))
    for split, data in made_with(run).items():
        if split in summary and summary[split]["hmac"] != data["hmac"]:
            raise InputError(f"The {split} records are not those that {run.root} was made with; hand in the same file.")
    return summary


def made_with(run: RunFolder) -> Mapping[str, Mapping[str, Any]]:
    """Counts and HMACs of the splits that the run is bound to."""
    found: Mapping[str, Mapping[str, Any]] = next(
        (event.data["data"] for event in read_events(run.events_path) if event.kind == "inputs"), {}
    )
    return found


def _evaluate(
    run: RunFolder,
    subjects: Sequence[Subject],
    read: Mapping[str, Sequence[Record]],
    reading: Reading,
    stop_requested: Callable[[], bool],
) -> Evaluation:
    # Stored numbers hang on the forms too, and the data that the run is bound to does not.
    key = DataKey.load_or_create(run.root)
    digests = reading_digests(read, key)
    store = Store(run.scores, digests, reading.max_length, code_digest(), known=reading.known)
    metrics = suites.get(reading.suite)(asked_splits(read))
    if any(subject.role.startswith(SHADOW) for subject in subjects):
        # Whoever hands in shadow models asks for what they show; the runner drops what a suite has already.
        metrics = (*metrics, *(ULira(split=split) for split in ("forget", "holdout") if split in read))
    log = partial(_stop_before, stop_requested=stop_requested)
    return evaluate(subjects, read, metrics, store, log=log, phases=run.phases)


def asked_splits(splits: Mapping[str, Sequence[Record]]) -> tuple[str, ...]:
    """Splits that the request is about: canaries tell of forgetting only where they were to be forgotten."""
    forgotten = {own_digest(record) for record in splits["forget"]}
    others = any(own_digest(record) not in forgotten for record in splits.get(CANARIES, ()))
    return tuple(split for split in splits if split != CANARIES or not others)


def _rows(suite: str, splits: Mapping[str, Sequence[Record]], attacked: Sequence[AttackResult]) -> list[dict[str, Any]]:
    """What a suite is read by, row by row, where it has rows."""
    if suite != "eight_methods":
        return []
    rows = eight_rows(asked_splits(splits))
    run = {result.name for result in attacked if not result.omitted}
    return [
        {
            "name": row.name,
            "labels": [metric.label for metric in row.metrics],
            "attacks": [name for name in row.attacks if name in run],
            "absent": "" if run.intersection(row.attacks) else row.absent,
        }
        for row in rows
    ]


def _data_facts(
    run: RunFolder,
    summary: Mapping[str, Mapping[str, Any]],
    read: Mapping[str, Sequence[Record]],
    rejected: Mapping[str, Sequence[Rejection]],
    shared: Sequence[Overlap],
) -> dict[str, dict[str, Any]]:
    """What the record says of each split: counts and HMACs, lines left out, and records that another split has."""
    key = DataKey.load_or_create(run.root)
    facts = {
        split: {
            **data,
            "own_hmac": key.hmac_many(own_digest(record).hex() for record in read[split]),
            "form_hmacs": form_hmacs(read[split], key),
            **({"rejected": rejected_facts(rejected[split])} if split in rejected else {}),
            **({} if (people := found_subjects(read[split])) is None else {"subjects_found": people}),
        }
        for split, data in summary.items()
    }
    facts["forget"]["forms"] = form_counts(read["forget"])
    for found in shared:
        facts[found.split].setdefault("also_in", {})[found.other] = len(found.places)
    return facts


def _stop_before(role: str, stop_requested: Callable[[], bool]) -> None:
    if stop_requested():
        raise InterruptedRunError(f"Stopped before the {role} model was read; the same command goes on.")
