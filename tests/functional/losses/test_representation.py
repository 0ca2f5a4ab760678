"""Losses of hidden states by hand in float64. Shapes: B sequences, T tokens, D width."""

from __future__ import annotations

import math

import pytest
import torch

from expunge.functional.losses import (
    control_vector,
    hidden_distance,
    random_mapping,
    rerouting,
    rmu_forget,
    rmu_retain,
    token_vectors,
)

EXACT = {"rtol": 0, "atol": 1e-12}  # float64
PAIRS = [rmu_forget, rmu_retain, rerouting, hidden_distance, random_mapping]
IDS = [loss.__name__ for loss in PAIRS]


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


# Two sequences; the last token of the first and the first of the second do not count.
HIDDEN = doubles([[1, 2], [3, 4], [9, 9]], [[7, -7], [0, 5], [-4, 3]])
MASK = torch.tensor([[True, True, False], [False, True, True]])


def drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rmu_forget_by_hand():
    """Target (3, 0): tokens give (4 + 4)/2 and (0 + 16)/2, then (9 + 25)/2 and (49 + 9)/2."""
    torch.testing.assert_close(rmu_forget(HIDDEN, doubles(3, 0), MASK), doubles(6, 23), **EXACT)


def test_rmu_forget_takes_a_target_for_each_token():
    """Targets half as long again as the states: (h/2)^2, mean over the width: 5/8 and 25/8, then 25/8 twice."""
    torch.testing.assert_close(rmu_forget(HIDDEN, 1.5 * HIDDEN, MASK), doubles(30 / 16, 25 / 8), **EXACT)


def test_rmu_retain_by_hand():
    """Off by (1, 0) and (0, 2): 1/2 and 4/2; off by (3, 3) and (0, 0): 9 and 0."""
    ref = HIDDEN + doubles([[1, 0], [0, 2], [50, 50]], [[50, 50], [3, 3], [0, 0]])
    torch.testing.assert_close(rmu_retain(HIDDEN, ref, MASK), doubles(1.25, 4.5), **EXACT)
    assert rmu_retain(HIDDEN, HIDDEN, MASK).tolist() == [0, 0]


def test_rerouting_by_hand():
    """Cosines with (1, 0): 1/sqrt(5) and 0.6; with (0, 1) and (1, 0): 1 and -0.8, which counts as 0."""
    ref = doubles([[1, 0], [2, 0], [1, 0]], [[0, 1], [0, 3], [1, 0]])
    torch.testing.assert_close(rerouting(HIDDEN, ref, MASK), doubles((5**-0.5 + 0.6) / 2, 0.5), **EXACT)
    torch.testing.assert_close(rerouting(HIDDEN, 3 * HIDDEN, MASK), doubles(1, 1), **EXACT)
    assert rerouting(HIDDEN, -HIDDEN, MASK).tolist() == [0, 0]


def test_hidden_distance_by_hand():
    """Off by (3, 4) and (0, 0): 5 and 0; off by (1, 0) and (5, 12): 1 and 13."""
    ref = HIDDEN - doubles([[3, 4], [0, 0], [50, 50]], [[50, 50], [1, 0], [5, 12]])
    torch.testing.assert_close(hidden_distance(HIDDEN, ref, MASK), doubles(2.5, 7), **EXACT)


def test_random_mapping_by_hand():
    """Cosines 1/sqrt(5), 0.6 and 0, -0.8: the sign does not count."""
    ref = doubles([[1, 0], [2, 0], [1, 0]], [[0, 1], [3, 0], [1, 0]])
    expected = doubles(1 - (5**-0.5 + 0.6) / 2, 1 - 0.8 / 2)
    torch.testing.assert_close(random_mapping(HIDDEN, ref, MASK), expected, **EXACT)
    torch.testing.assert_close(random_mapping(HIDDEN, -ref, MASK), expected, **EXACT)


@pytest.mark.parametrize("loss", PAIRS, ids=IDS)
def test_weights_of_tokens_weigh(loss):
    """A weight of 2 is the token twice."""
    hidden, other = drawn(0, 1, 3, 4), drawn(1, 1, 3, 4)
    twice = [torch.cat([x, x[:, :1]], 1) for x in (hidden, other)]
    weighted = loss(hidden, other, doubles([2, 1, 0]))
    torch.testing.assert_close(weighted, loss(*twice, doubles([1, 1, 0, 1])), **EXACT)
    assert not torch.allclose(weighted, loss(hidden, other, doubles([1, 1, 0])), atol=1e-3)


@pytest.mark.parametrize("loss", PAIRS, ids=IDS)
def test_gradient_is_that_of_differences(loss):
    hidden, other = drawn(2, 2, 3, 4).requires_grad_(), drawn(3, 2, 3, 4)
    assert torch.autograd.gradcheck(lambda h: loss(h, other, MASK), hidden)
    hidden.grad = None
    loss(hidden, other, MASK).sum().backward()
    assert hidden.grad[~MASK].abs().sum() == 0
    assert hidden.grad[MASK].abs().sum() > 0


