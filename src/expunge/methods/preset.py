"""A published method is a preset: stages of one kind each, with their axes, settings and where they come from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from expunge.config import Choice
from expunge.errors import InputError


def _check(name: str, value: float, *, above: float | None = None) -> None:
    """Refuses a number that is not finite, negative, or not above a bound."""
    if not math.isfinite(value) or value < 0 or (above is not None and value <= above):
        bound = "at least 0" if above is None else f"above {above:g}"
        raise InputError(f"{name} must be a finite number {bound}, not {value}.")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Numbers of the loop.

    Attributes:
        learning_rate: peak of the schedule.
        epochs: passes over the first view's records.
        max_steps: upper limit of optimizer steps; None for none.
        batch_size: records of the first view in one optimizer step, over all micro-batches and ranks.
        micro_batch: records in one forward pass; None for as many as 8.
        schedule: course of the learning rate after the warm-up.
        warmup: share of the steps with a rising learning rate.
        weight_decay: decoupled.
        max_grad_norm: gradients are scaled down to this norm; 0 switches that off.
        seed: order of records and everything else that is random.
        checkpoint_every: optimizer steps between checkpoints; 0 for none.
        runaway: a term whose mean exceeds this absolute value (nats) stops the run as diverged.
        dropout: share of units that every dropout of the model leaves out while it trains; None: as the model has it.
    """

    learning_rate: float = 1e-5
    epochs: float = 5.0
    max_steps: int | None = None
    batch_size: int = 32
    micro_batch: int | None = None
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    seed: int = 0
    checkpoint_every: int = 50
    runaway: float = 50.0
    dropout: float | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be meant."""
        for name in ("learning_rate", "epochs", "batch_size", "runaway"):
            _check(name, getattr(self, name), above=0.0)
        for name in ("weight_decay", "max_grad_norm", "checkpoint_every"):
            _check(name, getattr(self, name))
        for name in ("max_steps", "micro_batch"):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), above=0.0)
        if not 0 <= self.warmup <= 1:
            raise InputError(f"warmup is a share of the steps between 0 and 1, not {self.warmup}.")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise InputError(f"dropout is a share from 0 to below 1, not {self.dropout}.")


@dataclass(frozen=True, kw_only=True)
class Axes:
    """Everything about a method that can be exchanged without touching its loss."""

    retain_term: Choice = field(default_factory=lambda: Choice("none"))
    relabel: Choice = field(default_factory=lambda: Choice("idk"))
    tokens: Choice = field(default_factory=lambda: Choice("answer"))
    parameters: Choice = field(default_factory=lambda: Choice("all"))
    combiner: Choice = field(default_factory=lambda: Choice("sum"))
    perturb: Choice = field(default_factory=lambda: Choice("none"))
    penalty: Choice = field(default_factory=lambda: Choice("none"))
    optimizer: Choice = field(default_factory=lambda: Choice("adamw"))
    stopper: Choice = field(default_factory=lambda: Choice("none"))
    reference: Literal["cached", "frozen", "auto"] = "auto"
    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuses weights that cannot be meant."""
        for name in ("forget_weight", "retain_weight"):
            _check(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class Published:
    """The model and the forget set that a preset's learning rate and epochs were published for.

    ``expunge.methods.adapt`` has the rules for other models and other sets.

    Attributes:
        width: hidden size of the model.
        records: records of the first view; None where a smaller set must not be trained on for longer.
    """

    width: int
    records: int | None = None


LLAMA_2_7B = Published(width=4096)
# 200 records are forget05, the middle one of TOFU's forget sets. NPO's code trains on all three for 10 epochs.
LLAMA_2_7B_ON_TOFU = Published(width=4096, records=200)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named method with the settings of its paper.

    Attributes:
        method: registry name and settings of the loss, edit, exact or inference method.
        axes: exchangeable parts.
        training: numbers of the loop.
        before: stages that run first, one after the other: registry names with changes to their presets.
        published: what learning rate and epochs were published for; None: every model gets them as they are.
        source: where the settings come from.
        departs: where they depart from paper or reference code, and why.
    """

    method: Choice
    axes: Axes = field(default_factory=Axes)
    training: Training = field(default_factory=Training)
    before: tuple[Choice, ...] = ()
    published: Published | None = None
    source: str = ""
    departs: str = ""
