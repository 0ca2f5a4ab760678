"""Noise on the embeddings of the forget records."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from expunge.data.batch import Batch
from expunge.errors import InputError
from expunge.registry import perturbations
from expunge.training.perturbations.base import Disturbance, Perturbation


@perturbations.register("embedding_noise")
@dataclass(frozen=True, kw_only=True)
class EmbeddingNoise(Perturbation):
    """Reads the forget records with Gaussian noise on their embeddings, new in every step: forgets around them too."""

    moves_activations: ClassVar[bool] = True

    scale: float = 0.1  # standard deviation, in parts of the root mean square of all embeddings; 0 is the identity

    def __post_init__(self) -> None:
        """Refuses a scale that cannot be meant."""
        if not 0 <= self.scale < math.inf:
            raise InputError(f"scale is a share of at least 0, not {self.scale}.")

    def disturb(self, model: Any, batch: Batch, forget: Callable[[Disturbance], Tensor], seed: int) -> Disturbance:
        """Draws for each record by itself, so that micro-batches and ranks change nothing."""
        embeddings = model.get_input_embeddings()
        inputs_BTD = embeddings(batch.input_ids_BT)
        deviation = self.scale * embeddings.weight.detach().float().square().mean().sqrt()
        lengths = batch.attention_mask_BT.sum(-1).tolist()
        noise_BTD = torch.zeros_like(inputs_BTD)
        for place, (row, length) in enumerate(zip(batch.rows_B.tolist(), lengths, strict=True)):
            source = torch.Generator().manual_seed(_seed(seed, row))
            drawn_TD = torch.randn(length, inputs_BTD.shape[-1], generator=source)
            noise_BTD[place, :length] = drawn_TD.to(noise_BTD)
        return Disturbance(inputs_embeds=inputs_BTD + deviation * noise_BTD)


def _seed(seed: int, row: int) -> int:
    digest = hashlib.sha256(f"{seed}/embedding_noise/{row}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
