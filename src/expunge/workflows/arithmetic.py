"""What a run of a large model will take, by arithmetic and the speed of a matrix product here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from expunge.data.record import Record
from expunge.methods.base import LossMethod
from expunge.methods.recipe import Recipe
from expunge.models.load import build_model
from expunge.registry import parameter_choices, perturbations
from expunge.training.step import view_specs
from expunge.workflows.request import Request

LIBRARIES_BYTES = 500_000_000  # resident before any weight is read: Python, torch and transformers


def estimate(
    request: Request,
    recipe: Recipe,
    splits: Mapping[str, Sequence[Record]],
    config: Any,
    tokenizer: Any,
    steps: int,
    tokens: Mapping[str, int],
) -> tuple[int, float, float, int]:
    """Memory in bytes, seconds of training and of the audit, and parameters.

    6 operations for each weight and token trained, 2 for each read, at the speed of a product here.
    """
    with torch.device("meta"):
        model = build_model(config, seed=0)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        choice = recipe.axes.parameters.create(parameter_choices)
        rebuilt = choice.rebuilt(model)
        changed = choice.apply(model)
    share = sum(weight.numel() for weight in changed.parameters() if weight.requires_grad) / parameters
    speed = _operations_per_second()
    trained = steps * tokens_of_step(recipe, splits, tokens)
    train_seconds = 6 * parameters * trained / speed
    audit_seconds = 2 * parameters * sum(tokens.values()) * 4 * (2 + len(request.retrained)) / speed
    memory = int(4 * (parameters * recipe.memory_factor(share) + rebuilt)) + LIBRARIES_BYTES
    return memory, train_seconds, audit_seconds, parameters


def tokens_of_step(recipe: Recipe, splits: Mapping[str, Sequence[Record]], tokens: Mapping[str, int]) -> float:
    """Tokens trained in one step: of every view, and of the forget side as often as an adversary wants it."""

    def mean(split: str) -> float:
        return tokens.get(split, 0) / max(1, len(splits.get(split, ())))

    if not isinstance(recipe.method, LossMethod):
        views = sum(mean(split) for split in ("forget", "retain") if split in splits)
        return min(recipe.training.batch_size, max(1, len(splits["forget"]))) * views
    specs = view_specs(recipe.method, recipe.retain_term)
    main = specs[0].source
    passes = recipe.axes.perturb.create(perturbations).passes
    views = sum(mean(spec.source) * (passes if spec.source == main else 1.0) for spec in specs)
    return float(min(recipe.training.batch_size, max(1, len(splits[main]))) * views)


def _operations_per_second(size: int = 1024, repeats: int = 4) -> float:
    left, right = torch.rand(size, size), torch.rand(size, size)
    times = [timed(lambda: left @ right) for _ in range(repeats)]
    return 2 * size**3 / min(times)


def timed(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
