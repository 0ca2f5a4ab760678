"""Cross-entropy unlearning (CE-U). Yang, 2025, https://arxiv.org/abs/2503.01224."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.errors import InputError
from expunge.functional.logprobs import unpack
from expunge.functional.losses import ceu_targets, target_cross_entropy
from expunge.methods.base import LossMethod, Spec, State, Views
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term, per_token
from expunge.registry import methods


@methods.register("ceu")
@dataclass(frozen=True, kw_only=True)
class CEU(LossMethod):
    """Distils the model's own distribution without the true token; fades as that grows unlikely. Nothing anchors it."""

    spec: ClassVar[Spec] = Spec(paper="Yang, 2025, https://arxiv.org/abs/2503.01224")
    preset: ClassVar[Preset] = Preset(
        method=Choice("ceu"),
        axes=Axes(retain_term=Choice("none")),
        training=Training(epochs=10.0),
        source="learning rate 1e-5, batch 32, no retain term; first answer token left out, 10 epochs: OpenUnlearning",
        departs="A token left out counts as 0 in the mean over tokens, where OpenUnlearning leaves it out of that too.",
    )

    skip: int = 1  # answer tokens at the start that are left alone

    def __post_init__(self) -> None:
        """Refuses a number of tokens that cannot be meant."""
        check_skip(self.skip)

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the cross-entropy to the model's own distribution without the true token."""
        forget = views["forget"]
        targets_NV = ceu_targets(forget.policy.logits, forget.policy.labels)
        values_N = target_cross_entropy(forget.policy.logits, targets_NV)
        scored_BT = forget.batch.labels_scored_BT
        return per_token(unpack(values_N, scored_BT).masked_fill(scored_BT.cumsum(-1) <= self.skip, 0))


def check_skip(skip: int) -> None:
    """Refuses a negative number of tokens."""
    if skip < 0:
        raise InputError(f"skip is a number of answer tokens, 0 or more, not {skip}.")
