"""The loss of tokens inside prompts, for many candidates at once, and its gradient by their one-hot vectors.

Zou et al., 2023, Universal and transferable adversarial attacks on aligned language models,
https://arxiv.org/abs/2307.15043 (equation 4 and algorithm 2); the tokens' own likelihood as a further term: Lucki et
al., 2024, https://arxiv.org/abs/2409.18025.

Shapes: P training records, T tokens, L inserted tokens, C candidates, V vocabulary, D width, N scored tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from expunge.attacks.insertion import Slot, columns, embedded, input_embedding, inserted
from expunge.data.batch import IGNORE, Batch, collate
from expunge.functional.logprobs import at_least_float32
from expunge.models.reading import Reading, read


class Problem(NamedTuple):
    """What inserted tokens are judged by.

    Attributes:
        model: in evaluation mode.
        batch: training records with room for the tokens; the token weights of a row add up to what its loss weighs.
        columns_PL: where the tokens stand.
    """

    model: Any
    batch: Batch
    columns_PL: Tensor


def pose(model: Any, slots: Sequence[Slot], length: int, pad: int, fluency: float = 0.0) -> Problem:
    """Returns the problem of finding ``length`` tokens for these slots, at least one.

    The loss is the mean over records of the negative log-likelihood, nats per scored token, plus ``fluency`` times that
    of the inserted tokens themselves.
    """
    room = [inserted(slot, [pad] * length) for slot in slots]
    batch = collate([slot.example for slot in room], pad).to(model.device)
    columns_PL = columns(room, length, model.device)
    weights_PT = batch.token_weights_BT / batch.token_weights_BT.sum(-1, keepdim=True)
    if fluency:
        labels_PT = batch.labels_BT.scatter(1, columns_PL, pad)  # any but IGNORE; candidates write their own
        weights_PT = weights_PT.scatter(1, columns_PL, fluency / length)
        batch = replace(batch, labels_BT=labels_PT)
    return Problem(model, batch.with_token_weights(weights_PT), columns_PL)


def candidate_losses(problem: Problem, ids_CL: Tensor, max_tokens: int) -> Tensor:
    """Returns the loss (C,) of each row of tokens.

    Args:
        problem: what they are judged by.
        ids_CL: candidates.
        max_tokens: most tokens in one forward pass; a candidate with all its records always goes through in one.
    """
    rows, width = problem.batch.input_ids_BT.shape
    with torch.no_grad():
        parts = torch.split(ids_CL, max(1, max_tokens // (rows * width)))
        return torch.cat([_losses(problem, part) for part in parts])


def _losses(problem: Problem, ids_CL: Tensor) -> Tensor:
    many = _filled(problem, ids_CL)
    return -read(problem.model, many).sequence_logps.view(len(ids_CL), -1).mean(-1)


def _filled(problem: Problem, ids_CL: Tensor) -> Batch:
    """The batch once for each candidate, with its tokens in place, rows of one candidate together."""
    many = Batch(
        **{
            name: value.repeat(len(ids_CL), *[1] * (value.dim() - 1))  # a copy also for one candidate
            for name, value in vars(problem.batch).items()
        }
    )
    rows = len(problem.batch)
    index = problem.columns_PL.repeat(len(ids_CL), 1)
    tokens = ids_CL.to(index.device).repeat_interleave(rows, 0)
    scored = many.labels_BT.gather(1, index) != IGNORE
    labels_BT = many.labels_BT.scatter(1, index, torch.where(scored, tokens, IGNORE))
    return replace(many, input_ids_BT=many.input_ids_BT.scatter(1, index, tokens), labels_BT=labels_BT)


def one_hot_gradient(problem: Problem, ids_L: Tensor) -> Tensor:
    """Returns the gradient (L, V) of the loss by the one-hot vectors of the inserted tokens.

    The one-hot vector of a token times the table of embeddings (V, D) is what the model reads; where the token itself
    is scored, its one-hot vector times the log-probabilities is its term in the loss.
    """
    model, table = problem.model, input_embedding(problem.model)
    batch = _filled(problem, ids_L[None])
    with torch.no_grad():
        vectors_VD: Tensor = table(torch.arange(table.num_embeddings, device=model.device))  # type: ignore[call-overload]
    prompt_LD = vectors_VD[ids_L.to(model.device)].clone().requires_grad_()
    with torch.enable_grad():
        reading = read(model, batch, inputs_embeds=embedded(model, batch, problem.columns_PL, prompt_LD))
        (gradient_LD,) = torch.autograd.grad(-reading.sequence_logps.mean(), [prompt_LD])
    return at_least_float32(gradient_LD) @ at_least_float32(vectors_VD).T + _as_labels(problem, reading)


def _as_labels(problem: Problem, reading: Reading) -> Tensor:
    """The part (L, V) of the gradient that comes from inserted tokens being scored themselves; 0 where none is."""
    logits_NV, mask_PT = reading.logits.detach(), reading.mask_BT
    inside_PT = torch.zeros_like(mask_PT).scatter(1, problem.columns_PL, True) & mask_PT
    rows, cols = inside_PT.nonzero(as_tuple=True)
    logps_NV = at_least_float32(logits_NV[inside_PT[mask_PT]]).log_softmax(-1)
    weights_N1 = (reading.batch.token_weights_BT[rows, cols, None] / len(reading.batch)).to(logps_NV.dtype)
    part_LV = logps_NV.new_zeros(problem.columns_PL.shape[1], logits_NV.shape[-1])
    return part_LV.index_add_(0, cols - problem.columns_PL[rows, 0], -weights_N1 * logps_NV)


def best_swaps(gradient_LV: Tensor, allowed: Tensor, top_k: int) -> Tensor:
    """Returns (L, K): for each position the ``top_k`` allowed tokens that promise the lowest loss, on the CPU.

    Args:
        gradient_LV: of the loss by one-hot vectors.
        allowed: ids that may be inserted.
        top_k: at most all of them.
    """
    gradient_LA = gradient_LV.cpu()[:, allowed]
    return allowed[gradient_LA.topk(min(top_k, len(allowed)), largest=False).indices]
