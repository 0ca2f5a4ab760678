"""Divergences by hand and against scipy and torch. Shapes: N positions, V vocabulary."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch.nn.functional import kl_div

from expunge.functional.divergences import forward_kl, uniform_divergence

EXACT = {"rtol": 0, "atol": 1e-12}  # float64


def example(seed=0):
    source = torch.Generator().manual_seed(seed)
    logits_NV, ref_logits_NV = 3 * torch.randn(2, 5, 8, generator=source, dtype=torch.float64)
    return logits_NV, ref_logits_NV


def log(*probabilities):
    return torch.tensor([probabilities], dtype=torch.float64).log()


def test_by_hand():
    """Reference (1/2, 1/2), model (1/4, 3/4): 1/2 ln 2 + 1/2 ln 2/3 = 1/2 ln 4/3. The other way: 3/4 ln 3 - ln 2."""
    assert forward_kl(log(0.25, 0.75), log(0.5, 0.5)).item() == pytest.approx(0.5 * math.log(4 / 3), abs=1e-12)
    assert forward_kl(log(0.5, 0.5), log(0.25, 0.75)).item() == pytest.approx(
        0.75 * math.log(3) - math.log(2), abs=1e-12
    )


def test_equals_scipy_and_torch():
    logits_NV, ref_logits_NV = example()
    probabilities_NV, ref_probabilities_NV = logits_NV.softmax(-1).numpy(), ref_logits_NV.softmax(-1).numpy()
    found_N = forward_kl(logits_NV, ref_logits_NV)
    np.testing.assert_allclose(
        found_N, scipy.stats.entropy(ref_probabilities_NV, probabilities_NV, axis=-1), atol=1e-12
    )
    torchs_NV = kl_div(logits_NV.log_softmax(-1), ref_logits_NV.log_softmax(-1), reduction="none", log_target=True)
    torch.testing.assert_close(found_N, torchs_NV.sum(-1), **EXACT)


def test_zero_at_the_reference_and_positive_elsewhere():
    logits_NV, ref_logits_NV = example()
    assert forward_kl(ref_logits_NV, ref_logits_NV).tolist() == [0] * 5
    torch.testing.assert_close(forward_kl(ref_logits_NV + 40, ref_logits_NV), torch.zeros(5).double(), **EXACT)
    assert (forward_kl(logits_NV, ref_logits_NV) > 0.1).all()


def test_gradient_is_the_models_probabilities_minus_the_references():
    logits_NV, ref_logits_NV = example()
    forward_kl(logits_NV.requires_grad_(), ref_logits_NV).sum().backward()
    expected_NV = logits_NV.detach().softmax(-1) - ref_logits_NV.softmax(-1)
    torch.testing.assert_close(logits_NV.grad, expected_NV, **EXACT)


def test_tokens_impossible_under_the_reference_cost_nothing():
    logits_NV = torch.cat([log(0.5, 0.25, 0.25), log(0.5, 0.5, 0.0)]).requires_grad_()
    values_N = forward_kl(logits_NV, log(0.5, 0.5, 0.0).expand(2, 3))
    values_N.sum().backward()
    torch.testing.assert_close(values_N.detach(), torch.tensor([0.5 * math.log(2), 0.0], dtype=torch.float64), **EXACT)
    expected_NV = torch.tensor([[0.0, -0.25, 0.25], [0.0, 0.0, 0.0]]).double()
    torch.testing.assert_close(logits_NV.grad, expected_NV, **EXACT)


def test_tokens_impossible_under_the_model_alone_cost_infinity():
    assert forward_kl(log(1.0, 0.0), log(0.5, 0.5)).item() == math.inf


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits_NV, ref_logits_NV = (logits.to(dtype) for logits in example())
    found_N = forward_kl(logits_NV, ref_logits_NV)
    assert found_N.dtype == torch.float32
    torch.testing.assert_close(
        found_N.double(), forward_kl(logits_NV.double(), ref_logits_NV.double()), rtol=1e-5, atol=1e-6
    )


def test_a_position_does_not_depend_on_its_batch():
    logits_NV, ref_logits_NV = example()
    alone_N = torch.cat([forward_kl(logits_NV[[n]], ref_logits_NV[[n]]) for n in range(5)])
    torch.testing.assert_close(alone_N, forward_kl(logits_NV, ref_logits_NV), **EXACT)


def test_uniform_divergence_by_hand():
    """KL(uniform || (1/2, 1/4, 1/4)) = (log(2/3) + 2 log(4/3)) / 3 = log(32/27) / 3; equal logits give 0."""
    logits_NV = torch.tensor([[0.5, 0.25, 0.25], [1.0, 1.0, 1.0]], dtype=torch.float64).log() + 7
    found = uniform_divergence(logits_NV)
    assert found.tolist() == pytest.approx([math.log(32 / 27) / 3, 0], abs=1e-12)


def test_uniform_divergence_is_kl_with_a_flat_reference():
    logits_NV = torch.randn(5, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    flat_NV = torch.zeros_like(logits_NV)
    torch.testing.assert_close(uniform_divergence(logits_NV), forward_kl(logits_NV, flat_NV), rtol=0, atol=1e-12)
    uniform_divergence(logits_NV).sum().backward()
    expected = logits_NV.detach().softmax(-1) - 1 / 11  # the gradient of KL(target || model): model minus target
    torch.testing.assert_close(logits_NV.grad, expected, rtol=0, atol=1e-12)


def test_uniform_divergence_of_half_precision_is_computed_in_float32():
    logits_NV = torch.randn(3, 50, generator=torch.Generator().manual_seed(1)).bfloat16()
    assert uniform_divergence(logits_NV).dtype == torch.float32
    torch.testing.assert_close(uniform_divergence(logits_NV), uniform_divergence(logits_NV.float()))
