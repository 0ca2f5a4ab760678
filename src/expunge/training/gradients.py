"""The one place where gradients are taken."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from expunge.methods.base import State
from expunge.training.streams import StepData


class Gradients:
    """Gradient of (a part of) the loss over one effective batch, summed over micro-batches and ranks.

    Args:
        accelerator: an ``accelerate.Accelerator``.
        step: the prepared ``Step``.
    """

    def __init__(self, accelerator: Any, step: nn.Module) -> None:
        self.accelerator = accelerator
        self.step = step

    def __call__(self, data: StepData, state: State, weights: Mapping[str, float]) -> dict[str, float]:
        """Leaves the gradient of the weighted terms in ``.grad``; returns each term's value over the effective batch.

        A caller that needs a term's gradient by itself asks with the weight 0 for the others.
        """
        self.step.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        last = len(data.micro_batches) - 1
        for number, micro_batch in enumerate(data.micro_batches):
            batches = {name: batch.to(self.accelerator.device) for name, batch in micro_batch.items()}
            wait = self.accelerator.no_sync(self.step) if number != last else contextlib.nullcontext()
            with wait:
                output = self.step(batches, state, data.totals, weights)
                # DDP and FSDP2 average over ranks; the shares are already parts of one sum.
                self.accelerator.backward(output.loss * self.accelerator.num_processes)
            for name, share in output.shares.items():
                sums[name] = sums.get(name, torch.zeros((), device=share.device)) + share
        return {name: float(self.accelerator.reduce(value, reduction="sum")) for name, value in sums.items()}

    def buffers(self) -> dict[str, Tensor]:
        """Returns copies of the gradients by parameter name, for whoever projects or masks them."""
        return {
            name: parameter.grad.detach().clone()
            for name, parameter in self.step.named_parameters()
            if parameter.grad is not None
        }


def clip(parameters: list[nn.Parameter], max_norm: float) -> float:
    """Scales all gradients to a global norm of at most ``max_norm`` (0: leaves them) and returns the norm before."""
    norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm if max_norm > 0 else float("inf"), foreach=False)
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    return float(norm)
