"""Tokenised records and batches of them. Shapes: B sequences, T tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from expunge.functional.logprobs import IGNORE as IGNORE
from expunge.functional.logprobs import scored_positions


@dataclass(frozen=True)
class Example:
    """One tokenised record.

    Attributes:
        input_ids: token ids, special tokens included.
        labels: the same ids where the token is scored, ``IGNORE`` elsewhere; same length.
        row: position of the record in its list; seeds, cached numbers and scores are kept by it.
        weight: weight of the record in losses.
        token_weights: weight of each token where it is scored, at least 0; None for 1 each.
        end: place of the first token of the mark that ends the answer; None where there is none.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    row: int
    weight: float = 1.0
    token_weights: tuple[float, ...] | None = None
    end: int | None = None

    @property
    def scored(self) -> int:
        """Number of scored tokens; the first token has no prediction and never counts."""
        return sum(label != IGNORE for label in self.labels[1:])


@dataclass(frozen=True)
class Batch:
    """Right-padded examples.

    Attributes:
        input_ids_BT: token ids.
        attention_mask_BT: 1 for tokens, 0 for padding; from lengths, never from ids, since pad may equal
            end-of-sequence.
        labels_BT: ids where scored, ``IGNORE`` elsewhere.
        token_weights_BT: weight of each scored token, 0 elsewhere and in column 0; 1 unless a token selection says
            otherwise.
        weights_B: weight of each record; 0 marks a row that only fills up a batch.
        rows_B: position of each record in its list.
    """

    input_ids_BT: Tensor
    attention_mask_BT: Tensor
    labels_BT: Tensor
    token_weights_BT: Tensor
    weights_B: Tensor
    rows_B: Tensor

    @property
    def labels_scored_BT(self) -> Tensor:
        """True where a token is scored; column 0 never is."""
        return scored_positions(self.labels_BT)

    @property
    def prompts_BT(self) -> Tensor:
        """True on the prompt, between the first and the first scored token; on all tokens where nothing is there."""
        there_BT = self.attention_mask_BT.bool()
        prompt_BT = there_BT & (self.labels_scored_BT.cumsum(-1) == 0)  # a template may write more behind the answer
        # The first token is never scored and mostly begins every text: its state says nothing about this one.
        prompt_BT[:, 0] = False
        return torch.where(prompt_BT.any(-1, keepdim=True), prompt_BT, there_BT)

    def to(self, device: torch.device | str) -> Batch:
        """Returns the batch on another device."""
        return Batch(**{name: value.to(device) for name, value in vars(self).items()})

    def with_token_weights(self, token_weights_BT: Tensor) -> Batch:
        """Returns the batch with other token weights; zero wherever a token is not scored."""
        return replace(self, token_weights_BT=token_weights_BT * self.labels_scored_BT)

    def __len__(self) -> int:
        return int(self.input_ids_BT.shape[0])


def collate(examples: Sequence[Example], pad_id: int, *, length: int | None = None) -> Batch:
    """Pads examples on the right into one batch.

    Args:
        examples: at least one.
        pad_id: id that fills up; never attended to, never scored.
        length: pad to this many tokens instead of the longest example.
    """
    width = max(len(example.input_ids) for example in examples) if length is None else length
    shape = (len(examples), width)
    input_ids_BT = torch.full(shape, pad_id, dtype=torch.long)
    attention_mask_BT = torch.zeros(shape, dtype=torch.long)
    labels_BT = torch.full(shape, IGNORE, dtype=torch.long)
    for row, example in enumerate(examples):
        size = len(example.input_ids)
        input_ids_BT[row, :size] = torch.tensor(example.input_ids)
        attention_mask_BT[row, :size] = 1
        labels_BT[row, :size] = torch.tensor(example.labels)
    token_weights_BT = scored_positions(labels_BT).float()
    for row, example in enumerate(examples):
        if example.token_weights is not None:
            token_weights_BT[row, : len(example.input_ids)] *= torch.tensor(example.token_weights)
    return Batch(
        input_ids_BT=input_ids_BT,
        attention_mask_BT=attention_mask_BT,
        labels_BT=labels_BT,
        token_weights_BT=token_weights_BT,
        weights_B=torch.tensor([example.weight for example in examples], dtype=torch.float32),
        rows_B=torch.tensor([example.row for example in examples]),
    )
