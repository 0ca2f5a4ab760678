"""Fine-tuning on what is to be kept, in the hope that the rest is forgotten on the way.

The baseline of most papers, also with an l1 penalty on the weights: Jia et al., 2023, https://arxiv.org/abs/2304.04934.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice, field_names
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.preset import Preset, Training
from expunge.methods.terms import Term, per_token
from expunge.registry import methods

AXES = ("tokens", "parameters", "combiner", "penalty", "optimizer", "stopper", "retain_weight")


@methods.register("retain_finetune")
@dataclass(frozen=True, kw_only=True)
class RetainFinetune(LossMethod):
    """Goes on training on the retain set. No forget record is read, and memorised text mostly stays memorised.

    Penalties make variants of it: ``l1`` (the sparse one), ``l2_sp``, ``ewc``; and so does the loop's ``dropout``.
    """

    spec: ClassVar[Spec] = Spec(
        needs=("forget", "retain"),  # the forget set for the audit
        paper="Jia et al., 2023, https://arxiv.org/abs/2304.04934, as the baseline",
    )
    takes = frozenset({*AXES, *field_names(Training)})  # the retain term is the method itself
    preset: ClassVar[Preset] = Preset(
        method=Choice("retain_finetune"),
        training=Training(learning_rate=1e-5, epochs=3.0),
        source="ours: learning rate 1e-5 and 3 epochs, within the 1 to 5 that papers take; no paper's own numbers",
        departs="An epoch is one pass over the retain set.",
    )

    def views(self) -> tuple[ViewSpec, ...]:
        """The retain set alone."""
        return (ViewSpec(name="retain", source="retain"),)

    def terms(self, views: Views, state: State) -> dict[str, Term]:
        """One term, ``retain``."""
        return {"retain": self.forget_term(views, state)}

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the negative log-likelihood of the retain answers: there is no other term."""
        return per_token(-views["retain"].policy.token_logps, "retain")
