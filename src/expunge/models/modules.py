"""Finds the parts of a causal language model by structure, not by a table of names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from expunge.errors import InputError


def base_model(model: Any) -> Any:
    """Returns the transformers model inside a peft wrapper, or the model itself."""
    inner = getattr(model, "get_base_model", None)
    return inner() if callable(inner) else model


def blocks(model: Any) -> nn.ModuleList:
    """Returns the decoder blocks: the shallowest ``ModuleList`` as long as the model has layers.

    Raises:
        InputError: the model has no such list.
    """
    inner = base_model(model)
    layers = inner.config.get_text_config().num_hidden_layers
    found = [
        (name.count("."), module)
        for name, module in inner.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == layers
    ]
    if not found:
        raise InputError(f"{type(inner).__name__} has no list of {layers} decoder blocks; its layers cannot be addressed.")
    return min(found, key=lambda item: item[0])[1]


def output_head(model: Any) -> nn.Module:
    """Returns the layer that maps hidden states to logits."""
    head = base_model(model).get_output_embeddings()
    if head is None:
        raise InputError(f"{type(base_model(model)).__name__} has no output layer; a causal language model is needed.")
    return head  # type: ignore[no-any-return]


def resolve_layers(model: Any, spec: str | Sequence[int]) -> list[int]:
    """Returns sorted block numbers for ``"5-7"``, ``"0,3"``, ``"-1"`` or a list of numbers; negative ones count from the end.

    Raises:
        InputError: malformed, or outside the model.
    """
    count = len(blocks(model))
    numbers: list[int] = []
    if isinstance(spec, str):
        for part in spec.split(","):
            match = re.fullmatch(r"\s*(-?\d+)\s*(?:-\s*(\d+)\s*)?", part)
            if not match:
                raise InputError(f"Layers are given as 5-7 or 0,3 and not as {spec!r}.")
            first = int(match[1])
            numbers.extend(range(first, int(match[2]) + 1) if match[2] else [first])
    else:
        numbers = list(spec)
    for number in numbers:
        if not -count <= number < count:
            raise InputError(f"Layer {number} does not exist; this model has {count}, numbered 0 to {count - 1}.")
    if not numbers:
        raise InputError(f"No layer is selected by {spec!r}.")
    return sorted({number % count for number in numbers})
