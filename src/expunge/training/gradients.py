"""The one place where gradients of the weights are taken."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from expunge.methods.base import LossMethod, State
from expunge.training.streams import StepData

Buffers = dict[str, Tensor]  # one tensor for each trainable parameter, by name


class Gradients:
    """Gradient of (a part of) the loss over one effective batch, summed over micro-batches and ranks.

    Args:
        accelerator: an ``accelerate.Accelerator``.
        step: the prepared ``Step``.
    """

    def __init__(self, accelerator: Any, step: nn.Module) -> None:
        self.accelerator = accelerator
        self.step = step

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """Trainable parameters by name, without the wrapper's prefix."""
        return trainable(self.accelerator.unwrap_model(self.step))

    def __call__(
        self,
        data: StepData,
        state: State,
        weights: Mapping[str, float],
        *,
        seed: int = 0,
        method: LossMethod | None = None,
    ) -> dict[str, float]:
        """Leaves the gradient of the weighted terms in ``.grad``; returns each term's value over the effective batch.

        A caller that needs a term's gradient by itself asks with the weight 0 for the others.

        Args:
            data: what this rank reads.
            state: the method's state.
            weights: of the terms, see ``Step.forward``.
            seed: of what is drawn in this step.
            method: another loss on the same views, without the retain term; None for the run's own.
        """
        self.step.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        last = len(data.micro_batches) - 1
        for number, micro_batch in enumerate(data.micro_batches):
            batches = {name: batch.to(self.accelerator.device) for name, batch in micro_batch.items()}
            wait = self.accelerator.no_sync(self.step) if number != last else contextlib.nullcontext()
            with wait:
                output = self.step(batches, state, data.totals, weights, seed=seed, method=method)
                # DDP and FSDP2 average over ranks; the shares are already parts of one sum.
                self.accelerator.backward(output.loss * self.accelerator.num_processes)
            for name, share in output.shares.items():
                sums[name] = sums.get(name, torch.zeros((), device=share.device)) + share
        return {name: float(self.accelerator.reduce(value, reduction="sum")) for name, value in sums.items()}

    def take(self) -> Buffers:
        """Takes the gradients away by parameter name; zeros where a parameter has none."""
        taken = {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach()
            for name, parameter in self.parameters.items()
        }
        self.step.zero_grad(set_to_none=True)
        return taken

    def put(self, buffers: Buffers) -> None:
        """Makes ``buffers`` the gradients."""
        for name, parameter in self.parameters.items():
            parameter.grad = buffers[name]


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that take gradients, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def inner_product(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    """Sum of the products of all entries, over the names of ``left`` that ``right`` has; all ranks must call it."""
    return sum(_whole((left[name].double() * right[name].double()).sum()) for name in left if name in right)


def clip(parameters: list[nn.Parameter], max_norm: float) -> float:
    """Scales all gradients to a global norm of at most ``max_norm`` (0: leaves them) and returns the norm before."""
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm if max_norm > 0 else float("inf"), foreach=False)
    return _whole(norm)


def _whole(value: Tensor) -> float:
    """A scalar that may be spread over ranks."""
    return float(value.full_tensor() if isinstance(value, DTensor) else value)
