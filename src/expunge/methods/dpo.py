"""Direct Preference Optimization (DPO) towards a refusal. Rafailov et al., 2023, https://arxiv.org/abs/2305.18290.

Used for unlearning by Zhang et al., 2024, https://arxiv.org/abs/2404.05868.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.config import Choice
from expunge.functional.losses import check_beta, dpo_loss
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.preset import Axes, Preset
from expunge.methods.terms import Term, per_sequence
from expunge.registry import methods

LOGPS = frozenset({"token_logps"})


@methods.register("idk_dpo")
@dataclass(frozen=True, kw_only=True)
class IdkDPO(LossMethod):
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

    beta: float = 0.1  # inverse temperature

    def __post_init__(self) -> None:
        """Refuses a temperature that has no meaning."""
        check_beta(self.beta)

    @property
    def scale(self) -> float:
        """The loss starts at (2/beta) ln 2, whatever the model."""
        return max(1.0, 2 / self.beta)

    def views(self) -> tuple[ViewSpec, ...]:
        """The true answers and, for the same prompts, the refusals."""
        return (ViewSpec(name="forget", reference=LOGPS), ViewSpec(name="alternate", relabel=True, reference=LOGPS))

    def forget_term(self, views: Views, state: State) -> Term:
        """Mean over records of the DPO loss, refusal chosen, truth rejected."""
        rejected, chosen = views["forget"], views["alternate"]
        return per_sequence(
            dpo_loss(
                chosen.policy.sequence_logps,
                rejected.policy.sequence_logps,
                chosen.reference.sequence_logps,
                rejected.reference.sequence_logps,
                self.beta,
            )
        )
