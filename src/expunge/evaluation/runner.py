"""Collects what all metrics need, asks each model once, and turns the answers into scores with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from expunge.data.record import Record
from expunge.evaluation.answering import beside_needs, judge_needs, read_model, text_answer
from expunge.evaluation.journal import AnswersAlone, Journal, StoredJournal, clear
from expunge.evaluation.needs import JUDGE, Plan, plan
from expunge.evaluation.reduce import Bootstrap, gap, score_record
from expunge.evaluation.replies import Replies
from expunge.evaluation.result import Evaluation, Gap, Omitted, ScoreRecord, Traits
from expunge.evaluation.served import ask_service
from expunge.evaluation.store import Store
from expunge.evaluation.subjects import Subject
from expunge.evaluation.surroundings import surroundings
from expunge.evaluation.unasked import unasked, with_unasked
from expunge.functional.bootstrap import mean_of
from expunge.metrics.base import Answer, Answers, Metric, Need, Score, is_of
from expunge.models.load import LoadedModel
from expunge.registry import metrics as registry
from expunge.storage.progress import SILENT, Phases, Steps

REFERENCE = "retrained"  # role that the others are compared with


def evaluate(
    subjects: Sequence[Subject],
    splits: Mapping[str, Sequence[Record]],
    metrics: Sequence[Metric],
    store: Store,
    *,
    batch_size: int = 16,
    seed: int = 0,
    resamples: int = 1000,
    log: Callable[[str], None] = lambda role: None,
    phases: Phases = SILENT,
    called: Callable[[str], str] = "the {} model".format,
) -> Evaluation:
    """Scores every metric on every subject.

    Killed at any time and called again with the same arguments it goes on where it was, with the same numbers: what was
    read is appended to the store's folder batch by batch, and is gone from there at the end. What a model said to be
    judged by another one is generated again, since no text is written; a service may then say something else.

    Args:
        subjects: models, in the order of the report's columns; each role once.
        splits: records by split.
        metrics: what to measure.
        store: answers of earlier calls; new ones are added.
        batch_size: sequences in one forward pass; changes no number but those of sampled replies.
        seed: of the bootstrap.
        resamples: draws of the bootstrap.
        log: called with the role of each model before it is read.
        phases: where each part of the reading is begun, with its number of sequences or scores.
        called: what the model of a role is called there.

    Returns:
        Scores, their distances from the retrained model, and what was left out and why.

    Raises:
        InputError: subjects that cannot be told apart, or a split that the store has no digest of.
        DivergedError: a model whose log-probabilities are not numbers.
    """
    planned = plan(subjects, splits, metrics)
    store = replace(store, surroundings=surroundings(batch_size))
    answers = _read_all(subjects, planned.needs, splits, store, batch_size, log, _Told(phases, called))
    clear(store.folder)
    with phases.phase(
        "compute scores and intervals", 2 * sum(map(len, planned.metrics.values())) + len(metrics)
    ) as steps:
        return _scored(planned, metrics, answers, splits, Bootstrap(resamples, seed), steps)


def _scored(
    planned: Plan,
    metrics: Sequence[Metric],
    answers: Mapping[str, Mapping[Need, Answer]],
    splits: Mapping[str, Sequence[Record]],
    bootstrap: Bootstrap,
    steps: Steps,
) -> Evaluation:
    """Scores and distances of all models; a step is a metric on one model, its interval, or a metric's distances."""
    scores: dict[Metric, dict[str, Score]] = {metric: {} for metric in metrics}
    for role, metric in steps.over((role, metric) for role, chosen in planned.metrics.items() for metric in chosen):
        scores[metric][role] = metric.compute(Answers(answers[role], answers))
    found = [
        with_unasked(score_record(metric, role, score, splits, bootstrap), unasked(metric, answers[role], splits))
        for metric, of_roles in scores.items()
        for role, score in steps.over(of_roles.items())
    ]
    unscored = {(one.label, one.role) for one in found if isinstance(one, Omitted)}
    gaps = [
        one for metric, of_roles in steps.over(scores.items()) for one in _gaps(metric, of_roles, splits, bootstrap)
    ]
    return Evaluation(
        scores=tuple(one for one in found if isinstance(one, ScoreRecord)),
        omitted=(*planned.omitted, *(one for one in found if isinstance(one, Omitted))),
        gaps=tuple(one for one in gaps if (one.label, one.role) not in unscored),
        traits={metric.label: _traits(metric) for metric in scores},
        samples={
            (metric.label, role): score.samples
            for metric, of_roles in scores.items()
            if metric.plotted
            for role, score in of_roles.items()
        },
        knowledge={
            (metric.label, role): score.samples[0]
            for metric, of_roles in scores.items()
            if metric.evidence == "knowledge"
            for role, score in of_roles.items()
            if score.statistic is mean_of
        },
    )


