"""Stops before the model's use is gone.

After the rule of MUSE, which ends unlearning where the utility on the retain set has fallen: Shi et al., 2024,
https://arxiv.org/abs/2407.06460.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from expunge.errors import InputError, UnfitModelError
from expunge.registry import stoppers
from expunge.training.look import Look
from expunge.training.stoppers.base import Stopper, StopperState, Verdict

RETAIN = "retain"


@stoppers.register("utility_floor")
@dataclass(frozen=True, kw_only=True)
class UtilityFloor(Stopper):
    """Stops once token accuracy on the retain set is less than a share of what it was.

    Attributes:
        floor: share of the original's accuracy, above 0 and at most 1.
        every: optimizer steps between two looks; None for the end of each epoch.
        records: retain records that are read, the first ones.
    """

    floor: float = 0.9
    every: int | None = None
    records: int = 500

    def __post_init__(self) -> None:
        """Refuses numbers without meaning."""
        if not 0 < self.floor <= 1:
            raise InputError(f"floor is a share of the original's accuracy, above 0 and at most 1, not {self.floor}.")
        check_looks(self.every, self.records)

    @property
    def sources(self) -> tuple[str, ...]:
        """The retain set."""
        return (RETAIN,)

    def start(self, look: Look) -> StopperState:
        """Measures the original.

        Raises:
            UnfitModelError: it gets nothing right, so that nothing could be lost.
        """
        accuracy = look.token_accuracy(RETAIN, self.records)
        if accuracy == 0:
            raise UnfitModelError("The original gets no token of the retain set right, so a share of that is no floor.")
        return {"start": [accuracy]}

    def update(self, state: StopperState, terms: Mapping[str, float], look: Look) -> Verdict:
        """Compares with the original when it is time."""
        if not look.due(self.every):
            return Verdict(state, None)
        accuracy, least = look.token_accuracy(RETAIN, self.records), self.floor * state["start"][0]
        state = {**state, "last": [accuracy]}
        if accuracy >= least:
            return Verdict(state, None)
        return Verdict(
            state, f"token accuracy on the retain set, {accuracy:.4g}, fell below {self.floor:g} of the original's"
        )


def check_looks(every: int | None, records: int) -> None:
    """Refuses looks that never come or see nothing."""
    if (every is not None and every < 1) or records < 1:
        raise InputError(f"every={every}, records={records}: both are at least 1.")
