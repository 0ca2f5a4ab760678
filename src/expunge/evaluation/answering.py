"""Answers the needs of all metrics for one model: one forward pass for each split, form and batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from expunge.data.batch import Batch, Example, collate
from expunge.data.batching import length_buckets
from expunge.data.record import Record
from expunge.data.tokenize import answer_text, encode, pad_id, prompt_ids
from expunge.errors import DivergedError
from expunge.evaluation.subjects import Policy
from expunge.functional.logprobs import moments, packed_logps, ranks
from expunge.functional.text import SCORERS, zlib_bytes
from expunge.metrics.base import Answer, Need, NeedKind
from expunge.models.generate import greedy
from expunge.models.load import LoadedModel
from expunge.models.modes import evaluating
from expunge.models.reading import read
from expunge.storage.secret import Secret

IMPOSSIBLE = (
    -1e4
)  # nats; log-probability of a token that the model bans, which is minus infinity: differences stay numbers


class Pass(NamedTuple):
    """What one forward pass reads: every need of one split and form is answered from it."""

    split: str
    form: str


def zlib_answer(records: Sequence[Record], form: str) -> Answer:
    """Compressed length of each answer, bytes; needs no model."""
    return [[float(zlib_bytes(answer_text(one))) for one in record.forms(form)] for record in records]


def answer_needs(
    loaded: LoadedModel,
    splits: Mapping[str, Sequence[Record]],
    needs: Sequence[Need],
    *,
    max_length: int,
    batch_size: int,
    policy: Policy | None = None,
) -> dict[Need, Answer]:
    """Answers needs that read logits or generate."""
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
    for need in needs:
        if need.kind == "generation_score":
            found[need] = _generate(loaded, splits[need.split], need, max_length, batch_size, policy)
    return found


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
    rows: dict[NeedKind, list[Any]] = {kind: [None] * len(examples) for kind in kinds}
    for bucket in length_buckets([len(example.input_ids) for example in examples], batch_size):
        batch = collate([examples[row] for row in bucket], pad_id(loaded.tokenizer)).to(loaded.model.device)
        with evaluating(loaded.model):
            reduced = _reduce(loaded.model, batch, [examples[row] for row in bucket], kinds)
        for kind, arrays in reduced.items():
            for row, array in zip(bucket, arrays, strict=True):
                rows[kind][row] = array
    for arrays in rows.values():
        _check_numbers(arrays, records[0].split if records else "", form)
    return {kind: _by_record(len(records), owners, arrays) for kind, arrays in rows.items()}


def _check_numbers(arrays: Sequence[np.ndarray[Any, Any]], split: str, form: str) -> None:
    """Refuses NaN: a record without a number is left out of every mean, and what broke would not count."""
    broken = sum(bool(np.isnan(array).any()) for array in arrays)
    if broken:
        raise DivergedError(
            f"The model's log-probabilities are not numbers for {broken} of {len(arrays)} sequences ({split}, {form}); "
            "its weights or its dtype are broken, and it cannot be scored."
        )


@torch.inference_mode()
def _reduce(
    model: Any, batch: Batch, examples: Sequence[Example], kinds: Sequence[NeedKind]
) -> dict[NeedKind, list[np.ndarray[Any, Any]]]:
    """Logits of one batch to a few numbers for each scored token, at once."""
    reading = read(model, batch)
    logits_NV, labels_N = reading.logits, reading.labels
    counts = [example.scored for example in examples]
    reduced: dict[NeedKind, list[np.ndarray[Any, Any]]] = {}
    for kind in kinds:
        if kind == "token_logps":
            values = packed_logps(logits_NV, labels_N).clamp_min(IMPOSSIBLE)
        elif kind == "moments":
            values = torch.stack(moments(logits_NV), dim=-1)
        else:
            values = ranks(logits_NV, labels_N)
        array = values.double().cpu().numpy()
        reduced[kind] = np.split(array, np.cumsum(counts)[:-1])
    return reduced


def _by_record(count: int, owners: Sequence[int], arrays: Sequence[Any]) -> Answer:
    grouped: list[list[Any]] = [[] for _ in range(count)]
    for owner, array in zip(owners, arrays, strict=True):
        grouped[owner].append(array)
    return grouped


def _generate(
    loaded: LoadedModel,
    records: Sequence[Record],
    need: Need,
    max_length: int,
    batch_size: int,
    policy: Policy | None,
) -> Answer:
    """Scores greedy continuations; their text goes no further than this. Plain text has no prompt and no score."""
    params = dict(need.params)
    owners = [owner for owner, record in enumerate(records) for _ in record.forms(need.form) if record.kind != "text"]
    asked = [one for record in records for one in record.forms(need.form) if record.kind != "text"]

    def continue_texts(prompts: Sequence[tuple[int, str]]) -> list[str]:
        return _continue(
            loaded,
            [_with_prompt(asked[number], text) for number, text in prompts],
            max_new_tokens=params["max_new_tokens"],
            max_length=max_length,
            batch_size=batch_size,
        )

    texts = [_prompt_text(record) for record in asked]
    replies = policy.generate(texts, continue_texts) if policy else continue_texts(list(enumerate(texts)))
    score = SCORERS[params["scorer"]]
    scores = [score(reply, answer_text(record)) for reply, record in zip(replies, asked, strict=True)]
    return _by_record(len(records), owners, scores)


def _continue(
    loaded: LoadedModel, records: Sequence[Record], *, max_new_tokens: int, max_length: int, batch_size: int
) -> list[str]:
    """Greedy continuations; one stops earlier where the model has no positions left, whatever its company."""
    prompts = [prompt_ids(record, loaded.tokenizer, max_length=max_length) for record in records]
    # Absent where positions have no limit (ALiBi).
    positions = getattr(loaded.model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    limits = [int(min(max_new_tokens, positions - len(prompt))) for prompt in prompts]
    texts = [""] * len(prompts)
    for limit in {limit for limit in limits if limit > 0}:
        rows = [row for row, own in enumerate(limits) if own == limit]
        asked = [prompts[row] for row in rows]
        new = greedy(loaded.model, loaded.tokenizer, asked, max_new_tokens=limit, batch_size=batch_size)
        for row, tokens in zip(rows, new, strict=True):
            texts[row] = str(loaded.tokenizer.decode(tokens, skip_special_tokens=True))
    return texts


def _prompt_text(record: Record) -> str:
    if record.prompt is not None:
        return record.prompt.reveal()
    return record.messages[-1].content.reveal()


def _with_prompt(record: Record, text: str) -> Record:
    secret = Secret(text, record.answer.label)
    if record.prompt is not None:
        return replace(record, prompt=secret)
    return replace(record, messages=(*record.messages[:-1], replace(record.messages[-1], content=secret)))
