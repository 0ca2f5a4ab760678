"""Losses that hold an answer against a reference or another answer.

Shapes: B sequences. Log-probabilities are in nats; a sequence's is the sum over its answer.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import logsigmoid

from expunge.errors import InputError


def npo_loss(logps_B: Tensor, ref_logps_B: Tensor, beta: float) -> Tensor:
    """Negative Preference Optimization (B,): ``-(2/beta) log sigmoid(-beta (logps - ref_logps))``.

    Its gradient is that of ascent on the sum, times ``2 sigmoid(beta (logps - ref_logps))``: 1 at the reference, where
    the loss is ``(2/beta) ln 2``, and fading as the sequence sinks. Towards ``beta = 0`` it is ascent plus a constant.
    By hand: logps -2, reference -1, beta 0.5 gives ``4 log(1 + exp(-0.5)) = 1.8963``.

    Args:
        logps_B: sum of the log-probabilities of each answer under the model.
        ref_logps_B: the same under the reference.
        beta: inverse temperature.

    Raises:
        InputError: ``beta`` is not a number above 0.

    Source: Zhang et al., 2024, https://arxiv.org/abs/2404.05868.
    """
    check_beta(beta)
    return -(2 / beta) * logsigmoid(-beta * (logps_B - ref_logps_B))


def dpo_loss(chosen_B: Tensor, rejected_B: Tensor, ref_chosen_B: Tensor, ref_rejected_B: Tensor, beta: float) -> Tensor:
    """Direct Preference Optimization (B,): ``-(2/beta) log sigmoid(beta (gain_chosen - gain_rejected))``.

    A gain is the log-probability of an answer minus the reference's. The paper has no factor; 2/beta makes this
    ``npo_loss`` of the rejected side when the chosen gain is 0, so that both share learning rates and weights.
    By hand: gains 1 and -1, beta 0.5 gives ``4 log(1 + exp(-1)) = 1.2530``.

    Args:
        chosen_B: sum of the log-probabilities of the preferred answer under the model.
        rejected_B: the same of the answer to forget.
        ref_chosen_B: the preferred answer under the reference.
        ref_rejected_B: the answer to forget under the reference.
        beta: inverse temperature.

    Raises:
        InputError: ``beta`` is not a number above 0.

    Source: Rafailov et al., 2023, https://arxiv.org/abs/2305.18290; the factor as used for unlearning by Zhang et al.,
    2024, https://arxiv.org/abs/2404.05868.
    """
    check_beta(beta)
    margin_B = (chosen_B - ref_chosen_B) - (rejected_B - ref_rejected_B)
    return -(2 / beta) * logsigmoid(beta * margin_B)


def check_beta(beta: float) -> None:
    """Refuses an inverse temperature that is not a number above 0."""
    if not 0 < beta < math.inf:
        raise InputError(
            f"beta is an inverse temperature above 0, not {beta}; take a small one, such as 0.01, to come close to "
            f"gradient ascent."
        )
