"""Rounding to a grid: codes by hand, the published levels of NF4, and what must not matter."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.functional.quantise import nf4, nf4_levels, round_to_nearest

# Dettmers et al., 2023, appendix E.
PUBLISHED = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


def doubles(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_four_bits_by_hand():
    """The largest is 1.4, so a step is 1.4 / 7 = 0.2: 0.31 is 1.55 steps, -0.09 is -0.45, 0.5 is 2.5 and goes to 2."""
    weights, codes = round_to_nearest(doubles([-1.4, 0.31, -0.09, 0.7]), 4)
    assert codes.tolist() == [[-7, 2, 0, 4]]  # 0.7 / 0.2 is 3.5 and goes to the even 4
    assert codes.dtype == torch.int8
    torch.testing.assert_close(weights, doubles([-1.4, 0.4, 0.0, 0.8]), rtol=0, atol=1e-15)


def test_three_and_eight_bits_by_hand():
    assert round_to_nearest(doubles([3.0, 1.4, -0.6]), 3).codes.tolist() == [[3, 1, -1]]
    assert round_to_nearest(doubles([127.0, 1.4, -0.6]), 8).codes.tolist() == [[127, 1, -1]]


def test_groups_have_scales_of_their_own_and_the_last_may_be_short():
    """Steps 0.1, 10 and 1: groups of two along the inputs, and one of the odd input alone."""
    rows = doubles([0.7, 0.11, 70.0, 11.0, 7.0], [0.7, 0.11, 0.0, 0.0, -0.007])
    weights, codes = round_to_nearest(rows, 4, 2)
    assert codes.tolist() == [[7, 1, 7, 1, 7], [7, 1, 0, 0, -7]]
    torch.testing.assert_close(weights, doubles([0.7, 0.1, 70, 10, 7], [0.7, 0.1, 0, 0, -0.007]), rtol=0, atol=1e-13)
    whole = round_to_nearest(rows, 4).codes.tolist()
    assert whole == round_to_nearest(rows, 4, 5).codes.tolist() == round_to_nearest(rows, 4, 128).codes.tolist()
    assert whole[0] == [0, 0, 7, 1, 1]


def test_zeros_and_what_is_too_small_for_a_scale_stay_finite():
    tiny = torch.tensor([[0.0, 0.0, 0.0, 0.0, 1e-45, 0.0]])
    for weights, _ in (round_to_nearest(tiny, 4, 2), round_to_nearest(tiny, 8, 2), nf4(tiny, 2)):
        assert torch.isfinite(weights).all()
        assert weights[0, :4].tolist() == [0.0] * 4
    assert round_to_nearest(torch.zeros(2, 3), 4).codes.tolist() == [[0] * 3] * 2
    assert nf4(torch.zeros(2, 3)).weights.tolist() == [[0.0] * 3] * 2


def test_half_precision_is_rounded_in_float32():
    """In bfloat16, w / s would round to another code for one weight in ten."""
    weights = torch.randn(32, 256, generator=torch.Generator().manual_seed(0)).bfloat16()
    for rounded, exact in ((round_to_nearest(weights, 8, 64), round_to_nearest(weights.float(), 8, 64)),):
        assert rounded.weights.dtype == torch.bfloat16
        assert torch.equal(rounded.codes, exact.codes)
        assert torch.equal(rounded.weights, exact.weights.bfloat16())


@given(st.integers(2, 8), st.integers(0, 9), st.integers(1, 9), st.integers(0, 2**16))
def test_no_weight_moves_by_more_than_half_a_step(bits, group, inputs, seed):
    weights = torch.randn(3, inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rounded, codes = round_to_nearest(weights, bits, group)
    size = group or inputs
    top = 2 ** (bits - 1) - 1
    for start in range(0, inputs, size):
        part = weights[:, start : start + size]
        step = part.abs().max(-1, keepdim=True).values / top
        assert bool(((rounded[:, start : start + size] - part).abs() <= step / 2 * (1 + 1e-12)).all())
        assert bool((codes[:, start : start + size].abs().max(-1).values == top).all())  # the largest keeps its value
    again = round_to_nearest(rounded, bits, group)
    assert torch.equal(again.codes, codes)


def test_the_levels_are_the_published_ones():
    assert nf4_levels() == pytest.approx(PUBLISHED, abs=2e-7)  # published in single precision
    assert len(nf4_levels()) == 16


def test_nf4_by_hand():
    """Between 0.4407 and 0.5626 the border is 0.50166; the codes of 0 and of the ends are 7, 0 and 15."""
    weights, codes = nf4(doubles([2.0, 2 * 0.5016, 2 * 0.5017, 0.0, -2.0]))
    assert codes.tolist() == [[15, 12, 13, 7, 0]]
    expected = [2.0, 2 * PUBLISHED[12], 2 * PUBLISHED[13], 0.0, -2.0]
    torch.testing.assert_close(weights, doubles(expected), rtol=0, atol=1e-6)


def test_nf4_takes_the_nearest_level_in_each_group():
    weights = torch.randn(5, 100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rounded, codes = nf4(weights)
    levels = torch.tensor(nf4_levels(), dtype=torch.float64)
    for part, mine, code in (
        (weights[:, :64], rounded[:, :64], codes[:, :64]),
        (weights[:, 64:], rounded[:, 64:], codes[:, 64:]),
    ):
        scale = part.abs().max(-1, keepdim=True).values
        nearest = (part[..., None] - scale[..., None] * levels).abs().argmin(-1)
        assert torch.equal(nearest, code.long())
        torch.testing.assert_close(mine, scale * levels[nearest])


@pytest.mark.parametrize(("bits", "group"), [(1, 0), (9, 0), (4, -1)])
def test_other_grids_are_refused(bits, group):
    with pytest.raises(InputError):
        round_to_nearest(torch.ones(1, 2), bits, group)


def test_a_negative_group_is_refused_by_nf4():
    with pytest.raises(InputError, match="at least one input"):
        nf4(torch.ones(1, 2), -1)
