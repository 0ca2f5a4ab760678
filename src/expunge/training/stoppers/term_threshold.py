"""Stops on the value of a term."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from expunge.errors import InputError
from expunge.registry import stoppers
from expunge.training.look import Look
from expunge.training.stoppers.base import Stopper, StopperState, Verdict


@stoppers.register("term_threshold")
@dataclass(frozen=True, kw_only=True)
class TermThreshold(Stopper):
    """Stops when the mean of a term over the last ``window`` steps passes a threshold.

    For ``gradient_ascent`` the forget term is the mean log-probability of the forget answers, so ``below=-4`` stops
    once they
    cost 4 nats per token.
    """

    term: str = "forget"
    below: float | None = None
    above: float | None = None
    window: int = 1

    def __post_init__(self) -> None:
        """Refuses a stopper that could never stop."""
        if self.below is None and self.above is None:
            raise InputError("The stopper term_threshold needs a threshold: set below or above.")
        if self.window < 1:
            raise InputError(f"window counts optimizer steps and is at least 1, not {self.window}.")

    def update(self, state: StopperState, terms: Mapping[str, float], look: Look) -> Verdict:
        """Keeps a window of values and compares its mean."""
        if self.term not in terms:
            raise InputError(f"There is no term {self.term!r} to stop on; this run has {', '.join(sorted(terms))}.")
        values = [*state.get("values", []), terms[self.term]][-self.window :]
        mean = sum(values) / len(values)
        full = len(values) == self.window
        reason = None
        if full and self.below is not None and mean < self.below:
            reason = f"{self.term} {mean:.4g} fell below {self.below:g}"
        elif full and self.above is not None and mean > self.above:
            reason = f"{self.term} {mean:.4g} rose above {self.above:g}"
        return Verdict({"values": values}, reason)
