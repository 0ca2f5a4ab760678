"""Sharpness-aware minimisation of the forget term. Fan et al., 2025, https://arxiv.org/abs/2502.05374.

SAM itself: Foret et al., 2020, https://arxiv.org/abs/2010.01412.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from expunge.errors import InputError
from expunge.registry import perturbations
from expunge.training.gradients import inner_product
from expunge.training.perturbations.base import Perturbation, Site


@perturbations.register("sam")
@dataclass(frozen=True, kw_only=True)
class SAM(Perturbation):
    """Forgets where the forget term is worst within a distance ``rho`` of the weights, so that tuning revives less.

    The forget gradient is taken at ``theta + rho g / ||g||``, g the forget gradient at theta; the retain gradient at
    theta. Twice the passes of the forget side.
    """

    moves_weights: ClassVar[bool] = True
    copies: ClassVar[float] = 2.0  # the forget gradient and the weights as they were

    rho: float = 0.01  # length of the step in weight space: 0.01 on MUSE and 0.1 on WMDP in the authors' code

    @property
    def passes(self) -> float:
        """At the weights, and further on."""
        return 2.0

    def __post_init__(self) -> None:
        """Refuses a distance that cannot be meant."""
        if not 0 <= self.rho < math.inf:
            raise InputError(f"rho is a distance of at least 0, not {self.rho}.")

    def forget_gradient(self, site: Site) -> dict[str, float]:
        """Leaves the gradient at the worst place near by; the weights come back bit for bit."""
        terms = site.forget()
        direction = site.take()
        norm = math.sqrt(inner_product(direction, direction))
        if norm == 0:
            site.put(direction)
            return terms
        with torch.no_grad():
            here = {name: parameter.detach().clone() for name, parameter in site.parameters.items()}
        try:
            with torch.no_grad():
                for name, parameter in site.parameters.items():
                    parameter.add_(direction[name], alpha=self.rho / norm)
            site.forget()
        finally:  # also when memory runs out: the loop then repeats the step from the same weights
            with torch.no_grad():
                for name, parameter in site.parameters.items():
                    parameter.copy_(here[name])
        return terms
