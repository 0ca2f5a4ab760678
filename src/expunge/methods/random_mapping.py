"""Random mapping, the first stage of TAR. Tamirisa et al., 2024, https://arxiv.org/abs/2408.00761."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from expunge.config import Choice
from expunge.functional.losses import random_mapping, token_vectors
from expunge.methods.base import LossMethod, Spec, Start, State, Views, ViewSpec
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term
from expunge.registry import methods


@methods.register("random_mapping")
@dataclass(frozen=True, kw_only=True)
class RandomMapping(LossMethod):
    """Turns the hidden states of each forget token, at every layer, along a random vector fixed for its id.

    The second stage, which makes the result withstand fine-tuning, is another method.
    """

    spec: ClassVar[Spec] = Spec(
        paper="Tamirisa et al. (TAR), 2024, https://arxiv.org/abs/2408.00761",
    )
    preset: ClassVar[Preset] = Preset(
        method=Choice("random_mapping"),
        axes=Axes(retain_term=Choice("nll")),
        training=Training(
            learning_rate=1e-5,
            epochs=1000,
            max_steps=1000,
            batch_size=8,
            schedule="constant",
            warmup=0.1,
            weight_decay=0.0,
            max_grad_norm=0.0,
        ),
        source="TAR's code for this stage: learning rate 1e-5, batch 8, 1000 steps, 100 of them warm-up",
        departs=(
            "AdamW for the code's schedule-free form of it. Answer tokens count (tokens=all for all of a text); the "
            "code counts padding too. The embedding's output is not among the layers, and the last block's is taken "
            "before the final norm."
        ),
    )

    layers: str = "0.0-1.0"

    def views(self) -> tuple[ViewSpec, ...]:
        """The forget set's states at the layers; logits are not read."""
        return (ViewSpec(name="forget", hidden=self.layers, logits=False),)

    def init(self, start: Start) -> State:
        """The seed of the vectors; the vectors themselves are made when they are needed."""
        return {"seed": torch.tensor(start.seed)}

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of ``1 - |cos|`` to the tokens' vectors, mean over the layers."""
        view = views["forget"]
        states = view.policy.hidden_states
        width = next(iter(states.values())).shape[-1]
        target_BTD = token_vectors(view.batch.input_ids_BT, width, int(state["seed"]))
        weights_BT = view.batch.token_weights_BT
        values_LB = [random_mapping(hidden_BTD, target_BTD, weights_BT) for hidden_BTD in states.values()]
        return Term(torch.stack(values_LB).mean(0), "token")
