"""What to change after a verdict: a direction, a number where one follows from a rule, and the rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from expunge.config import build, field_names
from expunge.evaluation.verdict.policy import Thresholds
from expunge.evaluation.verdict.rules import Verdict
from expunge.methods.adapt import Adapted
from expunge.methods.base import EditMethod, ExactMethod, LossMethod
from expunge.methods.preset import Axes, Training
from expunge.methods.recipe import Recipe, resolve

Course = Literal["stronger", "gentler"]
NEXT = 3.0  # times the learning rate; docs/results.md has what the next rate does
_ROUNDING = 1e-6  # of a learning rate that was typed in with three digits
_ELSEWHERE = (
    "Unlearn again with a larger step: a higher learning rate or more epochs. How this model was made is not known, so "
    "no number follows."
)


def course_of(verdict: Verdict, limits: Thresholds) -> Course | None:
    """Returns whether the next run should do more or less; None where what decided does not say.

    A model that was *partly removed* needs more where forget metrics are left between the retrained model and the
    original, and less where they are past the retrained model or where utility alone is too low.
    """
    if verdict.word == "not removed":
        return "stronger"
    if verdict.word == "damaged":
        return "gentler"
    if verdict.word != "partly removed":
        return None
    outside = [measure for measure in verdict.measures if measure.stands(limits) == "outside"]
    held = [measure.holds(limits) for measure in outside]
    if held and all(held):
        return "stronger"
    return None if any(held) else "gentler"


def remedies(word: str, settings: Mapping[str, Any], steps: int, *, course: Course | None = "stronger") -> list[str]:
    """Returns sentences that say what to change; none for verdicts that no setting of the loop answers.

    Every *not removed* has one. *Damaged* and *partly removed* have one after a run that minimised a loss.

    Args:
        word: the verdict.
        settings: of the run, as in ``config.json``; without a method for a model made elsewhere.
        steps: optimizer steps that the run took.
        course: whether the next run should do more or less.
    """
    if word not in ("not removed", "partly removed", "damaged") or course is None:
        return []
    recipe = resolve(settings["method"], settings["settings"]) if "method" in settings else None
    if recipe is None or not isinstance(recipe.method, LossMethod):
        return [_without_a_loss(recipe)] if word == "not removed" else []
    training = build(Training, settings["training"], where="the run's settings")
    rules = build(Adapted, settings["adapted"], where="the run's settings") if "adapted" in settings else None
    if course == "gentler":
        axes = build(Axes, settings["axes"], where="the run's settings")
        return [_gentler(training.learning_rate, rules, axes, own_retain=recipe.method.own_retain)]
    return [_stronger(word, training, rules, steps, settings)]


def _stronger(word: str, training: Training, rules: Adapted | None, steps: int, settings: Mapping[str, Any]) -> str:
    rate = training.learning_rate
    if rules is not None and rate < rules.learning_rate * (1 - _ROUNDING):
        return _moved("Raise", rate, rules.learning_rate, f"the default for this model is {rules.rate_rule}")
    if rules is not None and rules.steps is not None and steps < rules.steps:
        return _longer(steps, rules, settings)
    if word == "partly removed":
        return f"Train for more epochs than {training.epochs:.3g} (--set epochs=...), and watch utility."
    why = f"try {NEXT:g} times the last rate while nothing is removed, and watch utility"
    return _moved("Raise", rate, NEXT * rate, why)


def _gentler(rate: float, rules: Adapted | None, axes: Axes, *, own_retain: bool) -> str:
    """Back to the default where the rate was higher; otherwise both settings that protect utility."""
    if rules is not None and rate > rules.learning_rate * (1 + _ROUNDING):
        return _moved("Lower", rate, rules.learning_rate, f"the default for this model is {rules.rate_rule}")
    lower = f"Lower the learning rate, which was {rate:.3g}, or"
    if axes.retain_term.name == "none" and not own_retain:
        return f"{lower} add a retain term (--retain-term)."
    return f"{lower} raise the weight of the retain term, which was {axes.retain_weight:g} (--set retain_weight=...)."


def _moved(verb: str, rate: float, other: float, why: str) -> str:
    return f"{verb} the learning rate from {rate:.3g} to {other:.3g} (--set learning_rate={other:.3g}): {why}."


def _longer(steps: int, rules: Adapted, settings: Mapping[str, Any]) -> str:
    """More steps, with every flag that is needed for them."""
    flags = [f"--set epochs={rules.epochs:.3g}"]
    if settings["training"]["max_steps"] is not None:
        flags.append(f"--set max_steps={rules.steps}")
    if settings["axes"]["stopper"]["name"] != "none":
        flags.append("--stopper none")
    did = "1 step" if steps == 1 else f"{steps} steps"
    return f"Train for longer ({' '.join(flags)}): the run took {did}, and the default is at least {rules.steps}."


def _without_a_loss(recipe: Recipe | None) -> str:
    """What to do where no learning rate of a loop decides."""
    if recipe is None:
        return _ELSEWHERE
    if isinstance(recipe.method, EditMethod):
        flags = ", ".join(f"--set {name}=..." for name in field_names(type(recipe.method)))
        return f"Make the edit stronger ({flags}), and watch utility."
    if isinstance(recipe.method, ExactMethod):
        return (
            "Check that the retain records do not state the forget records' facts; `expunge prepare` leaves those out."
        )
    return f"Choose a method that changes the weights (expunge list methods); {recipe.name} leaves them as they were."
