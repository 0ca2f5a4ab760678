"""The settings of a run as plain data: no text and no file name of the records."""

from __future__ import annotations

from typing import Any

from expunge.config import to_plain
from expunge.methods.recipe import Recipe
from expunge.workflows.identity import place_of
from expunge.workflows.inputs import SELF, Inputs
from expunge.workflows.rendering import rendering_config
from expunge.workflows.request import Request


def run_config(request: Request, recipe: Recipe, inputs: Inputs) -> dict[str, Any]:
    """Every setting of a run, without any text or file name of the records."""
    counts = {split: len(records) for split, records in inputs.splits.items()}
    held_to = {} if request.policy is None else {"policy": to_plain(request.policy)}
    return {"verb": "unlearn", **recipe_config(recipe), **source_config(request), **held_to, "records": counts}


def recipe_config(recipe: Recipe) -> dict[str, Any]:
    """What is done to the model."""
    stages = {"before": [recipe_config(stage) for stage in recipe.before]} if recipe.before else {}
    return {
        "method": recipe.name,
        "settings": to_plain(recipe.method),
        "axes": to_plain(recipe.axes),
        "training": to_plain(recipe.training),
        **({} if recipe.adapted is None else {"adapted": to_plain(recipe.adapted)}),
        **stages,
    }


def source_config(request: Request) -> dict[str, Any]:
    """Which models are read, how the records are read, and the dtype of what is saved."""
    return {
        "model": place_of(request.model),
        "base": place_of(request.base) if request.base else None,
        "max_length": request.max_length,
        "retain": "self" if request.retain == SELF else None,
        "benchmark": to_plain(request.benchmark),
        **({} if request.dtype is None else {"dtype": request.dtype}),
        **rendering_config(request.rendering),
    }


def audit_config(request: Request) -> dict[str, Any]:
    """What the audit compares with and asks; a run may be audited again with another, so it is not bound to this."""
    return {
        "retrained": [place_of(place) for place in request.retrained],
        "forms": request.forms,
        "paraphraser": request.form_choice.identity,
    }