def _gaps(
    metric: Metric, scores: Mapping[str, Score], splits: Mapping[str, Sequence[Record]], bootstrap: Bootstrap
) -> list[Gap]:
    """Distances of a metric that should come close to the retrained model, from each one; the first comes first."""
    if metric.aim != "closer":
        return []
    references = {role: score for role, score in scores.items() if is_of(role, REFERENCE)}
    return [
        replace(gap(metric, role, score, reference, splits, bootstrap), reference=name)
        for name, reference in references.items()
        for role, score in scores.items()
        if role not in references or (name == REFERENCE and role != name)
    ]


def _traits(metric: Metric) -> Traits:
    needs = metric.needs()
    return Traits(
        name=registry.name_of(metric),
        splits=tuple(dict.fromkeys(need.split for need in needs)),
        forms=tuple(dict.fromkeys(need.form for need in needs)),
        evidence=metric.evidence,
    )


def _read_all(
    subjects: Sequence[Subject],
    needs: Mapping[str, Sequence[Need]],
    splits: Mapping[str, Sequence[Record]],
    store: Store,
    batch_size: int,
    log: Callable[[str], None],
    told: _Told,
) -> dict[str, dict[Need, Answer]]:
    """Answers of all models by role.

    The judge comes last: it is loaded once, for its own answers and for the replies of the others, and no two models
    are in memory together but where they read side by side. What the others said waits in this process.
    """
    by_role = {subject.role: subject for subject in subjects}
    texts: dict[Need, Answer] = {}
    readings = {
        role: _Reading(subject, by_role, splits, store, batch_size, texts, told, told.called(role))
        for role, subject in by_role.items()
    }
    unread = [role for role, reading in readings.items() if reading.lacks(needs[role])]
    for place, role in enumerate(sorted(unread, key=lambda role: role == JUDGE), start=1):
        if len(unread) > 1:
            readings[role].name += f" ({place} of {len(unread)})"
    for role, reading in readings.items():
        if role != JUDGE:
            log(role)
            reading.ask(needs[role])
    if JUDGE in readings:
        log(JUDGE)
        loaded = readings[JUDGE].ask(needs[JUDGE])
        for reading in readings.values():
            if reading.waiting:
                loaded = loaded or by_role[JUDGE].loaded()
                reading.judged_by(loaded)
        del loaded
    for role, reading in readings.items():
        if reading.pairs:
            log(role)
            reading.read_pairs()
    return {role: reading.found for role, reading in readings.items()}


class _Told(NamedTuple):
    """Where it is told what is read, and what each model is called there."""

    phases: Phases
    called: Callable[[str], str]


