"""Maximum entropy (ME). Yuan et al., "A Closer Look at Machine Unlearning for Large Language Models", 2024.

https://arxiv.org/abs/2410.08109
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.functional.divergences import uniform_divergence
from expunge.functional.logprobs import unpack
from expunge.methods.base import LossMethod, Spec, State, Views
from expunge.methods.preset import LLAMA_2_7B_ON_TOFU, Axes, Preset
from expunge.methods.terms import Term, per_token
from expunge.registry import methods


@methods.register("me")
@dataclass(frozen=True, kw_only=True)
class MaximumEntropy(LossMethod):
    """Pulls the next-token distribution on forget records towards the uniform one: the model guesses there."""

    spec: ClassVar[Spec] = Spec(paper="Yuan et al., 2024, https://arxiv.org/abs/2410.08109")
    preset: ClassVar[Preset] = Preset(
        method=Choice("me"),
        axes=Axes(retain_term=Choice("nll"), tokens=Choice("all"), forget_weight=0.1),
        published=LLAMA_2_7B_ON_TOFU,
        source=(
            "ME+GD of the authors' code on TOFU: forget weight 0.1, prompt and answer, learning rate 1e-5, batch 32, "
            "5 epochs, weight decay 0.01"
        ),
        departs=(
            "The mean is over the tokens of the records; the code, which labels the whole padded row here, averages "
            "over the padding too."
        ),
    )

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of KL(uniform || model), nats."""
        forget = views["forget"]
        divergence_N = uniform_divergence(forget.policy.logits)
        return per_token(unpack(divergence_N, forget.batch.labels_scored_BT))
