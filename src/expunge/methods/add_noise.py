"""Noise on weights: Gaussian, on the tensors that matter most for the forget records; usually repaired afterwards."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from expunge.config import Choice
from expunge.errors import InputError
from expunge.methods.base import EditMethod, EditTask, Spec
from expunge.methods.preset import Axes, Preset
from expunge.methods.retain_finetune import RetainFinetune
from expunge.registry import methods

TINY = 1e-12  # keeps a tensor that no retain record uses from dividing by zero


@methods.register("add_noise")
@dataclass(frozen=True, kw_only=True)
class AddNoise(EditMethod):
    """Adds Gaussian noise to chosen weights. No guarantee: noise without accounting for privacy protects nobody."""

    spec: ClassVar[Spec] = Spec(
        paper="none: an old idea without a paper of its own; ours is the choice of tensors by Fisher information",
        memory_factor=4.0,  # weights, the Fisher information on either side, and a gradient while it is summed
    )
    preset: ClassVar[Preset] = Preset(
        method=Choice("add_noise"),
        source="our own: standard deviations of 0.01 to 0.1 of a tensor's own are worth a search",
    )

    scale: float = 0.03  # standard deviation of the noise in parts of that of each tensor; 0 is the identity
    share: float = 0.2  # of the tensors, those of the highest Fisher ratio forget / retain; 1 for all, without looking
    records: int = 64  # of either side, for the Fisher information

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be meant."""
        if not 0 <= self.scale < math.inf or not 0 < self.share <= 1 or self.records < 1:
            raise InputError(
                f"Noise needs scale >= 0, 0 < share <= 1 and records >= 1, not scale {self.scale}, share {self.share}, "
                f"records {self.records}."
            )

    def needs(self) -> tuple[str, ...]:
        """Retained records too, unless every tensor gets noise."""
        return ("forget",) if self.share == 1 else ("forget", "retain")

    @torch.no_grad()
    def edit(self, model: Any, task: EditTask) -> None:
        """Adds the noise; each tensor draws from a stream of its own, so that the choice of others changes nothing."""
        weights = {name: weight for name, weight in model.named_parameters() if weight.is_floating_point()}
        for name in self._chosen(weights, task):
            source = torch.Generator().manual_seed(_seed(task.seed, name))
            drawn = torch.randn(weights[name].shape, generator=source).to(weights[name])
            weights[name].add_(drawn * self.scale * weights[name].std(correction=0))

    def _chosen(self, weights: Mapping[str, Tensor], task: EditTask) -> list[str]:
        if self.share == 1:
            return list(weights)
        forget, retain = (task.fisher(split, self.records) for split in ("forget", "retain"))
        ratios = {name: float(forget[name].mean() / (retain[name].mean() + TINY)) for name in weights}
        count = max(1, round(self.share * len(ratios)))
        return sorted(ratios, key=lambda name: (-ratios[name], name))[:count]


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/noise/{name}".encode()).digest()[:8], "big") >> 1


methods.register("noise")(
    Preset(
        method=Choice("retain_finetune"),
        axes=RetainFinetune.preset.axes,
        training=RetainFinetune.preset.training,
        before=(Choice("add_noise"),),
        source="our own: noise on a fifth of the tensors, then fine-tuning on the retain records",
        departs="No paper behind it; the repair is the preset retain_finetune.",
    )
)

methods.register("noise_embeddings")(
    Preset(
        method=Choice("gradient_ascent"),
        axes=Axes(retain_term=Choice("nll"), perturb=Choice("embedding_noise")),
        source="our own: GradDiff with noise of a tenth of the embeddings' size on the forget records",
        departs="No paper behind it.",
    )
)
