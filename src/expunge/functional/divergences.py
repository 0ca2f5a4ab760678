"""Divergences between two models at each position, nats. Shapes: N positions, V vocabulary."""

from __future__ import annotations

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
