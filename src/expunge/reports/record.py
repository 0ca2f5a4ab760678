"""``record.json``: everything a run did and found, as plain data with a version. No text of the records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expunge.config import build, to_plain
from expunge.errors import InputError
from expunge.storage import atomic

SCHEMA_VERSION = 1
UNKNOWN = "unknown"  # method of a model that was made elsewhere


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One finished run.

    Attributes:
        schema_version: of this format; see docs/architecture.md.
        expunge: version of the package.
        finished: ISO 8601 time, UTC.
        model: name, digest, dtype and parameters of the original, or of the model that is judged where there is none;
            None what could not be read. ``endpoint`` names the address where that is what is judged; ``judged`` names
            what is judged: the run folder, the folder of a model made elsewhere, or the address.
        access: what was read of the model that is judged: ``weights``, or ``prompts`` where only replies were.
        method: name, what it promises, its settings and paper.
        axes: axes with their settings.
        training: numbers of the loop.
        adapted: what the rules of ``expunge.methods.adapt`` give for the model and the forget set, and ``reasons``,
            where learning rate and epochs come from; empty for a method without a rule.
        before: stages that ran first: method, settings, axes and training of each.
        data: records, subjects and HMAC of each split; ``also_in``: how many of its records another split contains.
        run: steps, reason of the end, seconds, curves of the terms.
        result: digest and folder of the unlearned model; None for a policy.
        digests: SHA-256 of the model folders that were read, by role, of the tokenizer and of this package's code.
        columns: models that were read, in order.
        scores: every score, see ``expunge.evaluation.result.ScoreRecord``.
        gaps: differences from the retrained model with their intervals, on which the verdict rests.
        omitted: what was not computed, and why.
        distributions: numbers per record, sorted, of a few metrics: label, role, split, records and at most 2,000
            values; see ``expunge.reports.empirical``.
        forms: ``tested`` names and ``untested`` forms with the reason, see ``expunge.data.record.FORMS``; empty in
            records that do not say.
        verdict: word and reasons; ``role``: the model that is judged; ``findings``: ways to look as if forgotten that
            showed (name, sentence, bars); ``measures``: metrics that decided (label, standing, and ``distance`` and
            ``original``, how far the judged and the original model are from the band of the retrained models: value,
            low, high, p after Holm, p_alone, detectable); ``reference``: sentences that say why a retrained model
            supports no verdict, empty where all do; ``recovery`` (attack, value, low, high, bound, untried) where
            attacks were run; ``relative`` (share, subjects, p), see ``expunge.evaluation.verdict.relative``, where it
            could be tested.
        advice: sentences that say what to change in the next run; empty where no setting of a run is the answer.
        attacks: what each attack found on all models, see ``expunge.attacks.result.AttackResult``.
        rows: rows of a suite that has some: name, labels of its metrics, names of its attacks, and why it is absent.
        policy: words that were asked for (``accept``) and whether the verdict is one (``met``; None if none was).
        changes: share of the weights that have another value, and the same by part (block, embeddings, output); None
            where the result is no model of the original's shape.
        thresholds: numbers of the rules.
        rendering: how records were written: ``template``, ``thinking``, ``date``; where they were given ``has_system``
            and ``texts``, a digest; where a model was read ``mark``, what the template writes after an answer, ``end``,
            the token after an answer without a mark (empty: none, None: the tokenizer's), ``source``, ``probability``
            and ``records`` (see ``expunge.models.ending.Ending``), ``chat``, whether a chat template was used,
            ``dated``, whether the template writes the date, and ``verbatim``, answers by split of which the template
            would leave out a part.
        limits: sentences that belong to every claim made from this record.
        environment: versions and device.
        forms: ``tested``: forms of the forget records with a score of the result; ``untested``: the others, each with
            ``form`` and ``reason``; ``paraphraser``: what gave other wordings, if anything did.
    """

    schema_version: int
    expunge: str
    finished: str
    model: dict[str, Any]
    method: dict[str, Any]
    axes: dict[str, Any]
    training: dict[str, Any]
    data: dict[str, Any]
    run: dict[str, Any]
    result: dict[str, Any] | None
    columns: list[str]
    scores: list[dict[str, Any]]
    gaps: list[dict[str, Any]]
    omitted: list[dict[str, Any]]
    verdict: dict[str, Any]
    thresholds: dict[str, Any]
    limits: list[str]
    environment: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    distributions: list[dict[str, Any]] = field(default_factory=list)
    forms: dict[str, Any] = field(default_factory=dict)
    rendering: dict[str, Any] = field(default_factory=dict)
    attacks: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    policy: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] | None = None
    access: str = "weights"
    before: list[dict[str, Any]] = field(default_factory=list)
    adapted: dict[str, Any] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)


def from_plain(plain: Mapping[str, Any]) -> RunRecord:
    """Reads plain data.

    Raises:
        InputError: another version, or not a record.
    """
    if plain.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"This record has schema version {plain.get('schema_version')}; this Expunge reads {SCHEMA_VERSION}. "
            "Use the Expunge that wrote it, or a newer one."
        )
    return build(RunRecord, plain, where="record.json", finite=False)


def read_record(path: Path) -> RunRecord:
    """Reads ``record.json``."""
    return from_plain(atomic.read_json(path))


def write_record(path: Path, record: RunRecord) -> None:
    """Writes ``record.json`` whole or not at all."""
    atomic.write_json(path, to_plain(record))
