"""Margins between tokens, softmax-free or of probabilities. Shapes: N positions, V vocabulary."""

from __future__ import annotations

from torch import Tensor

from expunge.functional.logprobs import at_least_float32


def pdu_margin(logits_NV: Tensor) -> Tensor:
    """Logit-margin flattening (N,): ``(max_v z - mean_v z)^2``, squared nats; 0 where all tokens are equally likely.

    By hand: logits (0, 3, 0) have maximum 3 and mean 1, so 4. Impossible tokens (logit -inf) have no part in the mean.

    Args:
        logits_NV: of the model.

    Source: Entesari et al. (PDU), 2025, https://arxiv.org/abs/2506.05314.
    """
    logits_NV = at_least_float32(logits_NV)
    ruled_out_NV = logits_NV.isneginf()
    mean_N = logits_NV.masked_fill(ruled_out_NV, 0).sum(-1) / (~ruled_out_NV).sum(-1)
    return (logits_NV.amax(-1) - mean_N).square()


def inverted_hinge(logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """Inverted hinge (N,): ``1 + p_y - max_{v != y} p_v``, from 0 (another token is certain) to 2 (the true one is).

    By hand: probabilities (1/2, 3/8, 1/8) and the first token true give 9/8.

    Args:
        logits_NV: of the model.
        labels_N: the true tokens.

    Source: Cha et al. (LoKU), 2024, https://arxiv.org/abs/2408.06621.
    """
    probabilities_NV = at_least_float32(logits_NV).softmax(-1)
    own_N = probabilities_NV.gather(-1, labels_N[:, None]).squeeze(-1)
    others_NV = probabilities_NV.scatter(-1, labels_N[:, None], -1.0)  # below every probability
    return 1 + own_N - others_NV.amax(-1)
