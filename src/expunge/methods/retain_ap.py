"""Answer preservation (AP). Yuan et al., "A Closer Look at Machine Unlearning for Large Language Models", 2024.

https://arxiv.org/abs/2410.08109
"""

from __future__ import annotations

from dataclasses import dataclass

from expunge.functional.losses import answer_preservation_loss, check_beta
from expunge.methods.base import Views, ViewSpec
from expunge.methods.retain import RetainTerm
from expunge.methods.terms import Term, per_sequence
from expunge.registry import retain_terms


@retain_terms.register("ap")
@dataclass(frozen=True, kw_only=True)
class AnswerPreservation(RetainTerm):
    """Holds the retain answers above refusals to the same prompts, against over-refusal; no reference.

    The refusals are the relabeller's, so that axis must be ``idk``.
    """

    beta: float = 0.1  # inverse temperature

    def __post_init__(self) -> None:
        """Refuses a temperature that has no meaning."""
        check_beta(self.beta)

    def views(self) -> tuple[ViewSpec, ...]:
        """The retain records with their own answers and with refusals."""
        return (
            ViewSpec(name="retain", source="retain"),
            ViewSpec(name="retain_idk", source="retain", relabel=True),
        )

    def term(self, views: Views) -> Term | None:
        """Mean over records of the AP loss on summed log-probabilities."""
        kept_B, refusal_B = (views[name].policy.sequence_logps for name in ("retain", "retain_idk"))
        return per_sequence(answer_preservation_loss(kept_B, refusal_B, self.beta), "retain")
