"""Negative Preference Optimization (NPO). Zhang et al., 2024, https://arxiv.org/abs/2404.05868."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.functional.losses import check_beta, npo_loss
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.preset import LLAMA_2_7B_ON_TOFU, Axes, Preset, Training
from expunge.methods.terms import Term, per_sequence
from expunge.registry import methods


@methods.register("npo")
@dataclass(frozen=True, kw_only=True)
class NPO(LossMethod):
    """DPO with only a dispreferred side: forget answers sink below the reference, boundedly."""

    spec: ClassVar[Spec] = Spec(
        paper="Zhang et al., 2024, https://arxiv.org/abs/2404.05868",
    )
    preset: ClassVar[Preset] = Preset(
        method=Choice("npo"),
        axes=Axes(retain_term=Choice("nll")),
        training=Training(epochs=10.0),
        published=LLAMA_2_7B_ON_TOFU,
        source="NPO's code on TOFU: beta 0.1, learning rate 1e-5, batch 32, 10 epochs, weight decay 0.01",
        departs=(
            "Each forget record meets another retain record in every epoch; NPO's code always pairs the same two. "
            "Small sets get more epochs unless these are set."
        ),
    )

    beta: float = 0.1  # inverse temperature; towards 0 this is gradient ascent

    def __post_init__(self) -> None:
        """Refuses a temperature that has no meaning."""
        check_beta(self.beta)

    @property
    def scale(self) -> float:
        """The loss starts at (2/beta) ln 2, whatever the model."""
        return max(1.0, 2 / self.beta)

    def views(self) -> tuple[ViewSpec, ...]:
        """The forget set, with the original's log-probabilities."""
        return (ViewSpec(name="forget", reference=frozenset({"token_logps"})),)

    def forget_term(self, views: Views, state: State) -> Term:
        """Mean over records of the NPO loss on summed log-probabilities."""
        forget = views["forget"]
        return per_sequence(npo_loss(forget.policy.sequence_logps, forget.reference.sequence_logps, self.beta))
