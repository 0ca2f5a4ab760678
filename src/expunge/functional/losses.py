"""Losses, per sequence, not reduced, to be minimised. They take log-probabilities and know no model, mask value or padding.

Shapes: B sequences, T tokens. Log-probabilities are in nats; a sequence's is the sum over its answer.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from expunge.errors import InputError


def gradient_ascent(logps_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean log-probability of each sequence (B,), nats per token: minimising it makes the tokens unlikely.

    Args:
        logps_BT: log-probability of each token.
        mask_BT: weight of each token (or a boolean mask); a sequence without weight gives 0.
    """
    weights_BT = mask_BT.to(logps_BT)
    return (logps_BT * weights_BT).sum(-1) / weights_BT.sum(-1).clamp(min=1e-12)


def nll(logps_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean negative log-likelihood of each sequence (B,), nats per token: ``-gradient_ascent``."""
    return -gradient_ascent(logps_BT, mask_BT)


def npo_loss(logps_B: Tensor, ref_logps_B: Tensor, beta: float) -> Tensor:
    """Negative Preference Optimization (B,): ``-(2/beta) log sigmoid(-beta (logps - ref_logps))``.

    At the reference it is ``(2/beta) ln 2`` with the gradient of ascent on the sum; towards ``beta = 0`` it is that ascent plus
    a constant. By hand: logps -2, reference -1, beta 0.5 gives ``4 log(1 + exp(-0.5)) = 1.8963``.

    Source: Zhang et al., 2024, https://arxiv.org/abs/2404.05868.
    """
    _check_beta(beta)
    return -(2 / beta) * F.logsigmoid(-beta * (logps_B - ref_logps_B))


def dpo_loss(chosen_B: Tensor, rejected_B: Tensor, ref_chosen_B: Tensor, ref_rejected_B: Tensor, beta: float) -> Tensor:
    """Direct Preference Optimization (B,): ``-(2/beta) log sigmoid(beta ((chosen - ref_chosen) - (rejected - ref_rejected)))``.

    The factor 2/beta makes it ``npo_loss`` when the chosen side is left out (zeros). By hand: margins 1 and -1, beta 0.5 gives
    ``4 log(1 + exp(-1)) = 1.2530``.

    Source: Rafailov et al., 2023, https://arxiv.org/abs/2305.18290; the factor as used for unlearning by Zhang et al., 2024.
    """
    _check_beta(beta)
    margin_B = (chosen_B - ref_chosen_B) - (rejected_B - ref_rejected_B)
    return -(2 / beta) * F.logsigmoid(beta * margin_B)


def _check_beta(beta: float) -> None:
    if not beta > 0:
        raise InputError(f"beta is an inverse temperature above 0, not {beta}; towards 0 the loss becomes gradient ascent.")
