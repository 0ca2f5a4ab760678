"""What a service says, which answers prompts and shows nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from expunge.data.record import Message, Record
from expunge.evaluation.answering import Read
from expunge.evaluation.journal import NO_JOURNAL, UNKEPT, Journal, Pages
from expunge.evaluation.passes import Placed
from expunge.evaluation.replies import Asking, Replies, Scorer, asked_records, replies_of, score_replies, scorer
from expunge.evaluation.speaking import draw_seed
from expunge.evaluation.subjects import Decoding, Service
from expunge.metrics.base import Answer, Floats, Need

BATCH = 10  # prompts that a service is handed together, and whose numbers are kept together: a kill loses that many


class _Batch(NamedTuple):
    """What a service is handed together, and by which numbers a journal knows it: those of (draw, record)."""

    rows: list[int]
    asked: list[Placed]
    decoding: Decoding


def ask_service(
    service: Service, splits: Mapping[str, Sequence[Record]], needs: Sequence[Need], journal: Journal = NO_JOURNAL
) -> Iterator[Read]:
    """Answers needs that only take what a model says, one way of asking after the other, so that each can be stored.

    The journal is told of the numbers of each batch, and what it has is not asked again. A way of asking that another
    model judges is asked again whole after a kill: the judge takes all texts, and none is written.
    """
    askings = {asking: [need for need in needs if Asking.of(need) == asking] for asking in map(Asking.of, needs)}
    unknown = sum(_count_unknown(splits, asking, mine, journal) for asking, mine in askings.items())
    service.begin(unknown, sum(count_prompts(splits, asking) for asking in askings) - unknown)
    for asking, mine in askings.items():
        if any(need.judged for need in mine):
            said = service_replies(service, splits, asking)
            answers = {need: score_replies(said, need) for need in mine if not need.judged}
            yield Read(answers, {need: said for need in mine if need.judged})
        else:
            with journal.pages(mine) as pages:
                answers = score_service(service, splits, asking, mine, pages)
            yield Read(answers, {})


def score_service(
    service: Service,
    splits: Mapping[str, Sequence[Record]],
    asking: Asking,
    needs: Sequence[Need],
    pages: Pages = UNKEPT,
) -> dict[Need, Answer]:
    """Answers needs that read the same replies, none of them for a judge: ``score_replies``, but batch by batch."""
    scorers = [scorer(need) for need in needs]
    answers: list[list[list[Any]]] = [[[] for _ in splits[asking.split]] for _ in needs]
    for batch in _batches(splits, asking):
        heard = pages.once(batch.rows, partial(_score_batch, service, splits, asking, batch, scorers))
        for answer, numbers in zip(answers, heard, strict=True):
            for one, number in zip(batch.asked, numbers, strict=True):
                answer[one.owner].append(number)
    return dict(zip(needs, answers, strict=True))


def _score_batch(
    service: Service,
    splits: Mapping[str, Sequence[Record]],
    asking: Asking,
    batch: _Batch,
    scorers: Sequence[Scorer],
) -> list[list[Floats]]:
    replies = replies_of(splits, asking, _hear(service, batch))
    return [[np.asarray(one, dtype=np.float64) for one in score(replies)] for score in scorers]


def service_replies(service: Service, splits: Mapping[str, Sequence[Record]], asking: Asking) -> Replies:
    """Asks a service what ``generate_replies`` asks a model.

    A record whose answer is begun for the model has no reply: a service begins its own.
    """
    heard = [one for batch in _batches(splits, asking) for one in _hear(service, batch)]
    heard.sort(key=lambda one: one[0].owner)  # draws of one record side by side
    return replies_of(splits, asking, heard)


def count_prompts(splits: Mapping[str, Sequence[Record]], asking: Asking) -> int:
    """Returns how many prompts ``service_replies`` sends."""
    return len(_sendable(splits, asking)) * asking.draws


def decodings(asking: Asking) -> list[Decoding]:
    """How each reply to a prompt is made: once, or draw by draw."""
    drawn = asking.sampling
    if drawn is None:
        return [Decoding(asking.max_new_tokens)]
    seeds = [draw_seed(drawn, draw) for draw in range(asking.draws)]
    return [Decoding(asking.max_new_tokens, drawn.temperature, drawn.top_p, seed) for seed in seeds]


def _hear(service: Service, batch: _Batch) -> list[tuple[Placed, str]]:
    said = service.reply([_conversation(one.record) for one in batch.asked], batch.decoding)
    return list(zip(batch.asked, said, strict=True))


def _batches(splits: Mapping[str, Sequence[Record]], asking: Asking) -> Iterator[_Batch]:
    """All that is sent, draw after draw."""
    found = _sendable(splits, asking)
    for draw, decoding in enumerate(decodings(asking)):
        for start in range(0, len(found), BATCH):
            asked = found[start : start + BATCH]
            first = draw * len(found) + start
            yield _Batch(list(range(first, first + len(asked))), asked, decoding)


def _count_unknown(
    splits: Mapping[str, Sequence[Record]], asking: Asking, needs: Sequence[Need], journal: Journal
) -> int:
    """Prompts that will be sent: all where a judge waits for the texts, else those whose numbers are not kept."""
    if any(need.judged for need in needs):
        return count_prompts(splits, asking)
    with journal.pages(needs) as pages:
        return sum(len(batch.rows) for batch in _batches(splits, asking) if not pages.knows(batch.rows))


def _sendable(splits: Mapping[str, Sequence[Record]], asking: Asking) -> list[Placed]:
    """What can be asked of a service: no answer that is begun for it, and no conversation with tools."""
    return [one for one in asked_records(splits, asking) if one.record.given is None and not one.record.has_tools]


def _conversation(record: Record) -> tuple[Message, ...]:
    """What is sent of a record: its turns, or its prompt as one turn."""
    if record.prompt is not None:
        return (Message(role="user", content=record.prompt),)
    return record.messages
