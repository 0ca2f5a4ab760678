"""Numbers that take more than a forward pass of one model: gradients, and two models side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from expunge.data.batch import Batch, Example, collate
from expunge.data.batching import length_buckets
from expunge.data.tokenize import pad_id
from expunge.evaluation.continuing import extraction_likelihoods, memorisation_accuracies, verbatim_rouges
from expunge.evaluation.forward import IMPOSSIBLE
from expunge.evaluation.journal import UNKEPT, Pages
from expunge.functional.divergences import forward_kl
from expunge.metrics.base import NeedKind
from expunge.models.load import LoadedModel
from expunge.models.modes import evaluating
from expunge.models.reading import read

# (loaded, examples, *, batch_size, pages, **params of the need): one item an example
Sweep = Callable[..., Sequence[Any]]


def grad_norms(
    loaded: LoadedModel, examples: Sequence[Example], *, batch_size: int = 1, pages: Pages = UNKEPT
) -> list[Any]:
    """Returns the Euclidean norm of the gradient of each example's mean loss by all weights; NaN where none is scored.

    In evaluation mode, one example at a time whatever ``batch_size`` says: a batch's gradient has another norm than its
    examples' gradients.
    """
    norms: list[Any] = []
    weights = [weight for weight in loaded.model.parameters() if weight.is_floating_point()]
    wanted = [weight.requires_grad for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        pages.expect(len(examples))
        for row, example in enumerate(examples):
            ((norm,),) = pages.once([row], partial(_grad_norm, loaded, example, weights))
            norms.append(norm)
    finally:
        for weight, before in zip(weights, wanted, strict=True):
            weight.requires_grad_(before)
    return norms


def _grad_norm(loaded: LoadedModel, example: Example, weights: Sequence[torch.Tensor]) -> list[list[float]]:
    if not example.scored:
        return [[math.nan]]
    batch = collate([example], pad_id(loaded.tokenizer)).to(loaded.model.device)
    with evaluating(loaded.model), torch.enable_grad():
        loss = -read(loaded.model, batch).mean_logps.sum()
        gradients = torch.autograd.grad(loss, list(weights), allow_unused=True)
    squares = [found.double().square().sum() for found in gradients if found is not None]
    return [[float(torch.stack(squares).sum().sqrt())]]


SWEEP: Mapping[NeedKind, Sweep] = {
    "grad_norm": grad_norms,
    "extraction_likelihood": extraction_likelihoods,
    "memorisation_accuracy": memorisation_accuracies,
    "verbatim_rouge": verbatim_rouges,
}


def divergences(
    own: LoadedModel, other: LoadedModel, examples: Sequence[Example], batch_size: int, pages: Pages = UNKEPT
) -> list[Any]:
    """Returns KL(other || own), nats, of the next-token distributions at each scored position of each example, (T,).

    Both models must have one vocabulary.
    """
    rows: list[Any] = [None] * len(examples)
    pages.expect(len(examples))
    for bucket in length_buckets([len(example.input_ids) for example in examples], batch_size):
        (parts,) = pages.once(bucket, partial(_divergences, own, other, [examples[row] for row in bucket]))
        for row, part in zip(bucket, parts, strict=True):
            rows[row] = part
    return rows


def _divergences(own: LoadedModel, other: LoadedModel, examples: Sequence[Example]) -> list[list[Any]]:
    batch = collate(examples, pad_id(own.tokenizer))
    own_NV, other_NV = (_logits(loaded, batch) for loaded in (own, other))
    # Rounding may leave a tiny negative number where the two agree.
    array = forward_kl(own_NV, other_NV).clamp(0, -IMPOSSIBLE).numpy()
    return [np.split(array, np.cumsum([example.scored for example in examples])[:-1])]


@torch.inference_mode()
def _logits(loaded: LoadedModel, batch: Batch) -> torch.Tensor:
    with evaluating(loaded.model):
        return read(loaded.model, batch.to(loaded.model.device)).logits.double().cpu()
