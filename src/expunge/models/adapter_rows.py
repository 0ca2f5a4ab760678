"""Rows of the embedding that an adapter carries: tokens were added to its model before it was trained.

peft saves them as whole matrices, under names that depend on what else changes the embedding: nothing,
``modules_to_save``, an adapter on it, or trainable tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from expunge.errors import InputError

PREFIX = "base_model.model."  # of every name in the file of an adapter
BASES = ("base_layer.weight", "token_adapter.base_layer.weight", "original_module.weight")
# Which axis of a tensor counts the rows, by the end of its name.
AXES = {"weight": 0, **dict.fromkeys(BASES, 0), "lora_embedding_A": 1, "lora_B.weight": 0}


def carried_rows(
    model: Any, shapes: Mapping[str, tuple[int, ...]], copied: Collection[str], trained: Collection[int]
) -> int | None:
    """Returns how many rows the embedding of an adapter's model has, where that is not as many as the base's.

    Args:
        model: the base, which may have shapes alone.
        shapes: of the adapter's tensors, by name.
        copied: modules of which the adapter has a trained copy (``modules_to_save``).
        trained: single tokens whose rows the adapter trains.

    Raises:
        InputError: the adapter does not carry all of these rows, so that some would be random.
    """
    first, last = _places(model)
    own = int(model.get_input_embeddings().weight.shape[0])
    found = {
        shapes[name][axis]
        for place in (first, last)
        for end, axis in AXES.items()
        if len(shapes.get(name := f"{PREFIX}{place}.{end}", ())) > axis
    }
    if max(trained, default=0) >= own:
        found.add(max([*found, max(trained) + 1]))
    if found <= {own}:
        return None
    rows = next(iter(found - {own}))
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    bases = {place: _has_base(place, shapes, copied) for place in (first, last)}
    whole = {place: bases[place] or f"{PREFIX}{place}.weight" in shapes for place in (first, last)}
    lacking = [place for place in (first, last) if not whole[place] and not (place == last and tied and bases[first])]
    if lacking or len(found) > 1:
        raise InputError(
            f"The embedding of the adapter's model has {rows} rows and that of the original {own}, and the adapter "
            f"does not contain all rows of {' and '.join(lacking) or 'both'}. Pass the model with {rows} rows as "
            "--original, or save the adapter again with save_pretrained(folder, save_embedding_layers=True)."
        )
    return rows


def resize(model: Any, rows: int) -> None:
    """Gives the embedding and the output layer as many rows, in place; new ones are to be overwritten."""
    with torch.random.fork_rng(devices=[]):
        model.resize_token_embeddings(rows, mean_resizing=False)


def untie(model: Any, names: Collection[str]) -> None:
    """Gives the output layer weights of its own where an adapter is on one end of tied weights.

    Merging it into weights that both ends share would change the other end too.

    Args:
        model: the base, with the adapter in it.
        names: of the adapter's tensors.
    """
    first, last = (_inner(layer) for layer in (model.get_input_embeddings(), model.get_output_embeddings()))
    adapted = any(".lora_" in name and name.startswith(PREFIX + place) for place in _places(model) for name in names)
    if adapted and first.weight is last.weight:
        last.weight = nn.Parameter(first.weight.detach().clone())


def _inner(layer: Any) -> Any:
    """The layer itself, which an adapter may wrap."""
    return layer.get_base_layer() if isinstance(layer, LoraLayer) else layer


def _places(model: Any) -> tuple[str, str]:
    """Names of the embedding and of the output layer."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    named = {id(module): name for name, module in model.named_modules()}
    return named[id(ends[0])], named[id(ends[1])]


def _has_base(place: str, shapes: Mapping[str, tuple[int, ...]], copied: Collection[str]) -> bool:
    """Whether the adapter has the whole matrix that its changes are added to, or none is needed."""
    is_copied = any(place == name or place.endswith(f".{name}") for name in copied)
    ends = BASES if is_copied else (*BASES, "weight")
    return any(f"{PREFIX}{place}.{end}" in shapes for end in ends)
