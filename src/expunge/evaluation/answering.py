"""Answers the needs of all metrics for one model.

One forward pass for each split, form, transform and batch, and one generation pass for each way of asking.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from expunge.data.record import Record
from expunge.data.tokenize import answer_text
from expunge.evaluation.blind import blind_answer
from expunge.evaluation.forward import read_examples
from expunge.evaluation.frequencies import frequency_answer
from expunge.evaluation.journal import NO_JOURNAL, Journal
from expunge.evaluation.passes import Encoded, Pass, encoded
from expunge.evaluation.replies import Asking, Replies, generate_replies, judge_replies, score_replies
from expunge.evaluation.scoring import score_batches
from expunge.evaluation.subjects import Policy
from expunge.evaluation.sweeps import SWEEP, divergences
from expunge.functional.text import zlib_bytes
from expunge.metrics.base import FORWARD, SWEEPS, TOKENS, Answer, Need
from expunge.models.load import LoadedModel

_Way = TypeVar("_Way", bound=Hashable)


class Read(NamedTuple):
    """What one model gave.

    Attributes:
        answers: every need but those that another model must judge.
        replies: what the model said, for those needs; it stays in the process.
    """

    answers: dict[Need, Answer]
    replies: dict[Need, Replies]


def text_answer(records: Sequence[Record], need: Need, others: Sequence[Record] = ()) -> Answer:
    """Answers a need that reads no model: lengths in bytes, places among labels, blind scores, or marks of ids.

    Args:
        records: the split.
        need: the numbers.
        others: records of the split ``need.beside``.
    """
    if need.kind == "blind_score":
        return blind_answer(records, need, others)
    if need.kind == "zlib_bytes":
        return [[float(zlib_bytes(answer_text(one))) for one in record.forms(need.form)] for record in records]
    if need.kind == "id_mark":
        marks = dict(need.params)["marks"]
        return [[_mark(record, marks) for _ in record.forms(need.form)] for record in records]
    forms = ("trained", "perturbed_answer")
    labels = sorted({answer_text(one) for record in records for form in forms for one in record.forms(form)})
    places = {label: float(place) for place, label in enumerate(labels)}
    return [[places[answer_text(one)] for one in record.forms(need.form)] for record in records]


def _mark(record: Record, marks: Sequence[str]) -> float:
    """Place of the first mark in a record's id; only the number leaves."""
    own = "" if record.id is None else f"-{record.id.reveal()}-"
    return next((float(place) for place, mark in enumerate(marks) if f"-{mark}-" in own), math.nan)


def answer_needs(
    loaded: LoadedModel,
    splits: Mapping[str, Sequence[Record]],
    needs: Sequence[Need],
    *,
    max_length: int,
    batch_size: int,
    policy: Policy | None = None,
) -> dict[Need, Answer]:
    """Answers needs that read logits or generate; what needs a judge is judged by the model itself."""
    read = read_model(loaded, splits, needs, max_length=max_length, batch_size=batch_size, policy=policy)
    judged = judge_needs(loaded, read.replies, max_length=max_length, batch_size=batch_size)
    return {**read.answers, **judged}


def read_model(
    loaded: LoadedModel,
    splits: Mapping[str, Sequence[Record]],
    needs: Sequence[Need],
    *,
    max_length: int,
    batch_size: int,
    policy: Policy | None = None,
    journal: Journal = NO_JOURNAL,
) -> Read:
    """Answers the needs of one model that no other model is needed for.

    The journal is told of each batch, and of all answers of a pass as soon as it is done. Replies that wait for a judge
    are no numbers yet: where the process is killed before they are judged, they are generated again, and what else was
    made of them is not scored again if it was kept.
    """
    reading = _Reading(loaded, splits, loaded.limit(max_length), batch_size, policy, journal)
    found: dict[Need, Answer] = {}
    replies: dict[Need, Replies] = {}
    for one, its_needs in _grouped(needs, Pass.of, lambda need: need.kind in (*FORWARD, *SWEEPS, *TOKENS)).items():
        found |= _read_pass(reading, one, its_needs)
    for asking, its_needs in _grouped(needs, Asking.of, lambda need: need.generates).items():
        heard = _ask(reading, asking, its_needs)
        found |= heard.answers
        replies |= heard.replies
    return Read(found, replies)


class _Reading(NamedTuple):
    """One model, and how it is read."""

    loaded: LoadedModel
    splits: Mapping[str, Sequence[Record]]
    max_length: int
    batch_size: int
    policy: Policy | None
    journal: Journal


