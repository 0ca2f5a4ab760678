"""Divergences of distributions over the vocabulary at each position, nats. Shapes: N positions, V vocabulary."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from expunge.functional.logprobs import at_least_float32, packed_logps


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


def reverse_kl(logits_NV: Tensor, ref_logits_NV: Tensor) -> Tensor:
    """KL(model || reference) at each position (N,): what coding the model's tokens with the reference costs.

    Tokens impossible under the model cost nothing; tokens possible there and impossible under the reference cost
    infinity. The direction matters: this one punishes what the model says and the reference would not.

    Args:
        logits_NV: of the model.
        ref_logits_NV: of the reference.
    """
    return forward_kl(ref_logits_NV, logits_NV)


def jensen_shannon(logits_NV: Tensor, ref_logits_NV: Tensor) -> Tensor:
    """Jensen-Shannon divergence at each position (N,): mean of the KLs of both to their even mixture.

    The same both ways, 0 where they are equal, ``ln 2`` where they share no token.

    Args:
        logits_NV: of the model.
        ref_logits_NV: of the reference.

    Source: Lin, 1991, https://doi.org/10.1109/18.61115.
    """
    logps_NV = at_least_float32(logits_NV).log_softmax(-1)
    ref_logps_NV = at_least_float32(ref_logits_NV).log_softmax(-1)
    return 0.5 * (_to_mixture(logps_NV, ref_logps_NV) + _to_mixture(ref_logps_NV, logps_NV))


def jensen_shannon_to_token(logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """Jensen-Shannon divergence between the model and certainty of one token, at each position (N,).

    It depends on that token's probability alone: ``ln 2 + (p ln p - (1 + p) ln(1 + p)) / 2``, from ``ln 2`` at
    ``p = 0`` down to 0 at ``p = 1``. Towards ``p = 0`` it is flat: a token that is far off is learned slowly.

    Args:
        logits_NV: of the model.
        labels_N: the tokens.

    Source: Singh et al. (JensUn), 2025, https://arxiv.org/abs/2509.02820.
    """
    logps_N = packed_logps(logits_NV, labels_N)
    impossible_N = logps_N.isneginf()
    safe_N = logps_N.masked_fill(impossible_N, 0)  # 0 times -inf is NaN, in the gradient too
    probabilities_N = safe_N.exp().masked_fill(impossible_N, 0)
    return math.log(2) + 0.5 * (probabilities_N * safe_N - (1 + probabilities_N) * probabilities_N.log1p())


def _to_mixture(logps_NV: Tensor, other_logps_NV: Tensor) -> Tensor:
    """KL of one distribution to the even mixture of both (N,): ``sum p (ln 2 - ln(1 + other / p))``."""
    probabilities_NV = logps_NV.exp()
    ratios_NV = torch.where(probabilities_NV > 0, other_logps_NV - logps_NV, 0)
    return (probabilities_NV * (math.log(2) + logsigmoid(-ratios_NV))).sum(-1)
