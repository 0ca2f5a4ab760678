"""The gradient of one optimizer step, made of the forget side and the retain side by combiner and perturbation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from expunge.errors import InputError
from expunge.methods.base import LossMethod, State
from expunge.methods.terms import holds
from expunge.training.combiners import Combiner
from expunge.training.gradients import Buffers, Gradients
from expunge.training.perturbations.base import Perturbation
from expunge.training.streams import StepData


@dataclass(frozen=True, kw_only=True)
class Direction:
    """One step; the ``Site`` of a perturbation.

    Attributes:
        gradients: where gradients are taken.
        number: of the step, from 0.
        data: the step's effective batch.
        others: makes the other effective batches of the epoch.
        state: the method's state.
        weights: of the terms, after the combiner's course.
        seed: of what is drawn in this step.
    """

    gradients: Gradients
    number: int
    data: StepData
    others: Callable[[], list[StepData]]
    state: State
    weights: Mapping[str, float]
    seed: int

    def find(self, combiner: Combiner, perturbation: Perturbation) -> dict[str, float]:
        """Leaves the step's gradient in ``.grad`` and returns the terms."""
        if not (combiner.separate or perturbation.moves_weights):
            return self._ask(self.weights)
        terms = perturbation.forget_gradient(self)
        if not any(map(holds, terms)):
            return terms
        forget = self.take()
        self._ask({name: weight if holds(name) else 0.0 for name, weight in self.weights.items()})
        self.put(combiner.combine(forget, self.take()))
        return terms

    @property
    def parameters(self) -> Mapping[str, nn.Parameter]:
        """Trainable parameters by name."""
        return self.gradients.parameters

    def forget(self) -> dict[str, float]:
        """Leaves the gradient of the weighted forget side in ``.grad``."""
        return self._ask({name: 0.0 if holds(name) else weight for name, weight in self.weights.items()})

    def other(self, number: int, method: LossMethod) -> None:
        """Leaves the gradient of another loss on another batch of the same epoch in ``.grad``.

        Raises:
            InputError: an epoch has one batch only.
        """
        if not self._others:
            raise InputError(
                "The attack trains on other batches of the epoch than the one it is judged by, and there is only one; "
                "lower --set batch_size."
            )
        data = self._others[number % len(self._others)]
        self.gradients(data, self.state, {"forget": 1.0}, seed=self.seed, method=method)

    def take(self) -> Buffers:
        """Takes the gradients away."""
        return self.gradients.take()

    def put(self, buffers: Buffers) -> None:
        """Makes ``buffers`` the gradients."""
        self.gradients.put(buffers)

    @cached_property
    def _others(self) -> list[StepData]:
        return self.others()

    def _ask(self, weights: Mapping[str, float]) -> dict[str, float]:
        return self.gradients(self.data, self.state, weights, seed=self.seed)
