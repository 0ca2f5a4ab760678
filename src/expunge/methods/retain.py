"""Retain terms: what keeps the model as it was on the records it may remember. An axis of every loss method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from expunge.functional.divergences import forward_kl
from expunge.functional.logprobs import unpack
from expunge.methods.base import Views, ViewSpec
from expunge.methods.terms import Term, per_token
from expunge.registry import retain_terms


class RetainTerm(ABC):
    """Base of the retain terms."""

    def views(self) -> tuple[ViewSpec, ...]:
        """Streams that the term reads."""
        return (ViewSpec(name="retain", source="retain"),)

    @abstractmethod
    def term(self, views: Views) -> Term | None:
        """The term, token mean over the retain view; None for no term."""


@retain_terms.register("none")
@dataclass(frozen=True, kw_only=True)
class NoRetain(RetainTerm):
    """Nothing holds the model."""

    def views(self) -> tuple[ViewSpec, ...]:
        """Reads nothing."""
        return ()

    def term(self, views: Views) -> Term | None:
        """No term."""
        return None


@retain_terms.register("nll")
@dataclass(frozen=True, kw_only=True)
class RetainNLL(RetainTerm):
    """Negative log-likelihood of the retain answers, nats per token."""

    def term(self, views: Views) -> Term | None:
        """Token mean of the negative log-likelihood."""
        return per_token(-views["retain"].policy.token_logps, "retain")


@retain_terms.register("kl")
@dataclass(frozen=True, kw_only=True)
class RetainKL(RetainTerm):
    """KL(original || model) on the retain answers, nats per token, over answer tokens only.

    TOFU's code averages over every position, padding included; 0 here means equal.
    """

    def views(self) -> tuple[ViewSpec, ...]:
        """The retain view with the original's distributions."""
        return (ViewSpec(name="retain", source="retain", reference=frozenset({"logits"})),)

    def term(self, views: Views) -> Term | None:
        """Token mean of the divergence."""
        view = views["retain"]
        divergence_N = forward_kl(view.policy.logits, view.reference.logits)
        return per_token(unpack(divergence_N, view.batch.labels_scored_BT), "retain")
