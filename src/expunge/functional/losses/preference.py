"""Losses that hold an answer against a reference or another answer.

Shapes: B sequences, T tokens. Log-probabilities are in nats; a sequence's is the sum over its answer where nothing
else is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from expunge.errors import InputError

Divergence = Literal["total_variation", "kl", "jensen_shannon", "pearson"]


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


def simnpo_loss(mean_logps_B: Tensor, beta: float, margin: float) -> Tensor:
    """SimNPO (B,): ``-(2/beta) log sigmoid(-beta mean_logps - margin)``, NPO without a reference, by length.

    Its gradient is that of ascent on the mean, times ``2 sigmoid(beta mean_logps + margin)``. The margin stands outside
    of the bracket, as in the paper; OpenUnlearning's ``delta`` inside of it is ``margin / beta``.
    By hand: mean -2, beta 0.5, margin 0.5 gives ``4 log(1 + exp(-0.5)) = 1.8963``.

    Args:
        mean_logps_B: mean of the log-probabilities of each answer's tokens under the model.
        beta: inverse temperature.
        margin: how much further the loss pushes, in units of ``beta`` times nats per token.

    Raises:
        InputError: ``beta`` is not a number above 0.

    Source: Fan et al., 2024, https://arxiv.org/abs/2410.07163.
    """
    check_beta(beta)
    return -(2 / beta) * logsigmoid(-beta * mean_logps_B - margin)


def tnpo_loss(logps_BT: Tensor, ref_logps_BT: Tensor, beta: float) -> Tensor:
    """Token-wise NPO (B, T): ``npo_loss`` of each token by itself.

    Its gradient is that of ascent on the token, times ``2 p^beta / (p^beta + p_0^beta)``: 1 at the reference. A token
    that is not scored (0 and 0) has the value ``(2/beta) ln 2`` like any other at the reference, and is left out by
    its weight.

    Args:
        logps_BT: log-probability of each token under the model.
        ref_logps_BT: the same under the reference.
        beta: inverse temperature.

    Raises:
        InputError: ``beta`` is not a number above 0.

    Source: Wang et al., 2025, https://arxiv.org/abs/2502.19301.
    """
    return npo_loss(logps_BT, ref_logps_BT, beta)


def answer_preservation_loss(kept_B: Tensor, refusal_B: Tensor, beta: float) -> Tensor:
    """Answer preservation (B,): ``-(1/beta) log sigmoid(beta (kept - refusal))``, for records that must be answered.

    It holds the true answer above a refusal to the same prompt, without a reference. Sums over the answers, as in the
    authors' code, so that a short refusal starts ahead of a long answer; the factor is 1/beta and not 2/beta.
    By hand: kept -1, refusal -3, beta 0.5 gives ``2 log(1 + exp(-1)) = 0.6265``.

    Args:
        kept_B: sum of the log-probabilities of the true answer under the model.
        refusal_B: the same of the refusal.
        beta: inverse temperature.

    Raises:
        InputError: ``beta`` is not a number above 0.

    Source: Yuan et al., 2024, https://arxiv.org/abs/2410.08109.
    """
    check_beta(beta)
    return -(1 / beta) * logsigmoid(beta * (kept_B - refusal_B))


class _Form(NamedTuple):
    """Variational form of an f-divergence: the output activation g and what its conjugate makes of it, f*(g(v))."""

    activation: Callable[[Tensor], Tensor]
    conjugate: Callable[[Tensor], Tensor]


# D(P || Q) is the supremum over v of E_P[g(v)] - E_Q[f*(g(v))]; f* is t, exp(t - 1), -log(2 - exp(t)) and t^2/4 + t.
_FORMS: dict[str, _Form] = {
    "total_variation": _Form(lambda v: torch.tanh(v) / 2, lambda v: torch.tanh(v) / 2),
    "kl": _Form(lambda v: v, lambda v: torch.exp(v - 1)),
    # g is log 2 - log(1 + exp(-v)), so 2 - exp(g) is 2 / (1 + exp(v)). The supremum is twice the divergence.
    "jensen_shannon": _Form(lambda v: math.log(2) + logsigmoid(v), lambda v: softplus(v) - math.log(2)),
    "pearson": _Form(lambda v: v, lambda v: v.square() / 4 + v),
}


def flat_loss(good_B: Tensor, bad_B: Tensor, divergence: Divergence) -> Tensor:
    """FLAT (B,): ``-g(good) + f*(g(bad))``, the negative variational form of an f-divergence of two answers.

    The probability of each answer takes the place of the variational function: minimising raises the good one and
    lowers the bad one, both boundedly.
    By hand: good 0.5, bad 1, total variation gives ``(tanh 1 - tanh 0.5) / 2 = 0.1497``.

    Args:
        good_B: mean probability of the tokens of the answer to give.
        bad_B: mean probability of the tokens of the answer to forget.
        divergence: which f-divergence.

    Raises:
        InputError: an unknown divergence.

    Source: Wang et al., 2024, https://arxiv.org/abs/2410.11143; g and f* from Nowozin et al. (f-GAN), 2016,
    https://arxiv.org/abs/1606.00709.
    """
    if divergence not in _FORMS:
        raise InputError(f"There is no divergence {divergence!r} for FLAT; take one of {', '.join(_FORMS)}.")
    form = _FORMS[divergence]
    return form.conjugate(bad_B) - form.activation(good_B)


def check_beta(beta: float) -> None:
    """Refuses an inverse temperature that is not a number above 0."""
    if not 0 < beta < math.inf:
        raise InputError(
            f"beta is an inverse temperature above 0, not {beta}; take a small one, such as 0.01, to come close to "
            f"gradient ascent."
        )