def _grouped(
    needs: Sequence[Need], of: Callable[[Need], _Way], chosen: Callable[[Need], bool]
) -> dict[_Way, list[Need]]:
    """The chosen needs by what answers them together."""
    found: dict[_Way, list[Need]] = {}
    for need in filter(chosen, needs):
        found.setdefault(of(need), []).append(need)
    return found


def judge_needs(
    judge: LoadedModel,
    replies: Mapping[Need, Replies],
    *,
    max_length: int,
    batch_size: int,
    journal: Journal = NO_JOURNAL,
) -> dict[Need, Answer]:
    """Answers needs for which another model reads what a model said."""
    found: dict[Need, Answer] = {}
    for need, said in replies.items():
        with journal.pages([need]) as pages:
            answer = judge_replies(judge, said, max_length=max_length, batch_size=batch_size, pages=pages)
        found |= journal.keep({need: answer})
    return found


def beside_needs(
    loaded: LoadedModel,
    other: LoadedModel,
    splits: Mapping[str, Sequence[Record]],
    needs: Sequence[Need],
    *,
    max_length: int,
    batch_size: int,
    journal: Journal = NO_JOURNAL,
) -> dict[Need, Answer]:
    """Answers needs for which another model reads the same records beside this one.

    No record has a number where the two do not have one vocabulary: their distributions are over other things.
    """
    if not _have_one_vocabulary(loaded, other):
        return dict(journal.keep({need: [[] for _ in splits[need.split]] for need in needs}))
    longest = other.limit(loaded.limit(max_length))
    found: dict[Need, Answer] = {}
    for need in needs:
        texts = encoded(splits, Pass.of(need), loaded.tokenizer, longest)
        with journal.pages([need]) as pages:
            answer = texts.by_record(divergences(loaded, other, texts.examples, batch_size, pages))
        found |= journal.keep({need: answer})
    return found


def _have_one_vocabulary(loaded: LoadedModel, other: LoadedModel) -> bool:
    widths = {one.model.config.get_text_config().vocab_size for one in (loaded, other)}
    return len(widths) == 1 and loaded.tokenizer.get_vocab() == other.tokenizer.get_vocab()


def _read_pass(reading: _Reading, one: Pass, needs: Sequence[Need]) -> dict[Need, Answer]:
    """One forward pass for all needs that it can answer, and one sweep for each kind of the others."""
    loaded, splits, max_length = reading.loaded, reading.splits, reading.max_length
    texts = encoded(splits, one, loaded.tokenizer, max_length)
    found: dict[Need, Answer] = {}
    if forward := [need for need in needs if need.kind in FORWARD]:
        found |= _read_forward(reading, one, texts, forward)
    for need in needs:
        if need.kind in SWEEPS:
            sweep = partial(SWEEP[need.kind], loaded, texts.examples, batch_size=reading.batch_size)
            with reading.journal.pages([need]) as pages:
                answer = texts.by_record(sweep(pages=pages, **dict(need.params)))
            found |= reading.journal.keep({need: answer})
    counted = [need for need in needs if need.kind in TOKENS]
    numbers = {need: frequency_answer(loaded.tokenizer, splits, texts, need, max_length) for need in counted}
    return {**found, **reading.journal.keep(numbers)}


def _read_forward(reading: _Reading, one: Pass, texts: Encoded, needs: Sequence[Need]) -> Mapping[Need, Answer]:
    where = ", ".join(part for part in (one.split, one.form, one.transform.label if one.transform else "") if part)
    kinds, size = [need.numbers for need in needs], reading.batch_size
    with reading.journal.pages(needs) as pages:
        rows = read_examples(reading.loaded, texts.examples, kinds, batch_size=size, where=where, pages=pages)
    return reading.journal.keep({need: texts.by_record(rows[need.numbers]) for need in needs})


def _ask(reading: _Reading, asking: Asking, needs: Sequence[Need]) -> Read:
    """One generation for all needs that ask alike; batch by batch where nobody waits for the texts."""
    loaded, splits, max_length, batch_size, policy, journal = reading
    judged = [need for need in needs if need.judged]
    scored = [need for need in needs if not need.judged]
    if policy is None and not judged:
        with journal.pages(scored) as pages:
            answers = score_batches(
                loaded, splits, asking, scored, max_length=max_length, batch_size=batch_size, pages=pages
            )
        return Read(dict(journal.keep(answers)), {})
    said = generate_replies(loaded, splits, asking, max_length=max_length, batch_size=batch_size, policy=policy)
    answers = {need: score_replies(said, need) for need in scored}
    return Read(dict(journal.keep(answers)), dict.fromkeys(judged, said))
