"""Saves what a run made in the dtype of its weights, and makes sure that the files hold what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from expunge.data.templates import rendering_of
from expunge.errors import InputError, UnknownNameError
from expunge.methods.base import InferenceMethod
from expunge.methods.recipe import Recipe
from expunge.models.carry import left_out
from expunge.models.load import load_model, save_model, weights_digest
from expunge.storage.run import RunFolder

DTYPES = ("float32", "bfloat16", "float16")


def check_dtype(dtype: str | None, recipe: Recipe) -> None:
    """Refuses a value of ``--dtype`` that is none, or that a method without new weights cannot use.

    Raises:
        InputError: such a value.
    """
    if dtype is None:
        return
    if dtype not in DTYPES:
        raise UnknownNameError(f"The weights cannot be saved as {dtype!r}; --dtype accepts {', '.join(DTYPES)}.")
    if isinstance(recipe.method, InferenceMethod):
        raise InputError(f"The method {recipe.name!r} saves no weights; leave out --dtype.")


def saved_dtype(model: Any, wanted: str | None) -> torch.dtype:
    """Returns the dtype that the result will be saved in.

    Args:
        model: as it was loaded.
        wanted: value of ``--dtype``; None for the dtype that the model was loaded in.

    Raises:
        InputError: weights of the model are too large for the wanted dtype.
    """
    if wanted is None:
        found: torch.dtype = model.dtype
        return found
    dtype: torch.dtype = getattr(torch, wanted)
    check_range(model, dtype)
    return dtype


def check_range(model: Any, dtype: torch.dtype) -> None:
    """Refuses finite weights that would be infinite in a dtype.

    Raises:
        InputError: such a weight, by its name.
    """
    limit = torch.finfo(dtype).max
    for name, weight in model.named_parameters():
        largest = float(weight.detach().abs().amax()) if weight.numel() else 0.0
        if limit < largest < torch.inf:
            raise InputError(
                f"The weight {name} has values up to {largest:.3g}, and {str(dtype).removeprefix('torch.')} ends at "
                f"{limit:.3g}. Pass --dtype bfloat16 or --dtype float32."
            )


def save_and_reload(model: Any, tokenizer: Any, run: RunFolder, dtype: torch.dtype, source: Path) -> str:
    """Saves the model with the other files of the one it was made from, loads it again and returns its digest.

    Raises:
        InputError: weights too large for the dtype, or a folder that does not load as the model that was trained.
    """
    steps = run.phases.begin("save the model", 1)
    check_range(model, dtype)
    save_model(model, tokenizer, run.model, dtype=dtype, source=source, replace=True)
    if count := left_out(source):
        run.events.append(
            "warning",
            text=f"{count} entries of the model folder were not copied to the new model: pickles, other weights, code, "
            "data files, hidden files and subfolders stay where they are.",
        )
    loaded = load_model(run.model, rendering=rendering_of(tokenizer)).model
    digest = weights_digest(loaded)
    # Some architectures are loaded in float32 whatever they are saved in.
    if weights_digest(loaded.to(dtype)) != weights_digest(model.to(dtype)):
        raise InputError(
            "The saved model does not load as the model that was trained; nothing in this folder can be trusted."
        )
    steps.end()
    return digest
