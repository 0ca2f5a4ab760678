"""Exposure of canaries. Carlini et al., "The Secret Sharer", 2019, https://arxiv.org/abs/1802.08232.

exposure = log2 |R| - log2 rank, the rank of the true secret among the candidates R by likelihood. R is the truth and
the decoys of the record, a random sample of what it could have been; R can show no more exposure than log2 |R|.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from expunge.metrics.base import Answers, Floats, Knows, Metric, Need, Score, mean_score
from expunge.metrics.records import NAN, decoy_needs, truths
from expunge.registry import metrics

CANARIES = "canaries_forget"  # split of random records that were trained on and are to be forgotten


def exposure(own_nats: float, decoy_nats: Floats) -> float:
    """Returns bits, 0 to log2(1 + decoys); NaN without decoys.

    Candidates that are equally likely share the mean of their ranks, so that a uniform model knows nothing.

    Args:
        own_nats: log-probability of the true answer, or of its value alone.
        decoy_nats: (D,), of the decoys, whole answers or values as the truth.
    """
    if not len(decoy_nats):
        return NAN
    rank = 1 + np.sum(decoy_nats > own_nats) + np.sum(decoy_nats == own_nats) / 2
    return float(np.log2(1 + len(decoy_nats)) - np.log2(rank))


@metrics.register("exposure")
@dataclass(frozen=True, kw_only=True)
class Exposure(Metric):
    """Bits by which a model prefers the true secret to decoys of the same format, mean over records with decoys.

    By chance 1.3 bits with 31 decoys, and log2(1 + decoys) where every secret is known.

    Attributes:
        split: split to read; its records need the form ``decoy``.
    """

    split: str = CANARIES

    direction = "closer"
    unit = "bits"
    paper = "Carlini et al., 2019, https://arxiv.org/abs/1802.08232"

    @property
    def knows(self) -> Knows:
        """It prefers the secrets."""
        return "high"

    def needs(self) -> tuple[Need, ...]:
        """Log-probabilities of the truth and of the decoys."""
        return decoy_needs(self.split)

    def compute(self, answers: Answers) -> Score:
        """Mean over records of ``exposure``."""
        trained, decoys, value = self.needs()
        pairs = zip(truths(answers, trained, value), answers[decoys], strict=True)
        return mean_score(self.split, [_of_record(one, many) for one, many in pairs])


def _of_record(own: Sequence[Floats], decoys: Sequence[Floats]) -> float:
    """NaN where an answer was cut off to nothing, whose log-probability of 0 would win."""
    if not all(len(logps_T) for logps_T in (*own, *decoys)):
        return NAN
    totals = np.array([np.sum(logps_T) for logps_T in (*own, *decoys)], dtype=np.float64)
    return exposure(float(totals[0]), totals[1:])
