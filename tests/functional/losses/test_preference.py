"""SimNPO, token-wise NPO, answer preservation and FLAT by hand, and what ties them to the others."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.functional.losses import (
    answer_preservation_loss,
    dpo_loss,
    flat_loss,
    npo_loss,
    simnpo_loss,
    tnpo_loss,
)

EXACT = {"rtol": 0, "atol": 1e-12}  # float64
BETAS = [0.1, 0.5, 4.5]
DIVERGENCES = ["total_variation", "kl", "jensen_shannon", "pearson"]
logps = st.floats(-30, 0)
GRID = torch.linspace(-30, 30, 240_001, dtype=torch.float64)  # steps of 0.00025


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def slope(loss, at):
    at = at.clone().requires_grad_()
    loss(at).sum().backward()
    return at.grad


def test_simnpo_by_hand():
    """(2/beta) log(1 + exp(beta m + margin)): exponents -0.5, 3 and 0."""
    assert simnpo_loss(doubles(-2.0), 0.5, 0.5).item() == pytest.approx(1.896307936720427, abs=1e-12)
    assert simnpo_loss(doubles(-1.0), 2.0, 5.0).item() == pytest.approx(3.048587351573742, abs=1e-12)
    assert simnpo_loss(doubles(0.0), 0.1, 0.0).item() == pytest.approx(13.862943611198906, abs=1e-12)


@given(logps, st.sampled_from(BETAS))
def test_simnpo_without_margin_is_npo_on_means_with_a_reference_of_0(mean, beta):
    found, expected = simnpo_loss(doubles(mean), beta, 0.0), npo_loss(doubles(mean), doubles(0.0), beta)
    torch.testing.assert_close(found, expected, **EXACT)


@given(logps, st.sampled_from(BETAS), st.floats(-3, 3))
def test_simnpos_margin_is_beta_times_openunlearnings_delta(mean, beta, margin):
    """OpenUnlearning has -(2/beta) log sigmoid(beta (nll - delta)): delta is margin/beta."""
    delta = margin / beta
    inside = 2 / beta * math.log1p(math.exp(-beta * (-mean - delta)))
    assert simnpo_loss(doubles(mean), beta, margin).item() == pytest.approx(inside, rel=1e-9)


@given(logps, st.sampled_from(BETAS), st.floats(-3, 3))
def test_simnpos_slope(mean, beta, margin):
    found = slope(lambda at: simnpo_loss(at, beta, margin), doubles(mean))
    assert found.item() == pytest.approx(2 / (1 + math.exp(-(beta * mean + margin))), rel=1e-9)


def test_tnpo_by_hand_keeps_tokens_apart():
    """Gaps -1 and 3 at beta 0.5 and 1: the worked numbers of NPO, one a token."""
    found = tnpo_loss(doubles([-2.0, -1.0]), doubles([-1.0, -1.0]), 0.5)
    assert found.shape == (1, 2)
    assert found.tolist()[0] == pytest.approx([1.896307936720427, 4 * math.log(2)], abs=1e-12)
    assert tnpo_loss(doubles([-1.0]), doubles([-4.0]), 1.0).item() == pytest.approx(6.097174703147484, abs=1e-12)


@given(logps, logps, st.sampled_from(BETAS))
def test_tnpos_weight_is_that_of_the_paper_and_1_at_the_reference(logp, ref_logp, beta):
    p, p_0 = math.exp(logp), math.exp(ref_logp)
    found = slope(lambda at: tnpo_loss(at, doubles([ref_logp]), beta), doubles([logp]))
    assert found.item() == pytest.approx(2 * p**beta / (p**beta + p_0**beta), rel=1e-9)
    at_reference = slope(lambda at: tnpo_loss(at, doubles([ref_logp]), beta), doubles([ref_logp]))
    assert at_reference.item() == pytest.approx(1, abs=1e-12)


def test_answer_preservation_by_hand():
    """(1/beta) log(1 + exp(-beta gap)), gap = kept - refusal: 2 at beta 0.5, -3 at beta 1."""
    found = answer_preservation_loss(doubles(-1.0), doubles(-3.0), 0.5)
    assert found.item() == pytest.approx(0.6265233750364456, abs=1e-12)
    found = answer_preservation_loss(doubles(-4.0), doubles(-1.0), 1.0)
    assert found.item() == pytest.approx(3.048587351573742, abs=1e-12)


@given(logps, logps, st.sampled_from(BETAS))
def test_answer_preservation_is_half_of_dpo_without_a_reference(kept, refusal, beta):
    zero = doubles(0.0)
    found = answer_preservation_loss(doubles(kept), doubles(refusal), beta)
    torch.testing.assert_close(found, dpo_loss(doubles(kept), doubles(refusal), zero, zero, beta) / 2, **EXACT)


def test_answer_preservation_lifts_the_answer_and_lowers_the_refusal():
    kept, refusal = doubles(-3.0).requires_grad_(), doubles(-1.0).requires_grad_()
    answer_preservation_loss(kept, refusal, 0.3).sum().backward()
    assert kept.grad.item() == pytest.approx(-1 / (1 + math.exp(0.3 * -2)), abs=1e-12)
    assert refusal.grad.item() == -kept.grad.item()


def test_flat_by_hand():
    """Good 0.5, bad 1: (tanh 1 - tanh 0.5)/2; e^0 - 0.5; log((1 + e)(1 + e^-0.5)/4); 1/4 + 1 - 0.5."""
    expected = {
        "total_variation": (0.7615941559557649 - 0.4621171572600098) / 2,
        "kl": 0.5,
        "jensen_shannon": math.log((1 + math.e) * (1 + math.exp(-0.5)) / 4),
        "pearson": 0.75,
    }
    assert set(expected) == set(DIVERGENCES)
    for name, value in expected.items():
        assert flat_loss(doubles(0.5), doubles(1.0), name).item() == pytest.approx(value, abs=1e-10), name


@pytest.mark.parametrize("divergence", DIVERGENCES)
@given(st.floats(0, 1), st.floats(0, 1))
def test_flat_always_raises_the_good_answer_and_lowers_the_bad_one(divergence, good, bad):
    good_B, bad_B = doubles(good).requires_grad_(), doubles(bad).requires_grad_()
    flat_loss(good_B, bad_B, divergence).sum().backward()
    assert good_B.grad.item() < 0 < bad_B.grad.item()


def divergences(p, q):
    """Definitions of the four; Jensen-Shannon is doubled, as it is in the form of f-GAN."""
    half = (p + q) / 2
    return {
        "total_variation": (p - q).abs().sum() / 2,
        "kl": (p * (p / q).log()).sum(),
        "jensen_shannon": (p * (p / half).log()).sum() + (q * (q / half).log()).sum(),
        "pearson": ((p - q).square() / q).sum(),
    }


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize(
    ("p", "q"), [((0.5, 0.3, 0.2), (0.2, 0.5, 0.3)), ((0.7, 0.2, 0.1), (0.3, 0.3, 0.4)), ((0.25,) * 4, (0.25,) * 4)]
)
def test_flat_is_the_variational_form_of_its_divergence(divergence, p, q):
    """The largest E_P[g(v)] - E_Q[f*(g(v))] over functions v is D(P || Q), and no v gives more.

    With L(a, b) = -g(a) + f*(g(b)) both parts are found up to constants that cancel: g(v) - g(0) = L(0, 0) - L(v, 0).
    """
    p, q, zero = doubles(*p), doubles(*q), doubles(0.0)
    whole = flat_loss(zero, zero, divergence)
    gains = whole - flat_loss(GRID, zero, divergence)
    costs = flat_loss(zero, GRID, divergence) - whole
    best = (p[:, None] * gains - q[:, None] * costs).max(-1).values.sum() - whole
    expected = divergences(p, q)[divergence]
    assert best.item() == pytest.approx(expected.item(), abs=1e-6)
    assert best <= expected + 1e-12


def test_an_unknown_divergence_is_refused():
    with pytest.raises(InputError, match="'hellinger'.*total_variation"):
        flat_loss(doubles(0.5), doubles(0.5), "hellinger")


def test_all_are_finite_far_away():
    far_B = torch.tensor([-1e4, 0.0])
    for loss_B in (
        simnpo_loss(far_B, 4.5, 1.0),
        tnpo_loss(far_B, far_B.flip(0), 4.0),
        answer_preservation_loss(far_B, far_B.flip(0), 0.1),
    ):
        assert loss_B.isfinite().all()


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan, math.inf])
def test_beta_is_a_number_above_zero(beta):
    one_B = doubles(-1.0)
    for call in (
        lambda: simnpo_loss(one_B, beta, 0.0),
        lambda: tnpo_loss(one_B, one_B, beta),
        lambda: answer_preservation_loss(one_B, one_B, beta),
    ):
        with pytest.raises(InputError, match="beta is an inverse temperature above 0, not"):
            call()
