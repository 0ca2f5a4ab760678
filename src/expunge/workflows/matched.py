"""Several runs compared at one utility: each is mixed with its original until it keeps what was asked for.

Wang et al., 2024, https://arxiv.org/abs/2406.09179.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from expunge.config import Choice
from expunge.data.checks import check_overlaps, check_splits, overlaps
from expunge.data.record import Record
from expunge.errors import InputError, InterruptedRunError
from expunge.evaluation.result import Evaluation, ScoreRecord
from expunge.evaluation.runner import evaluate
from expunge.evaluation.store import Store
from expunge.evaluation.subjects import Subject
from expunge.evaluation.suites import KEPT as KEPT_SPLITS
from expunge.evaluation.utility import PART_OF_RETAIN, Kept, worst_kept
from expunge.functional.tradeoff import KEPT, Point
from expunge.metrics.memorisation import ExactMemorisation, KnowledgeMetric
from expunge.models.mixing import load_mixed
from expunge.registry import metrics
from expunge.reports.comparison import Comparison
from expunge.reports.matched import Matching, match_paths
from expunge.reports.reading import KNOWLEDGE, Value
from expunge.reports.sections.summary import complement
from expunge.storage.digests import KEY_NAME, DataKey
from expunge.storage.run import RunFolder, harden_umask
from expunge.workflows.card import data_of, made_with
from expunge.workflows.columns import Columns, check_digests, stored_policy
from expunge.workflows.compare import compare_folders, names_of, write_page
from expunge.workflows.identity import code_digest
from expunge.workflows.inputs import Inputs, model_is_saved, read_inputs, reading_digests, warn_of_rejected
from expunge.workflows.rendering import settled_rendering
from expunge.workflows.signals import stop_on_signal

STEPS = 10  # from the unlearned to the original model


@dataclass(frozen=True, kw_only=True)
class MatchRequest:
    """At which utility to compare, and what to read.

    Attributes:
        at_utility: share of the original's utility, above 0 and at most 1.
        metric: what forgetting is read by, one of ``KNOWLEDGE`` on the forget set; forgetting is one minus its value.
        forget: file of the records that were to be forgotten.
        benchmark: where all splits come from for which no file is given; runs made on one know it.
        retain: file of records to keep.
        holdout: file of records no model has seen; checked, and not read.
        evaluation: further splits by name of which nothing should have been lost.
        columns: column of each field whose column in the files has another name, such as ``{"answer": "response"}``.
        allow_rejected: leave out records to forget that cannot be read, instead of refusing their file.
        allow_overlap: go on although records are in two sets; a note says how many.
    """

    at_utility: float = KEPT
    metric: Choice = field(default_factory=lambda: Choice("extraction_strength"))
    forget: Path | None = None
    benchmark: Choice | None = None
    retain: Path | None = None
    holdout: Path | None = None
    evaluation: Mapping[str, Path] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    allow_rejected: bool = False
    allow_overlap: bool = False

    def __post_init__(self) -> None:
        """Refuses what is no share, and metrics that do not lie between 0 and 1."""
        if not 0 < self.at_utility <= 1:
            raise InputError(
                f"{self.at_utility:g} is no share of the original's utility; give --at-utility a number above 0 and at "
                "most 1, such as 0.95."
            )
        if self.metric.name not in KNOWLEDGE:
            raise InputError(
                f"Forgetting cannot be read by {self.metric.name!r} here; choose one of {', '.join(KNOWLEDGE)}."
            )

    def create_metric(self) -> KnowledgeMetric:
        """Returns the metric that forgetting is read by."""
        metric: KnowledgeMetric = self.metric.create(metrics)
        if metric.split != "forget":
            raise InputError(f"Forgetting is read on the forget set, not on {metric.split}; leave out split.")
        return metric


class _Target(NamedTuple):
    """A run, and the two models between which it is read."""

    name: str
    run: RunFolder
    columns: Columns


class _Read(NamedTuple):
    """What all models are read by and on."""

    forgetting: KnowledgeMetric
    kept: list[ExactMemorisation]
    splits: Mapping[str, Sequence[Record]]
    code: str


def compare_at_utility(
    folders: Sequence[Path], request: MatchRequest, out: Path | None = None, listeners: Sequence[Any] = ()
) -> Comparison:
    """Compares runs as ``compare`` does, and at one utility besides; models already read are not read again.

    Args:
        folders: run folders with an audit, all of one original model.
        request: at which utility, and on which records: those the runs were made with.
        out: where a page is written; None for none.
        listeners: called with each event.

    Raises:
        InputError: runs that cannot be compared so, or other records than the runs'.
        VerificationError: a model is not the one that its run vouches for.
        InterruptedRunError: stopped on request; the same command goes on.
    """
    harden_umask()
    comparison = compare_folders(folders, out)
    targets = [_target(folder, name, listeners) for folder, name in zip(folders, names_of(folders), strict=True)]
    inputs = _inputs(targets, request)
    read = _read(inputs, request)
    notes = [note for target in targets for note in _check_data(target, inputs.audited, read)]
    notes += [found.sentence for found in overlaps(inputs.audited)]
    subjects = {target.name: target.columns.subjects() for target in targets}
    _check_originals(targets, subjects)
    warn_of_rejected(targets[0].run, inputs)
    with stop_on_signal() as stop_requested:
        found = {one.name: _evaluate(one, subjects[one.name], read, stop_requested) for one in targets}
    comparison = comparison._replace(matching=_match(found, read, request.at_utility, notes))
    write_page(comparison, out)
    return comparison


def _match(found: Mapping[str, Evaluation], read: _Read, utility: float, notes: Sequence[str]) -> Matching:
    saved = {name: _score(evaluation, read.forgetting, 0) for name, evaluation in found.items()}
    return match_paths(
        {name: [_point(evaluation, read, step) for step in range(STEPS + 1)] for name, evaluation in found.items()},
        {name: complement(Value(score.value, score.low, score.high)) for name, score in saved.items()},
        utility,
        metric=read.forgetting.label,
        kept=[metric.label for metric in read.kept],
        subjects=min(score.n for score in saved.values()),
        notes=notes,
    )


def _target(folder: Path, name: str, listeners: Sequence[Any]) -> _Target:
    run = RunFolder.open(folder, tuple(listeners))
    settings = run.config
    if settings.get("verb") == "unlearn" and not model_is_saved(run):
        raise InputError(f"{name} has no finished model (the run is {run.state}); finish it first.")
    if settings.get("endpoint") or settings.get("model") is None:
        raise InputError(
            f"{name} was read through prompts: there are no weights of it, or none of its original, to mix. Leave it "
            "out, or compare without --at-utility."
        )
    if stored_policy(run) is not None:
        raise InputError(
            f"{name} made a policy: its weights are the original's, and there is no model between the two. Leave it "
            "out, or compare without --at-utility."
        )
    candidate = str(settings.get("target") or run.model)
    columns = Columns(original=settings["model"], candidate=candidate, rendering=settled_rendering(run))
    if columns.adapter:
        raise InputError(
            f"{name} is an adapter beside the original's weights, and there is no model between the two. Merge it with "
            "peft and audit that folder, or compare without --at-utility."
        )
    columns.check()
    return _Target(name, run, columns)


def _inputs(targets: Sequence[_Target], request: MatchRequest) -> Inputs:
    files = {"forget": request.forget, "retain": request.retain, "holdout": request.holdout}
    stored = next(filter(None, (target.run.config.get("benchmark") for target in targets)), None)
    benchmark = request.benchmark or (Choice.parse(stored) if stored else None)
    inputs = read_inputs(
        files, request.evaluation, benchmark, columns=request.columns, allow_rejected=request.allow_rejected
    )
    if not inputs.audited.get("forget"):
        raise InputError("The runs are read again for what they still hold; hand in the same --forget file.")
    check_splits(inputs.audited["forget"], [])
    check_overlaps(inputs.audited, allow_overlap=request.allow_overlap)
    return inputs


def _read(inputs: Inputs, request: MatchRequest) -> _Read:
    near = sorted(split for split in inputs.splits if split.startswith(PART_OF_RETAIN))
    kept = [split for split in (*KEPT_SPLITS, *near, *inputs.evaluation) if inputs.audited.get(split)]
    if not kept:
        raise InputError("Utility is read on records that should have stayed; hand in the same --retain file.")
    names = list(dict.fromkeys(kept))
    splits = {split: inputs.audited[split] for split in ("forget", *names)}
    return _Read(request.create_metric(), [ExactMemorisation(split=split) for split in names], splits, code_digest())


def _check_data(target: _Target, given: Mapping[str, Sequence[Record]], read: _Read) -> list[str]:
    """Refuses other records than the run's; returns what could not be checked."""
    if not (target.run.root / KEY_NAME).is_file():
        raise InputError(f"{target.name} has no {KEY_NAME}, so that nobody can tell whether these are its records.")
    data_of(target.run, given)
    unknown = [split for split in read.splits if split not in made_with(target.run)]
    if not unknown:
        return []
    return [f"{target.name} was made without {', '.join(unknown)}; that these records are the same was not checked."]


