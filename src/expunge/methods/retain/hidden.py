"""A retain term on what the model holds inside. Shapes: B sequences, T tokens, L layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from expunge.errors import InputError
from expunge.functional.losses import hidden_distance, rmu_retain
from expunge.methods.base import Views, ViewSpec
from expunge.methods.retain.base import FromSource
from expunge.methods.terms import Term
from expunge.registry import retain_terms


@retain_terms.register("hidden")
@dataclass(frozen=True, kw_only=True)
class RetainHidden(FromSource):
    """Distance of the hidden states of the retain answers to the original's, mean over layers and answer tokens.

    ``mse`` as in Li et al. (RMU), 2024, https://arxiv.org/abs/2403.03218; ``l2`` as in Zou et al. (circuit breakers),
    2024, https://arxiv.org/abs/2406.04313. Nothing above the highest layer runs. Needs a frozen copy of the original,
    or an adapter that can be taken off: hidden states are not cached.

    Attributes:
        layers: as for ``expunge.models.modules.resolve_layers``; the upper half, which holds what is said.
        norm: ``mse``, the squared difference averaged over the width, or ``l2``, the length of the difference.
    """

    scale: ClassVar[float] = math.inf  # as long as the states are

    layers: str = "0.5-1.0"
    norm: Literal["mse", "l2"] = "mse"

    def __post_init__(self) -> None:
        """Refuses no layers."""
        super().__post_init__()
        if not self.layers.strip():
            raise InputError("The retain term hidden needs layers, such as 0.5-1.0 or 7.")

    def views(self) -> tuple[ViewSpec, ...]:
        """The records with the outputs of the layers, of the model and of the original."""
        hidden = frozenset({"hidden"})
        return (ViewSpec(name=self.source, source=self.source, hidden=self.layers, logits=False, reference=hidden),)

    def term(self, views: Views) -> Term | None:
        """Token mean of the distance, mean over the layers."""
        view = views[self.source]
        references = view.reference.hidden_states
        distance = rmu_retain if self.norm == "mse" else hidden_distance
        distances_LB = [
            distance(hidden_BTD, references[layer], view.batch.token_weights_BT)
            for layer, hidden_BTD in view.policy.hidden_states.items()
        ]
        return Term(torch.stack(distances_LB).mean(0), "token", self.source)
