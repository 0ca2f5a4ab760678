"""Which tokens a user could have typed: those that the tokenizer makes of their own text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from expunge.errors import InputError


def is_writable(tokenizer: Any, ids: Sequence[int]) -> bool:
    """Whether the tokenizer makes these tokens of the text that they stand for."""
    text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) == list(ids)


def writable_tokens(tokenizer: Any) -> Tensor:
    """Returns the ids, in order, of tokens that are no special ones and that a user could type alone.

    Raises:
        InputError: the tokenizer has none.
    """
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    found = [token for token in range(len(tokenizer)) if token not in special and is_writable(tokenizer, [token])]
    if not found:
        raise InputError(
            "The tokenizer has no token that is made of its own text, so no prompt can be searched with it."
        )
    return torch.tensor(found)


def starting_tokens(tokenizer: Any, length: int, allowed_A: Tensor) -> Tensor:
    """Returns (L,): exclamation marks, or one other allowed token again and again, that a user could type so.

    Marks in a row are one token of some tokenizers, so marks with spaces come first.
    """
    special = set(tokenizer.all_special_ids)  # an unknown mark becomes one, and its text is that token again
    for text in (" !" * length, "!" * length):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) == length and special.isdisjoint(ids) and is_writable(tokenizer, ids):
            return torch.tensor(ids)
    alike = ([token] * length for token in allowed_A.tolist())
    return torch.tensor(next((ids for ids in alike if is_writable(tokenizer, ids)), [int(allowed_A[0])] * length))
