"""``record.json`` of an audit: what was done, with what, and every number found."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

import expunge
from expunge.attacks.result import AttackResult
from expunge.config import build, to_plain
from expunge.data.reader import Rejection
from expunge.evaluation.result import Evaluation, ScoreRecord
from expunge.evaluation.runner import REFERENCE
from expunge.evaluation.subjects import Subject
from expunge.evaluation.verdict.measures import Measure
from expunge.evaluation.verdict.policy import Recovery, Thresholds, VerdictPolicy
from expunge.evaluation.verdict.relative import Relative
from expunge.evaluation.verdict.rules import Verdict
from expunge.methods.adapt import Adapted
from expunge.methods.preset import Training
from expunge.methods.recipe import resolve
from expunge.models.changes import Changes
from expunge.models.load import Description, describe, load_model
from expunge.reports.empirical import to_distributions
from expunge.reports.record import UNKNOWN
from expunge.storage.events import Event, read_events
from expunge.storage.run import RunFolder
from expunge.workflows.columns import Columns
from expunge.workflows.identity import code_digest, tokenizer_digest
from expunge.workflows.inputs import left_out
from expunge.workflows.prompted import LIMIT
from expunge.workflows.remedy import course_of, remedies
from expunge.workflows.rendering import rendering_facts

NO_ATTACK = "No relearning, quantisation or jailbreak attack was run, so removal cannot be told from suppression."
LIMITS = (
    "Every number is a lower bound of what the model still knows: another prompt, attack or sample may show more.",
    "Facts learnt in fine-tuning are easier to remove than facts from pretraining.",
    "This is a measurement, not a statement of legal compliance.",
)


class Audited(NamedTuple):
    """What an audit found."""

    evaluation: Evaluation
    verdict: Verdict
    policy: VerdictPolicy
    seconds: float
    forms: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    changes: Changes | None = None
    lm_eval: str | None = None  # version, where its tasks were run
    attacks: Sequence[AttackResult] = ()
    recovery: Recovery | None = None
    limits: Sequence[str] = ()  # of this audit alone
    relative: Relative | None = None


def build_record(
    run: RunFolder,
    audited: Audited,
    data: Mapping[str, Any],
    subjects: Sequence[Subject],
    columns: Columns,
    notes: Mapping[str, Description],
) -> dict[str, Any]:
    """Returns ``record.json`` as plain data: what was done, with what, and every number found.

    Args:
        run: where it was done.
        audited: what was found.
        data: what is said of each split.
        subjects: the models.
        columns: where they came from.
        notes: what the models are like, by role, as far as they were loaded.
    """
    settings = run.config
    log = read_events(run.events_path)
    saved = next((event.data for event in reversed(log) if event.kind == "saved"), {})
    digests = {subject.role: subject.identity["weights"] for subject in subjects if "weights" in subject.identity}
    return {
        "schema_version": 1,
        "expunge": expunge.__version__,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {**_model_facts(columns, digests, notes), "judged": _judged_name(run, columns)},
        "access": columns.access,
        "method": _method_facts(settings),
        "axes": settings.get("axes", {}),
        "training": settings.get("training", {}),
        "adapted": _adapted_facts(settings),
        "before": settings.get("before", []),
        "data": dict(data),
        "run": {
            "steps": saved.get("steps", 0),
            "reason": saved.get("reason", "the model was made elsewhere"),
            "seconds": saved.get("seconds", 0.0),
            "curves": _curves(log, settings),
        },
        "result": {"digest": saved["digest"], "folder": "model"} if saved.get("digest") else None,
        "digests": {
            "code": code_digest(),
            **({} if columns.original is None else {"tokenizer": tokenizer_digest(columns.original)}),
            **digests,
        },
        "columns": audited.evaluation.roles,
        "scores": [_score_facts(score) for score in audited.evaluation.scores],
        "gaps": [to_plain(gap) for gap in audited.evaluation.gaps if gap.reference == REFERENCE],
        "omitted": [to_plain(item) for item in audited.evaluation.omitted],
        "rendering": rendering_facts(run),
        "forms": dict(audited.forms),
        "rows": [dict(row) for row in audited.rows],
        "distributions": to_distributions(audited.evaluation.samples),
        "attacks": [to_plain(result) for result in audited.attacks],
        "verdict": {"role": columns.judged, **_verdict_facts(audited)},
        "advice": _advice(audited, settings, saved.get("steps", 0)),
        "thresholds": to_plain(audited.policy.thresholds),
        "policy": {"accept": list(audited.policy.accept), "met": audited.policy.is_met(audited.verdict.word)},
        "changes": None if audited.changes is None else _change_facts(audited.changes),
        "limits": _limits(audited, columns, data, log),
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            **({} if audited.lm_eval is None else {"lm_eval": audited.lm_eval}),
            "device": "cuda" if torch.cuda.is_available() else "cpu",
            "threads": torch.get_num_threads(),
        },
    }


def _score_facts(score: ScoreRecord) -> dict[str, Any]:
    """All of a score; ``missing`` only where there is no number."""
    return {name: value for name, value in to_plain(score).items() if name != "missing" or value}


def _advice(audited: Audited, settings: Mapping[str, Any], steps: int) -> list[str]:
    verdict = audited.verdict
    return remedies(verdict.word, settings, steps, course=course_of(verdict, audited.policy.thresholds))


def _adapted_facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the rules give for the model, and where learning rate and epochs come from; empty without a rule."""
    if "adapted" not in settings:
        return {}
    rules = build(Adapted, settings["adapted"], where="the run's settings")
    training = build(Training, settings["training"], where="the run's settings")
    return {**settings["adapted"], "reasons": rules.reasons(training)}


