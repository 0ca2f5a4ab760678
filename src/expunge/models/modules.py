"""Finds the parts of a causal language model by structure, not by name: blocks, output head, layer of a parameter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeGuard

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from expunge.errors import InputError

LayerSpec = str | int | float | Sequence[int | float]


def base_model(model: nn.Module) -> nn.Module:
    """Returns the transformers model itself, which adapters may wrap."""
    base: nn.Module = model.get_base_model() if isinstance(model, PeftModel) else model
    return base


def blocks(model: nn.Module) -> nn.ModuleList:
    """Returns the decoder blocks: the shallowest ``ModuleList`` as long as the configuration has hidden layers.

    Raises:
        InputError: the architecture has no such list.
    """
    inner = base_model(model)
    count = inner.config.get_text_config().num_hidden_layers  # type: ignore[union-attr, operator]
    found = [
        (name.count("."), module)
        for name, module in inner.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if not found:
        raise InputError(
            f"The decoder blocks of {type(inner).__name__} cannot be found: it has no module list of {count} entries, "
            "so layers cannot be read or chosen. Use a method that works on all parameters."
        )
    return min(found, key=lambda item: item[0])[1]


def output_head(model: nn.Module) -> nn.Module:
    """Returns the layer that maps hidden states to logits.

    Raises:
        InputError: the model has none, so it is not a language model.
    """
    inner = base_model(model)
    head = inner.get_output_embeddings()  # type: ignore[operator]
    if not isinstance(head, nn.Module):
        raise InputError(f"{type(inner).__name__} has no output layer; hand in a causal language model.")
    return head


def feed_forward_out(model: nn.Module, block: nn.Module) -> nn.Linear | Conv1D:
    """Returns the linear layer that writes the feed-forward part of a block back: the last one to the model's width.

    Blocks run their feed-forward part after or beside attention and register it last, whatever they call it.

    Raises:
        InputError: there is none, as in a mixture of experts whose matrices are stacked.
    """
    inner = base_model(model)
    width = inner.config.get_text_config().hidden_size  # type: ignore[union-attr, operator]
    found = [
        module
        for module in block.modules()
        if (isinstance(module, nn.Linear) and module.out_features == width)
        or (isinstance(module, Conv1D) and module.nf == width)
    ]
    # Stacked experts are no linear layer, and the last one would be that of attention.
    if not found or any(weight.ndim > 2 for weight in block.parameters()):
        raise InputError(
            f"The blocks of {type(inner).__name__} have no linear layer at the end of their feed-forward part: none "
            f"leads back to the model's width of {width}, or their matrices are stacks, as those of experts."
        )
    return found[-1]


def attention_out(model: nn.Module, block: nn.Module) -> nn.Linear | Conv1D:
    """Returns the linear layer that writes the attention part of a block back: the last one there to the model's width.

    The attention part is the one part of a block with several linear layers beside the feed-forward part.

    Raises:
        InputError: no such part, or several, as with cross-attention, or no feed-forward part to tell it from.
    """
    last = feed_forward_out(model, block)
    parts = [part for part in block.children() if len(_linears(part)) > 1 and last not in part.modules()]
    width = base_model(model).config.get_text_config().hidden_size  # type: ignore[union-attr, operator]
    found = [layer for part in parts for layer in _linears(part) if _outputs(layer) == width]
    if len(parts) != 1 or not found:
        raise InputError(
            f"The attention of {type(base_model(model)).__name__} cannot be found in its blocks: {len(parts)} of their "
            "parts have several linear layers and are not the feed-forward part, where one is expected. This "
            "architecture is not supported here."
        )
    return found[-1]


def block_linears(model: nn.Module) -> dict[str, nn.Linear | Conv1D]:
    """Returns the linear layers of all blocks by their name, each weight once: no embeddings, no output, no norms.

    Raises:
        InputError: blocks with matrices elsewhere too, as in a mixture of experts whose matrices are stacked.
    """
    inner = base_model(model)
    inside = {id(module) for block in blocks(inner) for module in block.modules()}
    found: dict[str, nn.Linear | Conv1D] = {}
    held: set[int] = set()
    for name, module in inner.named_modules():
        if id(module) in inside and isinstance(module, (nn.Linear, Conv1D)) and id(module.weight) not in held:
            found[name] = module
            held.add(id(module.weight))
    inner_matrices = (item for block in blocks(inner) for item in block.parameters() if item.ndim > 1)
    if odd := sum(id(item) not in held for item in inner_matrices):
        raise InputError(
            f"The blocks of {type(inner).__name__} hold {odd} matrices that are not of a linear layer, such as those "
            "of stacked experts. This architecture is not supported here."
        )
    return found


def is_linear(module: nn.Module) -> TypeGuard[nn.Linear | Conv1D]:
    """Whether a module is a linear layer, also in what it returns: some routers inherit from one and return a tuple."""
    if not isinstance(module, (nn.Linear, Conv1D)):
        return False
    if type(module).forward in (nn.Linear.forward, Conv1D.forward):
        return True
    inputs = module.weight.shape[0] if isinstance(module, Conv1D) else module.weight.shape[1]
    try:
        with torch.no_grad():
            output = module(module.weight.new_zeros(1, inputs))
    except (RuntimeError, ValueError, TypeError, IndexError):  # it takes inputs of another shape
        return False
    return isinstance(output, Tensor) and output.shape == (1, _outputs(module))


def stacked_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns the weights that are stacks of matrices (experts, rows, columns) by name, as the experts of a mixture.

    A stack has no more matrices than each has rows and columns, which tells it from projections to many heads, and is
    no weight of a layer of torch's own, such as a convolution.
    """
    return {
        name: weight
        for name, weight in model.named_parameters()
        if weight.ndim == 3
        and 1 < weight.shape[0] <= min(weight.shape[1:])
        and not type(model.get_submodule(name.rpartition(".")[0])).__module__.startswith("torch.")
    }


