"""Optimizers by name, and the course of the learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from expunge.methods.preset import Training
from expunge.registry import optimizers


@optimizers.register("adamw")
@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay. Loshchilov & Hutter, 2017, https://arxiv.org/abs/1711.05101."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    copies: ClassVar[float] = 2.0  # moments

    def create(self, parameters: Iterable[nn.Parameter], training: Training) -> torch.optim.Optimizer:
        """Returns the optimizer."""
        return torch.optim.AdamW(
            parameters,
            lr=training.learning_rate,
            betas=(self.beta1, self.beta2),
            eps=self.eps,
            weight_decay=training.weight_decay,
        )


@optimizers.register("sgd")
@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum."""

    momentum: float = 0.0

    @property
    def copies(self) -> float:
        """Copies of the trainable weights that it keeps: the momentum's, if any."""
        return float(self.momentum != 0)

    def create(self, parameters: Iterable[nn.Parameter], training: Training) -> torch.optim.Optimizer:
        """Returns the optimizer."""
        return torch.optim.SGD(
            parameters, lr=training.learning_rate, momentum=self.momentum, weight_decay=training.weight_decay
        )


def learning_rate(training: Training, step: int, steps: int) -> float:
    """Learning rate of one step (from 0): linear warm-up, then constant, linear to 0 or half a cosine to 0."""
    warmup = math.ceil(training.warmup * steps - 1e-9)  # see total_steps
    if step < warmup:
        return training.learning_rate * (step + 1) / warmup
    if training.schedule == "constant" or steps == warmup:
        return training.learning_rate
    progress = (step - warmup) / (steps - warmup)
    if training.schedule == "linear":
        return training.learning_rate * (1 - progress)
    return training.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
