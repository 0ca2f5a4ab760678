"""Margins by hand. Shapes: N positions, V vocabulary."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from expunge.functional.losses import inverted_hinge, pdu_margin

EXACT = {"rtol": 0, "atol": 1e-12}  # float64


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def example(seed=0):
    source = torch.Generator().manual_seed(seed)
    logits_NV = 2 * torch.randn(5, 7, generator=source, dtype=torch.float64)
    return logits_NV.requires_grad_(), torch.randint(7, (5,), generator=source)


def test_pdu_by_hand():
    """(0, 3, 0): maximum 3, mean 1, so 4. (-1, -1): 0. (2, 0, 0, 2): 2 and 1, so 1."""
    assert pdu_margin(rows([0, 3, 0])).tolist() == [4]
    assert pdu_margin(rows([-1, -1])).tolist() == [0]
    assert pdu_margin(rows([2, 0, 0, 2])).tolist() == [1]


def test_pdus_gradient_by_hand():
    """``2 (max - mean)`` times (1 - 1/V) on the largest and -1/V on the others."""
    logits_NV = rows([0, 3, 0]).requires_grad_()
    pdu_margin(logits_NV).sum().backward()
    torch.testing.assert_close(logits_NV.grad, rows([-4 / 3, 8 / 3, -4 / 3]), **EXACT)
    assert gradcheck(pdu_margin, example()[0])


def test_pdu_is_in_log_probabilities_what_it_is_in_logits():
    logits_NV, _ = example()
    torch.testing.assert_close(pdu_margin(logits_NV.log_softmax(-1)), pdu_margin(logits_NV), **EXACT)
    torch.testing.assert_close(pdu_margin(logits_NV + 100), pdu_margin(logits_NV), rtol=0, atol=1e-11)


def test_impossible_tokens_have_no_part_in_pdu():
    logits_NV = rows([0, 3, 0, -math.inf]).requires_grad_()
    pdu_margin(logits_NV).sum().backward()
    assert pdu_margin(logits_NV).tolist() == [4]
    torch.testing.assert_close(logits_NV.grad, rows([-4 / 3, 8 / 3, -4 / 3, 0]), **EXACT)


def test_inverted_hinge_by_hand():
    """Of (1/2, 3/8, 1/8): 1 + 1/2 - 3/8 with the first true, 1 + 1/8 - 1/2 with the last."""
    logits_NV = rows([1 / 2, 3 / 8, 1 / 8]).log()
    assert inverted_hinge(logits_NV, torch.tensor([0])).item() == pytest.approx(9 / 8, abs=1e-12)
    assert inverted_hinge(logits_NV, torch.tensor([1])).item() == pytest.approx(7 / 8, abs=1e-12)
    assert inverted_hinge(logits_NV, torch.tensor([2])).item() == pytest.approx(5 / 8, abs=1e-12)


def test_inverted_hinges_gradient_by_hand():
    """``p_y (e_y - p) - p_v (e_v - p)``: for (1/2, 3/8, 1/8), first true, (7/16, -27/64, -1/64)."""
    logits_NV = rows([1 / 2, 3 / 8, 1 / 8]).log().requires_grad_()
    inverted_hinge(logits_NV, torch.tensor([0])).sum().backward()
    torch.testing.assert_close(logits_NV.grad, rows([7 / 16, -27 / 64, -1 / 64]), **EXACT)
    logits_NV, labels_N = example()
    assert gradcheck(lambda logits_NV: inverted_hinge(logits_NV, labels_N), logits_NV)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=6), st.integers(0, 5))
def test_inverted_hinge_lies_between_zero_and_two(logits, label):
    value = inverted_hinge(rows(logits), torch.tensor([label % len(logits)])).item()
    assert -1e-12 <= value <= 2 + 1e-12


def test_inverted_hinge_at_its_bounds_and_with_impossible_tokens():
    logits_NV = rows([0, -math.inf, -math.inf]).requires_grad_()
    assert inverted_hinge(logits_NV, torch.tensor([0])).item() == 2
    assert inverted_hinge(logits_NV, torch.tensor([2])).item() == 0
    inverted_hinge(logits_NV, torch.tensor([2])).sum().backward()
    assert logits_NV.grad.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits_NV, labels_N = example()
    half_NV = logits_NV.detach().to(dtype)
    for loss in (pdu_margin, lambda logits_NV: inverted_hinge(logits_NV, labels_N)):
        assert loss(half_NV).dtype == torch.float32
        torch.testing.assert_close(loss(half_NV).double(), loss(half_NV.double()), rtol=1e-5, atol=1e-6)
