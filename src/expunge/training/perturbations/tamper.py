"""Tamper-resistant training against simulated fine-tuning. Tamirisa et al. (TAR), 2024, https://arxiv.org/abs/2408.00761."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from expunge.errors import InputError
from expunge.methods.finetune import Finetune
from expunge.registry import perturbations
from expunge.training.gradients import Buffers
from expunge.training.perturbations.base import Perturbation, Site

RELEARN = Finetune(source="forget", view="forget")
FEWEST = 8  # steps of an attack that is worth the name


@perturbations.register("tamper")
@dataclass(frozen=True, kw_only=True)
class Tamper(Perturbation):
    """Takes the forget gradient along an attack that fine-tunes the model on other forget records (first-order MAML).

    For each optimizer step: ``steps`` steps of AdamW on the answers of other batches of the epoch; after every
    ``every`` of them the gradient of the forget term on this batch, which the attack does not train on, counts
    ``exp(growth (i - (steps - 1)))``; their sum times ``scale`` is applied to the weights as they were.
    """

    moves_weights: ClassVar[bool] = True
    relearns: ClassVar[bool] = True
    copies: ClassVar[float] = 4.0  # the weights as they were, two moments of the attack, the sum

    steps: int = 64  # of the attack
    every: int = 4
    growth: float = 0.0625
    scale: float = 4.0
    learning_rates: tuple[float, ...] = (2e-6, 2e-5, 4e-5)  # of the attacks, in turn

    @property
    def passes(self) -> float:
        """At the weights, in the attack, and along it."""
        return 1.0 + self.steps + self.steps // self.every

    def __post_init__(self) -> None:
        """Refuses an attack that is none."""
        if self.steps < FEWEST or not 1 <= self.every <= self.steps:
            raise InputError(
                f"The attack takes at least {FEWEST} steps, and the forget term is read after every 1 to that many of "
                f"them, not steps {self.steps} and every {self.every}."
            )
        if not self.learning_rates or not all(0 < rate < math.inf for rate in self.learning_rates):
            raise InputError("The attack needs learning rates above 0.")

    def forget_gradient(self, site: Site) -> dict[str, float]:
        """Leaves the gradient along the attack; the weights come back bit for bit."""
        terms = site.forget()
        site.take()
        here = {name: parameter.detach().clone() for name, parameter in site.parameters.items()}
        rate = self.learning_rates[site.number % len(self.learning_rates)]
        attack = torch.optim.AdamW(site.parameters.values(), lr=rate, weight_decay=0.0)
        total: Buffers = {}
        try:
            for step in range(self.steps):
                site.other(step, RELEARN)
                attack.step()
                if (step + 1) % self.every == 0:
                    terms["attacked"] = site.forget()["forget"]
                    _add(total, site.take(), self.scale * math.exp(self.growth * (step - (self.steps - 1))))
        finally:  # also when memory runs out: the loop then repeats the step from the same weights
            with torch.no_grad():
                for name, parameter in site.parameters.items():
                    parameter.copy_(here[name])
        site.put(total)
        return terms


def _add(total: Buffers, gradient: Buffers, weight: float) -> None:
    for name, value in gradient.items():
        total[name] = total[name] + weight * value if name in total else weight * value
