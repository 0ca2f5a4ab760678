"""Reads a model on one batch: log-probabilities, packed logits and hidden states, computed once, when first asked for.

Shapes: B sequences, T tokens, V vocabulary, D width, N scored tokens of the batch in row-major order.

Only the N positions that predict a scored token go through the output layer: a hook replaces its input (B, T, D) by
(1, N, D). What a model does after that layer (bias, soft-capping, a scale) is per position and applies unchanged, so
the logits equal ``model(input_ids).logits`` at these positions; the tests hold them to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from expunge.data.batch import Batch
from expunge.errors import InputError
from expunge.functional.logprobs import packed_logps, predicting_mask, scored_positions, unpack
from expunge.models.modules import base_model, blocks, output_head, resolve_layers

Intervention = Callable[[Tensor], Tensor]


class Reading(ABC):
    """Numbers of one model on one batch. No loss can tell whether they come from a model or from a cache.

    Attributes:
        mask_BT: True where a token is scored.
        labels: (N,) the scored tokens.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.mask_BT = scored_positions(batch.labels_BT)
        self.labels = batch.labels_BT[self.mask_BT]

    @property
    @abstractmethod
    def logits(self) -> Tensor:
        """(N, V) logits that predict the scored tokens, in the model's dtype."""

    @abstractmethod
    def hidden(self, layer: int) -> Tensor:
        """(B, T, D) output of a block, interventions included; padding is not masked."""

    @cached_property
    def token_logps(self) -> Tensor:
        """(B, T) log-probability in nats of each scored token, 0 elsewhere; at least float32."""
        return self._score()

    @cached_property
    def sequence_logps(self) -> Tensor:
        """(B,) sum over the scored tokens of each record, in nats."""
        return self.token_logps.sum(-1)

    @cached_property
    def mean_logps(self) -> Tensor:
        """(B,) mean over the scored tokens of each record, in nats per token; 0 where none is scored."""
        return self.sequence_logps / self.mask_BT.sum(-1).clamp(min=1)

    def _score(self) -> Tensor:
        return unpack(packed_logps(self.logits, self.labels), self.mask_BT)


class Forward(NamedTuple):
    """What one forward pass left: packed logits (N, V) and the block outputs (B, T, D) that were asked for."""

    logits: Tensor
    hidden: Mapping[int, Tensor]


