"""Candidates for a deleted answer that inner layers give: head projection and probability delta.

Patil, Hase and Bansal, Can Sensitive Information Be Deleted From LLMs?, 2024, https://arxiv.org/abs/2309.17410.

Shapes: N records, V vocabulary, S rankings of the vocabulary for each record.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from expunge.attacks.base import AttackTask, Probe, ProbeAttack, Threat
from expunge.attacks.inside import SPREAD, Scored, batches, encode_scored, first_place
from expunge.errors import InputError
from expunge.functional.logprobs import at_least_float32
from expunge.metrics.base import Floats
from expunge.models.lens import lens_of
from expunge.models.load import LoadedModel
from expunge.models.modes import evaluating
from expunge.models.modules import resolve_layers
from expunge.models.reading import read
from expunge.registry import attacks

PATIL = "Patil et al., 2024, https://arxiv.org/abs/2309.17410"
# Layers 17 to 21 of the 28 of GPT-J: with k = 4 these are the 20 candidates of the paper's tables.
PAPER: Mapping[str, Any] = {"layers": "0.63-0.78"}


class Guesses(NamedTuple):
    """Candidates for each record, and whether the answer's token is one of them."""

    candidates: list[frozenset[int]]
    hits: list[bool]


def guesses(rankings: Sequence[Tensor], targets: Sequence[int], k: int, *, bottom: bool) -> Guesses:
    """Returns the distinct tokens among the k highest of each ranking, and the k lowest too where ``bottom``.

    Args:
        rankings: S scores (N, V).
        targets: the answer's token of each record.
        k: entries from each end.
        bottom: whether the low end counts too.
    """
    most = min(k, rankings[0].shape[-1])
    ends = [scores_NV.topk(most, dim=-1).indices for scores_NV in rankings]
    ends += [scores_NV.topk(most, dim=-1, largest=False).indices for scores_NV in rankings] if bottom else []
    candidates = [frozenset(row) for row in torch.cat(ends, dim=-1).tolist()]
    return Guesses(candidates, [target in found for target, found in zip(targets, candidates, strict=True)])


