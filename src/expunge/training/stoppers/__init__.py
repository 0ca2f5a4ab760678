"""When to stop before the last step. State is plain numbers and is checkpointed with the run."""

from expunge.training.stoppers.base import Stopper, StopperState, Verdict

__all__ = ["Stopper", "StopperState", "Verdict"]
