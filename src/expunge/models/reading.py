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

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from expunge.data.batch import Batch, Example, collate
from expunge.data.batching import length_buckets
from expunge.errors import InputError
from expunge.functional.logprobs import packed_logps, predicting_mask, scored_positions, unpack
from expunge.models.modes import evaluating
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

    @property
    @abstractmethod
    def hidden_states(self) -> Mapping[int, Tensor]:
        """(B, T, D) output of each block that was asked for, lowest first; interventions included, padding too."""

    def hidden(self, layer: int) -> Tensor:
        """(B, T, D) output of one block, interventions included; padding is not masked.

        Raises:
            InputError: the layer was not declared in ``hidden_layers``.
        """
        if layer not in self.hidden_states:
            raise InputError(
                f"Layer {layer} was not asked for; name it in hidden_layers (now {sorted(self.hidden_states)})."
            )
        return self.hidden_states[layer]

    @cached_property
    def token_logps(self) -> Tensor:
        """(B, T) log-probability in nats of each scored token, 0 elsewhere; at least float32."""
        return self._score()

    @cached_property
    def sequence_logps(self) -> Tensor:
        """(B,) sum over the scored tokens of each record, by their weights, in nats."""
        weights_BT = self.batch.token_weights_BT
        return (self.token_logps.masked_fill(weights_BT == 0, 0) * weights_BT).sum(-1)

    @cached_property
    def mean_logps(self) -> Tensor:
        """(B,) mean over the scored tokens of each record, by their weights, in nats per token; 0 without any."""
        totals_B = self.batch.token_weights_BT.sum(-1)
        return self.sequence_logps / totals_B.masked_fill(totals_B == 0, 1)

    def _score(self) -> Tensor:
        return unpack(packed_logps(self.logits, self.labels), self.mask_BT)


class Forward(NamedTuple):
    """What one forward pass left: packed logits (N, V), if it went so far, and the block outputs (B, T, D)."""

    logits: Tensor | None
    hidden: Mapping[int, Tensor]


class _Enough(Exception):  # noqa: N818 - no error: a forward pass that has given what was asked for
    """Leaves a forward pass after the last block that is needed."""


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
        logits: bool = True,
        around: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        super().__init__(batch)
        self._to_the_top = logits
        self._model = model
        self._inputs_embeds = inputs_embeds
        self._interventions = dict(interventions)
        self._around = around
        self._layers = resolve_layers(model, list(hidden_layers)) if hidden_layers else []

    @property
    def logits(self) -> Tensor:
        """(N, V) logits that predict the scored tokens, in the model's dtype.

        Raises:
            InputError: this reading was declared without them.
        """
        if self._forward.logits is None:
            raise InputError("This reading ends below the output layer; ask for logits to read them.")
        return self._forward.logits

    @property
    def hidden_states(self) -> Mapping[int, Tensor]:
        """(B, T, D) output of each block that was asked for, lowest first; interventions included, padding too."""
        return self._forward.hidden if self._layers else {}

    @cached_property
    def _forward(self) -> Forward:
        captured: dict[int, Tensor] = {}
        inputs = {"input_ids": self.batch.input_ids_BT} if self._inputs_embeds is None else {}
        if self._inputs_embeds is not None:
            inputs["inputs_embeds"] = self._inputs_embeds
        with ExitStack() as stack:
            stack.enter_context(self._around())
            last = None if self._to_the_top else max(self._layers, default=0)
            stack.enter_context(_block_hooks(self._model, self._layers, self._interventions, captured, last))
            calls = stack.enter_context(_packed_head(self._model, predicting_mask(self.batch.labels_BT)))
            try:
                output = self._model(**inputs, attention_mask=self.batch.attention_mask_BT, use_cache=False)
            except _Enough:
                return Forward(None, captured)
            return Forward(self._packed(output.logits, len(calls)), captured)

    def _packed(self, logits_1NV: Tensor, calls: int) -> Tensor:
        if calls != 1 or logits_1NV.shape[:2] != (1, len(self.labels)):
            raise InputError(
                f"{type(base_model(self._model)).__name__} does not call its output layer exactly once on all "
                f"positions ({calls} calls, logits {tuple(logits_1NV.shape)}), so its scored positions cannot be "
                "packed. This architecture is not supported."
            )
        return logits_1NV[0]


def read(
    model: nn.Module,
    batch: Batch,
    *,
    hidden_layers: Sequence[int] = (),
    inputs_embeds: Tensor | None = None,
    interventions: Mapping[int, Intervention] | None = None,
    logits: bool = True,
) -> Reading:
    """Returns a reading of a model on a batch; the forward pass happens at the first access, once, with gradient.

    Training or evaluation mode is the caller's.

    Args:
        model: the transformers model or a peft model around it, not a DDP or FSDP wrapper.
        batch: on the model's device.
        hidden_layers: layers that ``hidden`` may be asked for.
        inputs_embeds: (B, T, D) in place of the batch's token ids.
        interventions: layer to function (B, T, D) -> (B, T, D) of the block's output; it returns a new tensor.
        logits: whether they will be read; where not, blocks above the last of ``hidden_layers`` do not run.

    Raises:
        InputError: a layer that the model does not have; at the first access, an architecture that cannot be packed.
    """
    return ModelReading(
        model,
        batch,
        hidden_layers=hidden_layers,
        inputs_embeds=inputs_embeds,
        interventions=interventions or {},
        logits=logits,
    )


@torch.no_grad()
def example_logps(model: Any, examples: Sequence[Example], pad_id: int, batch_size: int = 16) -> list[Tensor]:
    """Log-probability (nats) of each token of each example (T,), 0 where it is not scored; in evaluation mode."""
    found: dict[int, Tensor] = {}
    with evaluating(model):
        for bucket in length_buckets([len(example.input_ids) for example in examples], batch_size):
            batch = collate([examples[place] for place in bucket], pad_id).to(model.device)
            logps_BT = read(model, batch).token_logps.cpu()
            for place, logps_T in zip(bucket, logps_BT, strict=True):
                found[place] = logps_T[: len(examples[place].input_ids)].clone()
    return [found[place] for place in range(len(examples))]


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
    model: nn.Module,
    layers: Iterable[int],
    interventions: Mapping[int, Intervention],
    captured: dict[int, Tensor],
    last: int | None = None,
) -> Iterator[None]:
    """Applies interventions to block outputs, keeps the outputs of ``layers`` and leaves the pass after ``last``."""
    wanted = sorted({*layers, *interventions, *(() if last is None else (last,))})
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
            if layer == last:
                raise _Enough
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


@torch.no_grad()
def mean_hidden(
    model: Any, examples: Sequence[Example], layers: str, pad_id: int, batch_size: int = 16
) -> Mapping[int, Tensor]:
    """Mean output (D,) of each layer over the prompts of the examples, in evaluation mode.

    A prompt is what stands before the first scored token; where all of an example is scored, all of it counts.
    """
    sums: dict[int, Tensor] = {}
    count = 0
    with evaluating(model):
        for bucket in length_buckets([len(example.input_ids) for example in examples], batch_size):
            batch = collate([examples[place] for place in bucket], pad_id).to(model.device)
            mask_BT = batch.prompts_BT
            count += int(mask_BT.sum())
            reading = read(model, batch, hidden_layers=resolve_layers(model, layers), logits=False)
            for layer, hidden_BTD in reading.hidden_states.items():
                part_D = hidden_BTD[mask_BT].double().sum(0)
                sums[layer] = sums[layer] + part_D if layer in sums else part_D
    return {layer: (total_D / count).float() for layer, total_D in sums.items()}
