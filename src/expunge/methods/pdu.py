"""Primal-dual unlearning (PDU). Entesari et al., 2025, https://arxiv.org/abs/2506.05314."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.functional.logprobs import unpack
from expunge.functional.losses import pdu_margin
from expunge.methods.base import LossMethod, Spec, State, Views
from expunge.methods.preset import Axes, Preset, Published, Training
from expunge.methods.terms import Term, per_token
from expunge.registry import methods


@methods.register("pdu")
@dataclass(frozen=True, kw_only=True)
class PDU(LossMethod):
    """Flattens the logits on the forget answers, as far as the retain loss stays within its bound."""

    spec: ClassVar[Spec] = Spec(paper="Entesari et al., 2025, https://arxiv.org/abs/2506.05314")
    preset: ClassVar[Preset] = Preset(
        method=Choice("pdu"),
        axes=Axes(
            retain_term=Choice("nll"),
            combiner=Choice("primal_dual", {"epsilon": 0.3, "rate": 5.0, "initial": 100.0, "warmup": 0.5}),
        ),
        training=Training(epochs=10.0),
        published=Published(width=2048),
        source="its code on TOFU with Llama-3.2-1B: bound 0.3, first multiplier 100, dual rate 5 after 5 of 10 epochs, "
        "learning rate 1e-5, batch 32",
        departs="Answer tokens only, where its code averages over prompt and padding, and one dual update for each "
        "optimizer step, where its code makes one for each micro-batch and process. The bound is one for models "
        "trained on TOFU: for other records set epsilon above the retain loss of the original, or to null, which sets "
        "it by slack.",
    )

    @property
    def scale(self) -> float:
        """Slope of the squared margin at a margin of 50 nats: the loss counts squared nats."""
        return 100.0

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the squared margin between the largest and the mean logit."""
        forget = views["forget"]
        return per_token(unpack(pdu_margin(forget.policy.logits), forget.batch.labels_scored_BT))
