"""Confidence weights by hand: powers of the probability, detached, harmless where nothing is scored."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.functional.losses import (
    gradient_ascent,
    mean_probability,
    satimp_weights,
    tnpo_loss,
    weighted_ascent,
    wga_weights,
)

logps = st.floats(-30, 0)
powers = st.sampled_from([0.0, 0.1, 1.0, 5.0])


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_wga_weights_by_hand():
    """The squares of 0.5, 0.1 and 1."""
    found = wga_weights(doubles([0.5, 0.1, 1.0]).log(), 2.0)
    assert found.tolist()[0] == pytest.approx([0.25, 0.01, 1.0], abs=1e-12)


def test_satimp_weights_by_hand():
    """p^2 (1 - p): 0.25 x 0.5, 0.01 x 0.9, 1 x 0; and with the second power 3 and p 0.1: 0.01 x 0.729."""
    found = satimp_weights(doubles([0.5, 0.1, 1.0]).log(), 2.0, 1.0)
    assert found.tolist()[0] == pytest.approx([0.125, 0.009, 0.0], abs=1e-12)
    assert satimp_weights(doubles([0.1]).log(), 2.0, 3.0).item() == pytest.approx(0.00729, abs=1e-12)


def test_weighted_ascent_by_hand():
    """Weights 0.5 and 2 on -1 and -3; mean over tokens, not over weights."""
    assert weighted_ascent(doubles([-1.0, -3.0]), doubles([0.5, 2.0])).tolist() == [[-0.5, -6.0]]


def test_power_0_is_gradient_ascent():
    logps_BT = doubles([-1.0, -3.0], [-2.0, -0.5])
    found_B = weighted_ascent(logps_BT, wga_weights(logps_BT, 0.0)).mean(-1)
    torch.testing.assert_close(found_B, gradient_ascent(logps_BT, torch.ones_like(logps_BT)), rtol=0, atol=1e-12)


@given(logps, powers)
def test_satimp_with_a_second_power_of_0_is_wga(logp, beta):
    logps_BT = doubles([logp])
    assert satimp_weights(logps_BT, beta, 0.0).item() == wga_weights(logps_BT, beta).item()


@given(logps, powers, powers)
def test_no_gradient_goes_through_the_weights(logp, beta1, beta2):
    """The slope of w log p in log p is w itself, and nothing else."""
    for weights in (
        lambda logps_BT: wga_weights(logps_BT, beta1),
        lambda logps_BT: satimp_weights(logps_BT, beta1, beta2),
    ):
        logps_BT = doubles([logp]).requires_grad_()
        weighted_ascent(logps_BT, weights(logps_BT)).sum().backward()
        assert not weights(logps_BT).requires_grad
        assert logps_BT.grad.item() == pytest.approx(weights(logps_BT).item(), rel=1e-12, abs=1e-300)


def test_wga_keeps_the_direction_of_tnpo_and_the_weights_of_wtnpo_multiply():
    """Slope of p^alpha (detached) times TNPO: 2 p^(alpha + beta) / (p^beta + p_0^beta)."""
    p, p_0, alpha, beta = 0.3, 0.7, 1.5, 4.0
    logps_BT = doubles([p]).log().requires_grad_()
    (wga_weights(logps_BT, alpha) * tnpo_loss(logps_BT, doubles([p_0]).log(), beta)).sum().backward()
    assert logps_BT.grad.item() == pytest.approx(2 * p ** (alpha + beta) / (p**beta + p_0**beta), rel=1e-12)


def test_what_is_not_scored_or_impossible_does_no_harm():
    """Log-probability 0 where nothing is scored, -inf for an impossible token, slightly above 0 by rounding."""
    odd_BT = doubles([0.0, -math.inf, 1e-7, -1.0])
    assert wga_weights(odd_BT, 0.0).tolist() == [[1.0, 1.0, 1.0, 1.0]]
    assert wga_weights(odd_BT, 0.5).isfinite().all()
    found = satimp_weights(odd_BT, 5.0, 0.5)
    assert found.isfinite().all()
    assert found.tolist()[0][:3] == [0.0, 0.0, 0.0]
    odd_BT.requires_grad_()
    values_BT = weighted_ascent(odd_BT, satimp_weights(odd_BT, 5.0, 0.5))
    values_BT.sum().backward()
    assert values_BT.isfinite().all()
    assert odd_BT.grad.isfinite().all()


def test_small_probabilities_do_not_underflow_before_the_root():
    """exp(-100) is no normal number in single precision; its tenth power is exp(-10)."""
    found = wga_weights(torch.tensor([[-200.0]]), 0.1)
    assert found.item() == pytest.approx(math.exp(-20), rel=1e-5)


def test_the_complement_is_exact_for_tokens_that_are_nearly_certain():
    logps_BT = torch.tensor([[-1e-9]])  # 1 - exp(-1e-9) would be 0 in single precision
    assert satimp_weights(logps_BT, 0.0, 1.0).item() == pytest.approx(1e-9, rel=1e-5)


def test_mean_probability_by_hand():
    """Of 0.5 and 0.1; with token weights 3 and 1; of nothing; an impossible token has probability 0."""
    logps_BT = doubles([0.5, 0.1, 1.0], [0.5, 0.1, 1.0], [0.5, 0.1, 1.0], [1.0, 0.0, 0.5]).log()
    mask_BT = doubles([1, 1, 0], [3, 1, 0], [0, 0, 0], [1, 1, 0])
    assert mean_probability(logps_BT, mask_BT).tolist() == pytest.approx([0.3, 0.4, 0.0, 0.5], abs=1e-12)


@pytest.mark.parametrize("power", [-0.1, math.nan, math.inf])
def test_powers_are_at_least_0(power):
    one_BT = doubles([-1.0])
    with pytest.raises(InputError, match="beta is a power of a probability"):
        wga_weights(one_BT, power)
    with pytest.raises(InputError, match="beta2 is a power of a probability"):
        satimp_weights(one_BT, 1.0, power)
