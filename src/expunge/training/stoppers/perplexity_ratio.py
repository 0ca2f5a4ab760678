"""UNDIAL's early stop. Dong et al., 2024, https://arxiv.org/abs/2402.10052."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from expunge.errors import InputError
from expunge.registry import stoppers
from expunge.training.look import Look
from expunge.training.stoppers.base import Stopper, StopperState, Verdict
from expunge.training.stoppers.utility_floor import RETAIN, check_looks


@stoppers.register("perplexity_ratio")
@dataclass(frozen=True, kw_only=True)
class PerplexityRatio(Stopper):
    """Stops once perplexity on the retain set exceeds a multiple of what it was.

    Attributes:
        ratio: multiple of the original's perplexity, at least 1.
        every: optimizer steps between two looks; None for the end of each epoch.
        records: retain records that are read, the first ones.
    """

    ratio: float = 1.03
    every: int | None = None
    records: int = 500

    def __post_init__(self) -> None:
        """Refuses numbers without meaning."""
        if not 1 <= self.ratio < float("inf"):
            raise InputError(f"ratio is a finite multiple of the original's perplexity, at least 1, not {self.ratio}.")
        check_looks(self.every, self.records)

    @property
    def sources(self) -> tuple[str, ...]:
        """The retain set."""
        return (RETAIN,)

    def start(self, look: Look) -> StopperState:
        """Measures the original."""
        return {"start": [look.perplexity(RETAIN, self.records)]}

    def update(self, state: StopperState, terms: Mapping[str, float], look: Look) -> Verdict:
        """Compares with the original when it is time."""
        if not look.due(self.every):
            return Verdict(state, None)
        perplexity, start = look.perplexity(RETAIN, self.records), state["start"][0]
        if perplexity <= self.ratio * start:
            return Verdict(state, None)
        return Verdict(
            state, f"perplexity on the retain set, {perplexity:.4g}, rose above {self.ratio:g} times {start:.4g}"
        )
