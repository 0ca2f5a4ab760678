"""Target distributions: what a model should say in place of the true token. Shapes: N positions, V vocabulary.

Targets are probabilities without gradient, computed in float32 at least; impossible tokens (logit -inf) stay so.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from expunge.functional.logprobs import at_least_float32


def undial_targets(ref_logits_NV: Tensor, labels_N: Tensor, strength: float) -> Tensor:
    """The reference's distribution with the logit of the true token lowered by ``strength`` (N, V).

    ``softmax(z0 - strength * onehot)``. By hand: two tokens of logit 0, strength ``ln 3`` gives (1/4, 3/4).

    Args:
        ref_logits_NV: of the reference.
        labels_N: the true tokens.
        strength: nats; 0 gives the reference's own distribution, infinity that without the true token.

    Source: Dong et al. (UNDIAL), 2024, https://arxiv.org/abs/2402.10052.
    """
    return _lowered(ref_logits_NV, labels_N, strength).softmax(-1)


def ceu_targets(logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """The model's own distribution without the true token (N, V).

    The gradient of ``target_cross_entropy`` on the true token's logit is then its probability. A position where no
    other token is possible has no such distribution, and keeps the model's own.

    Args:
        logits_NV: of the model itself; no gradient goes through the target.
        labels_N: the true tokens.

    Source: Yang (CE-U), 2025, https://arxiv.org/abs/2503.01224.
    """
    return _lowered(logits_NV, labels_N, math.inf).softmax(-1)


def unilogit_logits(logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """The model's own logits, but that of the true token such that its probability is 1/V (N, V), without gradient.

    ``e^L / (e^L + S) = 1/V`` with S the sum over the other tokens, so ``L = ln S - ln(V - 1)``.

    Args:
        logits_NV: of the model itself; V is at least 2.
        labels_N: the true tokens.

    Source: Vasilev et al. (Unilogit), 2025, https://arxiv.org/abs/2505.06027.
    """
    logits_NV = at_least_float32(logits_NV.detach())
    others_N = _lowered(logits_NV, labels_N, math.inf).logsumexp(-1)
    own_N = others_N - math.log(logits_NV.shape[-1] - 1)
    return torch.where(_one_hot(labels_N, logits_NV.shape[-1]), own_N[:, None], logits_NV)


def unilogit_targets(logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """The model's own distribution, but 1/V for the true token (N, V): ``softmax`` of ``unilogit_logits``."""
    return unilogit_logits(logits_NV, labels_N).softmax(-1)


def shred_targets(ref_logits_NV: Tensor, labels_N: Tensor, demoted_N: Tensor, strength: float) -> Tensor:
    """``undial_targets`` where ``demoted_N`` is True, the reference's own distribution elsewhere (N, V).

    Args:
        ref_logits_NV: of the reference.
        labels_N: the true tokens.
        demoted_N: positions whose true token is lowered, from ``least_likely``.
        strength: nats, or infinity.

    Source: Hu et al. (SHRED), 2026, https://arxiv.org/abs/2605.07482.
    """
    lowered_NV = _lowered(ref_logits_NV, labels_N, strength)
    return torch.where(demoted_N[:, None], lowered_NV, at_least_float32(ref_logits_NV.detach())).softmax(-1)


def least_likely(logps_BT: Tensor, mask_BT: Tensor, share: float, skip: int = 0) -> Tensor:
    """True at the least likely ``share`` of each record's scored tokens (B, T), rounded up.

    Ties go to the earlier token. A record's choice depends on that record alone, so batches change nothing.

    Args:
        logps_BT: log-probability of each token.
        mask_BT: True where a token is scored.
        share: of the tokens that are left after ``skip``, 0 to 1.
        skip: scored tokens at the start of a record that are never chosen.
    """
    open_BT = mask_BT & (mask_BT.cumsum(-1) > skip)
    ranked_BT = logps_BT.masked_fill(~open_BT, torch.inf).argsort(dim=-1, stable=True).argsort(dim=-1)
    wanted_B = (share * open_BT.sum(-1).double() - 1e-9).ceil()  # 0.07 * 100 is 7.000000000000001 in binary
    return open_BT & (ranked_BT < wanted_B[:, None])


def target_cross_entropy(logits_NV: Tensor, targets_NV: Tensor) -> Tensor:
    """Cross-entropy of each position (N,), nats: ``-sum target log p``; least, the target's entropy, at the target.

    Tokens that the target rules out cost nothing, impossible ones too.

    Args:
        logits_NV: of the model; float16 and bfloat16 are computed in float32.
        targets_NV: probabilities.
    """
    logps_NV = at_least_float32(logits_NV).log_softmax(-1)
    return -(targets_NV * torch.where(targets_NV > 0, logps_NV, 0)).sum(-1)


def teacher_tokens(ref_logits_NV: Tensor, labels_N: Tensor, k: int) -> Tensor:
    """Ids (N, K) of the true token and the ``k - 1`` others that the reference finds most likely; all where V < k."""
    first_NV = at_least_float32(ref_logits_NV).masked_fill(_one_hot(labels_N, ref_logits_NV.shape[-1]), torch.inf)
    return first_NV.topk(min(k, ref_logits_NV.shape[-1]), dim=-1).indices


def top_k_kl(logits_NV: Tensor, targets_NV: Tensor, tokens_NK: Tensor) -> Tensor:
    """KL(target || model) among chosen tokens, each side renormalised over them (N,), nats.

    Zero where the two agree in the ratios among these tokens. The rest has no part: neither how likely a token outside
    is, nor how likely all those outside are together.

    Args:
        logits_NV: of the model.
        targets_NV: probabilities; not all zero among the chosen tokens.
        tokens_NK: ids of the chosen tokens, each once, from ``teacher_tokens``.
    """
    logps_NK = at_least_float32(logits_NV).gather(-1, tokens_NK).log_softmax(-1)
    chosen_NK = targets_NV.gather(-1, tokens_NK)
    chosen_NK = chosen_NK / chosen_NK.sum(-1, keepdim=True)
    gaps_NK = torch.where(chosen_NK > 0, chosen_NK.clamp(min=torch.finfo(chosen_NK.dtype).tiny).log() - logps_NK, 0)
    return (chosen_NK * gaps_NK).sum(-1)


def _lowered(logits_NV: Tensor, labels_N: Tensor, strength: float) -> Tensor:
    """Logits without gradient, that of the true token less ``strength``; as they are where no other is possible."""
    logits_NV = at_least_float32(logits_NV.detach())
    own_NV = _one_hot(labels_N, logits_NV.shape[-1])
    # Not by a product with a one-hot: infinity times 0 is NaN, as is a softmax without any possible token.
    lowered_NV = torch.where(own_NV, logits_NV - strength, logits_NV)
    return torch.where(lowered_NV.isneginf().all(-1, keepdim=True), logits_NV, lowered_NV)


def _one_hot(labels_N: Tensor, vocabulary: int) -> Tensor:
    """True at each position's label (N, V)."""
    return torch.arange(vocabulary, device=labels_N.device) == labels_N[:, None]
