"""Whether the weights of a folder fit its configuration, by the safetensors headers alone."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from expunge.errors import InputError
from expunge.models.folder import ModelFolder, saved_dtypes, saved_shapes
from expunge.models.load import check_names, check_pad_row
from expunge.models.tokenizer import load_config


def check_headers(folder: ModelFolder) -> None:
    """Refuses what ``load_model`` would refuse for its weights: names or shapes that the model does not have.

    transformers itself compares them, with tensors that have a shape and no values, so that it renames, ties and
    ignores weights as it does when it loads them.

    Raises:
        InputError: weights are missing, left over or of another shape, or the configuration makes no model.
    """
    saved_dtypes(folder.weights)
    config = load_config(folder.path)
    check_pad_row(config)
    shapes = saved_shapes(folder.weights)
    layers = getattr(config.get_text_config(), "num_hidden_layers", None) or 0
    if layers > len(shapes):  # building so many could take hours
        raise InputError(
            f"config.json of {folder.path.name!r} has {layers} layers, and its weights have {len(shapes)} tensors. "
            "Use the config.json that belongs to these weights."
        )
    try:
        info = _compared(config, shapes)
    except (ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"The model {folder.path.name!r} cannot be loaded: {reason}") from error
    except (RuntimeError, NotImplementedError):
        return  # an architecture that computes with its weights while it is built; loading it will tell
    check_names(folder, info)


def _compared(config: PretrainedConfig, shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """What transformers reports of weights with these names and shapes; mismatched ones by their names."""
    with torch.device("meta"):
        kind = type(AutoModelForCausalLM.from_config(config, trust_remote_code=False))
    state = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    _, info = kind.from_pretrained(
        None,
        config=config,
        state_dict=state,
        device_map="meta",
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    mismatched = [name if isinstance(name, str) else name[0] for name in info.get("mismatched_keys") or ()]
    return {**info, "mismatched_keys": mismatched}
