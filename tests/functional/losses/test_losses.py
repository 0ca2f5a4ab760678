"""Losses by hand, and the identities that tie them together. Shapes: B sequences, T tokens, V vocabulary."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, pad

from expunge.errors import InputError
from expunge.functional.logprobs import token_logps
from expunge.functional.losses import dpo_loss, gradient_ascent, nll, npo_loss

EXACT = {"rtol": 0, "atol": 1e-12}  # float64
BETAS = [0.01, 0.1, 0.5, 2.0]
sums = st.floats(-200, 0)


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def model():
    """Logits of two sequences, with a gradient, and labels that leave out a prompt and padding."""
    source = torch.Generator().manual_seed(0)
    logits_BTV = torch.randn(2, 6, 9, generator=source, dtype=torch.float64, requires_grad=True)
    labels_BT = torch.randint(9, (2, 6), generator=source)
    labels_BT[:, :2] = labels_BT[1, 5:] = -100
    return logits_BTV, labels_BT


def test_gradient_ascent_by_hand():
    """Means of (-1, -3), of (-2) and of (-1 twice, -4 once)."""
    logps_BT = doubles([-1.0, -3.0, -9.0], [-2.0, -9.0, -9.0], [-1.0, -4.0, -9.0])
    weights_BT = doubles([1, 1, 0], [1, 0, 0], [2, 1, 0])
    assert gradient_ascent(logps_BT, weights_BT).tolist() == [-2, -2, -2]
    assert nll(logps_BT, weights_BT).tolist() == [2, 2, 2]
    assert gradient_ascent(logps_BT, weights_BT.bool()).tolist() == [-2, -2, -2.5]


def test_nll_is_torchs_cross_entropy_of_each_sequence():
    logits_BTV, labels_BT = model()
    expected_B = [cross_entropy(logits_BTV[row, :-1], labels_BT[row, 1:]) for row in range(2)]
    torch.testing.assert_close(nll(*token_logps(logits_BTV, labels_BT)), torch.stack(expected_B), **EXACT)


def test_minimising_ascent_makes_tokens_unlikely_and_minimising_nll_likely():
    for loss, direction in ((gradient_ascent, -1), (nll, 1)):
        logits_BTV, labels_BT = model()
        before, mask_BT = token_logps(logits_BTV, labels_BT)
        loss(before, mask_BT).sum().backward()
        after = token_logps(logits_BTV - 0.1 * logits_BTV.grad, labels_BT).logps_BT
        assert (direction * (after - before).sum(-1) > 0).all()


@pytest.mark.parametrize("loss", [gradient_ascent, nll])
def test_a_sequence_without_weight_is_zero_and_has_no_gradient(loss):
    logps_BT = doubles([-1.0, -math.inf], [-1.0, -2.0]).requires_grad_()
    values_B = loss(logps_BT, doubles([0, 0], [1, 1]))
    values_B.sum().backward()
    assert values_B[0] == 0
    assert logps_BT.grad[0].tolist() == [0, 0]
    assert logps_BT.grad[1].abs().tolist() == [0.5, 0.5]


def test_an_impossible_token_counts_only_where_it_has_weight():
    logps_BT = doubles([-1.0, -math.inf])[None]
    assert nll(logps_BT, doubles([1, 0])[None]).item() == 1
    assert nll(logps_BT, doubles([1, 1])[None]).item() == math.inf


@given(st.floats(1e-6, 1e6))
def test_the_scale_of_token_weights_does_not_matter(scale):
    logps_BT, weights_BT = doubles([-1.0, -4.0])[None], doubles([3, 1])[None]
    assert gradient_ascent(logps_BT, scale * weights_BT).item() == pytest.approx(-1.75)


def test_padding_changes_no_loss():
    logps_BT, mask_BT = token_logps(*model())
    wide_BT, wide_mask_BT = pad(logps_BT, (0, 58)), pad(mask_BT, (0, 58))
    torch.testing.assert_close(gradient_ascent(wide_BT, wide_mask_BT), gradient_ascent(logps_BT, mask_BT), **EXACT)
    ref_B = doubles(-5.0, -9.0)
    torch.testing.assert_close(npo_loss(wide_BT.sum(-1), ref_B, 0.1), npo_loss(logps_BT.sum(-1), ref_B, 0.1), **EXACT)


def test_npo_by_hand():
    """-(2/beta) log sigmoid(-beta r) = (2/beta) log(1 + exp(beta r)) at r = -1, 3 and 0."""
    assert npo_loss(doubles(-2.0), doubles(-1.0), 0.5).item() == pytest.approx(1.896307936720427, abs=1e-12)
    assert npo_loss(doubles(-1.0), doubles(-4.0), 1.0).item() == pytest.approx(6.097174703147484, abs=1e-12)
    assert npo_loss(doubles(-7.0), doubles(-7.0), 0.1).item() == pytest.approx(13.862943611198906, abs=1e-12)


@pytest.mark.parametrize("beta", BETAS)
def test_npo_at_the_reference_is_ascent_on_the_sum(beta):
    logits_BTV, labels_BT = model()
    logps_B = token_logps(logits_BTV, labels_BT).logps_BT.sum(-1)
    loss_B = npo_loss(logps_B, logps_B.detach(), beta)
    torch.testing.assert_close(loss_B, torch.full_like(loss_B, 2 / beta * math.log(2)), **EXACT)
    (npo_gradient,) = torch.autograd.grad(loss_B.sum(), logits_BTV, retain_graph=True)
    (ascent_gradient,) = torch.autograd.grad(logps_B.sum(), logits_BTV)
    torch.testing.assert_close(npo_gradient, ascent_gradient, **EXACT)
    assert ascent_gradient.abs().max() > 0.1


@given(sums, sums, st.sampled_from(BETAS))
def test_npos_weight_lies_between_zero_and_two(logp, ref_logp, beta):
    """The weight is 2 pi^beta / (pi^beta + pi_0^beta), here with both sides divided by the larger."""
    logps_B = doubles(logp).requires_grad_()
    npo_loss(logps_B, doubles(ref_logp), beta).sum().backward()
    top = max(logp, ref_logp)
    own, reference = math.exp(beta * (logp - top)), math.exp(beta * (ref_logp - top))
    assert logps_B.grad.item() == pytest.approx(2 * own / (own + reference), rel=1e-9, abs=1e-300)
    assert 0 <= logps_B.grad.item() <= 2


@given(sums, sums)
def test_npo_towards_beta_zero_is_ascent_plus_a_constant(logp, ref_logp):
    """The remainder is beta r^2 / 4."""
    beta = 1e-6
    value = npo_loss(doubles(logp), doubles(ref_logp), beta).item() - 2 / beta * math.log(2)
    assert value == pytest.approx(logp - ref_logp, abs=beta * (logp - ref_logp) ** 2 / 4 + 1e-8)


def test_npo_is_bounded_below_and_falls_as_the_sequence_sinks():
    logps_B = torch.linspace(-1e4, 0, 101)
    loss_B = npo_loss(logps_B, torch.full((101,), -50.0), 0.1)
    assert loss_B.isfinite().all()
    assert (loss_B >= 0).all()
    assert (loss_B.diff() >= 0).all()
    assert loss_B[-1] > loss_B[-2]


def test_dpo_by_hand():
    """-(2/beta) log sigmoid(beta m) = (2/beta) log(1 + exp(-beta m)), m the chosen gain minus the rejected gain."""
    gains = doubles(-3.0), doubles(-6.0), doubles(-4.0), doubles(-5.0)  # 1 and -1: m = 2
    assert dpo_loss(*gains, 0.5).item() == pytest.approx(1.253046750072891, abs=1e-12)
    gains = doubles(-5.0), doubles(-1.0), doubles(-4.0), doubles(-3.0)  # -1 and 2: m = -3
    assert dpo_loss(*gains, 1.0).item() == pytest.approx(6.097174703147484, abs=1e-12)


@given(sums, sums, sums, st.sampled_from(BETAS))
def test_dpo_without_a_chosen_side_is_npo(rejected, ref_rejected, chosen, beta):
    npo = npo_loss(doubles(rejected), doubles(ref_rejected), beta)
    for side in (0.0, chosen):  # zeros, or an answer as likely as under the reference
        found = dpo_loss(doubles(side), doubles(rejected), doubles(side), doubles(ref_rejected), beta)
        torch.testing.assert_close(found, npo, rtol=1e-12, atol=1e-12)


def test_dpo_raises_the_chosen_and_lowers_the_rejected_equally():
    chosen_B, rejected_B = doubles(-3.0, -8.0).requires_grad_(), doubles(-6.0, -1.0).requires_grad_()
    dpo_loss(chosen_B, rejected_B, doubles(-4.0, -4.0), doubles(-5.0, -5.0), 0.3).sum().backward()
    assert (chosen_B.grad < 0).all()
    torch.testing.assert_close(chosen_B.grad, -rejected_B.grad, **EXACT)


def test_dpo_is_finite_far_from_the_reference():
    far_B = torch.tensor([-1e4, 0.0])
    assert dpo_loss(far_B, far_B.flip(0), torch.zeros(2), torch.zeros(2), 0.1).isfinite().all()


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan, math.inf])
def test_beta_is_a_number_above_zero(beta):
    one_B = doubles(-1.0)
    with pytest.raises(InputError, match="beta is an inverse temperature above 0, not"):
        npo_loss(one_B, one_B, beta)
    with pytest.raises(InputError, match="beta is an inverse temperature above 0, not"):
        dpo_loss(one_B, one_B, one_B, one_B, beta)
