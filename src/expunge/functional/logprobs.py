"""Shift and mask, in the one place where they happen.

Column t of everything here is about the token at t, scored from the logits at t - 1; nothing predicts column 0.

Shapes: B sequences, T tokens, V vocabulary, N scored tokens of a batch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

IGNORE = -100  # label of a token whose prediction is not scored


class TokenLogps(NamedTuple):
    """Log-probability (nats) of each scored token, 0 elsewhere, and where tokens are scored."""

    logps_BT: Tensor
    mask_BT: Tensor


class Moments(NamedTuple):
    """Mean and standard deviation of log p over p, for each row of logits."""

    mean_N: Tensor
    std_N: Tensor


def scored_positions(labels_BT: Tensor) -> Tensor:
    """Returns True where a token is scored; column 0 never is."""
    mask_BT = labels_BT.ne(IGNORE)
    mask_BT[:, :1] = False
    return mask_BT


def predicting_mask(labels_BT: Tensor) -> Tensor:
    """Returns True where the logits predict a scored token: ``scored_positions`` moved left by one.

    In row-major order its k-th True belongs to the k-th True of ``scored_positions``, so packed rows line up.
    """
    mask_BT = torch.zeros_like(labels_BT, dtype=torch.bool)
    mask_BT[:, :-1] = scored_positions(labels_BT)[:, 1:]
    return mask_BT


def token_logps(logits_BTV: Tensor, labels_BT: Tensor) -> TokenLogps:
    """Scores ``labels_BT`` under ``logits_BTV``.

    Equals ``log_softmax`` over V and ``gather`` on the shifted tensors, in values and gradients; only the scored rows
    are computed, and no (B, T, V) log-softmax is kept.

    Args:
        logits_BTV: as the model returns them; float16 and bfloat16 are computed in float32.
        labels_BT: token ids, ``-100`` where not scored.
    """
    mask_BT = scored_positions(labels_BT)
    logps_N = packed_logps(logits_BTV[predicting_mask(labels_BT)], labels_BT[mask_BT])
    return TokenLogps(unpack(logps_N, mask_BT), mask_BT)


def packed_logps(logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """Log-probability of each label, nats (N,): its logit minus the log-sum-exp, without a (N, V) log-softmax."""
    logits_NV = at_least_float32(logits_NV)
    return logits_NV.gather(-1, labels_N[:, None]).squeeze(-1) - logits_NV.logsumexp(-1)


def unpack(values_N: Tensor, mask_BT: Tensor, fill: float = 0.0) -> Tensor:
    """Puts packed values back where ``mask_BT`` is True, ``fill`` elsewhere; differentiable in the values.

    Args:
        values_N: one value for each True, in row-major order.
        mask_BT: where they belong.
        fill: what stands elsewhere.
    """
    values_BT = values_N.new_full(mask_BT.shape, fill)
    return values_BT.masked_scatter(mask_BT, values_N)


def moments(logits_NV: Tensor) -> Moments:
    """Mean and standard deviation, nats, of the log-probability of a token drawn from the model itself.

    ``mean = sum p log p``; ``std^2 = sum p log^2 p - mean^2``, as a sum of centred squares, which is never negative.

    Source: Min-K%++, Zhang et al., 2025, https://arxiv.org/abs/2404.02936.
    """
    logps_NV = at_least_float32(logits_NV).log_softmax(-1)
    probabilities_NV = logps_NV.exp()
    # An impossible token has probability 0 and log-probability -inf; its share is 0, not NaN.
    mean_N = torch.where(probabilities_NV > 0, probabilities_NV * logps_NV, 0).sum(-1)
    centred_NV = torch.where(probabilities_NV > 0, logps_NV - mean_N[:, None], 0)
    return Moments(mean_N, (probabilities_NV * centred_NV.square()).sum(-1).sqrt())


def sampled_logps(logits_NV: Tensor, labels_N: Tensor, temperature: float = 1.0, top_k: int = 0) -> Tensor:
    """Log-probability, nats (N,), that sampling draws each label; minus infinity where it never does.

    Equal logits at the edge of the ``top_k`` largest are all drawn from.

    Args:
        logits_NV: logits that predict the labels.
        labels_N: token ids.
        temperature: divides the logits, above 0.
        top_k: number of most likely tokens that are drawn from; 0 for all.
    """
    scaled_NV = at_least_float32(logits_NV) / temperature
    if top_k:
        edge_N1 = scaled_NV.topk(min(top_k, scaled_NV.shape[-1]), dim=-1).values[:, -1:]
        scaled_NV = scaled_NV.masked_fill(scaled_NV < edge_N1, -torch.inf)
    return packed_logps(scaled_NV, labels_N)


def ranks(logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """Number of tokens that greedy decoding prefers to the label; 0 exactly where ``argmax`` is the label.

    Ties go to the smaller id, as they do in ``torch.argmax``. A NaN counts as preferred, and where the label's own
    logit is NaN everything does: a broken model is never right by accident.
    """
    own_N1 = logits_NV.gather(-1, labels_N[:, None])
    smaller_id_NV = torch.arange(logits_NV.shape[-1], device=logits_NV.device) < labels_N[:, None]
    return (~(logits_NV <= own_N1) | ((logits_NV == own_N1) & smaller_id_NV)).sum(-1)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Returns half-precision tensors in float32 and others as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
