"""Gradient ascent. Jang et al., "Knowledge Unlearning", 2022, https://arxiv.org/abs/2210.01504.

With a retain term these are TOFU's GradDiff and KL: Maini et al., 2024, https://arxiv.org/abs/2401.06121.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.functional.losses import gradient_ascent
from expunge.methods.base import LossMethod, Spec, State, Views
from expunge.methods.preset import Axes, Preset
from expunge.methods.terms import Term
from expunge.registry import methods

TOFU = "TOFU's code: learning rate 1e-5, batch 32, 5 epochs, weight decay 0.01"


@methods.register("gradient_ascent")
@dataclass(frozen=True, kw_only=True)
class GradientAscent(LossMethod):
    """Raises the negative log-likelihood of the forget answers. Unbounded below: it collapses if nothing stops it."""

    spec: ClassVar[Spec] = Spec(
        paper="Jang et al., 2022, https://arxiv.org/abs/2210.01504",
    )

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the log-probability of the forget answers."""
        forget = views["forget"]
        values_B = gradient_ascent(forget.policy.token_logps, forget.batch.token_weights_BT)
        return Term(values_B, "token")


methods.register("grad_diff")(
    Preset(
        method=Choice("gradient_ascent"),
        axes=Axes(retain_term=Choice("nll")),
        source=TOFU,
        departs="Retain partners are drawn without replacement, so all of the retain set is seen in turn.",
    )
)

methods.register("kl_min")(
    Preset(
        method=Choice("gradient_ascent"),
        axes=Axes(retain_term=Choice("kl")),
        source=TOFU,
        departs="The divergence counts answer tokens only; TOFU's code averages over prompt and padding too.",
    )
)