def _check_originals(targets: Sequence[_Target], subjects: Mapping[str, Sequence[Subject]]) -> None:
    digests = [_of_role(subjects[target.name], "original").identity["weights"] for target in targets]
    for target, digest in zip(targets, digests, strict=True):
        if digest != digests[0]:
            raise InputError(
                f"{targets[0].name} and {target.name} began from other original models, and a share of the one's "
                "utility is no share of the other's. Compare runs of one original, or leave out --at-utility."
            )


def _evaluate(
    target: _Target, subjects: Sequence[Subject], read: _Read, stop_requested: Callable[[], bool]
) -> Evaluation:
    run = target.run
    with run.locked():
        check_digests(run, subjects)
        digests = reading_digests(read.splits, DataKey.load_or_create(run.root))
        store = Store(run.scores, digests, int(run.config.get("max_length", 512)), read.code)

        def log(role: str) -> None:
            if stop_requested():
                raise InterruptedRunError(f"Stopped while {target.name} was read; the same command goes on.")

        line = [one.stopping(stop_requested) for one in _line(target.columns, subjects)]
        wanted = (read.forgetting, *read.kept)
        told: dict[str, Any] = {"phases": run.phases, "called": f"{target.name}: {{}}".format}
        return evaluate(line, read.splits, wanted, store, log=log, **told)


