"""Divergences by hand and against scipy and torch. Shapes: N positions, V vocabulary."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from torch.autograd import gradcheck
from torch.nn.functional import kl_div

from expunge.functional.divergences import (
    forward_kl,
    jensen_shannon,
    jensen_shannon_to_token,
    reverse_kl,
    uniform_divergence,
)

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


def test_reverse_kl_by_hand():
    """Reference (1/2, 1/2), model (1/4, 3/4): 3/4 ln 3 - ln 2, what ``forward_kl`` gives with the two exchanged."""
    found = reverse_kl(log(0.25, 0.75), log(0.5, 0.5)).item()
    assert found == pytest.approx(0.75 * math.log(3) - math.log(2), abs=1e-12)


def test_reverse_kl_equals_scipy_and_its_gradient_is_right():
    """The gradient is ``p (log p/q - KL)``."""
    logits_NV, ref_logits_NV = example()
    p_NV, q_NV = logits_NV.softmax(-1), ref_logits_NV.softmax(-1)
    found_N = reverse_kl(logits_NV.requires_grad_(), ref_logits_NV)
    np.testing.assert_allclose(found_N.detach(), scipy.stats.entropy(p_NV, q_NV, axis=-1), atol=1e-12)
    found_N.sum().backward()
    expected_NV = p_NV * ((p_NV / q_NV).log() - found_N.detach()[:, None])
    torch.testing.assert_close(logits_NV.grad, expected_NV, **EXACT)
    assert reverse_kl(ref_logits_NV, ref_logits_NV).tolist() == [0] * 5


def test_reverse_kl_of_impossible_tokens():
    logits_NV = log(0.5, 0.5, 0.0).requires_grad_()
    value_N = reverse_kl(logits_NV, log(0.25, 0.25, 0.5))
    value_N.sum().backward()
    assert value_N.item() == pytest.approx(math.log(2), abs=1e-12)
    assert logits_NV.grad.abs().max() < 1e-12
    assert reverse_kl(log(0.5, 0.5), log(1.0, 0.0)).item() == math.inf


def test_jensen_shannon_by_hand():
    """(1/4, 3/4) and (3/4, 1/4), mixture (1/2, 1/2): 1/4 ln 1/2 + 3/4 ln 3/2 = 3/4 ln 3 - ln 2, from both sides."""
    found = jensen_shannon(log(0.25, 0.75), log(0.75, 0.25)).item()
    assert found == pytest.approx(0.75 * math.log(3) - math.log(2), abs=1e-12)


def test_jensen_shannon_equals_scipy_both_ways():
    logits_NV, ref_logits_NV = example()
    found_N = jensen_shannon(logits_NV, ref_logits_NV)
    expected_N = jensenshannon(logits_NV.softmax(-1), ref_logits_NV.softmax(-1), axis=-1) ** 2
    np.testing.assert_allclose(found_N, expected_N, atol=1e-12)
    torch.testing.assert_close(jensen_shannon(ref_logits_NV, logits_NV), found_N, **EXACT)
    assert gradcheck(lambda logits_NV: jensen_shannon(logits_NV, ref_logits_NV), logits_NV.requires_grad_())


@given(st.integers(0, 10_000), st.floats(0, 1000))
def test_jensen_shannon_lies_between_zero_and_ln_two(seed, scale):
    logits_NV, ref_logits_NV = (scale * logits for logits in example(seed))
    found_N = jensen_shannon(logits_NV, ref_logits_NV)
    assert (found_N >= -1e-12).all()
    assert (found_N <= math.log(2) + 1e-12).all()
    assert jensen_shannon(logits_NV, logits_NV).abs().max() < 1e-12


def test_jensen_shannon_of_impossible_tokens():
    """No token shared: ln 2. (1/2, 1/2, 0) and (1/2, 0, 1/2): half of each is shared, half is not, so ln 2 / 2."""
    assert jensen_shannon(log(1.0, 0.0), log(0.0, 1.0)).item() == pytest.approx(math.log(2), abs=1e-12)
    logits_NV = log(0.5, 0.5, 0.0, 0.0).requires_grad_()
    value_N = jensen_shannon(logits_NV, log(0.5, 0.0, 0.5, 0.0))
    value_N.sum().backward()
    assert value_N.item() == pytest.approx(0.5 * math.log(2), abs=1e-12)
    gap = 0.125 * math.log(2)  # p_v (g_v - sum p g), with g = ln(2 p / (p + q)) / 2 = (0, ln 2 / 2)
    torch.testing.assert_close(logits_NV.grad, torch.tensor([[-gap, gap, 0, 0]], dtype=torch.float64), **EXACT)


def test_jensen_shannon_to_a_token_by_hand():
    """At p = 1/2 it is ln 2 + (1/2 ln 1/2 - 3/2 ln 3/2) / 2, at 1 it is 0, at 0 ln 2."""
    tokens_N = torch.tensor([0])
    half = math.log(2) + 0.5 * (0.5 * math.log(0.5) - 1.5 * math.log(1.5))
    assert jensen_shannon_to_token(log(0.5, 0.3, 0.2), tokens_N).item() == pytest.approx(half, abs=1e-12)
    assert jensen_shannon_to_token(log(1.0, 0.0, 0.0), tokens_N).item() == pytest.approx(0, abs=1e-12)
    assert jensen_shannon_to_token(log(0.0, 0.5, 0.5), tokens_N).item() == pytest.approx(math.log(2), abs=1e-12)


def test_jensen_shannon_to_a_token_is_that_to_its_one_hot():
    logits_NV, _ = example()
    labels_N = torch.tensor([0, 3, 7, 1, 1])
    one_hot_NV = torch.nn.functional.one_hot(labels_N, 8).double().log()
    found_N = jensen_shannon_to_token(logits_NV, labels_N)
    torch.testing.assert_close(found_N, jensen_shannon(logits_NV, one_hot_NV), **EXACT)
    assert gradcheck(lambda logits_NV: jensen_shannon_to_token(logits_NV, labels_N), logits_NV.requires_grad_())


def test_jensen_shannon_to_an_impossible_token_has_no_gradient():
    logits_NV = log(0.0, 0.5, 0.5).requires_grad_()
    jensen_shannon_to_token(logits_NV, torch.tensor([0])).sum().backward()
    assert logits_NV.grad.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_other_divergences_too_are_computed_in_float32(dtype):
    logits_NV, ref_logits_NV = (logits.to(dtype) for logits in example())
    labels_N = torch.arange(5)
    for divergence in (
        lambda logits: reverse_kl(logits, ref_logits_NV.to(logits.dtype)),
        lambda logits: jensen_shannon(logits, ref_logits_NV.to(logits.dtype)),
        lambda logits: jensen_shannon_to_token(logits, labels_N),
    ):
        found_N = divergence(logits_NV)
        assert found_N.dtype == torch.float32
        torch.testing.assert_close(found_N.double(), divergence(logits_NV.double()), rtol=1e-5, atol=1e-6)