@dataclass(frozen=True, kw_only=True)
class CandidateAttack(ProbeAttack):
    """Success is to have the answer's first token among a few candidates.

    The token is the first of the value in the answer (of the whole answer, if so set) that is not spaces alone; what
    stands before it is given. An attacker who may try B answers succeeds; B is the number of distinct candidates.

    Departures from the paper: answers of several tokens, of which the first counts; candidates are counted as they
    are, where the published code lets the answer stand at either end of a ranking and counts one.

    Attributes:
        k: entries of each ranking; decides.
        others: further k that are told beside it.
        bottom: whether the lowest entries are candidates too.
        layers: which ones, see ``resolve_layers``.
        scored: ``value``, the fact in the answer; ``answer``, all of it.
    """

    axis: ClassVar[str] = "candidates"
    unit: ClassVar[str] = "share of records whose first token is a candidate"
    paper_budget: ClassVar[Mapping[str, Any]] = PAPER

    k: int = 4
    others: tuple[int, ...] = (1, 2, 8)
    bottom: bool = False
    layers: str = SPREAD
    scored: Scored = "value"

    def __post_init__(self) -> None:
        if min(self.k, *self.others, 1) < 1 or self.scored not in ("value", "answer"):
            raise InputError(
                f"k={self.k}, others={self.others}, scored={self.scored}: each k is at least 1, scored value or answer."
            )

    @abstractmethod
    def rankings(self, logits: Sequence[Tensor]) -> list[Tensor]:
        """Scores (N, V) whose ends are candidates, from the logits (N, V) of each chosen layer, lowest first."""

    def probe(self, loaded: LoadedModel, task: AttackTask) -> Probe:
        """Hits for each k, at their mean number of distinct candidates."""
        ks = sorted({self.k, *self.others})
        hits = {k: np.full(len(task.forget), np.nan) for k in ks}
        counts = {k: np.full(len(task.forget), np.nan) for k in ks}
        for rows, targets, rankings in self._asked(loaded, task):
            for k in ks:
                found = guesses(rankings, targets, k, bottom=self.bottom)
                hits[k][rows] = found.hits
                counts[k][rows] = [len(candidates) for candidates in found.candidates]
        known = {k: counts_N[~np.isnan(counts_N)] for k, counts_N in counts.items()}
        budgets = {k: float(np.mean(counts_N)) for k, counts_N in known.items() if len(counts_N)}
        details = {f"candidates_k{k}": budget for k, budget in budgets.items()}
        details |= {f"most_candidates_k{k}": float(np.max(known[k])) for k in budgets}
        values: Mapping[str, Floats] = {f"k={k}": hits_N for k, hits_N in hits.items()}
        return Probe(values, f"k={self.k}", details, {f"k={k}": budget for k, budget in budgets.items()})

    def _asked(self, loaded: LoadedModel, task: AttackTask) -> Iterator[tuple[list[int], list[int], list[Tensor]]]:
        """Rows, their first tokens and their rankings, batch by batch, without rows that have no such token."""
        examples = encode_scored(task.forget, loaded, task, self.scored)
        places = {example.row: first_place(example, loaded.tokenizer) for example in examples}
        asked = [example for example in examples if places[example.row] is not None]
        lens, layers = lens_of(loaded.model), resolve_layers(loaded.model, self.layers)
        with torch.inference_mode(), evaluating(loaded.model):
            for batch in batches(asked, loaded, task, attacks.name_of(self)):
                rows = batch.rows_B.tolist()
                at = torch.tensor([places[row] for row in rows], device=batch.labels_BT.device)
                along = torch.arange(len(rows), device=at.device)
                reading = read(loaded.model, batch, hidden_layers=layers, logits=False)
                logits = [at_least_float32(lens(reading.hidden(layer)[along, at - 1])) for layer in layers]
                yield rows, batch.input_ids_BT[along, at].tolist(), self.rankings(logits)


@attacks.register("head_projection")
@dataclass(frozen=True, kw_only=True)
class HeadProjection(CandidateAttack):
    """Takes the most likely tokens of each inner layer for candidates.

    Attributes:
        k: entries of each ranking; decides.
        others: further k that are told beside it.
        bottom: whether the least likely tokens are candidates too, as in the published code.
        layers: which ones, see ``resolve_layers``.
        scored: ``value``, the fact in the answer; ``answer``, all of it.
    """

    threat: ClassVar[Threat] = Threat("latent", "weights", PATIL)
    title: ClassVar[str] = "candidates from inner layers"

    def rankings(self, logits: Sequence[Tensor]) -> list[Tensor]:
        """The logits themselves: of a softmax the low end would be zeros."""
        return list(logits)


@attacks.register("probability_delta")
@dataclass(frozen=True, kw_only=True)
class ProbabilityDelta(CandidateAttack):
    """Takes the tokens whose probability rises or falls most between layers for candidates.

    Between each chosen layer and the next chosen one.

    Attributes:
        k: entries of each ranking; decides.
        others: further k that are told beside it.
        bottom: whether tokens that fall are candidates too.
        layers: two or more, see ``resolve_layers``.
        scored: ``value``, the fact in the answer; ``answer``, all of it.
    """

    threat: ClassVar[Threat] = Threat("latent", "weights", PATIL)
    title: ClassVar[str] = "candidates from changes between layers"

    bottom: bool = True

    def rankings(self, logits: Sequence[Tensor]) -> list[Tensor]:
        """Differences of probabilities."""
        if len(logits) < 2:
            raise InputError(f"The layers {self.layers} are one layer in this model; changes need two or more.")
        shares = [logits_NV.softmax(-1) for logits_NV in logits]
        return [after_NV - before_NV for before_NV, after_NV in zip(shares, shares[1:], strict=False)]
