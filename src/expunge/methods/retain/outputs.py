"""Retain terms on what the model says. Shapes: B sequences, T tokens, N scored tokens, V vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from expunge.functional.divergences import forward_kl, jensen_shannon
from expunge.functional.logprobs import unpack
from expunge.methods.base import View, Views, ViewSpec
from expunge.methods.retain.base import FromSource
from expunge.methods.terms import Term, per_token
from expunge.registry import retain_terms

LOGITS = frozenset({"logits"})


@retain_terms.register("nll")
@dataclass(frozen=True, kw_only=True)
class RetainNLL(FromSource):
    """Negative log-likelihood of the retain answers, nats per token."""

    def term(self, views: Views) -> Term | None:
        """Token mean of the negative log-likelihood."""
        return per_token(-views[self.source].policy.token_logps, self.source)


@retain_terms.register("kl")
@dataclass(frozen=True, kw_only=True)
class RetainKL(FromSource):
    """KL(original || model) on the retain answers, nats per token, over answer tokens only.

    TOFU's code averages over every position, padding included; 0 here means equal.
    """

    def views(self) -> tuple[ViewSpec, ...]:
        """The records with the original's distributions."""
        return (ViewSpec(name=self.source, source=self.source, reference=LOGITS),)

    def term(self, views: Views) -> Term | None:
        """Token mean of the divergence."""
        return per_token(_to_original(views[self.source], forward_kl), self.source)


@retain_terms.register("js")
@dataclass(frozen=True, kw_only=True)
class RetainJS(FromSource):
    """Jensen-Shannon divergence to the original on the retain answers, nats per token. Singh et al. (JensUn), 2025.

    At most ln 2, so that a single token cannot outweigh the rest, as it can in ``kl``.
    https://arxiv.org/abs/2509.02820; their code averages over every position, prompt and padding included.
    """

    def views(self) -> tuple[ViewSpec, ...]:
        """The records with the original's distributions."""
        return (ViewSpec(name=self.source, source=self.source, reference=LOGITS),)

    def term(self, views: Views) -> Term | None:
        """Token mean of the divergence."""
        return per_token(_to_original(views[self.source], jensen_shannon), self.source)


def _to_original(view: View, divergence: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Divergence of model and original at each scored token (B, T), 0 elsewhere."""
    values_N = divergence(view.policy.logits, view.reference.logits)
    return unpack(values_N, view.batch.labels_scored_BT)
