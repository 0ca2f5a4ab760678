"""How many optimizer steps a recipe takes, known before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from expunge.data.record import Record
from expunge.methods.base import EditMethod, ExactMethod, HelperSpec, LossMethod
from expunge.methods.preset import Training
from expunge.methods.recipe import Recipe
from expunge.training.loop import total_steps

Splits = Mapping[str, Sequence[Record]]


def count_steps(recipe: Recipe, splits: Splits) -> int:
    """Returns the steps of a recipe, its earlier stages and its helper models included."""
    return sum(own_steps(part, splits) for part in recipe.parts)


def own_steps(recipe: Recipe, splits: Splits) -> int:
    """Returns the steps of one stage: those of its training loop, or those of the helper models of an edit."""
    if isinstance(recipe.method, EditMethod):
        return sum(helper_steps(recipe.training, spec, splits) for spec in recipe.method.helpers())
    return loop_steps(recipe, splits) or 0


def loop_steps(recipe: Recipe, splits: Splits) -> int | None:
    """Returns the steps of the training loop of one stage; None for a method without a loop."""
    method = recipe.method
    if isinstance(method, LossMethod):
        return total_steps(recipe.training, len(splits[method.views()[0].source]))
    if isinstance(method, ExactMethod):
        return total_steps(recipe.training, len(splits["retain"]) + len(splits["forget"]))
    return None


def helper_steps(training: Training, spec: HelperSpec, splits: Splits) -> int:
    """Returns the steps that train one helper model."""
    return total_steps(replace(training, epochs=spec.epochs, max_steps=None), len(splits[spec.trained_on]))