@pytest.mark.parametrize("loss", PAIRS, ids=IDS)
@pytest.mark.parametrize("filling", [0.0, math.nan, math.inf])
def test_what_is_masked_does_not_reach_value_or_gradient(loss, filling):
    """Padding of zeros (the norm's corner) or of anything else, on either side; a record without tokens gives 0."""
    mask = torch.tensor([[True, True, False], [False, False, False]])
    hidden, other = drawn(4, 2, 3, 4), drawn(5, 2, 3, 4)
    expected = loss(hidden, other, mask)
    spoiled = [x.masked_fill(~mask[..., None], filling).requires_grad_() for x in (hidden, other)]
    values = loss(*spoiled, mask)
    torch.testing.assert_close(values, expected, **EXACT)
    assert values[1] == 0
    values.sum().backward()
    assert spoiled[0].grad.isfinite().all()


@pytest.mark.parametrize("loss", [rmu_retain, rerouting, hidden_distance], ids=lambda loss: loss.__name__)
def test_no_gradient_goes_into_the_reference(loss):
    reference = drawn(7, 2, 3, 4).requires_grad_()
    hidden = (reference.detach() + drawn(6, 2, 3, 4)).requires_grad_()
    loss(hidden, reference, MASK).sum().backward()
    assert hidden.grad.abs().sum() > 0
    assert reference.grad is None


@pytest.mark.parametrize("loss", PAIRS, ids=IDS)
def test_equal_states_have_a_finite_gradient(loss):
    """Where training starts: the distance is 0, and its root has no slope there."""
    hidden = drawn(8, 2, 3, 4).requires_grad_()
    loss(hidden, hidden.detach().clone(), MASK).sum().backward()
    assert hidden.grad.isfinite().all()
    if loss in (rmu_retain, hidden_distance):
        assert hidden.grad.abs().sum() == 0


@pytest.mark.parametrize("loss", PAIRS, ids=IDS)
def test_half_precision_is_compared_in_float32(loss):
    """64 and 64.5 are neighbours in bfloat16; squares and sums of them are not theirs."""
    hidden = torch.full((1, 2, 64), 64.0, dtype=torch.bfloat16)
    other = torch.full((1, 2, 64), 64.5, dtype=torch.bfloat16)
    other[..., ::3] = -1.0
    mask = torch.ones(1, 2)
    values = loss(hidden, other, mask)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.double(), loss(hidden.double(), other.double(), mask), rtol=1e-5, atol=1e-6)


def test_control_vector_is_positive_and_of_its_length():
    control = control_vector(500, 6.5, seed=3)
    assert float(control.norm()) == pytest.approx(6.5, rel=1e-6)
    assert (control >= 0).all()
    # Uniform and not folded normal: mean over root mean square is sqrt(3)/2 and not sqrt(2/pi).
    assert float(control.mean() / control.square().mean().sqrt()) == pytest.approx(0.866, abs=0.02)
    assert torch.equal(control, control_vector(500, 6.5, seed=3))
    assert not torch.equal(control, control_vector(500, 6.5, seed=4))


def test_control_vector_moves_no_generator():
    before = torch.get_rng_state()
    control_vector(8, 1.0, seed=1)
    token_vectors(torch.tensor([[1, 2]]), 8, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_token_vectors_depend_on_token_and_seed_alone():
    tokens = torch.tensor([[5, 7, 5], [9, 9, 0]])
    vectors = token_vectors(tokens, 32, seed=1)
    assert vectors.shape == (2, 3, 32)
    assert torch.equal(vectors[0, 0], vectors[0, 2])
    assert torch.equal(vectors[1, 0], vectors[1, 1])
    assert torch.equal(vectors[0, 1], token_vectors(torch.tensor([[7]]), 32, seed=1)[0, 0])
    assert not torch.equal(vectors, token_vectors(tokens, 32, seed=2))


def test_token_vectors_are_standard_normal_and_point_everywhere():
    """Over 400 tokens: moments of the entries, and cosines between neighbours as small as chance has them."""
    vectors = token_vectors(torch.arange(400)[None], 256, seed=0)[0]
    assert abs(float(vectors.mean())) < 0.01
    assert float(vectors.std()) == pytest.approx(1, abs=0.01)
    normed = vectors / vectors.norm(dim=-1, keepdim=True)
    cosines = (normed @ normed.T).fill_diagonal_(0)
    assert float(cosines.abs().max()) < 0.4
    assert float(cosines.square().mean() * 256) == pytest.approx(1, abs=0.05)
    # Nor are the tables of two seeds shifted against each other.
    other = token_vectors(torch.arange(400)[None], 256, seed=1)[0]
    assert float((normed @ (other / other.norm(dim=-1, keepdim=True)).T).abs().max()) < 0.4


def test_distances_with_weights_by_hand():
    """(3, 4) is 12.5 or 5, (0, 2) is 2 or 2; means with weights (1, 1), (3, 1) and (0, 1), the last record none."""
    hidden_BTD = torch.tensor([[[3.0, 4.0], [1.0, 3.0]]] * 4).double().requires_grad_()
    ref_BTD = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]] * 4).double()
    weights_BT = torch.tensor([[1, 1], [3, 1], [0, 1], [0, 0]]).double()
    assert rmu_retain(hidden_BTD, ref_BTD, weights_BT).tolist() == [7.25, 9.875, 2, 0]
    distances_B = hidden_distance(hidden_BTD, ref_BTD, weights_BT)
    assert distances_B.tolist() == [3.5, 4.25, 2, 0]
    distances_B.sum().backward()
    expected_TD = torch.tensor([[0.3, 0.4], [0, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(hidden_BTD.grad[0], expected_TD, rtol=0, atol=1e-12)
