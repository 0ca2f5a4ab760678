"""Divergences of distributions over the vocabulary at each position, nats. Shapes: N positions, V vocabulary."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from expunge.functional.logprobs import at_least_float32


def forward_kl(logits_NV: Tensor, ref_logits_NV: Tensor) -> Tensor:
    """KL(reference || model) at each position (N,): what coding the reference's tokens with the model costs.

    The reference's entropy is included, so that 0 means equal. Tokens impossible under the reference (logit -inf) cost
    nothing; tokens possible there and impossible here cost infinity. Computed in float32 at least.

    Args:
        logits_NV: of the model.
        ref_logits_NV: of the reference; the direction matters.
    """
    logps_NV = at_least_float32(logits_NV).log_softmax(-1)
    ref_logps_NV = at_least_float32(ref_logits_NV).log_softmax(-1)
    ref_probabilities_NV = ref_logps_NV.exp()
    gaps_NV = torch.where(ref_probabilities_NV > 0, ref_logps_NV - logps_NV, 0)
    return (ref_probabilities_NV * gaps_NV).sum(-1)


def uniform_divergence(logits_NV: Tensor) -> Tensor:
    """KL(uniform || model) at each position (N,), nats: 0 where all tokens of the vocabulary are equally likely.

    The entropy of the uniform distribution is included. Unbounded: a token with logit -inf costs infinity. Computed in
    float32 at least, without a (N, V) log-softmax.

    Args:
        logits_NV: of the model.
    """
    logits_NV = at_least_float32(logits_NV)
    return logits_NV.logsumexp(-1) - logits_NV.mean(-1) - math.log(logits_NV.shape[-1])
