"""Quantisation brings back what small changes of the weights had hidden.

Zhang et al., 2024, https://arxiv.org/abs/2410.16454. NF4: Dettmers et al., 2023, https://arxiv.org/abs/2305.14314.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from expunge.attacks.base import AttackTask, ModelAttack, Point, Threat
from expunge.attacks.saved import Saved, load_original
from expunge.errors import InputError
from expunge.functional.quantise import NF4_GROUP, Quantised, nf4, round_to_nearest
from expunge.models.load import LoadedModel
from expunge.models.modules import block_linears
from expunge.registry import attacks

Layers = Mapping[str, nn.Linear | Conv1D]
_THREAT = Threat("quantisation", "weights", "Zhang et al., 2024, https://arxiv.org/abs/2410.16454")
CODES, CHANGED = "codes_differing", "weights_changed"


@dataclass(frozen=True, kw_only=True)
class _Quantisation(ModelAttack):
    """Rounds the linear layers of the blocks; embeddings, output layer, norms and biases keep their precision.

    Details, where there is an original: ``weights_changed``, the share of these weights that have another value than
    the original's, in the coarser of two dtypes; and ``codes_differing``, the share whose code is another one.
    """

    threat: ClassVar[Threat] = _THREAT
    axis: ClassVar[str] = "bits of a weight"
    from_zero: ClassVar[bool] = False

    @property
    def marks(self) -> int:
        """As it is, and at each precision."""
        return 1 + len(self._precisions())

    def act(self, loaded: LoadedModel, task: AttackTask, fold: int) -> Iterator[Point]:
        """Rounds to each precision in turn, always from the saved weights."""
        layers = block_linears(loaded.model)
        saved = Saved({name: layer.weight for name, layer in layers.items()})
        original = _original(layers, loaded, task)
        changed = {CHANGED: _changed(layers, original)} if original else {}
        yield Point(0, details=changed)
        for bits in self._precisions():
            task.check_stop(attacks.name_of(self))
            differing = self._round(layers, saved, original, bits)
            yield Point(bits, details={**changed, CODES: differing} if original else {})

    @abstractmethod
    def _precisions(self) -> tuple[int, ...]:
        """Numbers of bits, in the order of the curve."""

    @abstractmethod
    def _quantised(self, weights: Tensor, bits: int) -> Quantised:
        """Rounds a matrix, inputs last."""

    def _round(self, layers: Layers, saved: Saved, original: Mapping[str, Tensor], bits: int) -> float:
        """Puts rounded weights in place and returns the share of codes that are not the original's."""
        differing = total = 0

        def rounded(name: str, kept: Tensor) -> Tensor:
            nonlocal differing, total
            weights, codes = self._quantised(_inputs_last(layers[name], kept), bits)
            if original:
                others = _inputs_last(layers[name], original[name].to(kept.device))
                differing += int((codes != self._quantised(others, bits).codes).sum())
                total += codes.numel()
            return _inputs_last(layers[name], weights)  # transposes back

        saved.set(rounded)
        return differing / max(1, total)


@attacks.register("quantisation")
@dataclass(frozen=True, kw_only=True)
class Quantisation(_Quantisation):
    """Rounds weights to integers of few bits, as those who run a model in less memory do.

    Symmetric, to the nearest, scaled by the largest magnitude of each group of inputs. The paper rounds by libraries
    (GPTQ and AWQ too, which look at texts); a change of a weight below half a step is lost in all of them. Embeddings
    and the output layer are left as they are, which is common practice.

    Attributes:
        bits: precisions, from 2 to 8.
        group: inputs with one scale; 0 for whole rows.
    """

    title: ClassVar[str] = "rounding weights to integers"

    bits: tuple[int, ...] = (8, 4, 3)  # 8 and 4 in the paper
    group: int = 128  # what GPTQ and AWQ are mostly run with

    def __post_init__(self) -> None:
        """Refuses what cannot be rounded to before a model is loaded."""
        if not self.bits or len(set(self.bits)) < len(self.bits) or not all(2 <= bits <= 8 for bits in self.bits):
            raise InputError(f"Weights are rounded to 2 to 8 bits, each once, not to {tuple(self.bits)}.")
        if self.group < 0:
            raise InputError(f"A group has at least one input, not {self.group}; 0 makes one group of each row.")

    def _precisions(self) -> tuple[int, ...]:
        return self.bits

    def _quantised(self, weights: Tensor, bits: int) -> Quantised:
        return round_to_nearest(weights, bits, self.group)


@attacks.register("quantisation_nf4")
@dataclass(frozen=True, kw_only=True)
class QuantisationNF4(_Quantisation):
    """Rounds weights to the 16 levels of NF4, as loading a model in 4 bits for QLoRA does.

    Groups run along the inputs of each output, and their scales are not quantised a second time.

    Attributes:
        group: inputs with one scale; 0 for whole rows.
    """

    title: ClassVar[str] = "rounding weights to NF4"

    group: int = NF4_GROUP

    def __post_init__(self) -> None:
        """Refuses what cannot be rounded to before a model is loaded."""
        if self.group < 0:
            raise InputError(f"A group has at least one input, not {self.group}; 0 makes one group of each row.")

    def _precisions(self) -> tuple[int, ...]:
        return (4,)

    def _quantised(self, weights: Tensor, bits: int) -> Quantised:
        return nf4(weights, self.group)


def _inputs_last(layer: nn.Linear | Conv1D, weights: Tensor) -> Tensor:
    return weights.T if isinstance(layer, Conv1D) else weights


def _original(layers: Layers, loaded: LoadedModel, task: AttackTask) -> dict[str, Tensor]:
    """The original's weights of the same layers; empty without an original, or one of another shape."""
    if task.original is None:
        return {}
    found = {name: layer.weight.detach() for name, layer in block_linears(load_original(loaded, task).model).items()}
    if {name: weight.shape for name, weight in found.items()} != {
        name: layer.weight.shape for name, layer in layers.items()
    }:
        task.warn("The original has other layers than this model, so quantised weights are not compared with its own.")
        return {}
    return found


def _changed(layers: Layers, original: Mapping[str, Tensor]) -> float:
    changed = total = 0
    for name, layer in layers.items():
        own, other = layer.weight.detach(), original[name].to(layer.weight.device)
        # In the coarser of two dtypes: saving in bfloat16 moves every weight and changes nothing.
        coarser = min(own.dtype, other.dtype, key=lambda dtype: torch.finfo(dtype).bits)
        changed += int((own.to(coarser) != other.to(coarser)).sum())
        total += own.numel()
    return changed / max(1, total)
