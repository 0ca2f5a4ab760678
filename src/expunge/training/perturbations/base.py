"""Where the forget gradient is taken: at the weights as they are, or where an adversary would have moved something.

An adversary may move activations inside one forward pass (``disturb``), or weights (``forget_gradient``). An axis of
every loss method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from expunge.data.batch import Batch
from expunge.methods.base import LossMethod
from expunge.models.reading import Intervention
from expunge.registry import perturbations
from expunge.training.gradients import Buffers


@dataclass(frozen=True)
class Disturbance:
    """What an adversary changes in the reading of the forget view: the embeddings, or outputs of blocks."""

    inputs_embeds: Tensor | None = None
    interventions: Mapping[int, Intervention] = field(default_factory=dict)


class Site(Protocol):
    """What an adversary in weight space works with: one optimizer step."""

    @property
    def number(self) -> int:
        """Number of the step, from 0."""

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """Trainable parameters by name; whoever changes them puts them back."""

    def forget(self) -> dict[str, float]:
        """Leaves the gradient of the weighted forget side in ``.grad``, at the weights of this moment."""

    def other(self, number: int, method: LossMethod) -> None:
        """Leaves the gradient of another loss on another batch of the same epoch in ``.grad``."""

    def take(self) -> Buffers:
        """Takes the gradients away."""

    def put(self, buffers: Buffers) -> None:
        """Makes ``buffers`` the gradients."""


class Perturbation:
    """Base of the perturbations."""

    moves_weights: ClassVar[bool] = False
    moves_activations: ClassVar[bool] = False
    relearns: ClassVar[bool] = False  # whether it trains on the view ``forget``, which must then hold the true answers
    copies: ClassVar[float] = 0.0  # of the trainable weights, held beside the gradients

    @property
    def passes(self) -> float:
        """Passes over the forget side in one step, forward and backward, in place of one."""
        return 1.0

    def forget_gradient(self, site: Site) -> dict[str, float]:
        """Leaves the gradient of the forget side in ``.grad`` and returns the terms at the weights as they are."""
        return site.forget()

    def disturb(self, model: Any, batch: Batch, forget: Callable[[Disturbance], Tensor], seed: int) -> Disturbance:
        """Finds what to change in the reading of one micro-batch of the view ``forget``.

        Args:
            model: in the mode of training.
            batch: the micro-batch.
            forget: the forget term under a disturbance, a scalar with gradient.
            seed: of this step; the same on all ranks.
        """
        return Disturbance()


@perturbations.register("none")
@dataclass(frozen=True, kw_only=True)
class NoPerturbation(Perturbation):
    """No adversary."""
