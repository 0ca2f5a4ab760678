"""Tokens or free embeddings of an attacker inside a tokenised prompt; what is scored stays what it was.

Shapes: B records, T tokens, D width, L inserted tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from expunge.data.batch import IGNORE, Batch, Example, collate
from expunge.data.batching import length_buckets
from expunge.data.record import Record
from expunge.data.tokenize import encode, insertion_place
from expunge.errors import InputError
from expunge.functional.logprobs import ranks
from expunge.metrics.base import Floats
from expunge.metrics.memorisation import extraction_strength
from expunge.models.load import LoadedModel
from expunge.models.modes import evaluating
from expunge.models.modules import base_model
from expunge.models.reading import Reading, read

Place = Literal["before", "after"]


class Slot(NamedTuple):
    """A tokenised record and the place among its tokens where an attacker's stand, or would stand."""

    example: Example
    at: int


def find_slots(
    records: Sequence[Record], loaded: LoadedModel, *, place: Place, max_length: int, room: int
) -> list[Slot | None]:
    """Returns the slot of each record, before or after what it asks, rows numbered from 0.

    Records are cut only where ``room`` more tokens than ``max_length`` do not fit the model's positions. None stands
    for a record without a scored token, or whose question the chat template rewrites.

    Raises:
        InputError: as for ``encode``, or the model has fewer positions than ``room`` takes.
    """
    kept = min(max_length, loaded.limit(max_length + room) - room)
    if kept < 2:
        raise InputError(f"The model has no room for {room} more tokens beside a record; set a smaller length.")
    found: list[Slot | None] = []
    for row, record in enumerate(records):
        example = encode(record, loaded.tokenizer, row=row, max_length=kept)
        at = insertion_place(record, loaded.tokenizer, after=place == "after")
        found.append(Slot(example, at) if at is not None and example.scored else None)
    return found


def inserted(slot: Slot, ids_L: Sequence[int]) -> Slot:
    """Returns the slot with tokens in it; they are read and not scored, and every other label stays with its token."""
    if not ids_L:
        return slot
    example, at = slot
    # The first token has no prediction; behind the inserted ones it would get one, and the record another score.
    labels = (IGNORE, *example.labels[1:])
    weights = example.token_weights
    wider = replace(
        example,
        input_ids=(*example.input_ids[:at], *ids_L, *example.input_ids[at:]),
        labels=(*labels[:at], *(IGNORE,) * len(ids_L), *labels[at:]),
        token_weights=None if weights is None else (*weights[:at], *(0.0,) * len(ids_L), *weights[at:]),
        end=None if example.end is None else example.end + len(ids_L) * (example.end >= at),
    )
    return Slot(wider, at)


def columns(slots: Sequence[Slot], length: int, device: torch.device | str = "cpu") -> Tensor:
    """Returns (B, L): the columns of the inserted tokens in a batch of these slots."""
    at_B = torch.tensor([slot.at for slot in slots], device=device)
    return at_B[:, None] + torch.arange(length, device=device)


def input_embedding(model: nn.Module) -> nn.Module:
    """Returns the layer that turns token ids into embeddings, a model's own scale included."""
    found: nn.Module = base_model(model).get_input_embeddings()  # type: ignore[operator]
    return found


def embedded(model: nn.Module, batch: Batch, columns_BL: Tensor, prompt_BLD: Tensor) -> Tensor:
    """Returns (B, T, D): the batch's embeddings with others in some columns; differentiable in those alone.

    Args:
        model: the transformers model or a peft model around it.
        batch: whose ids in these columns count for nothing.
        columns_BL: where the others go.
        prompt_BLD: the others; one dimension less where all records get the same.
    """
    embeds_BTD: Tensor = input_embedding(model)(batch.input_ids_BT).detach()
    index_BLD = columns_BL[..., None].expand(*columns_BL.shape, embeds_BTD.shape[-1])
    return embeds_BTD.scatter(1, index_BLD, prompt_BLD.to(embeds_BTD.dtype).expand(index_BLD.shape))


def read_slots(model: Any, slots: Sequence[Slot], pad_id: int, prompt_BLD: Tensor | None = None) -> Reading:
    """Returns a reading of the slots' tokens, with embeddings (L, D) or (B, L, D) over the inserted ones, if given."""
    batch = collate([slot.example for slot in slots], pad_id).to(model.device)
    if prompt_BLD is None:
        return read(model, batch)
    columns_BL = columns(slots, prompt_BLD.shape[-2], model.device)
    return read(model, batch, inputs_embeds=embedded(model, batch, columns_BL, prompt_BLD))


@torch.no_grad()
def strengths(
    model: Any, slots: Sequence[Slot], pad_id: int, batch_size: int, prompt_BLD: Tensor | None = None
) -> Floats:
    """Returns the extraction strength (B,) of each slot's scored tokens, in evaluation mode.

    Args:
        model: on its device.
        slots: with the attacker's tokens in them.
        pad_id: id that fills up batches.
        batch_size: slots in one forward pass.
        prompt_BLD: embeddings in place of the attacker's tokens, one dimension less where all get the same.
    """
    values = np.full(len(slots), np.nan)
    with evaluating(model):
        for bucket in length_buckets([len(slot.example.input_ids) for slot in slots], batch_size):
            chosen = [slots[row] for row in bucket]
            own = prompt_BLD if prompt_BLD is None or prompt_BLD.dim() == 2 else prompt_BLD[bucket]
            reading = read_slots(model, chosen, pad_id, own)
            counts = reading.mask_BT.sum(-1).tolist()
            parts = torch.split(ranks(reading.logits, reading.labels).cpu(), counts)
            values[bucket] = [extraction_strength(part.numpy()) for part in parts]
    return values