def _line(columns: Columns, subjects: Sequence[Subject]) -> list[Subject]:
    """The unlearned model, those between, and the original; the ends share stored answers with an audit."""
    unlearned, original = (_of_role(subjects, role) for role in ("unlearned", "original"))
    found = [unlearned]
    for step in range(1, STEPS):
        share = step / STEPS
        mix = {"mixed_with": original.identity["weights"], "share": str(share)}
        load = partial(load_mixed, str(columns.candidate), str(columns.original), share, rendering=columns.rendering)
        found.append(replace(unlearned, role=_role(step), identity={**unlearned.identity, **mix}, load=load))
    return [*found, original]


def _role(step: int) -> str:
    return {0: "unlearned", STEPS: "original"}.get(step, f"{100 * step // STEPS} % of the original")


def _of_role(subjects: Sequence[Subject], role: str) -> Subject:
    return next(subject for subject in subjects if subject.role == role)


def _point(found: Evaluation, read: _Read, step: int) -> Point:
    """One model of the line: one minus what it holds, and what it kept of the split on which it kept least."""
    kept = [_kept(metric, *(_score(found, metric, place) for place in (STEPS, step))) for metric in read.kept]
    worst = worst_kept(kept)
    if worst is None:
        raise InputError(
            "The original has no token of the records to keep right, or too few subjects are there, so that nothing "
            "can be a share of it; hand in --retain records that it knows."
        )
    return Point(step / STEPS, 1 - _score(found, read.forgetting, step).value, worst.share)


def _kept(metric: ExactMemorisation, original: ScoreRecord, own: ScoreRecord) -> Kept:
    return Kept(metric.label, "exact_memorisation", metric.split, metric.form, own.n, original.value, own.value)


def _score(found: Evaluation, metric: KnowledgeMetric, step: int) -> ScoreRecord:
    score = found.get(metric.label, _role(step))
    if score is None or score.value != score.value:
        reasons = [one.reason for one in found.omitted if one.label == metric.label]
        raise InputError(f"{metric.label} has no number on these records{f' ({reasons[0]})' if reasons else ''}.")
    return score
