"""Unilogit: self-distillation with the true token at 1/V. Vasilev et al., 2025, https://arxiv.org/abs/2505.06027."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.functional.divergences import reverse_kl
from expunge.functional.logprobs import unpack
from expunge.functional.losses import unilogit_logits
from expunge.methods.base import LossMethod, Spec, State, Views
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term, per_token
from expunge.registry import methods


@methods.register("unilogit")
@dataclass(frozen=True, kw_only=True)
class Unilogit(LossMethod):
    """Brings the true token to the probability 1/V and leaves the ratios of the others; no setting of its own."""

    spec: ClassVar[Spec] = Spec(paper="Vasilev et al., 2025, https://arxiv.org/abs/2505.06027")
    preset: ClassVar[Preset] = Preset(
        method=Choice("unilogit"),
        axes=Axes(retain_term=Choice("nll")),
        training=Training(epochs=10.0),
        source="the loss (reverse KL to the model's own adjusted distribution); the loop is OpenUnlearning's: learning "
        "rate 1e-5, batch 32, 10 epochs, retain weight 1",
        departs="The paper's numbers of the loop were not at hand, and no code of the authors.",
    )

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of KL(model || model with the true token at 1/V), the second side without gradient."""
        forget = views["forget"]
        target_logits_NV = unilogit_logits(forget.policy.logits, forget.policy.labels)
        values_N = reverse_kl(forget.policy.logits, target_logits_NV)
        return per_token(unpack(values_N, forget.batch.labels_scored_BT))
