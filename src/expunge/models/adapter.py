"""Adapters in peft's layout, as others hand them in: read onto the model that they stand beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open

from expunge.data.templates import DEFAULT, Rendering
from expunge.errors import InputError, UnsafeModelError
from expunge.models.load import LoadedModel, load_model

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def is_adapter(path: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (path / CONFIG).is_file()


def check_adapter(path: Path) -> None:
    """Checks that an adapter loads without running code from its folder.

    Raises:
        UnsafeModelError: its only weights are pickles, or its configuration names a module to import.
        InputError: its configuration cannot be read, or a whole model lies in the folder too.
    """
    if (path / "config.json").is_file() or (path / "model.safetensors").is_file():
        raise InputError(f"{path.name!r} holds a model and an adapter; hand in a folder with one of them.")
    try:
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{CONFIG} of the adapter cannot be read; save it again with save_pretrained.") from None
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise InputError(f"{CONFIG} is not that of a peft adapter: it has no peft_type.")
    if config.get("megatron_config"):
        raise UnsafeModelError(f"{CONFIG} names a module to import (megatron_config); Expunge never does. Remove it.")
    if not (path / WEIGHTS).is_file():
        raise UnsafeModelError(
            f"The adapter has no {WEIGHTS}; Expunge reads safetensors only. Convert it where you trust its source, "
            "with save_pretrained."
        )


def load_with_adapter(base: str, adapter: str | Path, *, rendering: Rendering = DEFAULT) -> LoadedModel:
    """Loads a model with an adapter merged into its weights, in their dtype.

    Raises:
        InputError: the adapter is not one for this model, or of a kind that cannot be merged.
    """
    check_adapter(Path(adapter))
    loaded = load_model(base, rendering=rendering)
    try:
        wrapped: Any = PeftModel.from_pretrained(loaded.model, str(adapter), local_files_only=True)
        _check_all_used(wrapped, Path(adapter) / WEIGHTS)
        merged = wrapped.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError, OSError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"The adapter cannot be put on the original model ({type(error).__name__}); hand in the model that it was "
            "trained on with --original, or merge it with peft and hand in that folder."
        ) from error
    return LoadedModel(merged.eval(), loaded.tokenizer, str(adapter))


def _check_all_used(wrapped: Any, weights: Path) -> None:
    """Refuses an adapter of which peft takes only a part: it warns and leaves the rest at its first values."""
    with safe_open(str(weights), framework="pt") as file:
        given = set(file.keys())
    wanted = set(get_peft_model_state_dict(wrapped))
    if given != wanted:
        raise InputError(
            f"{len(given ^ wanted)} tensors of the adapter do not fit the original model, so that it would be applied "
            "in part or not at all; hand in the model that it was trained on with --original."
        )
