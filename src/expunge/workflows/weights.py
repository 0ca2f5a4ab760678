"""What a model's configuration says of a recipe: whether it fits, and which learning rate and epochs it gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from expunge.data.record import Record
from expunge.methods.base import LossMethod
from expunge.methods.recipe import Recipe
from expunge.models.load import build_model, local_folder
from expunge.models.tokenizer import load_config
from expunge.registry import parameter_choices


def check_recipe(recipe: Recipe, source: str | Path) -> list[str]:
    """Refuses layers that a model does not have, and weights that cannot be trained in it.

    Args:
        recipe: what is to be run.
        source: a model whose folder has been checked.

    Returns:
        One sentence for each choice of weights that leaves out some which it looks like including.

    Raises:
        InputError: such a layer; a LoRA rank above a matrix; weights that no name of the choice matches.
    """
    config = load_config(local_folder(source))
    count = getattr(config.get_text_config(), "num_hidden_layers", None)
    if count is not None:
        recipe.check_layers(count)
    found: list[str | None] = []
    for part in recipe.parts:
        if isinstance(part.method, LossMethod):
            choice = part.axes.parameters.create(parameter_choices)
            try:
                with torch.device("meta"):
                    model = build_model(config, seed=0)
            except (RuntimeError, NotImplementedError):
                break  # an architecture that computes with its weights while it is built; the training will tell
            found.append(choice.left_out(model))
            choice.apply(model)
    return list(dict.fromkeys(filter(None, found)))


def for_model(recipe: Recipe, source: str | Path, splits: Mapping[str, Sequence[Record]]) -> Recipe:
    """Adapts the learning rate and epochs of a recipe to the hidden size of a model and the number of records.

    No weights are read. A configuration without a hidden size adapts nothing.

    Args:
        recipe: what is to be run.
        source: a model whose folder has been checked.
        splits: records by source.
    """
    width = getattr(load_config(local_folder(source)).get_text_config(), "hidden_size", None)
    return recipe if width is None else recipe.adapted_to(width, {name: len(rows) for name, rows in splits.items()})
