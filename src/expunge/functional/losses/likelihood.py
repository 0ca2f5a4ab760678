"""Likelihood of sequences, raised or lowered. Shapes: B sequences, T tokens; log-probabilities in nats."""

from __future__ import annotations

from torch import Tensor


def gradient_ascent(logps_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean log-probability of each sequence (B,), nats per token: minimising it makes the tokens unlikely.

    Args:
        logps_BT: log-probability of each token.
        mask_BT: weight of each token (or a boolean mask); a sequence without weight gives 0.
    """
    return _mean(logps_BT, mask_BT)


def nll(logps_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean negative log-likelihood of each sequence (B,), nats per token: ``-gradient_ascent``."""
    return -gradient_ascent(logps_BT, mask_BT)


def mean_probability(logps_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean probability of the tokens of each sequence (B,), from 0 to 1; arguments as in ``gradient_ascent``."""
    return _mean(logps_BT.exp(), mask_BT)


def _mean(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    weights_BT = mask_BT.to(values_BT)
    counted_BT = values_BT.masked_fill(weights_BT == 0, 0)  # 0 times the -inf of an impossible token would be NaN
    totals_B = weights_BT.sum(-1)
    return (counted_BT * weights_BT).sum(-1) / totals_B.masked_fill(totals_B == 0, 1)
