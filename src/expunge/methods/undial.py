"""UNDIAL: self-distillation with the true token's logit lowered. Dong et al., 2024, https://arxiv.org/abs/2402.10052."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.errors import InputError
from expunge.functional.logprobs import unpack
from expunge.functional.losses import target_cross_entropy, undial_targets
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term, per_token
from expunge.registry import methods


@methods.register("undial")
@dataclass(frozen=True, kw_only=True)
class UNDIAL(LossMethod):
    """Distils the original with the true token's logit lowered: the token's rivals take over. Has a fixed end."""

    spec: ClassVar[Spec] = Spec(paper="Dong et al., 2024, https://arxiv.org/abs/2402.10052")
    preset: ClassVar[Preset] = Preset(
        method=Choice("undial"),
        axes=Axes(parameters=Choice("lora", {"rank": 8, "alpha": 16.0})),
        training=Training(learning_rate=1e-4, epochs=10.0),
        source="its code on Llama-2: LoRA rank 8, alpha 16, learning rate 1e-4; strength 10 of its 3, 10 and 30, 10 "
        "epochs and batch 32 from OpenUnlearning",
        departs="Answer tokens only: both codes also lower a token at every position of prompt and padding, where the "
        "label -100 picks an unrelated one. No stop by perplexity and no heavier weights of entities.",
    )

    strength: float = 10.0  # nats by which the true token's logit is lowered; beta in the paper

    def __post_init__(self) -> None:
        """Refuses a strength that would not lower the token."""
        check_strength(self.strength)

    def views(self) -> tuple[ViewSpec, ...]:
        """The forget set, with the original's distributions."""
        return (ViewSpec(name="forget", reference=frozenset({"logits"})),)

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the cross-entropy to the adjusted distribution of the original."""
        forget = views["forget"]
        targets_NV = undial_targets(forget.reference.logits, forget.policy.labels, self.strength)
        values_N = target_cross_entropy(forget.policy.logits, targets_NV)
        return per_token(unpack(values_N, forget.batch.labels_scored_BT))


def check_strength(strength: float) -> None:
    """Refuses a strength that is negative or no number; infinity takes the token out."""
    if math.isnan(strength) or strength < 0:
        raise InputError(f"strength is what the true token's logit is lowered by, 0 or more, not {strength}.")
