"""The whole computation of one micro-batch inside one ``forward``, so that the hooks of DDP and FSDP2 see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from expunge.data.batch import Batch
from expunge.errors import InputError
from expunge.methods.base import LossMethod, ReadingLike, State, View, ViewSpec
from expunge.methods.retain import RetainTerm
from expunge.methods.terms import Term
from expunge.models.modules import resolve_layers
from expunge.models.reading import read
from expunge.training.perturbations.base import Disturbance, NoPerturbation, Perturbation
from expunge.training.streams import Totals


class ReferenceLike(Protocol):
    """One of the kinds of reference in ``expunge.models.reference``."""

    def read(self, batch: Batch, *, hidden_layers: Sequence[int] = ..., logits: bool = ...) -> ReadingLike: ...  # noqa: D102


class StepOutput(NamedTuple):
    """Share of one micro-batch in the loss (a scalar with gradient) and in each named term (detached scalars)."""

    loss: Tensor
    shares: dict[str, Tensor]


class Step(nn.Module):
    """A model together with the loss that changes it.

    Args:
        model: the causal language model (with its adapter, if any).
        method: its terms.
        retain_term: the retain axis.
        references: for each view that declares one, the reference model.
        perturbation: what moves activations of the view ``forget``.
    """

    def __init__(
        self,
        model: nn.Module,
        method: LossMethod,
        retain_term: RetainTerm,
        references: Mapping[str, ReferenceLike],
        perturbation: Perturbation | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.method = method
        self.retain_term = retain_term
        self.references = dict(references)  # a plain dict: a frozen copy must not become a submodule
        self.perturbation = perturbation or NoPerturbation()

    def specs(self) -> tuple[ViewSpec, ...]:
        """Views of method and retain term."""
        return view_specs(self.method, self.retain_term)

    def forward(
        self,
        batches: Mapping[str, Batch],
        state: State,
        totals: Totals,
        weights: Mapping[str, float],
        *,
        seed: int = 0,
        method: LossMethod | None = None,
    ) -> StepOutput:
        """Computes the terms of one micro-batch.

        Args:
            batches: one batch for each view.
            state: the method's state.
            totals: weights of the whole effective batch, which normalise.
            weights: of the terms in the loss, by name; that of ``forget`` for those not named. A term of weight 0 is
                read, and its graph is left alone.
            seed: of what a perturbation draws in this step.
            method: another loss on the same views, alone; None for the run's own with its retain term.
        """
        if method is not None:
            terms = method.terms({spec.name: self._view(spec, batches[spec.name]) for spec in method.views()}, state)
        else:
            terms = self._terms(batches, state, totals, weights, seed)
        shares = {name: term.share(batches, totals) for name, term in terms.items()}
        weighted = [_weight(name, weights) * share for name, share in shares.items()]
        counted = [part for part, name in zip(weighted, shares, strict=True) if _weight(name, weights)]
        # Where no term counts, zeros with a gradient, so that all ranks still reduce the same buffers.
        loss = torch.stack(counted or weighted).sum()
        return StepOutput(loss, {name: share.detach() for name, share in shares.items()})

    def _terms(
        self, batches: Mapping[str, Batch], state: State, totals: Totals, weights: Mapping[str, float], seed: int
    ) -> dict[str, Term]:
        disturbance = None
        if self.perturbation.moves_activations and weights["forget"]:

            def forget(tried: Disturbance) -> Tensor:
                return self.method.terms(self._views(batches, tried), state)["forget"].share(batches, totals)

            disturbance = self.perturbation.disturb(self.model, batches["forget"], forget, seed)
        views = self._views(batches, disturbance)
        terms = dict(self.method.terms(views, state))
        retain = self.retain_term.term(views)
        return terms if retain is None else {**terms, "retain": retain}

    def _views(self, batches: Mapping[str, Batch], disturbance: Disturbance | None) -> dict[str, View]:
        return {
            spec.name: self._view(spec, batches[spec.name], disturbance if spec.name == "forget" else None)
            for spec in self.specs()
        }

    def _view(self, spec: ViewSpec, batch: Batch, disturbance: Disturbance | None = None) -> View:
        layers = resolve_layers(self.model, spec.hidden) if spec.hidden is not None else []
        changed = {} if disturbance is None else vars(disturbance)
        policy = read(self.model, batch, hidden_layers=layers, logits=spec.logits, **changed)
        if not spec.reference:
            return View(batch, policy)
        further = layers if "hidden" in spec.reference else []
        # What is read of the reference decides how far it runs: log-probabilities and logits are at the top.
        top = bool(spec.reference - {"hidden"})
        return View(batch, policy, self.references[spec.name].read(batch, hidden_layers=further, logits=top))


def _weight(name: str, weights: Mapping[str, float]) -> float:
    return weights.get(name, weights["forget"])


def view_specs(method: LossMethod, retain_term: RetainTerm) -> tuple[ViewSpec, ...]:
    """Returns the views of method and retain term, the method's first; one that both name is read once for both.

    Raises:
        InputError: they mean different records by one name.
    """
    found: dict[str, ViewSpec] = {}
    for spec in (*method.views(), *retain_term.views()):
        known = found.setdefault(spec.name, spec)
        if (known.source, known.relabel, known.sample) != (spec.source, spec.relabel, spec.sample):
            raise InputError(f"Method and retain term mean different records by the view {spec.name!r}.")
        hidden = ",".join(dict.fromkeys(filter(None, (known.hidden, spec.hidden)))) or None
        found[spec.name] = replace(
            known, reference=known.reference | spec.reference, hidden=hidden, logits=known.logits or spec.logits
        )
    return tuple(found.values())
