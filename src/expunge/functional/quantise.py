"""Weights on a coarse grid: rounded to the nearest level of integers or of NF4, each group with its own scale.

NF4: Dettmers et al. (QLoRA), 2023, https://arxiv.org/abs/2305.14314.

Shapes: O outputs, I inputs, G groups of an output's inputs, S size of a group.
"""

from __future__ import annotations

from functools import cache
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.errors import InputError

NF4_GROUP = 64  # QLoRA's block
# The outermost quantile: the mean of those that 15 and 16 levels would have at their ends, 1 - (1/30 + 1/32) / 2.
_END = 1 - (1 / 30 + 1 / 32) / 2


class Quantised(NamedTuple):
    """What is left of a weight matrix.

    Attributes:
        weights: (..., I) the nearest levels, in the dtype of the input.
        codes: (..., I) int8, number of the level: from -(2^(b-1) - 1) for integers, from 0 to 15 for NF4.
    """

    weights: Tensor
    codes: Tensor


def round_to_nearest(weights: Tensor, bits: int, group: int = 0) -> Quantised:
    """Returns ``s * round(w / s)`` with ``s = max|w| / (2^(b-1) - 1)`` over each group of inputs; symmetric.

    Halves round to the even code, in float32 (float64 where the weights are). A group of zeros stays zero.

    Args:
        weights: (..., I), inputs last; a ``Conv1D`` holds its inputs first and is handed in transposed.
        bits: from 2 to 8.
        group: neighbouring inputs with one scale, the last group may be short; 0 for all inputs of an output.

    Raises:
        InputError: other bits or groups.
    """
    if not 2 <= bits <= 8:
        raise InputError(f"Weights can be rounded to 2 to 8 bits, not to {bits}.")
    top = 2 ** (bits - 1) - 1
    groups_OGS = _grouped(weights, group)
    scales_OG1 = groups_OGS.abs().amax(-1, keepdim=True) / top
    # A scale of 0, of zeros or of numbers too small to have one, makes no code.
    codes_OGS = (groups_OGS / scales_OG1.masked_fill(scales_OG1 == 0, torch.inf)).round().clamp(-top, top)
    return _joined(weights, scales_OG1 * codes_OGS, codes_OGS)


def nf4(weights: Tensor, group: int = NF4_GROUP) -> Quantised:
    """Returns the nearest of the 16 levels of NF4 times the largest magnitude of each group of inputs.

    The scales keep full precision, without QLoRA's second quantisation. QLoRA cuts a matrix into groups after laying
    all of it on one line, which is the same where the number of inputs is a multiple of the group.

    Args:
        weights: (..., I), inputs last.
        group: neighbouring inputs with one scale, the last group may be short; 0 for all inputs of an output.

    Raises:
        InputError: a negative group.
    """
    groups_OGS = _grouped(weights, group)
    scales_OG1 = groups_OGS.abs().amax(-1, keepdim=True)
    levels = groups_OGS.new_tensor(nf4_levels())
    shares_OGS = groups_OGS / scales_OG1.masked_fill(scales_OG1 == 0, torch.inf)
    codes_OGS = torch.bucketize(shares_OGS.contiguous(), (levels[1:] + levels[:-1]) / 2)
    return _joined(weights, scales_OG1 * levels[codes_OGS], codes_OGS)


@cache
def nf4_levels() -> tuple[float, ...]:
    """The 16 levels, lowest first, from -1 to 1 with a 0 of their own: quantiles of the normal distribution.

    Eight above 0 and seven below it, at probabilities evenly spaced from 1/2 to the outermost, divided by the largest.
    """
    quantile, most = NormalDist().inv_cdf, NormalDist().inv_cdf(_END)

    def side(count: int) -> list[float]:
        return [quantile(0.5 + (_END - 0.5) * place / count) / most for place in range(1, count + 1)]

    return (*(-level for level in reversed(side(7))), 0.0, *side(8))


def _grouped(weights: Tensor, group: int) -> Tensor:
    """(..., G, S) at least float32; a short last group is filled up with zeros, which no scale and no code sees."""
    if group < 0:
        raise InputError(f"A group has at least one input, not {group}; 0 makes one group of all.")
    wide = weights.to(torch.promote_types(weights.dtype, torch.float32))
    size = min(group, weights.shape[-1]) or weights.shape[-1]
    filled = F.pad(wide, (0, -weights.shape[-1] % size))
    return filled.reshape(*weights.shape[:-1], -1, size)


def _joined(weights: Tensor, levels_OGS: Tensor, codes_OGS: Tensor) -> Quantised:
    inputs = weights.shape[-1]
    back = (tensor.flatten(-2)[..., :inputs] for tensor in (levels_OGS, codes_OGS))
    return Quantised(next(back).to(weights.dtype), next(back).to(torch.int8))
