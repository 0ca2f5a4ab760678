"""What to change after the verdict *not removed*: a number that follows from a rule, and the rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.config import build
from expunge.methods.adapt import Adapted
from expunge.methods.base import LossMethod
from expunge.methods.preset import Training
from expunge.methods.recipe import resolve

NEXT = 3.0  # times the learning rate; docs/results.md has what the next rate does
_ROUNDING = 1e-6  # of a learning rate that was typed in with three digits


def remedies(word: str, settings: Mapping[str, Any], steps: int) -> list[str]:
    """Returns sentences that say what to change; none for other verdicts, and none where no loss was minimised.

    Args:
        word: the verdict.
        settings: of the run, as in ``config.json``; empty for a model made elsewhere.
        steps: optimizer steps that the run took.
    """
    if word != "not removed" or not steps or "training" not in settings:
        return []
    if not isinstance(resolve(settings["method"], settings["settings"]).method, LossMethod):
        return []
    rate = build(Training, settings["training"], where="the run's settings").learning_rate
    rules = build(Adapted, settings["adapted"], where="the run's settings") if "adapted" in settings else None
    if rules is not None and rate < rules.learning_rate * (1 - _ROUNDING):
        return [_raised(rate, rules.learning_rate, f"the default for this model is {rules.rate_rule}")]
    if rules is not None and rules.steps is not None and steps < rules.steps:
        return [_longer(steps, rules, settings)]
    return [_raised(rate, NEXT * rate, f"try {NEXT:g} times the last rate while nothing is removed, and watch utility")]


def _raised(rate: float, other: float, why: str) -> str:
    return f"Raise the learning rate from {rate:.3g} to {other:.3g} (--set learning_rate={other:.3g}): {why}."


def _longer(steps: int, rules: Adapted, settings: Mapping[str, Any]) -> str:
    """More steps, with every flag that is needed for them."""
    flags = [f"--set epochs={rules.epochs:.3g}"]
    if settings["training"]["max_steps"] is not None:
        flags.append(f"--set max_steps={rules.steps}")
    if settings["axes"]["stopper"]["name"] != "none":
        flags.append("--stopper none")
    did = "1 step" if steps == 1 else f"{steps} steps"
    return f"Train for longer ({' '.join(flags)}): the run took {did}, and the default is at least {rules.steps}."
