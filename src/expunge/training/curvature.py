"""Diagonals of curvature: Gauss-Newton-Bartlett over an effective batch, and the empirical Fisher of records.

Gauss-Newton-Bartlett: Liu et al. (Sophia), 2023, https://arxiv.org/abs/2305.14342. Labels are drawn from the model's
own distribution, so that ``B ghat^2`` of the mean loss over B of them has the Gauss-Newton diagonal of the mean loss as
its expectation.

Shapes: B sequences, T tokens, V vocabulary, N scored tokens of a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from expunge.data.batch import Batch, Example, collate
from expunge.errors import InputError
from expunge.functional.logprobs import at_least_float32, packed_logps, unpack
from expunge.methods.base import LossMethod, Spec, State, Views, ViewSpec
from expunge.methods.terms import Term, per_token
from expunge.models.modes import evaluating
from expunge.models.reading import read
from expunge.training.distributed import is_sharded
from expunge.training.gradients import Gradients
from expunge.training.step import Step
from expunge.training.streams import StepData


@dataclass(frozen=True, kw_only=True)
class SampledLabels(LossMethod):
    """Negative log-likelihood of labels that the model itself draws at the scored positions of one view.

    Each record draws from a generator of its own, on the CPU and seeded by (seed, row), so that neither micro-batches
    nor ranks nor the device change what is drawn.
    """

    spec: ClassVar[Spec] = Spec(paper="Liu et al., 2023, https://arxiv.org/abs/2305.14342", needs=())

    view: ViewSpec
    seed: int

    def views(self) -> tuple[ViewSpec, ...]:
        """The view that labels are drawn for; nothing of a reference, and logits whatever the method reads."""
        return (replace(self.view, reference=frozenset(), hidden=None, logits=True),)

    def forget_term(self, views: Views, state: State) -> Term:
        """Token mean of the negative log-likelihood of the drawn labels."""
        view = views[self.view.name]
        logits_NV = view.policy.logits
        mask_BT = view.batch.labels_scored_BT
        rows = [(int(row), int(count)) for row, count in zip(view.batch.rows_B, mask_BT.sum(-1), strict=True)]
        uniform_N = torch.cat([_uniform(self.seed, row, count) for row, count in rows])
        labels_N = draw(logits_NV.detach(), uniform_N.to(logits_NV.device))
        return per_token(-unpack(packed_logps(logits_NV, labels_N), mask_BT), self.view.name)


def draw(logits_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """Labels (N,) of the softmax by inversion of its cumulative sums, from uniform numbers in [0, 1)."""
    cumulative_NV = at_least_float32(logits_NV).double().softmax(-1).cumsum(-1)
    # Scaled by the last sum, which rounding may leave below 1; a label without probability is never drawn.
    places_N1 = torch.searchsorted(cumulative_NV, (uniform_N.double() * cumulative_NV[:, -1])[:, None], right=True)
    return places_N1.squeeze(-1).clamp(max=logits_NV.shape[-1] - 1)


def _uniform(seed: int, row: int, count: int) -> Tensor:
    key = hashlib.sha256(f"{seed}/labels/{row}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)
    return torch.rand(count, generator=generator, dtype=torch.float64)


def estimate(accelerator: Any, step: nn.Module, data: StepData, seed: int) -> dict[str, Tensor]:
    """Gauss-Newton-Bartlett estimate of each trainable parameter's curvature over one effective batch.

    Every scored token of a record that counts is one sample, whatever its weight: ``hhat = B ghat^2`` with B their
    number and ghat the gradient of the mean loss of drawn labels, over all micro-batches and ranks. The model is read
    in evaluation mode; modes, ``.grad`` and global random state stay as they were.

    Args:
        accelerator: an ``accelerate.Accelerator``; every process must call this.
        step: the prepared ``Step``; the first of its views is read.
        data: what the optimizer step reads on this rank.
        seed: of the drawn labels; another one for each step.

    Returns:
        hhat by name, in the order of the parameters; zeros where a parameter has no part in it.
    """
    inner: Step = accelerator.unwrap_model(step)
    spec = inner.specs()[0]
    batches = [_counted_once(batch[spec.name]) for batch in data.micro_batches]
    local = sum(float((batch.token_weights_BT * batch.weights_B[:, None]).sum()) for batch in batches)
    count = float(accelerator.reduce(torch.tensor(local, device=accelerator.device), reduction="sum"))
    drawn = StepData([{spec.name: batch} for batch in batches], {(spec.name, "token"): max(count, 1.0)})
    with _own_gradients(inner), evaluating(step):
        Gradients(accelerator, step)(drawn, {}, {"forget": 1.0}, method=SampledLabels(view=spec, seed=seed))
        return {
            name: torch.zeros_like(parameter) if parameter.grad is None else count * parameter.grad.detach().square()
            for name, parameter in inner.named_parameters()
            if parameter.requires_grad
        }


def _counted_once(batch: Batch) -> Batch:
    batch = replace(batch, weights_B=(batch.weights_B > 0).float())
    return batch.with_token_weights((batch.token_weights_BT > 0).float())


@contextmanager
def _own_gradients(module: nn.Module) -> Iterator[None]:
    """Gives back each parameter's ``.grad`` at the end."""
    kept = [(parameter, parameter.grad) for parameter in module.parameters()]
    try:
        yield
    finally:
        for parameter, gradient in kept:
            parameter.grad = gradient


def empirical_fisher(
    model: Any,
    examples: Sequence[Example],
    pad_id: int,
    records: int,
    parameters: Mapping[str, nn.Parameter] | None = None,
) -> dict[str, Tensor]:
    """Mean over records of the squared gradient of each record's log-likelihood, for each trainable parameter.

    Record by record (the square of a batch's mean gradient is another number), of the first so many records with a
    weight above 0, in evaluation mode; nothing is left in ``.grad``. The log-likelihood is that of all scored tokens.

    Args:
        model: the model, or a peft model around it; not sharded.
        examples: tokenised records.
        pad_id: token that fills up.
        records: most records to read.
        parameters: of the model, by the names that the result has; None for the trainable ones by their own names.

    Raises:
        InputError: a sharded model, or no record that counts.
    """
    if is_sharded(model):
        raise InputError("The Fisher diagonal is taken record by record, which FSDP cannot do; launch with DDP.")
    chosen = [example for example in examples if example.weight > 0 and example.scored][:records]
    if not chosen:
        raise InputError("The Fisher diagonal needs at least one record with a scored token and a weight above 0.")
    if parameters is None:
        parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    with evaluating(model):
        for example in chosen:
            logp = read(model, collate([example], pad_id).to(model.device)).sequence_logps.sum()
            gradients = torch.autograd.grad(logp, list(parameters.values()), allow_unused=True)
            for name, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    sums[name] += gradient.square()
    return {name: total / len(chosen) for name, total in sums.items()}
