"""LUNAR: LLM Unlearning via Neural Activation Redirection. Shen et al., 2025, https://arxiv.org/abs/2502.07218."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from expunge.config import Choice
from expunge.functional.logprobs import at_least_float32
from expunge.functional.losses import rmu_forget, rmu_retain
from expunge.methods.base import LossMethod, Spec, Start, State, Views, ViewSpec
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term, per_sequence
from expunge.registry import methods

LAYER = "0.7097"  # of the depth: layer 22 of 32


@methods.register("lunar")
@dataclass(frozen=True, kw_only=True)
class LUNAR(LossMethod):
    """Moves forget prompts at one layer to where prompts lie that the model declines; retain prompts stay.

    The paper sets targets for the output of the layer's feed-forward part. With only its last matrix trained, all that
    is added to that output inside the block is the same as in the original, so the outputs of the blocks differ by
    exactly what the feed-forward parts differ by, and the block's output can stand for it. Where a norm follows the
    feed-forward part (Gemma 2) the target is that of the block.

    Prompts count on both sides, since a refusal is decided there, so the method brings a retain term of its own; a
    retain term chosen by the user takes its place.
    """

    spec: ClassVar[Spec] = Spec(
        paper="Shen et al., 2025, https://arxiv.org/abs/2502.07218",
        needs=("forget", "retain", "steer"),
    )
    preset: ClassVar[Preset] = Preset(
        method=Choice("lunar"),
        axes=Axes(parameters=Choice("mlp_out", {"layers": LAYER})),
        training=Training(
            learning_rate=1e-2, epochs=20.0, batch_size=4, schedule="linear", warmup=0.0, max_grad_norm=0.0
        ),
        source="the authors' code for Llama-3-8B: layer 22 of 32, coefficient 2, learning rate 1e-2, 20 epochs",
        departs=(
            "The learning rate falls linearly to 0, not by a tenth after each epoch. Batches are 4 records of each "
            "side, not 64 tokens of both, and records and sides count alike. The direction is a mean over all tokens "
            "of the prompts, not of their last one. Layers are fractions of the depth."
        ),
    )

    own_retain: ClassVar[bool] = True

    layer: str = LAYER  # a fraction of the depth or a number; move parameters with it
    coefficient: float = 2.0  # length of the move in lengths of the direction

    @property
    def scale(self) -> float:
        """Without limit: a squared distance is no nats, and starts as large as the direction is long."""
        return math.inf

    def scales(self) -> Mapping[str, float]:
        """Neither side is in nats."""
        return {"forget": self.scale, "retain": self.scale}

    def views(self) -> tuple[ViewSpec, ...]:
        """Forget and retain prompts with the original's states; ``steer`` is read once, before the first step."""
        hidden = frozenset({"hidden"})
        return (
            ViewSpec(name="forget", hidden=self.layer, logits=False, reference=hidden),
            ViewSpec(name="retain", source="retain", hidden=self.layer, logits=False, reference=hidden),
            ViewSpec(name="steer", source="steer", hidden=self.layer, logits=False),
        )

    def init(self, start: Start) -> State:
        """For each layer the mean state of the steering prompts minus that of the forget prompts."""
        steer, forget = (start.mean_hidden(name, self.layer) for name in ("steer", "forget"))
        return {f"direction_{layer}": steer[layer] - forget[layer] for layer in steer}

    def terms(self, views: Views, state: State) -> dict[str, Term]:
        """The redirection, and identity on the retain prompts."""
        view = views["retain"]
        values_LB = [
            rmu_retain(hidden_BTD, view.reference.hidden_states[layer], view.batch.prompts_BT)
            for layer, hidden_BTD in view.policy.hidden_states.items()
        ]
        retain = per_sequence(torch.stack(values_LB).mean(0), "retain")
        return {"forget": self.forget_term(views, state), "retain": retain}

    def forget_term(self, views: Views, state: State) -> Term:
        """Mean over records of the squared distance to the moved states, mean over prompt tokens and width."""
        view = views["forget"]
        values_LB = []
        for layer, hidden_BTD in view.policy.hidden_states.items():
            ref_hidden_BTD = at_least_float32(view.reference.hidden_states[layer])
            target_BTD = ref_hidden_BTD + self.coefficient * state[f"direction_{layer}"].to(ref_hidden_BTD)
            values_LB.append(rmu_forget(hidden_BTD, target_BTD, view.batch.prompts_BT))
        return per_sequence(torch.stack(values_LB).mean(0))
