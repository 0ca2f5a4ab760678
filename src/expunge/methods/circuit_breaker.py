"""Circuit breakers (representation rerouting). Zou et al., 2024, https://arxiv.org/abs/2406.04313."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from expunge.config import Choice
from expunge.functional.losses import rerouting
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term
from expunge.registry import methods

BELOW = "0.0-0.6452"  # of the depth: layers 0 to 20 of 32


@methods.register("circuit_breaker")
@dataclass(frozen=True, kw_only=True)
class CircuitBreaker(LossMethod):
    """Turns the hidden states of forget answers away from the original's until they stand at a right angle.

    A cosine is flat where both are equal, which is where training starts, so the first step of AdamW, which divides by
    the gradient's size, follows rounding: runs on other machines or with other micro-batches part from there on.
    """

    spec: ClassVar[Spec] = Spec(
        paper="Zou et al., 2024, https://arxiv.org/abs/2406.04313",
    )
    preset: ClassVar[Preset] = Preset(
        method=Choice("circuit_breaker"),
        axes=Axes(
            retain_term=Choice("hidden", {"layers": BELOW, "norm": "l2"}),
            forget_weight=10.0,
            retain_weight=10.0,
            # a (1 - step / 300) and a step / 300, ended at step 150 on purpose
            combiner=Choice("sum", {"forget_from": 1.0, "forget_to": 0.5, "retain_from": 0.0, "retain_to": 0.5}),
            parameters=Choice("lora", {"rank": 16, "alpha": 16.0, "dropout": 0.05, "layers": BELOW}),
        ),
        training=Training(
            learning_rate=1e-4,
            epochs=150,
            max_steps=150,
            batch_size=16,
            schedule="constant",
            warmup=0.0,
            weight_decay=0.0,
        ),
        source=(
            "the authors' code for Llama-3-8B, read in copies: a 10, hidden states 10 and 20 of 32, LoRA rank 16, "
            "alpha 16, dropout 0.05 on layers 0 to 20, learning rate 1e-4, batch 16, 150 steps"
        ),
        departs=(
            "Layers are fractions of the depth. The embedding's output is not among the layers that are retained, and "
            "the retain distance counts answer tokens."
        ),
    )

    layers: str = "0.2903,0.6129"  # outputs of blocks 9 and 19 of 32: the code's hidden states 10 and 20

    def views(self) -> tuple[ViewSpec, ...]:
        """The forget set's states at the layers, and the original's."""
        return (ViewSpec(name="forget", hidden=self.layers, logits=False, reference=frozenset({"hidden"})),)

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the clipped cosine to the original, mean over the layers as in the code."""
        view = views["forget"]
        values_LB = [
            rerouting(hidden_BTD, view.reference.hidden_states[layer], view.batch.token_weights_BT)
            for layer, hidden_BTD in view.policy.hidden_states.items()
        ]
        return Term(torch.stack(values_LB).mean(0), "token")
