"""Latent adversarial training. Sheshadri et al., 2024, https://arxiv.org/abs/2407.15549."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from expunge.data.batch import Batch
from expunge.errors import InputError
from expunge.models.modules import resolve_layers
from expunge.models.reading import read
from expunge.registry import perturbations
from expunge.training.perturbations.base import Disturbance, Perturbation


@perturbations.register("latent")
@dataclass(frozen=True, kw_only=True)
class Latent(Perturbation):
    """Trains the forget term under the hidden states that undo it most, within a ball around each token's own.

    ``max over ||delta_t|| <= epsilon ||h_t||`` of the forget term, by Adam on delta; then one step of the weights
    under that delta. The radius is a share of the hidden state's norm, since norms differ between models and layers;
    the paper's is an absolute 2.
    """

    moves_activations: ClassVar[bool] = True

    layer: str = "0.2258"  # whose output is moved: 7 of 32
    epsilon: float = 0.1  # radius, in parts of each token's norm
    steps: int = 16  # of the adversary
    learning_rate: float = 0.025  # of the adversary, in parts of the radius; the paper's 0.05 at a radius of 2

    @property
    def passes(self) -> float:
        """Those of the adversary, and one under what it found."""
        return 1.0 + self.steps

    def __post_init__(self) -> None:
        """Refuses an adversary that cannot move."""
        if self.steps < 1 or not self.epsilon > 0 or not self.learning_rate > 0:
            raise InputError("The latent adversary needs steps >= 1, and epsilon and learning_rate above 0.")

    def disturb(self, model: Any, batch: Batch, forget: Callable[[Disturbance], Tensor], seed: int) -> Disturbance:
        """Finds the disturbance of the layer's output that raises the forget term most.

        Raises:
            InputError: the forget term does not depend on that layer.
        """
        layer = resolve_layers(model, self.layer)[0]
        with torch.no_grad():
            hidden_BTD = read(model, batch, hidden_layers=[layer], logits=False).hidden(layer)
        radius_BT1 = self.epsilon * hidden_BTD.norm(dim=-1, keepdim=True)
        share_BTD = torch.zeros_like(hidden_BTD, requires_grad=True)  # the disturbance in parts of the radius
        adversary = torch.optim.Adam([share_BTD], lr=self.learning_rate, maximize=True)
        for _ in range(self.steps):
            value = forget(_moved(layer, radius_BT1 * share_BTD))
            (share_BTD.grad,) = torch.autograd.grad(value, [share_BTD], allow_unused=True)
            if share_BTD.grad is None:
                raise InputError(
                    f"The forget term does not depend on layer {layer}, which the latent adversary moves; choose a "
                    "lower one: --perturb latent:layer=0."
                )
            adversary.step()
            with torch.no_grad():
                share_BTD /= share_BTD.norm(dim=-1, keepdim=True).clamp(min=1.0)
        return _moved(layer, radius_BT1 * share_BTD.detach())


def _moved(layer: int, delta_BTD: Tensor) -> Disturbance:
    return Disturbance(interventions={layer: lambda hidden_BTD: hidden_BTD + delta_BTD.to(hidden_BTD)})
