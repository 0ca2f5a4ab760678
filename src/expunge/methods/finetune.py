"""Plain fine-tuning, for helper, original and retrained models. Not an unlearning method, so not registered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from expunge.functional.losses import nll
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.terms import Term


@dataclass(frozen=True, kw_only=True)
class Finetune(LossMethod):
    """Negative log-likelihood of the answers, token mean."""

    spec: ClassVar[Spec] = Spec(
        needs=(),
        paper="maximum likelihood",
    )

    source: str = "train"  # records to learn
    view: str = "train"

    def views(self) -> tuple[ViewSpec, ...]:
        """One stream of records."""
        return (ViewSpec(name=self.view, source=self.source),)

    def terms(self, views: Views, state: State) -> dict[str, Term]:
        """One term, ``nll``."""
        return {"nll": self.forget_term(views, state)}

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the negative log-likelihood."""
        view = views[self.view]
        return Term(nll(view.policy.token_logps, view.batch.token_weights_BT), "token", self.view)