def _linears(part: nn.Module) -> list[nn.Linear | Conv1D]:
    return [module for module in part.modules() if isinstance(module, (nn.Linear, Conv1D))]


def _outputs(layer: nn.Linear | Conv1D) -> int:
    return int(layer.nf if isinstance(layer, Conv1D) else layer.out_features)


def layer_map(model: nn.Module) -> dict[str, int]:
    """Returns the layer of every parameter inside a block, by its name in ``model``; shared ones under each name."""
    owner = {id(parameter): layer for layer, block in enumerate(blocks(model)) for parameter in block.parameters()}
    named = model.named_parameters(remove_duplicate=False)
    return {name: owner[id(parameter)] for name, parameter in named if id(parameter) in owner}


def layer_of(model: nn.Module, parameter_name: str) -> int | None:
    """Returns the layer of a parameter, by identity of modules; None outside the blocks (embeddings, final norm, head).

    Raises:
        InputError: the model has no such parameter.
    """
    try:
        model.get_parameter(parameter_name)
    except AttributeError:
        raise InputError(f"{type(model).__name__} has no parameter {parameter_name!r}.") from None
    return layer_map(model).get(parameter_name)


def resolve_layers(model: nn.Module, spec: LayerSpec) -> list[int]:
    """Returns the layers that ``spec`` names, sorted, each once.

    Args:
        model: tells the number of layers L.
        spec: ``"5-7"``, ``"0,2-3"``, ``[5, 6]``, negative numbers that count from the end (``-1``), or fractions of the
            depth with a decimal point (``"0.5-0.75"``, ``0.5``): 0.0 is the first layer, 1.0 the last, f the layer
            nearest to f (L - 1).

    Raises:
        InputError: not of this form, outside the model, or empty.
    """
    return layers_among(len(blocks(model)), spec)


def layers_among(count: int, spec: LayerSpec) -> list[int]:
    """Returns the layers that ``spec`` names among ``count``, as ``resolve_layers`` does for a model.

    Raises:
        InputError: not of this form, outside the model, or empty.
    """
    if isinstance(spec, str):
        chosen = {layer for part in spec.split(",") for layer in _range(part.strip(), count)}
    elif isinstance(spec, (int, float)):
        chosen = {_place(spec, count)}
    else:
        chosen = {_place(part, count) for part in spec}
    if not chosen:
        raise InputError("No layer is named; write for example 5-7, or 0.5 for the middle.")
    return sorted(chosen)


def _range(part: str, count: int) -> range:
    """Layers of one entry between commas."""
    match = re.fullmatch(r"(-?\d+|\d+\.\d+)(?:\s*-\s*(\d+|\d+\.\d+))?", part)
    if match is None:
        raise InputError(f"{part!r} does not name layers; write 5, 5-7, 0,2-3, -1 or fractions such as 0.5-0.75.")
    first, last = (_place(float(end) if "." in end else int(end), count) for end in (match[1], match[2] or match[1]))
    if first > last:
        raise InputError(f"The layers {part!r} run backwards; write the lower one first.")
    return range(first, last + 1)


def _place(value: object, count: int) -> int:
    """The layer at a number or at a fraction of the depth."""
    if isinstance(value, float):
        if not 0.0 <= value <= 1.0:
            raise InputError(f"The layer {value} is a fraction of the depth and must lie between 0.0 and 1.0.")
        return int(value * (count - 1) + 0.5)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{value!r} does not name a layer; give whole numbers or fractions.")
    if not -count <= value < count:
        raise InputError(f"There is no layer {value}: the model has {count} layers, 0 to {count - 1}.")
    return value % count
