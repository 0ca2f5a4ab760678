"""Which weights may change: all, a LoRA adapter, or chosen layers. An axis of every method that trains."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from expunge.errors import DivergedError, InputError
from expunge.models.modules import blocks, feed_forward_out, layer_map, layers_among, output_head, resolve_layers
from expunge.registry import parameter_choices


class ParameterChoice(ABC):
    """Base of the parameter choices."""

    own_reference: ClassVar[bool] = False  # whether the model without what is trained is the original

    @abstractmethod
    def apply(self, model: Any) -> Any:
        """Returns the model to train, with ``requires_grad`` on what may change and only there."""

    def export(self, model: Any) -> Any:
        """Returns the plain transformers model to save."""
        return model

    def lowest_layer(self, count: int) -> int:
        """Returns the lowest layer of ``count`` that changes; 0 where weights below the layers change too.

        Raises:
            InputError: a layer that the model does not have.
        """
        return 0


@parameter_choices.register("all")
@dataclass(frozen=True, kw_only=True)
class AllParameters(ParameterChoice):
    """Every weight may change."""

    def apply(self, model: Any) -> Any:
        """Switches all gradients on."""
        return model.requires_grad_(True)


@parameter_choices.register("lora")
@dataclass(frozen=True, kw_only=True)
class LoRA(ParameterChoice):
    """A low-rank adapter on linear layers, merged on export. Hu et al., 2021, https://arxiv.org/abs/2106.09685."""

    own_reference: ClassVar[bool] = True

    rank: int = 16
    alpha: float = 32.0  # the update is scaled by alpha / rank
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None  # module names, as "q_proj"; None for all linear layers but the output layer
    layers: str | None = None  # such as "4-7"; None for all
    seed: int = 0  # of the random half of the adapter; the other half is zero

    def __post_init__(self) -> None:
        """Refuses settings without meaning."""
        if self.rank < 1 or not 0.0 <= self.dropout < 1.0:
            raise InputError(
                f"LoRA needs rank >= 1 and 0 <= dropout < 1, not rank {self.rank}, dropout {self.dropout}."
            )

    def apply(self, model: Any) -> Any:
        """Wraps the model with peft; only the adapter takes gradients, and no global generator moves.

        Raises:
            InputError: no linear layer is selected, the output layer that is tied to the embedding, or a rank above
                the smallest dimension of a selected matrix.
        """
        names = self._selected(model)
        self._check_rank(model, names)
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=names,
            fan_in_fan_out=any(isinstance(model.get_submodule(name), Conv1D) for name in names),
        )
        with torch.random.fork_rng(devices=[]):  # the adapter is initialised on the CPU
            torch.default_generator.manual_seed(self.seed)
            try:
                return get_peft_model(model, config)
            except ValueError as error:
                raise InputError(f"This model cannot take the LoRA adapter: {error}") from None

    def export(self, model: Any) -> Any:
        """Merges the adapter into the weights, in their dtype, and returns the plain transformers model.

        Raises:
            DivergedError: the adapter holds numbers that are not finite.
        """
        if not isinstance(model, PeftModel):
            raise InputError(f"{type(model).__name__} has no adapter to merge; export what apply returned.")
        try:
            return model.merge_and_unload(safe_merge=True).requires_grad_(True)
        except ValueError as error:
            raise DivergedError(f"The adapter cannot be merged: {error}") from None

    def lowest_layer(self, count: int) -> int:
        """The lowest one with an adapter."""
        return 0 if self.layers is None else layers_among(count, self.layers)[0]

    def _selected(self, model: Any) -> list[str]:
        """Full names of the linear layers to adapt."""
        head = output_head(model)
        chosen_layers = None if self.layers is None else set(resolve_layers(model, self.layers))
        placed = layer_map(model) if chosen_layers is not None else {}
        names = []
        for name, module in model.named_modules():
            if not isinstance(module, (nn.Linear, Conv1D)) or not self._targeted(name, is_head=module is head):
                continue
            if chosen_layers is None or placed.get(f"{name}.weight") in chosen_layers:
                names.append(name)
        if not names:
            raise InputError(
                f"LoRA selects no linear layer: targets {self.targets}, layers {self.layers}. Targets are names of "
                "modules, such as q_proj."
            )
        if head.weight is model.get_input_embeddings().weight and any(
            model.get_submodule(name) is head for name in names
        ):
            raise InputError(
                "The output layer is tied to the input embedding, so an adapter on it cannot be merged; leave it out "
                "of the targets."
            )
        return names

    def _check_rank(self, model: Any, names: list[str]) -> None:
        """Refuses a rank that no product of the two factors can have, before memory is taken for them."""
        sizes = {name: min(model.get_submodule(name).weight.shape) for name in names}
        name = min(sizes, key=lambda name: sizes[name])
        if self.rank > sizes[name]:
            raise InputError(
                f"LoRA of rank {self.rank} is above {sizes[name]}, the smaller dimension of {name}, the smallest "
                f"matrix that it adapts. Use a rank of at most {sizes[name]}, or choose other targets."
            )

    def _targeted(self, name: str, *, is_head: bool) -> bool:
        if self.targets is None:
            return not is_head
        return any(name == target or name.endswith(f".{target}") for target in self.targets)


@parameter_choices.register("layers")
@dataclass(frozen=True, kw_only=True)
class Layers(ParameterChoice):
    """Only the weights of some decoder blocks may change; embeddings, final norm and output layer never do."""

    layers: str  # such as "5-7"
    modules: str | None = None  # regular expression on the names inside a block, such as "mlp"

    def __post_init__(self) -> None:
        """Refuses a pattern that cannot be read."""
        try:
            re.compile(self.modules or "")
        except re.error as error:
            raise InputError(f"modules={self.modules!r} is not a regular expression: {error}.") from None

    def lowest_layer(self, count: int) -> int:
        """The lowest one named."""
        return layers_among(count, self.layers)[0]

    def apply(self, model: Any) -> Any:
        """Switches gradients on inside the blocks and off elsewhere.

        Raises:
            InputError: nothing is selected, or a weight that is also the embedding.
        """
        stack = blocks(model)
        chosen = [
            parameter
            for layer in resolve_layers(model, self.layers)
            for name, parameter in stack[layer].named_parameters()
            if self.modules is None or re.search(self.modules, name)
        ]
        if not chosen:
            raise InputError(f"No weight in layers {self.layers} matches {self.modules!r}; nothing could change.")
        tied = {id(weight) for weight in (model.get_input_embeddings().weight, output_head(model).weight)}
        if any(id(parameter) in tied for parameter in chosen):
            raise InputError("The chosen layers share a weight with the embedding or the output layer; choose others.")
        model.requires_grad_(False)
        for parameter in chosen:
            parameter.requires_grad_(True)
        return model


@parameter_choices.register("mlp_out")
@dataclass(frozen=True, kw_only=True)
class MLPOut(ParameterChoice):
    """Only the last matrix of the feed-forward part of some blocks may change (``mlp.down_proj``), without its bias."""

    layers: str  # such as "5-7"

    def lowest_layer(self, count: int) -> int:
        """The lowest one named."""
        return layers_among(count, self.layers)[0]

    def apply(self, model: Any) -> Any:
        """Switches gradients on for these matrices and off elsewhere.

        Raises:
            InputError: a block has no such linear layer.
        """
        stack = blocks(model)
        chosen = [feed_forward_out(model, stack[layer]) for layer in resolve_layers(model, self.layers)]
        model.requires_grad_(False)
        for module in chosen:
            module.weight.requires_grad_(True)
        return model
