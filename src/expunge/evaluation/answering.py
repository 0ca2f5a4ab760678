"""Answers the needs of all metrics for one model.

One forward pass for each split, form, transform and batch, and one generation pass for each way of asking.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from expunge.data.record import Record
from expunge.data.tokenize import answer_text
from expunge.evaluation.blind import blind_answer
from expunge.evaluation.forward import read_examples
from expunge.evaluation.frequencies import frequency_answer
from expunge.evaluation.passes import Encoded, Pass, encoded
from expunge.evaluation.replies import Asking, Replies, generate_replies, judge_replies, score_replies
from expunge.evaluation.subjects import Policy
from expunge.evaluation.sweeps import SWEEP, divergences
from expunge.functional.text import zlib_bytes
from expunge.metrics.base import FORWARD, SWEEPS, TOKENS, Answer, Need
from expunge.models.load import LoadedModel


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
) -> Read:
    """Answers the needs of one model that no other model is needed for."""
    max_length = loaded.limit(max_length)
    found: dict[Need, Answer] = {}
    passes: dict[Pass, list[Need]] = {}
    for need in needs:
        if need.kind in (*FORWARD, *SWEEPS, *TOKENS):
            passes.setdefault(Pass.of(need), []).append(need)
    for one, its_needs in passes.items():
        texts = encoded(splits, one, loaded.tokenizer, max_length)
        found.update(_read_pass(loaded, texts, one, its_needs, batch_size))
        counted = [need for need in its_needs if need.kind in TOKENS]
        found.update({need: frequency_answer(loaded.tokenizer, splits, texts, need, max_length) for need in counted})
    replies: dict[Need, Replies] = {}
    for asking in dict.fromkeys(Asking.of(need) for need in needs if need.generates):
        said = generate_replies(loaded, splits, asking, max_length=max_length, batch_size=batch_size, policy=policy)
        for need in needs:
            if need.generates and Asking.of(need) == asking:
                if need.judged:
                    replies[need] = said
                else:
                    found[need] = score_replies(said, need)
    return Read(found, replies)


def judge_needs(
    judge: LoadedModel, replies: Mapping[Need, Replies], *, max_length: int, batch_size: int
) -> dict[Need, Answer]:
    """Answers needs for which another model reads what a model said."""
    return {
        need: judge_replies(judge, said, max_length=max_length, batch_size=batch_size) for need, said in replies.items()
    }


def beside_needs(
    loaded: LoadedModel,
    other: LoadedModel,
    splits: Mapping[str, Sequence[Record]],
    needs: Sequence[Need],
    *,
    max_length: int,
    batch_size: int,
) -> dict[Need, Answer]:
    """Answers needs for which another model reads the same records beside this one.

    No record has a number where the two do not have one vocabulary: their distributions are over other things.
    """
    if not _have_one_vocabulary(loaded, other):
        return {need: [[] for _ in splits[need.split]] for need in needs}
    longest = other.limit(loaded.limit(max_length))
    found: dict[Need, Answer] = {}
    for need in needs:
        texts = encoded(splits, Pass.of(need), loaded.tokenizer, longest)
        found[need] = texts.by_record(divergences(loaded, other, texts.examples, batch_size))
    return found


def _have_one_vocabulary(loaded: LoadedModel, other: LoadedModel) -> bool:
    widths = {one.model.config.get_text_config().vocab_size for one in (loaded, other)}
    return len(widths) == 1 and loaded.tokenizer.get_vocab() == other.tokenizer.get_vocab()


def _read_pass(
    loaded: LoadedModel, texts: Encoded, one: Pass, needs: Sequence[Need], batch_size: int
) -> dict[Need, Answer]:
    """One forward pass for all needs that it can answer, and one sweep for each kind of the others."""
    kinds = [need.numbers for need in needs if need.kind in FORWARD]
    where = ", ".join(part for part in (one.split, one.form, one.transform.label if one.transform else "") if part)
    rows = read_examples(loaded, texts.examples, kinds, batch_size=batch_size, where=where) if kinds else {}
    found = {need: texts.by_record(rows[need.numbers]) for need in needs if need.kind in FORWARD}
    for need in needs:
        if need.kind in SWEEPS:
            sweep = SWEEP[need.kind]
            found[need] = texts.by_record(sweep(loaded, texts.examples, batch_size=batch_size, **dict(need.params)))
    return found
