"""What a stopper is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from expunge.registry import stoppers
from expunge.training.look import Look

StopperState = dict[str, list[float]]


class Verdict(NamedTuple):
    """New state, and why to stop (None: go on)."""

    state: StopperState
    reason: str | None


class Stopper(ABC):
    """Base of the stoppers: a frozen dataclass whose fields are the settings."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Records that it reads, whatever the views of the method are; they become needs of the recipe."""
        return ()

    def start(self, look: Look) -> StopperState:
        """State before the first step, read off the model as it was handed in; not called when a run is resumed."""
        return {}

    @abstractmethod
    def update(self, state: StopperState, terms: Mapping[str, float], look: Look) -> Verdict:
        """Judges after one optimizer step.

        Args:
            state: of the step before.
            terms: value of each term over the effective batch.
            look: the step, and the model, which is read when asked.
        """


@stoppers.register("none")
@dataclass(frozen=True, kw_only=True)
class NoStopper(Stopper):
    """Runs all steps."""

    def update(self, state: StopperState, terms: Mapping[str, float], look: Look) -> Verdict:
        """Never stops."""
        return Verdict(state, None)
