"""How forget and retain terms become one step: a weighted sum with a course, alternation, primal-dual, projection.

The state is tensors and is checkpointed with the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from expunge.errors import InputError
from expunge.methods.terms import holds
from expunge.registry import combiners
from expunge.training.gradients import Buffers, inner_product

TINY = 1e-6  # nats; what rounding leaves of a distance of 0
State = dict[str, Tensor]
Weights = Mapping[str, float]


class Moment(NamedTuple):
    """Where a run is: optimizer steps done, and how many there will be."""

    step: int
    steps: int

    @property
    def share(self) -> float:
        """Share of the steps that is done."""
        return self.step / self.steps


class Combiner:
    """Base of the combiners."""

    separate: ClassVar[bool] = False  # whether ``combine`` wants the gradients of both sides one by one
    two_sided: ClassVar[bool] = False  # whether it means nothing without a retain term

    @property
    def copies(self) -> float:
        """Copies of the trainable weights that are held beside the gradients."""
        return float(self.separate)

    def start(self) -> State:
        """State before the first step."""
        return {}

    def weights(self, weights: Weights, state: Mapping[str, Tensor], moment: Moment) -> Weights:
        """Weights of the terms in one step; ``weights`` are those of the axes."""
        return weights

    def combine(self, forget: Buffers, retain: Buffers) -> Buffers:
        """Makes one gradient of the forget side's and the retain side's, both weighted; overwrites the latter."""
        return {name: retain[name].add_(forget[name]) for name in forget}

    def update(self, state: State, terms: Mapping[str, float], moment: Moment) -> State:
        """State after an optimizer step on ``terms``."""
        return state


@combiners.register("sum")
@dataclass(frozen=True, kw_only=True)
class WeightedSum(Combiner):
    """The weighted sum of all terms; each side's weight may run linearly from one factor to another.

    Representation rerouting lets the retain side grow as the forget side fades: Zou et al., 2024,
    https://arxiv.org/abs/2406.04313.
    """

    forget_from: float = 1.0  # factors on the weights of the axes
    forget_to: float = 1.0
    retain_from: float = 1.0
    retain_to: float = 1.0

    def __post_init__(self) -> None:
        """Refuses factors that cannot be meant."""
        for name, value in vars(self).items():
            if not 0 <= value < math.inf:
                raise InputError(f"{name} is a factor of at least 0, not {value}.")

    def weights(self, weights: Weights, state: Mapping[str, Tensor], moment: Moment) -> Weights:
        """Weights of the axes times the factors of this step: the first ones before any step is done."""
        forget = self.forget_from + (self.forget_to - self.forget_from) * moment.share
        retain = self.retain_from + (self.retain_to - self.retain_from) * moment.share
        return {name: value * (retain if holds(name) else forget) for name, value in weights.items()}


@combiners.register("alternating")
@dataclass(frozen=True, kw_only=True)
class Alternating(Combiner):
    """Forget and retain steps take turns, the forget side first."""

    two_sided: ClassVar[bool] = True

    def weights(self, weights: Weights, state: Mapping[str, Tensor], moment: Moment) -> Weights:
        """The weights of one side, 0 for the other."""
        turn = moment.step % 2 == 1
        return {name: value if holds(name) == turn else 0.0 for name, value in weights.items()}


@combiners.register("primal_dual")
@dataclass(frozen=True, kw_only=True)
class PrimalDual(Combiner):
    """Minimises the forget term under the condition ``retain <= epsilon``, by dual ascent on optimizer steps.

    The retain side's weight is the multiplier lambda: ``lambda <- max(0, lambda + rate * (retain - epsilon))`` after
    each step, so it falls while the condition holds.

    Source: "Constrained Entropic Unlearning", 2025, https://arxiv.org/abs/2506.05314.
    """

    two_sided: ClassVar[bool] = True

    epsilon: float | None = None  # bound on the retain term; None: (1 + slack) times its value at the first step
    slack: float = 0.1
    rate: float = 1.0
    initial: float = 50.0  # multiplier at the start
    warmup: float = 0.0  # share of the steps before the multiplier first moves

    def __post_init__(self) -> None:
        """Refuses numbers that cannot be meant."""
        for name in ("slack", "rate", "initial", "warmup"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} of the primal-dual combiner is at least 0, not {getattr(self, name)}.")
        if self.epsilon is not None and not 0 <= self.epsilon < math.inf:
            raise InputError(f"epsilon bounds the retain term, so it is at least 0, not {self.epsilon}.")

    def start(self) -> State:
        """The multiplier; the bound follows after the first step where it is measured."""
        return {"multiplier": torch.tensor(self.initial, dtype=torch.float64)}

    def weights(self, weights: Weights, state: Mapping[str, Tensor], moment: Moment) -> Weights:
        """The axes' weights, the retain side's times the multiplier."""
        multiplier = float(state["multiplier"])
        return {name: value * multiplier if name == "retain" else value for name, value in weights.items()}

    def update(self, state: State, terms: Mapping[str, float], moment: Moment) -> State:
        """Dual ascent on the value of the retain term over the whole effective batch.

        Raises:
            InputError: there is no retain term to bound.
        """
        if "retain" not in terms:
            raise InputError("The primal-dual combiner bounds the retain term, and there is none; pass --retain-term.")
        bound = state.get("epsilon")
        if bound is None and self.epsilon is None and terms["retain"] < TINY:
            raise InputError(
                "The retain term starts at 0, as distances to the original do, so no bound can be a multiple of it; "
                "set one, such as --combiner primal_dual:epsilon=0.05."
            )
        if bound is None:
            given = (1 + self.slack) * terms["retain"] if self.epsilon is None else self.epsilon
            bound = torch.tensor(given, dtype=torch.float64)
        multiplier = float(state["multiplier"])
        if moment.share >= self.warmup:
            multiplier = max(0.0, multiplier + self.rate * (terms["retain"] - float(bound)))
        return {"multiplier": torch.tensor(multiplier, dtype=torch.float64), "epsilon": bound}


@combiners.register("projection")
@dataclass(frozen=True, kw_only=True)
class Projection(Combiner):
    """Takes out of the forget gradient what would undo the retain gradient, where the two conflict.

    ``g_f - min(0, <g_f, g_r>) / ||g_r||^2 g_r + g_r``, over all parameters together.

    Source: GRU, 2025, https://arxiv.org/abs/2503.09117; the projection is that of PCGrad, Yu et al., 2020,
    https://arxiv.org/abs/2001.06782.
    """

    separate: ClassVar[bool] = True
    two_sided: ClassVar[bool] = True

    def combine(self, forget: Buffers, retain: Buffers) -> Buffers:
        """Sum of the projected forget gradient and the retain gradient."""
        squared = inner_product(retain, retain)
        overlap = min(0.0, inner_product(forget, retain))
        share = overlap / squared if squared > 0 else 0.0
        return {name: retain[name].mul_(1 - share).add_(forget[name]) for name in forget}
