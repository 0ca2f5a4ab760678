"""The model that another is compared with: a frozen copy, the same model with its adapter off, or numbers read back.

All three have one method, ``read(batch)``, that returns readings without gradient; no method can tell which it got.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from expunge.data.batch import Batch
from expunge.errors import ExpungeError
from expunge.functional.logprobs import scored_positions, unpack
from expunge.models.reading import read


class Numbers(NamedTuple):
    """A finished reading; the same attributes as ``expunge.models.reading.Reading``."""

    token_logps: Tensor
    labels: Tensor
    mask_BT: Tensor
    stored_logits: Tensor | None

    @property
    def sequence_logps(self) -> Tensor:
        """Log-probability (B,) of each answer, nats."""
        return self.token_logps.sum(-1)

    @property
    def mean_logps(self) -> Tensor:
        """Mean log-probability (B,) per answer token, nats."""
        return self.sequence_logps / self.mask_BT.sum(-1).clamp(min=1)

    @property
    def logits(self) -> Tensor:
        """Logits (N, V) that predict the scored tokens."""
        if self.stored_logits is None:
            raise ExpungeError("This reference was computed without logits; declare them in the method's ViewSpec.")
        return self.stored_logits


def freeze(model: nn.Module) -> nn.Module:
    """Returns a copy in evaluation mode that takes no gradient."""
    return copy.deepcopy(model).eval().requires_grad_(False)


class FrozenReference:
    """Reads a separate copy of the original model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def read(self, batch: Batch) -> Numbers:
        """Returns the copy's reading."""
        return _read_now(self.model, batch)


class AdapterOffReference:
    """Reads the trained model itself with its peft adapter switched off."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def read(self, batch: Batch) -> Numbers:
        """Returns the reading without adapter, dropout off; the model's mode is restored."""
        with _evaluating(self.model), self.model.disable_adapter():
            return _read_now(self.model, batch)


class CachedReference:
    """Numbers computed once, kept by row of the view they belong to."""

    def __init__(self, logps: Mapping[int, Tensor], logits: Mapping[int, Tensor] | None) -> None:
        self._logps = logps
        self._logits = logits

    @classmethod
    def compute(cls, model: nn.Module, batches: Iterable[Batch], what: frozenset[str]) -> CachedReference:
        """Reads every batch once.

        Args:
            model: the original model; its mode is restored.
            batches: all records of one view.
            what: ``{"token_logps"}``, or with ``"logits"`` too, which keeps one row of the vocabulary for each scored token.
        """
        logps: dict[int, Tensor] = {}
        logits: dict[int, Tensor] = {}
        with _evaluating(model):
            for batch in batches:
                numbers = _read_now(model, batch)
                counts = numbers.mask_BT.sum(-1).tolist()
                rows = batch.rows_B.tolist()
                packed = numbers.token_logps[numbers.mask_BT]
                for row, piece in zip(rows, packed.split(counts), strict=True):
                    logps[row] = piece.clone()
                if "logits" in what:
                    for row, piece in zip(rows, numbers.logits.split(counts), strict=True):
                        logits[row] = piece.clone()
        return cls(logps, logits if "logits" in what else None)

    def read(self, batch: Batch) -> Numbers:
        """Returns the stored numbers of the batch's rows."""
        mask_BT = scored_positions(batch.labels_BT)
        rows = batch.rows_B.tolist()
        counts = mask_BT.sum(-1).tolist()
        for row, count in zip(rows, counts, strict=True):
            if row not in self._logps or len(self._logps[row]) != count:
                raise ExpungeError(f"The cached reference has no numbers for record {row} as it is tokenised now.")
        packed = torch.cat([self._logps[row] for row in rows]).to(mask_BT.device)
        logits = None if self._logits is None else torch.cat([self._logits[row] for row in rows]).to(mask_BT.device)
        return Numbers(unpack(packed, mask_BT), batch.labels_BT[mask_BT], mask_BT, logits)


@torch.no_grad()
def _read_now(model: nn.Module, batch: Batch) -> Numbers:
    reading = read(model, batch)
    return Numbers(reading.token_logps, reading.labels, reading.mask_BT, reading.logits)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
