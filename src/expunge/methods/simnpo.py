"""SimNPO, negative preference optimization without a reference. Fan et al., 2024, https://arxiv.org/abs/2410.07163."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.errors import InputError
from expunge.functional.losses import check_beta, simnpo_loss
from expunge.methods.base import LossMethod, Spec, State, Views
from expunge.methods.preset import LLAMA_2_7B_ON_TOFU, Axes, Preset, Training
from expunge.methods.terms import Term, per_sequence
from expunge.registry import methods


@methods.register("simnpo")
@dataclass(frozen=True, kw_only=True)
class SimNPO(LossMethod):
    """NPO on the mean log-probability, without a reference: records of any length sink alike."""

    spec: ClassVar[Spec] = Spec(paper="Fan et al., 2024, https://arxiv.org/abs/2410.07163")
    preset: ClassVar[Preset] = Preset(
        method=Choice("simnpo"),
        axes=Axes(retain_term=Choice("nll"), forget_weight=0.125),
        training=Training(epochs=10.0),
        published=LLAMA_2_7B_ON_TOFU,
        source=(
            "SimNPO's code on TOFU forget10: beta 4.5, margin 0, forget weight 0.125, learning rate 1e-5, batch 32, "
            "10 epochs; for forget05 it takes beta 2.5 and forget weight 0.1375"
        ),
        departs="Each forget record meets another retain record in every epoch.",
    )

    beta: float = 4.5  # inverse temperature; towards 0 this is gradient ascent by length
    margin: float = 0.0  # outside of the bracket, as in the paper

    def __post_init__(self) -> None:
        """Refuses settings that have no meaning."""
        check_beta(self.beta)
        if not math.isfinite(self.margin):
            raise InputError(f"margin is a finite number, not {self.margin}.")

    @property
    def scale(self) -> float:
        """A slope of at most 2, and (2/beta) log(1 + exp(margin)) for a record that the model is sure of."""
        return max(2.0, 2 / self.beta * max(1.0, self.margin))

    def forget_term(self, views: Views, state: State) -> Term:
        """Mean over records of the SimNPO loss on mean log-probabilities."""
        return per_sequence(simnpo_loss(views["forget"].policy.mean_logps, self.beta, self.margin))
