"""Answers the needs of all metrics for one model.

One forward pass for each split, form and batch, and one generation pass for each split, form and length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from expunge.data.batch import Example
from expunge.data.record import Record
from expunge.data.tokenize import answer_text, encode
from expunge.evaluation.forward import read_examples
from expunge.evaluation.replies import Asking, Replies, generate_replies, judge_replies, score_replies
from expunge.evaluation.subjects import Policy
from expunge.functional.text import zlib_bytes
from expunge.metrics.base import Answer, Need, NeedKind
from expunge.models.load import LoadedModel


class Pass(NamedTuple):
    """What one forward pass reads: every need of one split and form is answered from it."""

    split: str
    form: str


class Read(NamedTuple):
    """What one model gave.

    Attributes:
        answers: every need but those that another model must judge.
        replies: what the model said, for those needs; it stays in the process.
    """

    answers: dict[Need, Answer]
    replies: dict[Need, Replies]


def text_answer(records: Sequence[Record], need: Need) -> Answer:
    """Answers a need that reads no model: compressed lengths in bytes, or places among the labels of the split."""
    if need.kind == "zlib_bytes":
        return [[float(zlib_bytes(answer_text(one))) for one in record.forms(need.form)] for record in records]
    forms = ("trained", "perturbed_answer")
    labels = sorted({answer_text(one) for record in records for form in forms for one in record.forms(form)})
    places = {label: float(place) for place, label in enumerate(labels)}
    return [[places[answer_text(one)] for one in record.forms(need.form)] for record in records]


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
        if need.reads_logits:
            passes.setdefault(Pass(need.split, need.form), []).append(need)
    for one, its_needs in passes.items():
        kinds: list[NeedKind] = [need.kind for need in its_needs]
        numbers = _forward(loaded, splits[one.split], one.form, kinds, max_length=max_length, batch_size=batch_size)
        found.update({need: numbers[need.kind] for need in its_needs})
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


def _forward(
    loaded: LoadedModel,
    records: Sequence[Record],
    form: str,
    kinds: Sequence[NeedKind],
    *,
    max_length: int,
    batch_size: int,
) -> dict[NeedKind, Answer]:
    owners: list[int] = []
    examples: list[Example] = []
    for owner, record in enumerate(records):
        for one in record.forms(form):
            owners.append(owner)
            examples.append(encode(one, loaded.tokenizer, row=len(examples), max_length=max_length))
    where = f"{records[0].split if records else ''}, {form}"
    rows = read_examples(loaded, examples, kinds, batch_size=batch_size, where=where)
    return {kind: _by_record(len(records), owners, arrays) for kind, arrays in rows.items()}


def _by_record(count: int, owners: Sequence[int], arrays: Sequence[Any]) -> Answer:
    grouped: list[list[Any]] = [[] for _ in range(count)]
    for owner, array in zip(owners, arrays, strict=True):
        grouped[owner].append(array)
    return grouped