class ModelReading(Reading):
    """A reading that runs the model at the first access, with the weights, mode and gradient mode of that moment."""

    def __init__(
        self,
        model: nn.Module,
        batch: Batch,
        *,
        hidden_layers: Sequence[int],
        inputs_embeds: Tensor | None,
        interventions: Mapping[int, Intervention],
        around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        super().__init__(batch)
        self._model = model
        self._inputs_embeds = inputs_embeds
        self._interventions = dict(interventions)
        self._around = around
        self._layers = resolve_layers(model, list(hidden_layers)) if hidden_layers else []

    @property
    def logits(self) -> Tensor:
        """(N, V) logits that predict the scored tokens, in the model's dtype."""
        return self._forward.logits

    def hidden(self, layer: int) -> Tensor:
        """(B, T, D) output of a block, interventions included; padding is not masked.

        Raises:
            InputError: the layer was not declared in ``hidden_layers``.
        """
        if layer not in self._layers:
            raise InputError(f"Layer {layer} was not asked for; name it in hidden_layers (now {self._layers}).")
        return self._forward.hidden[layer]

    @cached_property
    def _forward(self) -> Forward:
        captured: dict[int, Tensor] = {}
        inputs = {"input_ids": self.batch.input_ids_BT} if self._inputs_embeds is None else {}
        if self._inputs_embeds is not None:
            inputs["inputs_embeds"] = self._inputs_embeds
        with ExitStack() as stack:
            stack.enter_context(self._around())
            stack.enter_context(_block_hooks(self._model, self._layers, self._interventions, captured))
            calls = stack.enter_context(_packed_head(self._model, predicting_mask(self.batch.labels_BT)))
            output = self._model(**inputs, attention_mask=self.batch.attention_mask_BT, use_cache=False)
        logits_1NV = output.logits
        if len(calls) != 1 or logits_1NV.shape[:2] != (1, len(self.labels)):
            raise InputError(
                f"{type(base_model(self._model)).__name__} does not call its output layer exactly once on all "
                f"positions ({len(calls)} calls, logits {tuple(logits_1NV.shape)}), so its scored positions cannot be "
                "packed. This architecture is not supported."
            )
        return Forward(logits_1NV[0], captured)


def read(
    model: nn.Module,
    batch: Batch,
    *,
    hidden_layers: Sequence[int] = (),
    inputs_embeds: Tensor | None = None,
    interventions: Mapping[int, Intervention] | None = None,
) -> Reading:
    """Returns a reading of a model on a batch; the forward pass happens at the first access, once, with gradient.

    Training or evaluation mode is the caller's.

    Args:
        model: the transformers model or a peft model around it, not a DDP or FSDP wrapper.
        batch: on the model's device.
        hidden_layers: layers that ``hidden`` may be asked for.
        inputs_embeds: (B, T, D) in place of the batch's token ids.
        interventions: layer to function (B, T, D) -> (B, T, D) of the block's output; it returns a new tensor.

    Raises:
        InputError: a layer that the model does not have; at the first access, an architecture that cannot be packed.
    """
    return ModelReading(
        model, batch, hidden_layers=hidden_layers, inputs_embeds=inputs_embeds, interventions=interventions or {}
    )


@contextmanager
def _packed_head(model: nn.Module, mask_BT: Tensor) -> Iterator[list[int]]:
    """Feeds the output layer the positions of ``mask_BT`` only; yields a list with one entry for each call."""
    calls: list[int] = []
    name = type(base_model(model)).__name__

    def pack(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if not args or args[0].shape[:2] != mask_BT.shape:
            raise InputError(f"{name} does not hand its output layer all positions, so they cannot be packed.")
        calls.append(len(calls))
        return (args[0][mask_BT.to(args[0].device)].unsqueeze(0), *args[1:])

    with _removed([output_head(model).register_forward_pre_hook(pack)]):
        yield calls


@contextmanager
def _block_hooks(
    model: nn.Module, layers: Iterable[int], interventions: Mapping[int, Intervention], captured: dict[int, Tensor]
) -> Iterator[None]:
    """Applies interventions to block outputs and keeps the outputs of ``layers``."""
    wanted = sorted({*layers, *interventions})
    if not wanted:
        yield
        return
    resolve_layers(model, wanted)  # the range check
    found = blocks(model)
    kept = set(layers)

    def hook_of(layer: int) -> Callable[..., Any]:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
            # A block returns its hidden states bare or first in a tuple; output[0] of a bare tensor is batch row 0.
            hidden_BTD = output[0] if isinstance(output, tuple) else output
            if layer in interventions:
                hidden_BTD = _intervene(interventions[layer], hidden_BTD, layer)
            if layer in kept:
                captured[layer] = hidden_BTD
            return (hidden_BTD, *output[1:]) if isinstance(output, tuple) else hidden_BTD

        return hook

    with _removed([found[layer].register_forward_hook(hook_of(layer)) for layer in wanted]):
        yield


def _intervene(intervention: Intervention, hidden_BTD: Tensor, layer: int) -> Tensor:
    changed_BTD = intervention(hidden_BTD)
    if changed_BTD.shape != hidden_BTD.shape:
        raise InputError(
            f"The intervention at layer {layer} turned {tuple(hidden_BTD.shape)} into {tuple(changed_BTD.shape)}; it "
            "must keep the shape."
        )
    return changed_BTD


@contextmanager
def _removed(handles: Sequence[RemovableHandle]) -> Iterator[None]:
    """Removes hooks at the end, also after an exception."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
