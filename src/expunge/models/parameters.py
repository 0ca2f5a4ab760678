"""Which weights may change: all, a LoRA adapter, or chosen layers. An axis of every method that trains."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from peft import LoraConfig, get_peft_model
from torch import nn

from expunge.errors import InputError
from expunge.models.modules import blocks, output_head, resolve_layers
from expunge.registry import parameter_choices


class ParameterChoice(ABC):
    """Base of the parameter choices."""

    @abstractmethod
    def apply(self, model: Any) -> Any:
        """Returns the model to train, with ``requires_grad`` on what may change and only there."""

    def export(self, model: Any) -> Any:
        """Returns the plain transformers model to save."""
        return model


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

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] | None = None  # module names; None for all linear layers but the output layer
    layers: str | None = None  # such as "4-7"; None for all

    def apply(self, model: Any) -> Any:
        """Wraps the model with peft."""
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules="all-linear" if self.targets is None else list(self.targets),
            layers_to_transform=None if self.layers is None else resolve_layers(model, self.layers),
        )
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            raise InputError(f"This model cannot take the LoRA adapter: {error}") from None

    def export(self, model: Any) -> Any:
        """Merges the adapter into the weights."""
        return model.merge_and_unload()


@parameter_choices.register("layers")
@dataclass(frozen=True, kw_only=True)
class Layers(ParameterChoice):
    """Only the weights of some decoder blocks may change."""

    layers: str  # such as "5-7"
    modules: str | None = None  # regular expression on the names inside a block, such as "mlp"

    def apply(self, model: Any) -> Any:
        """Switches gradients on inside the blocks and off elsewhere."""
        model.requires_grad_(False)
        stack = blocks(model)
        tied = {id(weight) for weight in (model.get_input_embeddings().weight, output_head(model).weight)}
        chosen: list[nn.Parameter] = []
        for layer in resolve_layers(model, self.layers):
            for name, parameter in stack[layer].named_parameters():
                if self.modules is None or re.search(self.modules, name):
                    chosen.append(parameter)
        if not chosen:
            raise InputError(f"No weight in layers {self.layers} matches {self.modules!r}; nothing could change.")
        if any(id(parameter) in tied for parameter in chosen):
            raise InputError("The chosen layers hold the embedding matrix; choose others.")
        for parameter in chosen:
            parameter.requires_grad_(True)
        return model
