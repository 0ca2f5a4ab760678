"""What a model says about one batch: read lazily, once, with the output layer on answer positions only.

Shapes: B sequences, T tokens, V vocabulary, D width, N scored tokens of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from expunge.data.batch import Batch
from expunge.errors import InputError
from expunge.functional.logprobs import packed_logps, predicting_mask, scored_positions, unpack
from expunge.models.modules import blocks, output_head

Intervention = Callable[[Tensor], Tensor]


def read(
    model: nn.Module,
    batch: Batch,
    *,
    hidden_layers: tuple[int, ...] = (),
    inputs_embeds: Tensor | None = None,
    interventions: Mapping[int, Intervention] | None = None,
) -> Reading:
    """Returns a reading of ``model`` on ``batch``; the forward pass runs at the first access.

    Args:
        model: a transformers causal language model, with or without a peft adapter, never its DDP or FSDP wrapper.
        batch: tokens and labels, on the model's device.
        hidden_layers: blocks whose output ``hidden`` will give.
        inputs_embeds: (B, T, D) in place of the token ids.
        interventions: block number to a function of its output (B, T, D), for patching and latent adversaries.
    """
    return Reading(model, batch, hidden_layers, inputs_embeds, interventions or {})


class Reading:
    """Numbers of one model on one batch. Train or evaluation mode and gradients are the caller's choice."""

    def __init__(
        self,
        model: nn.Module,
        batch: Batch,
        hidden_layers: tuple[int, ...],
        inputs_embeds: Tensor | None,
        interventions: Mapping[int, Intervention],
    ) -> None:
        self._model = model
        self._batch = batch
        self._hidden_layers = hidden_layers
        self._inputs_embeds = inputs_embeds
        self._interventions = interventions

    @cached_property
    def mask_BT(self) -> Tensor:
        """True where a token is scored."""
        return scored_positions(self._batch.labels_BT)

    @cached_property
    def labels(self) -> Tensor:
        """Scored token ids (N,), row by row."""
        return self._batch.labels_BT[self.mask_BT]

    @property
    def logits(self) -> Tensor:
        """Logits (N, V) that predict the scored tokens, as the model itself would return them."""
        return self._forward[0]

    def hidden(self, layer: int) -> Tensor:
        """Output (B, T, D) of one of the declared blocks."""
        if layer not in self._hidden_layers:
            raise InputError(f"Layer {layer} was not declared for this reading; declared: {self._hidden_layers}.")
        return self._forward[1][layer]

    @cached_property
    def token_logps(self) -> Tensor:
        """Log-probability (B, T) of each scored token, nats; 0 elsewhere."""
        return unpack(packed_logps(self.logits, self.labels), self.mask_BT)

    @cached_property
    def sequence_logps(self) -> Tensor:
        """Log-probability (B,) of each answer: the sum over its tokens, nats."""
        return self.token_logps.sum(-1)

    @cached_property
    def mean_logps(self) -> Tensor:
        """Mean log-probability (B,) per answer token, nats."""
        return self.sequence_logps / self.mask_BT.sum(-1).clamp(min=1)

    @cached_property
    def _forward(self) -> tuple[Tensor, dict[int, Tensor]]:
        batch = self._batch
        inputs = {"input_ids": batch.input_ids_BT} if self._inputs_embeds is None else {"inputs_embeds": self._inputs_embeds}
        with ExitStack() as stack:
            hidden = stack.enter_context(_tapped_blocks(self._model, self._hidden_layers, self._interventions))
            calls = stack.enter_context(_packed_head(self._model, predicting_mask(batch.labels_BT)))
            output = self._model(**inputs, attention_mask=batch.attention_mask_BT, use_cache=False)
        if len(calls) != 1:
            raise InputError(
                f"{type(self._model).__name__} calls its output layer {len(calls)} times in one forward pass; "
                "Expunge reads models that call it once."
            )
        return output.logits[0], hidden


@contextmanager
def _packed_head(model: nn.Module, mask_BT: Tensor) -> Iterator[list[int]]:
    """Hands the output layer only the positions of ``mask_BT``, as (1, N, D).

    Whatever the model does after it (bias, soft-capping, logit scale) acts on each position alone and so is right by itself.
    """
    calls: list[int] = []

    def pack(head: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        calls.append(1)
        hidden_BTD, *rest = inputs
        return (hidden_BTD[mask_BT][None], *rest)

    handle = output_head(model).register_forward_pre_hook(pack)
    try:
        yield calls
    finally:
        handle.remove()


@contextmanager
def _tapped_blocks(
    model: nn.Module, layers: tuple[int, ...], interventions: Mapping[int, Intervention]
) -> Iterator[dict[int, Tensor]]:
    """Collects, and changes where asked, the outputs of blocks."""
    hidden: dict[int, Tensor] = {}
    handles = []
    wanted = sorted({*layers, *interventions})
    stack = blocks(model) if wanted else []

    def tap(layer: int) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(block: nn.Module, inputs: Any, output: Any) -> Any:
            first = output[0] if isinstance(output, tuple) else output
            if layer in interventions:
                first = interventions[layer](first)
            hidden[layer] = first
            return (first, *output[1:]) if isinstance(output, tuple) else first

        return hook

    try:
        for layer in wanted:
            handles.append(stack[layer].register_forward_hook(tap(layer)))
        yield hidden
    finally:
        for handle in handles:
            handle.remove()
