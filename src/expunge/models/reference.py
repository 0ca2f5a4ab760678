"""Readings of a model that does not learn: a frozen copy, the same model with its adapter off, or cached numbers.

No gradient goes through any of them. A reference belongs to one view: cached numbers are kept by row, and another view
has other rows under the same numbers.
"""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple, TypeVar

import torch
from peft import PeftModel
from torch import Tensor, nn

from expunge.data.batch import Batch
from expunge.errors import InputError, StaleCacheError
from expunge.functional.logprobs import unpack
from expunge.models.modes import evaluating
from expunge.models.reading import ModelReading, Reading

NUMBERS = frozenset({"token_logps", "logits"})
Model = TypeVar("Model", bound=nn.Module)


class Reference(ABC):
    """Something that reads a batch as a model would that does not learn."""

    @abstractmethod
    def read(self, batch: Batch, *, hidden_layers: Sequence[int] = (), logits: bool = True) -> Reading:
        """Returns a reading without gradient, as ``expunge.models.reading.read`` does."""


def freeze(model: Model) -> Model:
    """Returns a copy in evaluation mode whose weights take no gradient; it needs the memory of a second model."""
    frozen = copy.deepcopy(model).eval()
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    return frozen


class FrozenReference(Reference):
    """Reads a model that nobody trains, usually from ``freeze``."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def read(self, batch: Batch, *, hidden_layers: Sequence[int] = (), logits: bool = True) -> Reading:
        """Returns a reading of the copy, in evaluation mode and without gradient."""
        return _read_quietly(self.model, batch, hidden_layers, logits=logits)


class AdapterOffReference(Reference):
    """Reads the model under a peft adapter: no second copy in memory.

    Raises:
        InputError: the model has no adapter, so that it would be its own reference.
    """

    def __init__(self, model: PeftModel) -> None:
        if not isinstance(model, PeftModel):
            raise InputError(f"{type(model).__name__} has no adapter to turn off; use a frozen copy or cached numbers.")
        self.model = model

    def read(self, batch: Batch, *, hidden_layers: Sequence[int] = (), logits: bool = True) -> Reading:
        """Returns a reading of the model without its adapter, in evaluation mode and without gradient."""
        return _read_quietly(self.model, batch, hidden_layers, logits=logits, adapter=False)


class RowNumbers(NamedTuple):
    """Numbers of one row: digest of what was read, log-probabilities (n,) and logits (n, V) where computed."""

    digest: bytes
    token_logps: Tensor | None
    logits: Tensor | None


class CachedReference(Reference):
    """Reads numbers that were computed once, by the row of each record; the model itself can be gone."""

    def __init__(self, numbers: Mapping[int, RowNumbers], what: frozenset[str]) -> None:
        self.numbers = numbers
        self.what = what

    @classmethod
    def compute(
        cls, model: nn.Module, batches: Iterable[Batch], what: frozenset[str] = frozenset({"token_logps"})
    ) -> CachedReference:
        """Reads a model on all batches of one view, in evaluation mode and without gradient.

        Args:
            model: the reference.
            batches: every row of the view at least once, on the model's device.
            what: ``token_logps`` keeps a float32 for each token, ``logits`` V numbers in the model's dtype; on the CPU.
        """
        if not what or what - NUMBERS:
            raise InputError(
                f"A cached reference holds token_logps or logits, not {', '.join(sorted(what)) or 'nothing'}."
            )
        numbers: dict[int, RowNumbers] = {}
        for batch in batches:
            reading = _read_quietly(model, batch, ())
            for position, row in enumerate(batch.rows_B.tolist()):
                numbers[row] = _row_numbers(reading, position, what)
        return cls(numbers, frozenset(what))

    def read(self, batch: Batch, *, hidden_layers: Sequence[int] = (), logits: bool = True) -> Reading:
        """Returns the stored numbers of the batch's rows.

        Raises:
            InputError: hidden states are wanted, which are never cached.
            StaleCacheError: a row is not in the cache, or its tokens are not those that were read.
        """
        if hidden_layers:
            raise InputError(
                "A cached reference holds no hidden states; use a frozen copy or the model with its adapter off."
            )
        rows = []
        for position, row in enumerate(batch.rows_B.tolist()):
            if row not in self.numbers:
                raise StaleCacheError(
                    f"Row {row} is not among the {len(self.numbers)} rows of the reference; compute it anew."
                )
            if self.numbers[row].digest != _digest(batch, position):
                raise StaleCacheError(
                    f"Row {row} has other tokens, or other scored ones, than when the reference was computed; compute "
                    "the reference anew for this view."
                )
            rows.append(self.numbers[row])
        return CachedReading(batch, rows, self.what)


class CachedReading(Reading):
    """A reading made of stored numbers."""

    def __init__(self, batch: Batch, rows: Sequence[RowNumbers], what: frozenset[str]) -> None:
        super().__init__(batch)
        self._rows = rows
        self._what = what

    @property
    def logits(self) -> Tensor:
        """(N, V) stored logits.

        Raises:
            InputError: they were not computed.
        """
        if "logits" not in self._what:
            raise InputError(
                f"This reference was computed with {_listed(self._what)}, not logits; compute it with logits."
            )
        return self._gather([row.logits for row in self._rows])

    def _score(self) -> Tensor:
        if "token_logps" not in self._what:
            return super()._score()
        return unpack(self._gather([row.token_logps for row in self._rows]), self.mask_BT)

    @property
    def hidden_states(self) -> Mapping[int, Tensor]:
        """None: hidden states are never cached."""
        return {}

    def hidden(self, layer: int) -> Tensor:
        """Always refuses: hidden states are never cached.

        Raises:
            InputError: always.
        """
        raise InputError(f"A cached reference holds no hidden states (layer {layer}); use a frozen copy.")

    def _gather(self, parts: Sequence[Tensor | None]) -> Tensor:
        return torch.cat([part for part in parts if part is not None]).to(self.labels.device)


def _read_quietly(
    model: nn.Module, batch: Batch, hidden_layers: Sequence[int], *, logits: bool = True, adapter: bool = True
) -> ModelReading:
    def around() -> AbstractContextManager[None]:
        return _quietly(model, adapter=adapter)

    return ModelReading(
        model,
        batch,
        hidden_layers=hidden_layers,
        inputs_embeds=None,
        interventions={},
        logits=logits,
        around=around,
    )


@contextmanager
def _quietly(model: nn.Module, *, adapter: bool) -> Iterator[None]:
    """Evaluation mode, no gradient and, where not ``adapter``, the adapter of a peft model off."""
    with ExitStack() as stack:
        # no_grad and not inference_mode: a loss keeps these numbers for its backward pass.
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(model))
        if not adapter and isinstance(model, PeftModel):
            stack.enter_context(model.disable_adapter())
        yield


def _row_numbers(reading: Reading, position: int, what: frozenset[str]) -> RowNumbers:
    mask_BT = reading.mask_BT
    start = int(mask_BT[:position].sum())
    end = start + int(mask_BT[position].sum())
    logps_n = reading.token_logps[position][mask_BT[position]].cpu() if "token_logps" in what else None
    # clone: a slice would keep the logits of the whole batch in memory.
    logits_nV = reading.logits[start:end].cpu().clone() if "logits" in what else None
    return RowNumbers(_digest(reading.batch, position), logps_n, logits_nV)


def _digest(batch: Batch, position: int) -> bytes:
    """Digest of a row's tokens and labels without padding; kept in memory only, since it comes from the user's data."""
    kept_T = batch.attention_mask_BT[position].bool()
    both = torch.stack([batch.input_ids_BT[position][kept_T], batch.labels_BT[position][kept_T]])
    return hashlib.blake2b(both.cpu().numpy().tobytes(), digest_size=16).digest()


def _listed(what: frozenset[str]) -> str:
    return " and ".join(sorted(what))
