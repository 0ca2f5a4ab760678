"""JensUn: Jensen-Shannon divergence to a refusal. Singh et al., 2025, https://arxiv.org/abs/2509.02820."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.functional.divergences import jensen_shannon_to_token
from expunge.functional.logprobs import unpack
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term, per_token
from expunge.registry import methods


@methods.register("jensun")
@dataclass(frozen=True, kw_only=True)
class JensUn(LossMethod):
    """Says a short refusal over and over where the answer stood. Bounded by ln 2; slow while the answer is certain."""

    spec: ClassVar[Spec] = Spec(
        guarantee="behavioural",
        paper="Singh et al., 2025, https://arxiv.org/abs/2509.02820",
    )
    preset: ClassVar[Preset] = Preset(
        method=Choice("jensun"),
        axes=Axes(retain_term=Choice("js"), relabel=Choice("repeat_refusal")),
        training=Training(learning_rate=8e-6, epochs=10.0, batch_size=16),
        source="its code: learning rate 8e-6, 10 epochs, 4 records times 4 micro-batches, 'No idea', both weights 1",
        departs="As the paper writes it, each answer position has one target, the refusal's tokens in turn, and the "
        "inputs stay the true answer. The code gives all tokens of the refusal the target 1 at once, at every position "
        "of prompt and padding too. No paraphrased questions: hand them in as further forget records.",
    )

    def views(self) -> tuple[ViewSpec, ...]:
        """The forget set; its labels are the refusal's tokens, its inputs the true answers."""
        return (ViewSpec(name="forget", relabel=True),)

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the divergence to certainty of the refusal's token."""
        forget = views["forget"]
        values_N = jensen_shannon_to_token(forget.policy.logits, forget.policy.labels)
        return per_token(unpack(values_N, forget.batch.labels_scored_BT))
