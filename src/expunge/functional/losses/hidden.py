"""Distances between hidden states. Shapes: B sequences, T tokens, D width."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.linalg import vector_norm

from expunge.functional.logprobs import at_least_float32
from expunge.functional.losses.likelihood import nll

Norm = Literal["mse", "l2"]


def hidden_distance(hidden_BTD: Tensor, ref_hidden_BTD: Tensor, mask_BT: Tensor, norm: Norm) -> Tensor:
    """Mean distance over each sequence's tokens (B,).

    ``mse`` is the squared difference, mean over the width; ``l2`` the Euclidean length of the difference. By hand: a
    difference of (3, 4) gives 12.5 and 5.

    Args:
        hidden_BTD: of the model.
        ref_hidden_BTD: of the reference.
        mask_BT: weight of each token (or a boolean mask); a sequence without weight gives 0.
        norm: which of the two.
    """
    gaps_BTD = at_least_float32(hidden_BTD) - at_least_float32(ref_hidden_BTD)
    # vector_norm has gradient 0 at 0, where a square root has none.
    distances_BT = gaps_BTD.square().mean(-1) if norm == "mse" else vector_norm(gaps_BTD, dim=-1)
    return nll(-distances_BT, mask_BT)
