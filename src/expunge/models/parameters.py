"""Which weights may change: all, a LoRA adapter, or chosen layers. An axis of every method that trains."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from expunge.errors import DivergedError, InputError
from expunge.models.modules import (
    blocks,
    feed_forward_out,
    is_linear,
    layer_map,
    layers_among,
    output_head,
    resolve_layers,
    stacked_matrices,
)
from expunge.registry import parameter_choices

UNTOLD = 0.01  # share of the weights in the layers, below which what LoRA leaves out is not told: routers and the like


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

    def left_out(self, model: Any) -> str | None:
        """Returns a sentence about weights of a plain model that this choice cannot change; None where it can."""
        return None

    def rebuilt(self, model: Any) -> int:
        """Returns how many weights of a plain model each forward pass computes anew and keeps for the gradient."""
        return 0


@parameter_choices.register("all")
@dataclass(frozen=True, kw_only=True)
class AllParameters(ParameterChoice):
    """Every weight may change."""

    def apply(self, model: Any) -> Any:
        """Switches all gradients on."""
        return model.requires_grad_(True)


class _Selected(NamedTuple):
    """Linear layers and stacks of matrices to adapt, by full name."""

    modules: dict[str, nn.Linear | Conv1D]
    stacks: dict[str, nn.Parameter]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights of both."""
        return {**{name: module.weight for name, module in self.modules.items()}, **self.stacks}


@parameter_choices.register("lora")
@dataclass(frozen=True, kw_only=True)
class LoRA(ParameterChoice):
    """A low-rank adapter on linear layers, merged on export. Hu et al., 2021, https://arxiv.org/abs/2106.09685.

    Stacked experts, which are no linear layers, get one adapter for each expert.
    """

    own_reference: ClassVar[bool] = True

    rank: int = 16
    alpha: float = 32.0  # the update is scaled by alpha / rank
    dropout: float = 0.0
    # Names of modules or stacks, as "q_proj" or "experts.down_proj"; None for all but the output layer and single rows,
    # such as the gate of a shared expert, which no product of two factors is smaller than.
    targets: tuple[str, ...] | None = None
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
            InputError: no matrix is selected, the output layer that is tied to the embedding, a rank above the smallest
                dimension of a selected matrix, or dropout on stacked experts.
        """
        chosen = self._selected(model)
        self._check_rank(chosen)
        if chosen.stacks and self.dropout:
            raise InputError(
                f"LoRA with dropout cannot adapt stacked experts, such as {next(iter(chosen.stacks))}. Pass --lora "
                f"{self.rank}, which has no dropout, or name the linear layers to adapt in the setting targets."
            )
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=list(chosen.modules),
            target_parameters=list(chosen.stacks) or None,
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in chosen.modules.values()),
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

    def left_out(self, model: Any) -> str | None:
        """Says which share of the matrices in the layers are of another kind than those that LoRA adapts."""
        if self.targets is not None:
            return None
        adapted = {id(weight) for weight in self._selected(model).weights.values()}
        outer = {id(module.weight) for module in (*_embeddings(model), output_head(model))}
        is_chosen = self._in_layers(model)
        sizes = {
            id(weight): weight.numel()
            for name, weight in model.named_parameters()
            if weight.ndim > 1 and id(weight) not in outer and is_chosen(name)
        }
        share = sum(size for key, size in sizes.items() if key not in adapted) / sum(sizes.values())
        if share < UNTOLD:
            return None
        return (
            f"LoRA leaves {share:.0%} of the weights in the layers as they are: they belong to no linear layer and to "
            "no stack of experts. Use --layers to change all weights of some layers."
        )

    def rebuilt(self, model: Any) -> int:
        """The stacked experts: their adapter is added to the weights before they are used."""
        return sum(weight.numel() for weight in self._selected(model).stacks.values())

    def _selected(self, model: Any) -> _Selected:
        """What to adapt, by full name."""
        head, is_chosen = output_head(model), self._in_layers(model)
        modules = {
            name: module
            for name, module in model.named_modules()
            if is_linear(module)
            and self._targeted(name, by_default=module is not head and min(module.weight.shape) > 1)
            and is_chosen(f"{name}.weight")
        }
        stacks = {
            name: weight
            for name, weight in stacked_matrices(model).items()
            if (self._targeted(name) or self._targeted(name.rpartition(".")[0])) and is_chosen(name)
        }
        if not modules and not stacks:
            raise InputError(
                f"LoRA selects no linear layer: targets {self.targets}, layers {self.layers}. Targets are names of "
                "modules, such as q_proj, or of stacked experts, such as experts.down_proj."
            )
        if head.weight is model.get_input_embeddings().weight and head in modules.values():
            raise InputError(
                "The output layer is tied to the input embedding, so an adapter on it cannot be merged; leave it out "
                "of the targets."
            )
        return _Selected(modules, stacks)

    def _in_layers(self, model: Any) -> Callable[[str], bool]:
        """Whether a weight of this name is in one of the layers to adapt."""
        if self.layers is None:
            return lambda name: True
        chosen, placed = set(resolve_layers(model, self.layers)), layer_map(model)
        return lambda name: placed.get(name) in chosen

    def _check_rank(self, chosen: _Selected) -> None:
        """Refuses a rank that no product of the two factors can have, before memory is taken for them."""
        sizes = {name: min(weight.shape[-2:]) for name, weight in chosen.weights.items()}
        name = min(sizes, key=lambda name: sizes[name])
        if self.rank > sizes[name]:
            raise InputError(
                f"LoRA of rank {self.rank} is above {sizes[name]}, the smaller dimension of {name}, the smallest "
                f"matrix that it adapts. Use a rank of at most {sizes[name]}, or choose other targets."
            )

    def _targeted(self, name: str, *, by_default: bool = True) -> bool:
        if self.targets is None:
            return by_default
        return any(name == target or name.endswith(f".{target}") for target in self.targets)


def _embeddings(model: nn.Module) -> list[nn.Embedding]:
    return [module for module in model.modules() if isinstance(module, nn.Embedding)]


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
        stack, layers = blocks(model), resolve_layers(model, self.layers)
        try:
            chosen = [feed_forward_out(model, stack[layer]) for layer in layers]
        except InputError as error:
            raise InputError(
                f"{error} Pass --layers {self.layers} to change all weights of these layers, or --set 'parameters="
                f"{{name: layers, settings: {{layers: {self.layers}, modules: PATTERN}}}}' for those whose names match."
            ) from None
        model.requires_grad_(False)
        for module in chosen:
            module.weight.requires_grad_(True)
        return model
