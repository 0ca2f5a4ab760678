"""Inverted hinge loss (IHL), of LoKU. Cha et al., 2024, https://arxiv.org/abs/2408.06621."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.functional.logprobs import unpack
from expunge.functional.losses import inverted_hinge
from expunge.methods.base import LossMethod, Spec, State, Views
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term, per_token
from expunge.registry import methods


@methods.register("ihl")
@dataclass(frozen=True, kw_only=True)
class IHL(LossMethod):
    """Lets the second most likely token overtake the true one; bounded, and moves these two tokens most."""

    spec: ClassVar[Spec] = Spec(paper="Cha et al., 2024, https://arxiv.org/abs/2408.06621")
    preset: ClassVar[Preset] = Preset(
        method=Choice("ihl"),
        axes=Axes(retain_term=Choice("nll"), parameters=Choice("lora", {"rank": 32})),
        training=Training(learning_rate=2e-4),
        source="its code: LoRA of rank 4 to 32, learning rate 1e-4 or 2e-4; batch 32 and 5 epochs from TOFU's, on "
        "which it is built",
        departs="The adapter starts as any LoRA does: the paper's initialisation by Fisher information (FILA) is not "
        "part of this, so this is its row without it. The adapter's alpha is ours.",
    )

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the inverted hinge."""
        forget = views["forget"]
        values_N = inverted_hinge(forget.policy.logits, forget.policy.labels)
        return per_token(unpack(values_N, forget.batch.labels_scored_BT))
