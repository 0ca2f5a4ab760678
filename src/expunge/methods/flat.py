"""FLAT, forget data only loss adjustment. Wang et al., 2024, https://arxiv.org/abs/2410.11143."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.functional.losses import Divergence, flat_loss, mean_probability
from expunge.methods.base import FORGET, LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.preset import Axes, Preset
from expunge.methods.terms import Term, per_sequence
from expunge.registry import methods


@methods.register("flat")
@dataclass(frozen=True, kw_only=True)
class FLAT(LossMethod):
    """Widens an f-divergence between a refusal and the true answer; no retain set and no reference."""

    spec: ClassVar[Spec] = Spec(guarantee="behavioural", paper="Wang et al., 2024, https://arxiv.org/abs/2410.11143")
    preset: ClassVar[Preset] = Preset(
        method=Choice("flat"),
        axes=Axes(relabel=Choice("idk")),
        source=(
            "FLAT's code: total variation, learning rate 1e-5, 5 epochs, weight decay 0.01; its command for Llama-2-7B "
            "on Harry Potter takes 2e-7 and batch 32"
        ),
        departs=(
            "Probabilities are means over the scored tokens of each record. In the code positions that are not scored "
            "count as probability 0, and the divergence is taken of the mean over the batch."
        ),
    )

    divergence: Divergence = "total_variation"

    def views(self) -> tuple[ViewSpec, ...]:
        """The true answers and, for the same prompts, the refusals."""
        return (FORGET, ViewSpec(name="alternate", relabel=True))

    def forget_term(self, views: Views, state: State) -> Term:
        """Mean over records of the FLAT loss, refusal good, truth bad."""
        good_B, bad_B = (
            mean_probability(view.policy.token_logps, view.batch.token_weights_BT)
            for view in (views["alternate"], views["forget"])
        )
        return per_sequence(flat_loss(good_B, bad_B, self.divergence))
