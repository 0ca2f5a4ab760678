"""Reads tokenised records with a model and reduces the logits of each batch to a few numbers at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.data.batch import Example, collate
from expunge.data.batching import length_buckets
from expunge.data.tokenize import pad_id
from expunge.errors import DivergedError
from expunge.evaluation.journal import UNKEPT, Pages
from expunge.functional.logprobs import moments, packed_logps, ranks, sampled_logps
from expunge.metrics.base import Numbers
from expunge.models.load import LoadedModel
from expunge.models.modes import evaluating
from expunge.models.reading import read

Array = np.ndarray[Any, Any]
# Nats; stands for the log-probability of a token that the model bans, minus infinity, so that differences are numbers.
IMPOSSIBLE = -1e4


def read_examples(
    loaded: LoadedModel,
    examples: Sequence[Example],
    kinds: Sequence[Numbers],
    *,
    batch_size: int,
    where: str,
    pages: Pages = UNKEPT,
) -> dict[Numbers, list[Array]]:
    """Returns for each kind the numbers of each example's scored tokens, in the order of the examples.

    Args:
        loaded: the model; read in evaluation mode, which is restored.
        examples: tokenised records.
        kinds: of ``expunge.metrics.base.FORWARD``, with their settings.
        batch_size: sequences in one forward pass.
        where: what is read, for the message.
        pages: of one need for each kind; a batch that they know is not read again.

    Raises:
        DivergedError: numbers that are none. A record without a number would be left out of every mean, and what broke
            would not count.
    """
    kinds = list(dict.fromkeys(kinds))
    rows: dict[Numbers, list[Any]] = {kind: [None] * len(examples) for kind in kinds}
    pages.expect(len(examples))
    for bucket in length_buckets([len(example.input_ids) for example in examples], batch_size):
        reduced = pages.once(bucket, partial(_read_batch, loaded, [examples[row] for row in bucket], kinds))
        for kind, arrays in zip(kinds, reduced, strict=True):
            for row, array in zip(bucket, arrays, strict=True):
                rows[kind][row] = array
    for arrays in rows.values():
        _check_numbers(arrays, where)
    return rows


def _check_numbers(arrays: Sequence[Array], where: str) -> None:
    broken = sum(bool(np.isnan(array).any()) for array in arrays)
    if broken:
        raise DivergedError(
            f"The model's log-probabilities are not numbers for {broken} of {len(arrays)} sequences ({where}); "
            "its weights or its dtype are broken, and it cannot be scored."
        )


@torch.inference_mode()
def _read_batch(loaded: LoadedModel, examples: Sequence[Example], kinds: Sequence[Numbers]) -> list[list[Array]]:
    """Logits of one batch to a few numbers for each scored token, at once."""
    batch = collate(examples, pad_id(loaded.tokenizer)).to(loaded.model.device)
    with evaluating(loaded.model):
        reading = read(loaded.model, batch)
        logits_NV, labels_N = reading.logits, reading.labels
    counts = [example.scored for example in examples]
    arrays = (_numbers(kind, logits_NV, labels_N).double().cpu().numpy() for kind in kinds)
    return [np.split(array, np.cumsum(counts)[:-1]) for array in arrays]


def _numbers(numbers: Numbers, logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """One value, or a row of values, for each scored token."""
    if numbers.kind == "token_logps":
        return packed_logps(logits_NV, labels_N).clamp_min(IMPOSSIBLE)
    if numbers.kind == "sampled_logps":
        return sampled_logps(logits_NV, labels_N, **dict(numbers.params)).clamp_min(IMPOSSIBLE)
    if numbers.kind == "moments":
        return torch.stack(moments(logits_NV), dim=-1)
    return ranks(logits_NV, labels_N)