def _curves(log: Sequence[Event], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Terms by step; of a method with stages those of the last one, whose steps count from 1 again."""
    last = f"then {settings.get('method')}" if settings.get("before") else None
    begins = [place for place, event in enumerate(log) if event.kind == "phase" and event.data["name"] == last]
    metrics = [event for event in log if event.kind == "metric"]
    if begins:
        metrics = [event for place, event in enumerate(log) if event.kind == "metric" and place > begins[0]]
    return [{"step": event.data["step"], "terms": dict(event.data["terms"])} for event in metrics]


def _limits(audited: Audited, columns: Columns, data: Mapping[str, Any], log: Sequence[Event]) -> list[str]:
    found = list(LIMITS)
    if audited.recovery is None:
        found.append(NO_ATTACK)
    elif audited.recovery.untried:
        found.append(
            f"Of the attacks that a removal has to stand, none by {', '.join(audited.recovery.untried)} was run."
        )
    if columns.access == "prompts":
        found.append(LIMIT)
    for split, facts in data.items():
        if "rejected" in facts:
            count, lines = facts["rejected"]["count"], facts["rejected"]["lines"]
            found.append(f"{left_out(split, count, [Rejection(**line) for line in lines])} No number covers them.")
    of_run = [event.data["text"] for event in log if event.kind == "warning" and event.data.get("limit")]
    return [*found, *dict.fromkeys(of_run), *audited.limits]


def _verdict_facts(audited: Audited) -> dict[str, Any]:
    verdict, limits = audited.verdict, audited.policy.thresholds
    recovery = {} if audited.recovery is None else {"recovery": _recovery_facts(audited.recovery)}
    relative = {} if audited.relative is None else {"relative": audited.relative._asdict()}
    return {
        **recovery,
        **relative,
        "word": verdict.word,
        "reasons": list(verdict.reasons),
        "findings": [finding._asdict() for finding in verdict.findings],
        "measures": [_measure_facts(measure, limits) for measure in verdict.measures],
        "reference": list(verdict.reference),
    }


def _recovery_facts(recovery: Recovery) -> dict[str, Any]:
    """The named attack's own recovery, and the bound over all attacks; None where few subjects give none."""
    low, high = recovery.interval
    return {
        "attack": recovery.attack,
        "value": recovery.value,
        "low": low,
        "high": high,
        "bound": recovery.high if math.isfinite(recovery.high) else None,
        "untried": list(recovery.untried),
    }


def _measure_facts(measure: Measure, limits: Thresholds) -> dict[str, Any]:
    """Where a metric stands against the band of the retrained models; ``p`` is after Holm."""
    own, before = (None if one is None else one._asdict() for one in (measure.distance, measure.original_distance))
    return {"label": measure.own.label, "standing": measure.stands(limits), "distance": own, "original": before}


def _change_facts(changed: Changes) -> dict[str, Any]:
    return {"share": changed.share, "parts": [part._asdict() for part in changed.parts]}


def _judged_name(run: RunFolder, columns: Columns) -> str | None:
    """Name of the model that is judged: that of its folder or address; what a run made is called by the run."""
    if columns.endpoint is not None:
        return columns.endpoint.name
    if run.config.get("verb") == "unlearn":
        return run.root.resolve().name
    return None if columns.candidate is None else _folder_name(columns.candidate)


def _folder_name(place: str) -> str:
    """Last part of an address of a model; ``.`` and ``..`` have none of their own."""
    name = Path(place).name
    return Path(place).resolve().name if name in ("", "..") else name


def _model_facts(columns: Columns, digests: Mapping[str, str], notes: Mapping[str, Description]) -> dict[str, Any]:
    """The original; where there is none, the model that is judged, of which a service shows no more than a name."""
    named = {} if columns.endpoint is None else {"endpoint": columns.endpoint.name}
    role = "unlearned" if columns.original is None else "original"
    source = columns.original or columns.candidate
    if source is None:
        return {"name": named.get("endpoint"), "digest": None, "dtype": None, "parameters": None, **named}
    described = notes[role] if role in notes else describe(load_model(source, rendering=columns.rendering).model)
    facts = {"digest": digests[role], "dtype": described.dtype, "parameters": described.parameters}
    return {"name": _folder_name(source), **facts, **named}


def _method_facts(settings: Mapping[str, Any]) -> dict[str, Any]:
    if "method" not in settings:
        unknown = {"guarantee": "unknown", "artefact": "weights", "reversible": None, "access": "unknown", "paper": ""}
        return {"name": UNKNOWN, **unknown, "settings": {}}
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