@dataclass(repr=False)
class _Reading:
    """Answers of one model while they are collected.

    Attributes:
        subject: the model.
        others: all models by role.
        splits: records by split.
        store: answers of earlier calls.
        batch_size: sequences in one forward pass.
        texts: answers that hang on no model, of all models together.
        told: where it is told what is read.
        name: of the model, for people.
        found: answers so far.
        waiting: replies that the judge has to read.
        pairs: needs for which another model reads beside this one.
    """

    subject: Subject
    others: Mapping[str, Subject]
    splits: Mapping[str, Sequence[Record]]
    store: Store
    batch_size: int
    texts: dict[Need, Answer]
    told: _Told
    name: str
    found: dict[Need, Answer] = field(default_factory=dict)
    waiting: dict[Need, Replies] = field(default_factory=dict)
    pairs: list[Need] = field(default_factory=list)

    def lacks(self, needs: Sequence[Need]) -> bool:
        """Returns whether the model must be read for some needs."""
        return any([not self._known(need) for need in needs if not need.paired])

    def ask(self, needs: Sequence[Need]) -> LoadedModel | None:
        """Answers what is stored or takes this model alone; returns the model if it had to be loaded."""
        # A model of the same weights may have been read since they were looked for.
        unknown = [need for need in needs if need not in self.found and not self._known(need)]
        self.pairs = [need for need in unknown if need.paired]
        missing = [need for need in unknown if not need.paired]
        if not missing:
            return None
        if self.subject.service is not None:
            for read in ask_service(self.subject.service, self.splits, missing, self.journal):
                self.found |= self.journal.keep(read.answers)
                self.waiting.update(read.replies)
            return None
        loaded = self._loaded()
        length, policy = self.store.max_length, self.subject.policy
        how: dict[str, Any] = {"batch_size": self.batch_size, "policy": policy, "journal": self.journal}
        told: dict[str, Any] = {"phases": self.told.phases, "name": self.name}
        read = read_model(loaded, self.splits, missing, max_length=length, **how, **told)
        self.found.update(read.answers)
        self.waiting = read.replies
        return loaded

    def judged_by(self, loaded: LoadedModel) -> None:
        """Has the judge read what this model said; after a kill from the start where the texts are others then."""
        length, size = self.store.max_length, self.batch_size
        journal: Journal = self.journal if self.subject.service is None else AnswersAlone(self.journal)
        told: dict[str, Any] = {"phases": self.told.phases, "name": self.told.called(self.subject.role)}
        self.found |= judge_needs(loaded, self.waiting, max_length=length, batch_size=size, journal=journal, **told)
        self.waiting = {}

    def read_pairs(self) -> None:
        """Reads beside each other model that a need names; both are in memory."""
        loaded, length, size = self._loaded(), self.store.max_length, self.batch_size
        for role in dict.fromkeys(str(need.second) for need in self.pairs):
            mine = [need for need in self.pairs if need.second == role]
            other = self.others[role].loaded()
            both = f"{self.told.called(self.subject.role)} beside {self.told.called(role)}"
            how: dict[str, Any] = {"batch_size": size, "journal": self.journal, "phases": self.told.phases}
            self.found |= beside_needs(loaded, other, self.splits, mine, max_length=length, **how, name=both)

    def _loaded(self) -> LoadedModel:
        with self.told.phases.phase(f"load {self.name}"):
            return self.subject.loaded()

    def _known(self, need: Need) -> bool:
        if not need.reads_model:  # cheaper to count again than to read back; the same for all models
            if need not in self.texts:
                others = self.splits[need.beside] if need.beside else ()
                self.texts[need] = text_answer(self.splits[need.split], need, others)
            self.found[need] = self.texts[need]
        elif (stored := self.store.get(self.subject.identity, need, self._second(need))) is not None:
            self.found[need] = stored
        return need in self.found

    @property
    def journal(self) -> StoredJournal:
        """Takes what is read of this model, batch by batch and pass by pass; what a service says is written at once."""
        journal = StoredJournal(self.store, self.subject.identity, self._second, self.batch_size)
        return journal if self.subject.service is None else replace(journal, every=0.0)

    def _second(self, need: Need) -> Mapping[str, str] | None:
        second = self.others.get(need.second or "")
        return None if second is None else second.identity
