"""How forget and retain terms become one step: a weighted sum with a course, alternation, primal-dual, projection.

The state is tensors and is checkpointed with the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from expunge.registry import combiners


class Combiner:
    """Base of the combiners."""

    def weights(self, weights: Mapping[str, float], progress: float) -> Mapping[str, float]:
        """Weights of the terms in one step; ``progress`` is the share of the steps that is done."""
        return weights


@combiners.register("sum")
@dataclass(frozen=True, kw_only=True)
class WeightedSum(Combiner):
    """The weighted sum of all terms."""
