"""Weights of tokens in gradient ascent, from the model's own confidence; no gradient goes through them.

Shapes: B sequences, T tokens. Log-probabilities are in nats; a token that is not scored has the log-probability 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from expunge.errors import InputError


def wga_weights(logps_BT: Tensor, beta: float) -> Tensor:
    """Weighted gradient ascent (B, T): ``p^beta``, detached; what is forgotten already counts no more.

    Args:
        logps_BT: log-probability of each token; one that is not scored gets 1, and is left out by its own weight.
        beta: power; 0 is gradient ascent.

    Raises:
        InputError: ``beta`` is not a number of at least 0.

    Source: Wang et al., 2025, https://arxiv.org/abs/2502.19301.
    """
    check_power("beta", beta)
    # 0 times the -inf of an impossible token would be NaN.
    return torch.exp(beta * logps_BT.detach()) if beta else torch.ones_like(logps_BT)


def satimp_weights(logps_BT: Tensor, beta1: float, beta2: float) -> Tensor:
    """Saturation times importance (B, T): ``p^beta1 (1 - p)^beta2``, detached.

    The first factor leaves alone what is forgotten, the second what anybody could guess.
    By hand: p 0.5, beta1 2, beta2 1 gives 0.125.

    Args:
        logps_BT: log-probability of each token; one that is not scored gets 0, or 1 where ``beta2`` is 0.
        beta1: power of the probability.
        beta2: power of its complement; 0 is ``wga_weights``.

    Raises:
        InputError: a power is not a number of at least 0.

    Source: Yang et al., 2025, https://arxiv.org/abs/2505.11953.
    """
    check_power("beta2", beta2)
    # expm1 keeps 1 - p where p is close to 1; a rounded p above 1 must not become a root of a negative number.
    complement_BT = -torch.expm1(logps_BT.detach().clamp(max=0))
    return wga_weights(logps_BT, beta1) * complement_BT.pow(beta2)


def weighted_ascent(logps_BT: Tensor, weights_BT: Tensor) -> Tensor:
    """Weight times log-probability of each token (B, T): minimising it makes tokens unlikely.

    The mean is meant over tokens and not over weights: small weights are small steps.

    Args:
        logps_BT: log-probability of each token.
        weights_BT: its weight, without gradient; where it is 0, an impossible token gives 0.
    """
    return logps_BT.masked_fill(weights_BT == 0, 0) * weights_BT


def check_power(name: str, value: float) -> None:
    """Refuses a power that is not a number of at least 0."""
    if not 0 <= value < math.inf:
        raise InputError(f"{name} is a power of a probability, at least 0, not {value}; 0 is gradient ascent.")
