"""What a service says, which answers prompts and shows nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from expunge.data.record import Message, Record
from expunge.evaluation.answering import Read
from expunge.evaluation.passes import Placed
from expunge.evaluation.replies import Asking, Replies, asked_records, replies_of, score_replies
from expunge.evaluation.speaking import draw_seed
from expunge.evaluation.subjects import Decoding, Service
from expunge.metrics.base import Need

BATCH = 50  # prompts that a service is handed together


def ask_service(service: Service, splits: Mapping[str, Sequence[Record]], needs: Sequence[Need]) -> Iterator[Read]:
    """Answers needs that only take what a model says, one way of asking after the other, so that each can be stored."""
    askings = dict.fromkeys(Asking.of(need) for need in needs)
    service.begin(sum(count_prompts(splits, asking) for asking in askings))
    for asking in askings:
        said = service_replies(service, splits, asking)
        mine = [need for need in needs if Asking.of(need) == asking]
        answers = {need: score_replies(said, need) for need in mine if not need.judged}
        yield Read(answers, {need: said for need in mine if need.judged})


def service_replies(service: Service, splits: Mapping[str, Sequence[Record]], asking: Asking) -> Replies:
    """Asks a service what ``generate_replies`` asks a model.

    A record whose answer is begun for the model has no reply: a service begins its own.
    """
    found = _sendable(splits, asking)
    heard: list[tuple[Placed, str]] = []
    for decoding in decodings(asking):
        for start in range(0, len(found), BATCH):
            batch = found[start : start + BATCH]
            said = service.reply([_conversation(one.record) for one in batch], decoding)
            heard += zip(batch, said, strict=True)
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


def _sendable(splits: Mapping[str, Sequence[Record]], asking: Asking) -> list[Placed]:
    return [one for one in asked_records(splits, asking) if one.record.given is None]


def _conversation(record: Record) -> tuple[Message, ...]:
    """What is sent of a record: its turns, or its prompt as one turn."""
    if record.prompt is not None:
        return (Message(role="user", content=record.prompt),)
    return record.messages
