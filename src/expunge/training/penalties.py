"""What draws the weights back while they are changed: to where they were (L2-SP, EWC), or to 0 (l1).

A penalty is a function of the weights alone. Its gradient is added to that of the terms, once for the effective batch.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from expunge.errors import InputError
from expunge.registry import penalties

State = Mapping[str, Tensor]
Fisher = Callable[[int], Mapping[str, Tensor]]


class Penalty:
    """Base of the penalties: a frozen dataclass whose fields are the settings."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Records that it reads; they become needs of the recipe."""
        return ()

    @property
    def copies(self) -> float:
        """Copies of the trainable weights that it keeps in memory."""
        return 0.0

    def prepare(self, parameters: Mapping[str, nn.Parameter], fisher: Fisher) -> State:
        """State made at the original weights; call it before a checkpoint is loaded.

        Args:
            parameters: the trainable ones by name; they are copied.
            fisher: number of records to the Fisher diagonal of the retain set, by name of the parameter.
        """
        return {}

    def add(self, parameters: Mapping[str, nn.Parameter], state: State, progress: float) -> float:
        """Adds the penalty's gradient to ``.grad`` in place and returns its value, which is not in nats.

        Args:
            parameters: as for ``prepare``, as they are now; tensors may be sharded.
            state: from ``prepare``.
            progress: share of the optimizer steps that is done, from 0 to below 1.
        """
        return 0.0


@penalties.register("none")
@dataclass(frozen=True, kw_only=True)
class NoPenalty(Penalty):
    """No penalty."""


@penalties.register("l2_sp")
@dataclass(frozen=True, kw_only=True)
class L2SP(Penalty):
    """``weight * ||theta - theta_0||^2``, L2-SP. Li et al., 2018, https://arxiv.org/abs/1802.01483.

    Plain weight decay draws to 0, this to the original.
    """

    weight: float = 1e-2

    def __post_init__(self) -> None:
        """Refuses a weight that cannot be meant."""
        _check(self.weight)

    @property
    def copies(self) -> float:
        """The original weights."""
        return 1.0

    def prepare(self, parameters: Mapping[str, nn.Parameter], fisher: Fisher) -> State:
        """Copies the weights."""
        return _copied(parameters) if self.weight else {}

    @torch.no_grad()
    def add(self, parameters: Mapping[str, nn.Parameter], state: State, progress: float) -> float:
        """Adds ``2 weight (theta - theta_0)``."""
        if not self.weight:
            return 0.0
        total = 0.0
        for name, parameter in parameters.items():
            shift = parameter - state[name]
            _add(parameter, 2 * self.weight * shift)
            total += _sum(shift.square())
        return self.weight * total


@penalties.register("ewc")
@dataclass(frozen=True, kw_only=True)
class EWC(Penalty):
    """``weight / 2 * sum F (theta - theta_0)^2``, elastic weight consolidation.

    Kirkpatrick et al., 2017, https://arxiv.org/abs/1612.00796. F is the Fisher diagonal of retain records at the
    original weights; values above a percentile are set to it, since a few large ones would hold all the rest.

    Attributes:
        weight: of the penalty.
        records: retain records that F is the mean of.
        clip: share of the values of F, over all weights, that are left as they are.
    """

    weight: float = 1.0
    records: int = 500
    clip: float = 0.99

    def __post_init__(self) -> None:
        """Refuses numbers without meaning."""
        _check(self.weight)
        if self.records < 1 or not 0 < self.clip <= 1:
            raise InputError(f"records={self.records}, clip={self.clip}: at least 1, and a share above 0 up to 1.")

    @property
    def sources(self) -> tuple[str, ...]:
        """The retain set."""
        return ("retain",)

    @property
    def copies(self) -> float:
        """The original weights and F."""
        return 2.0

    def prepare(self, parameters: Mapping[str, nn.Parameter], fisher: Fisher) -> State:
        """Copies the weights and computes F, clipped."""
        if not self.weight:
            return {}
        values = fisher(self.records)
        highest = quantile(values.values(), self.clip)
        clipped = {f"fisher/{name}": values[name].clamp(max=highest) for name in parameters}
        return {**_copied(parameters), **clipped}

    @torch.no_grad()
    def add(self, parameters: Mapping[str, nn.Parameter], state: State, progress: float) -> float:
        """Adds ``weight F (theta - theta_0)``."""
        if not self.weight:
            return 0.0
        total = 0.0
        for name, parameter in parameters.items():
            shift = parameter - state[name]
            slope = state[f"fisher/{name}"] * shift
            _add(parameter, self.weight * slope)
            total += _sum(slope * shift)
        return self.weight / 2 * total


@penalties.register("l1")
@dataclass(frozen=True, kw_only=True)
class L1(Penalty):
    """``weight * ||theta||_1``, which makes weights sparse. Jia et al., 2023, https://arxiv.org/abs/2304.04934.

    Attributes:
        weight: at the first step.
        decay: whether it falls in a straight line to 0 over the run.
    """

    weight: float = 5e-6
    decay: bool = True

    def __post_init__(self) -> None:
        """Refuses a weight that cannot be meant."""
        _check(self.weight)

    @torch.no_grad()
    def add(self, parameters: Mapping[str, nn.Parameter], state: State, progress: float) -> float:
        """Adds ``weight sign(theta)``; 0 where the weight is 0."""
        weight = self.weight * (1 - progress) if self.decay else self.weight
        if not weight:
            return 0.0
        for parameter in parameters.values():
            _add(parameter, weight * parameter.sign())
        return weight * sum(_sum(parameter.abs()) for parameter in parameters.values())


def quantile(tensors: Iterable[Tensor], share: float) -> float:
    """Returns the least value that at least this share of all values do not exceed; values are at least 0.

    Equals ``sorted(values)[ceil(share * count) - 1]`` in float32. No copy is sorted: the order of floats that are not
    negative is that of their bits, so 31 passes of counting find it, also over sharded tensors.
    """
    found = list(tensors)
    wanted = math.ceil(share * sum(tensor.numel() for tensor in found) - 1e-9)
    low, high = 0, 0x7F800000  # the bits of 0 and of infinity
    while low < high:
        middle = (low + high) // 2
        value = _float_of(middle)
        if sum(_sum(tensor <= value) for tensor in found) >= wanted:
            high = middle
        else:
            low = middle + 1
    return _float_of(low)


def _float_of(bits: int) -> float:
    value: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return value


def _copied(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def _add(parameter: nn.Parameter, gradient: Tensor) -> None:
    if parameter.grad is None:  # no term reads it, the penalty does
        parameter.grad = gradient
    else:
        parameter.grad += gradient


def _sum(tensor: Tensor) -> float:
    """Sum over all entries, of all processes where the tensor is sharded."""
    summed = tensor.sum(dtype=torch.float64)
    return float(summed.full_tensor() if isinstance(summed, DTensor) else summed)


def _check(weight: float) -> None:
    if not math.isfinite(weight) or weight < 0:
        raise InputError(f"The weight of a penalty is a finite number of at least 0, not {weight}.")
