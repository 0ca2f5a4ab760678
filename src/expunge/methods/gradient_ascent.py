"""Gradient ascent. Jang et al., "Knowledge Unlearning", 2022, https://arxiv.org/abs/2210.01504.

With a retain term these are TOFU's GradDiff and KL: Maini et al., 2024, https://arxiv.org/abs/2401.06121; and the four
of Yao et al., 2024, https://arxiv.org/abs/2402.15159, whose retain term reads general text or text of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.functional.losses import gradient_ascent
from expunge.methods.base import LossMethod, Spec, State, Views
from expunge.methods.preset import LLAMA_2_7B, Axes, Preset, Training
from expunge.methods.terms import Term
from expunge.registry import methods

TOFU = "TOFU's code: learning rate 1e-5, batch 32, 5 epochs, weight decay 0.01"
YAO = Training(learning_rate=2e-5, epochs=1.0, schedule="cosine", warmup=0.03)
YAO_SOURCE = "Yao et al., 2024, https://arxiv.org/abs/2402.15159: learning rate 2e-5, one epoch, cosine, warm-up 3 %"
YAO_KL = "The divergence counts scored tokens; theirs is a cross-entropy that counts padding too."
YAO_JOINT = "Both terms are in every step; the authors alternate them."
YAO_BATCH = "Batch 32; the authors accumulate 60 or 85 micro-batches on 8 devices. Records are not packed into chunks."


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
        published=LLAMA_2_7B,
        source=TOFU,
        departs="Retain partners are drawn without replacement, so all of the retain set is seen in turn.",
    )
)

methods.register("kl_min")(
    Preset(
        method=Choice("gradient_ascent"),
        axes=Axes(retain_term=Choice("kl")),
        published=LLAMA_2_7B,
        source=TOFU,
        departs="The divergence counts answer tokens only; TOFU's code averages over prompt and padding too.",
    )
)

methods.register("ga_descent_general")(
    Preset(
        method=Choice("gradient_ascent"),
        axes=Axes(retain_term=Choice("nll", {"source": "general"})),
        training=YAO,
        source=YAO_SOURCE,
        departs=f"{YAO_BATCH} {YAO_JOINT}",
    )
)

methods.register("ga_descent_indist")(
    Preset(
        method=Choice("gradient_ascent"),
        axes=Axes(retain_term=Choice("nll", {"source": "retain"})),
        training=YAO,
        source=YAO_SOURCE,
        departs=f"{YAO_BATCH} {YAO_JOINT} In-distribution text is the retain set.",
    )
)

methods.register("ga_kl_general")(
    Preset(
        method=Choice("gradient_ascent"),
        axes=Axes(retain_term=Choice("kl", {"source": "general"})),
        training=YAO,
        source=YAO_SOURCE,
        departs=f"{YAO_BATCH} {YAO_JOINT} {YAO_KL}",
    )
)

methods.register("ga_kl_indist")(
    Preset(
        method=Choice("gradient_ascent"),
        axes=Axes(retain_term=Choice("kl", {"source": "retain"})),
        training=YAO,
        source=YAO_SOURCE,
        departs=f"{YAO_BATCH} {YAO_JOINT} In-distribution text is the retain set. {YAO_KL}",
    )
)

methods.register("jang")(
    Preset(
        method=Choice("gradient_ascent"),
        axes=Axes(
            tokens=Choice("all"),
            optimizer=Choice("adamw", {"beta1": 0.9, "beta2": 0.98}),
            stopper=Choice("memorisation"),
        ),
        training=Training(
            learning_rate=5e-5,
            epochs=20.0,
            schedule="constant",
            warmup=0.0,
            weight_decay=0.0,
            dropout=0.0,
        ),
        source="the paper's code: Adam (0.9, 0.98), constant learning rate 5e-5, no weight decay, no dropout, at most "
        "about 20 epochs, EL_10 and MA against unseen text at the end of each epoch",
        departs="The paper's effective batch is the whole forget set, one step an epoch: for that, set batch_size to "
        "the number of forget records or more. Thresholds are measured on the holdout records "
        "under the original; the code takes those of its smallest model for all. A likelihood of 0 on unseen text is "
        "reached, not undercut. Overlap divides by the n-grams of the true text, as the code does. Gradients are "
        "clipped at norm 1, which is the loop's default.",
    )
)
