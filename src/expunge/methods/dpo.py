"""Direct Preference Optimization (DPO) towards another answer. Rafailov et al., 2023, https://arxiv.org/abs/2305.18290.

Towards a refusal: Zhang et al., 2024, https://arxiv.org/abs/2404.05868; towards answers that the model makes up
(AltPO): Mekala et al., 2024, https://arxiv.org/abs/2409.13474; towards false facts: Jin et al. (RWKU), 2024,
https://arxiv.org/abs/2406.10890.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from expunge.config import Choice
from expunge.errors import InputError
from expunge.functional.losses import check_beta, dpo_loss
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.preset import Axes, Preset, Training
from expunge.methods.terms import Term, per_sequence
from expunge.registry import methods

LOGPS = frozenset({"token_logps"})


@methods.register("altpo")
@dataclass(frozen=True, kw_only=True)
class DPO(LossMethod):
    """Prefers other answers, made by the relabeller, over the true one. It teaches them, false as they may be."""

    spec: ClassVar[Spec] = Spec(
        paper="Rafailov et al., 2023, https://arxiv.org/abs/2305.18290; Mekala et al., 2024, https://arxiv.org/abs/2409.13474",
    )
    preset: ClassVar[Preset] = Preset(
        method=Choice("altpo", {"answers": 5}),
        axes=Axes(retain_term=Choice("nll"), relabel=Choice("alternate")),
        training=Training(learning_rate=5e-5, epochs=2.0, batch_size=7),
        source=(
            "AltPO's code on TOFU: 5 alternates for each record, beta 0.1, learning rate 5e-5, 2 epochs over the "
            "records times 5, batch 35, retain weight 1"
        ),
        departs=(
            "A step holds 7 records with all 5 alternates of each, which are 35 pairs as well, and 7 retain records; "
            "the true answer is read once for all 5."
        ),
    )

    beta: float = 0.1  # inverse temperature
    answers: int = 1  # other answers to each forget prompt, each preferred over the true one

    def __post_init__(self) -> None:
        """Refuses settings that have no meaning."""
        check_beta(self.beta)
        if self.answers < 1:
            raise InputError(f"answers counts the other answers to each prompt and is at least 1, not {self.answers}.")

    @property
    def scale(self) -> float:
        """The loss starts at (2/beta) ln 2, whatever the model."""
        return max(1.0, 2 / self.beta)

    def views(self) -> tuple[ViewSpec, ...]:
        """The true answers and, for the same prompts, the others: ``alternate``, or ``alternate_0`` and so on."""
        names = ["alternate"] if self.answers == 1 else [f"alternate_{sample}" for sample in range(self.answers)]
        others = (
            ViewSpec(name=name, relabel=True, sample=sample, reference=LOGPS) for sample, name in enumerate(names)
        )
        return (ViewSpec(name="forget", reference=LOGPS), *others)

    def forget_term(self, views: Views, state: State) -> Term:
        """Mean over records and their other answers of the DPO loss, other answer chosen, truth rejected."""
        rejected, *chosen = (views[spec.name] for spec in self.views())
        losses_B = [
            dpo_loss(
                view.policy.sequence_logps,
                rejected.policy.sequence_logps,
                view.reference.sequence_logps,
                rejected.reference.sequence_logps,
                self.beta,
            )
            for view in chosen
        ]
        return per_sequence(torch.stack(losses_B).mean(0))


@methods.register("idk_dpo")
@dataclass(frozen=True, kw_only=True)
class IdkDPO(DPO):
    """Prefers a refusal over the true answer. Behavioural: the answer is hidden rather than removed."""

    spec: ClassVar[Spec] = Spec(
        guarantee="behavioural",
        paper="Rafailov et al., 2023, https://arxiv.org/abs/2305.18290; Zhang et al., 2024, https://arxiv.org/abs/2404.05868",
    )
    preset: ClassVar[Preset] = Preset(
        method=Choice("idk_dpo"),
        axes=Axes(retain_term=Choice("nll"), relabel=Choice("idk")),
        source="beta 0.1 on summed log-probabilities, factor 2/beta, retain weight 1 (OpenUnlearning's settings)",
        departs="A record keeps its refusal for the whole run, so that the reference is computed once.",
    )


methods.register("dpo_counterfactual")(
    Preset(
        method=Choice("altpo", {"answers": 1}),
        axes=Axes(relabel=Choice("counterfactual")),
        training=Training(learning_rate=5e-6, epochs=3.0, batch_size=8, schedule="cosine", weight_decay=0.0),
        source=(
            "RWKU's code (Jin et al., 2024, https://arxiv.org/abs/2406.10890): beta 0.1, learning rate 5e-6, batch 8, "
            "3 epochs, cosine schedule, no retain term"
        ),
        departs=(
            "The false answers are the relabeller's; RWKU has the model write false descriptions of a person. The "
            "factor is 2/beta, where RWKU has 1, and the warm-up a tenth of the steps instead of 20."
        ),
    )
)
