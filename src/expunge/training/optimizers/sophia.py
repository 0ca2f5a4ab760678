"""Sophia: a diagonal second-order optimizer, clipped. Liu et al., 2023, https://arxiv.org/abs/2305.14342.

SOUL runs unlearning losses with it: Jia et al., 2024, https://arxiv.org/abs/2404.18239.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from expunge.errors import InputError
from expunge.methods.preset import Training
from expunge.registry import optimizers

Estimator = Literal["gnb", "squared"]


@optimizers.register("sophia")
@dataclass(frozen=True, kw_only=True)
class Sophia:
    """Momentum divided by a diagonal curvature, each entry clipped to the learning rate.

    ``m = beta1 m + (1 - beta1) g``, ``h = beta2 h + (1 - beta2) hhat``,
    ``theta -= lr clip(m / max(rho h, eps), 1)``, with decoupled weight decay before it. Where h is small that is the
    sign of m.

    Attributes:
        beta1: of m.
        beta2: of h.
        rho: share of the curvature that divides.
        eps: least divisor.
        estimator: ``gnb`` is the paper's Gauss-Newton-Bartlett estimate, from labels drawn from the model itself.
            ``squared`` is what SOUL's code does and its numbers come from: the squared gradient of the loss.
        every: optimizer steps between two estimates of ``gnb``; ``squared`` takes one in every step.
        batch_tokens: factor of the squared gradient in ``squared``, a constant in SOUL's code. In ``gnb`` it is the
            number of drawn labels and not set.
    """

    beta1: float = 0.9
    beta2: float = 0.95
    rho: float = 0.04
    eps: float = 1e-12
    estimator: Estimator = "gnb"
    every: int = 10
    batch_tokens: float = 5120.0

    def __post_init__(self) -> None:
        """Refuses numbers without meaning."""
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise InputError(f"beta1={self.beta1}, beta2={self.beta2}: both are from 0 to below 1.")
        for name in ("rho", "eps", "every", "batch_tokens"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} of sophia is a finite number above 0, not {getattr(self, name)}.")

    @property
    def copies(self) -> float:
        """Copies of the trainable weights: m and h, and for ``gnb`` a second gradient and the estimate made of it."""
        return 4.0 if self.estimator == "gnb" else 2.0

    def create(self, parameters: Iterable[nn.Parameter], training: Training) -> torch.optim.Optimizer:
        """Returns the optimizer."""
        return SophiaOptimizer(parameters, lr=training.learning_rate, weight_decay=training.weight_decay, settings=self)


class SophiaOptimizer(torch.optim.Optimizer):
    """Sophia for the loop; all it remembers (``m``, ``h``, ``step``) is in ``state``, as checkpoints want it.

    Args:
        parameters: to change.
        lr: largest change of an entry in one step, weight decay aside.
        weight_decay: decoupled.
        settings: the others.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, settings: Sophia) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self.settings = settings

    def wants_curvature(self, step: int) -> bool:
        """Whether ``curvature`` must be called before ``step`` in this step of the run (from 0)."""
        return self.settings.estimator == "gnb" and step % self.settings.every == 0

    @torch.no_grad()
    def curvature(self, estimate: Mapping[str, Tensor]) -> None:
        """Moves h towards an estimate.

        Args:
            estimate: hhat of each parameter, by name, in the order in which they were handed to this optimizer.
        """
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for parameter, (name, hhat) in zip(parameters, estimate.items(), strict=True):
            if parameter.shape != hhat.shape:
                raise InputError(f"The curvature of {name} has the shape {tuple(hhat.shape)}, not that of its weight.")
            self._remembered(parameter)["h"].lerp_(hhat, 1 - self.settings.beta2)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Takes one step with the gradients in ``.grad``."""
        if closure is not None:
            raise InputError("Sophia takes no closure; the loop computes the gradients before the step.")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group["lr"], group["weight_decay"])

    def _update(self, parameter: nn.Parameter, gradient: Tensor, lr: float, weight_decay: float) -> None:
        its, settings = self._remembered(parameter), self.settings
        its["step"] += 1
        its["m"].lerp_(gradient, 1 - settings.beta1)
        if settings.estimator == "squared":
            its["h"].lerp_(settings.batch_tokens * gradient.square(), 1 - settings.beta2)
        ratio = its["m"] / (settings.rho * its["h"]).clamp(min=settings.eps)
        parameter.mul_(1 - lr * weight_decay)
        parameter.add_(ratio.clamp(-1, 1), alpha=-lr)

    def _remembered(self, parameter: nn.Parameter) -> dict[str, Any]:
        its: dict[str, Any] = self.state[parameter]
        if not its:
            its["step"] = torch.tensor(0.0)
            its["m"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            its["h"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return its
