"""What all looks inside a model share: which tokens of a record count, and batches that can be stopped between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

from expunge.attacks.base import AttackTask
from expunge.data.batch import IGNORE, Batch, Example, collate
from expunge.data.batching import length_buckets
from expunge.data.forms.value import common_words, value_span, value_spans
from expunge.data.record import Record
from expunge.data.tokenize import encode_all, pad_id, token_places
from expunge.models.load import LoadedModel

# ``value``: the fact itself, after the words of the answer before it; the rest of a sentence anybody can say.
Scored = Literal["value", "answer"]
ALL, SPREAD = "0.0-1.0", "0.0,0.25,0.5,0.75,1.0"  # fractions of the depth, see resolve_layers


def encode_scored(records: Sequence[Record], loaded: LoadedModel, task: AttackTask, scored: Scored) -> list[Example]:
    """Tokenises records with labels on the tokens that count: the whole answer, or the value in it.

    The value is found by ``expunge.data.forms.value``; in plain text it is all that stands out. Where none is found,
    the whole answer counts; where the value is cut away by the length, nothing does.
    """
    found = encode_all(records, loaded.tokenizer, max_length=loaded.limit(task.max_length)).examples
    if scored == "answer":
        return found
    common = wording(task)
    spans = [_facts(record, common) for record in records]
    return [
        _only(example, token_places(record, loaded.tokenizer, facts)) if facts else example
        for example, record, facts in zip(found, records, spans, strict=True)
    ]


def wording(task: AttackTask) -> frozenset[str]:
    """Keys of words that belong to the wording of the answers; of both sides, so that like values are found alike."""
    return common_words([*task.forget, *task.splits.get("retain", ())])


def _facts(record: Record, common: frozenset[str]) -> list[slice]:
    if record.kind == "text":
        return value_spans(record, common)
    span = value_span(record, common)  # a second time in the same answer it could be copied
    return [] if span is None else [span]


def _only(example: Example, places: frozenset[int]) -> Example:
    return replace(
        example, labels=tuple(label if place in places else IGNORE for place, label in enumerate(example.labels))
    )


def first_place(example: Example, tokenizer: Any) -> int | None:
    """Place of the first token that counts and says something: neither spaces alone nor a special token; or None."""
    special = set(tokenizer.all_special_ids)
    for place, label in enumerate(example.labels):
        if place and label != IGNORE and label not in special and tokenizer.decode([label]).strip():
            return place
    return None


def batches(
    examples: Sequence[Example], loaded: LoadedModel, task: AttackTask, attack: str, device: Any = None
) -> Iterator[Batch]:
    """Batches of like length on the model's device; ``rows_B`` tells the records.

    Raises:
        InterruptedRunError: it was asked to stop.
    """
    for bucket in length_buckets([len(example.input_ids) for example in examples], task.batch_size):
        task.check_stop(attack)
        batch = collate([examples[place] for place in bucket], pad_id(loaded.tokenizer))
        yield batch.to(loaded.model.device if device is None else device)
        task.steps.advance(len(bucket))
