"""Losses of hidden states: where forget tokens are led, and how far retain tokens may drift.

Shapes: B sequences, T tokens, D width. Each gives one value for each sequence, the mean over its counted tokens, 0
where none counts. Differences and angles are taken in float32 at least: in bfloat16 a small distance rounds to nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from expunge.functional.logprobs import at_least_float32

SEED_STEP = 0x9E3779B1  # odd, so that seeds that follow each other share no nearby token seeds
SEEDS = 2**32  # what torch's generator on the CPU tells apart


def rmu_forget(hidden_BTD: Tensor, control_D: Tensor, mask_BT: Tensor) -> Tensor:
    """Representation Misdirection for Unlearning, forget side (B,): mean over tokens and width of ``(h - control)^2``.

    By hand: h (1, 2), control (3, 0) gives (4 + 4) / 2 = 4.

    Args:
        hidden_BTD: block output of the model that learns.
        control_D: where it is led; anything that broadcasts to (B, T, D), as Adaptive RMU's own target for each token.
        mask_BT: weight of each token (or a boolean mask).

    Source: Li et al. (WMDP), 2024, https://arxiv.org/abs/2403.03218; the mean over the width as in its code, the paper
    sums over it.
    """
    hidden_BTD = _counted(hidden_BTD, mask_BT)
    return _token_mean((hidden_BTD - control_D.to(hidden_BTD)).square().mean(-1), mask_BT)


def rmu_retain(hidden_BTD: Tensor, ref_hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Representation Misdirection for Unlearning, retain side (B,): mean of ``(h - h_0)^2``, 0 at the reference.

    Args:
        hidden_BTD: block output of the model that learns.
        ref_hidden_BTD: the same of the reference; no gradient goes into it.
        mask_BT: weight of each token (or a boolean mask).
    """
    return rmu_forget(hidden_BTD, _counted(ref_hidden_BTD.detach(), mask_BT), mask_BT)


def rerouting(hidden_BTD: Tensor, ref_hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Representation rerouting (B,): mean over tokens of ``relu(cos(h, h_0))``, between 0 and 1.

    It is 1 at the reference, where it is flat, and 0, without gradient, from a right angle on. By hand: h (3, 4),
    h_0 (1, 0) gives 0.6.

    Args:
        hidden_BTD: block output of the model that learns.
        ref_hidden_BTD: the same of the reference; no gradient goes into it.
        mask_BT: weight of each token (or a boolean mask).

    Source: Zou et al. (circuit breakers), 2024, https://arxiv.org/abs/2406.04313.
    """
    return _token_mean(_cosine(hidden_BTD, ref_hidden_BTD.detach(), mask_BT).relu(), mask_BT)


def hidden_distance(hidden_BTD: Tensor, ref_hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Euclidean distance to the reference (B,), mean over tokens; its gradient at distance 0 is 0.

    By hand: h (3, 4), h_0 (0, 0) gives 5.

    Args:
        hidden_BTD: block output of the model that learns.
        ref_hidden_BTD: the same of the reference; no gradient goes into it.
        mask_BT: weight of each token (or a boolean mask).

    Source: retain loss of Zou et al. (circuit breakers), 2024, https://arxiv.org/abs/2406.04313.
    """
    difference_BTD = _counted(hidden_BTD, mask_BT) - _counted(ref_hidden_BTD.detach(), mask_BT)
    # vector_norm and not the root of a sum: that one has an infinite slope at 0, where training starts.
    return _token_mean(torch.linalg.vector_norm(difference_BTD, dim=-1), mask_BT)


def random_mapping(hidden_BTD: Tensor, target_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Random mapping (B,): mean over tokens of ``1 - |cos(h, target)|``, between 0 and 1; both directions count as hit.

    By hand: h (3, 4), target (-1, 0) gives 1 - 0.6 = 0.4.

    Args:
        hidden_BTD: block output of the model that learns.
        target_BTD: fixed random vector of each token, as from ``token_vectors``.
        mask_BT: weight of each token (or a boolean mask).

    Source: first stage of TAR, Tamirisa et al., 2024, https://arxiv.org/abs/2408.00761.
    """
    return _token_mean(1 - _cosine(hidden_BTD, target_BTD, mask_BT).abs(), mask_BT)


def control_vector(width: int, length: float, seed: int) -> Tensor:
    """Random vector (D,) of a given length with entries of one sign, drawn uniformly from [0, 1) before scaling.

    Drawn from a normal distribution instead it would be nearly orthogonal to the mean of the hidden states, which RMU's
    is not.
    """
    control_D = torch.rand(width, generator=torch.Generator().manual_seed(seed))
    norm: Tensor = torch.linalg.vector_norm(control_D)
    return control_D / norm * length


def token_vectors(tokens_BT: Tensor, width: int, seed: int) -> Tensor:
    """Fixed random vector (B, T, D) of each token id, standard normal: rows of a table that is never stored.

    Each row has a generator of its own, so that a row depends on seed and token alone. The table of a vocabulary of
    128,000 at a width of 4,096 would take 2 GB in memory and in every checkpoint.
    """
    unique_N, place_BT = torch.unique(tokens_BT, return_inverse=True)
    generator = torch.Generator()
    rows_ND = torch.stack(
        [
            torch.randn(width, generator=generator.manual_seed((seed * SEED_STEP + token) % SEEDS))
            for token in unique_N.tolist()
        ]
    )
    return rows_ND.to(tokens_BT.device)[place_BT]


def _cosine(hidden_BTD: Tensor, target_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """(B, T) cosines; 0 where a vector is zero and where the mask is."""
    hidden_BTD = _counted(hidden_BTD, mask_BT)
    return cosine_similarity(hidden_BTD, _counted(target_BTD, mask_BT).to(hidden_BTD), dim=-1)


def _counted(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Hidden states in float32 at least, with zeros where no token counts: padding may hold what is not finite."""
    return at_least_float32(hidden_BTD).masked_fill((mask_BT == 0)[..., None], 0)


def _token_mean(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Weighted mean over tokens (B,)."""
    weights_BT = mask_BT.to(values_BT)
    totals_B = weights_BT.sum(-1)
    return (values_BT.masked_fill(weights_BT == 0, 0) * weights_BT).sum(-1) / totals_B.masked_fill(totals_B == 0, 1)
