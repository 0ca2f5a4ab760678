"""Token ids that may stand as a label: those of the tokenizer that the model has a number for, but no special ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from expunge.data.batch import IGNORE, Example
from expunge.errors import InputError


class Vocabulary(NamedTuple):
    """Token ids, in order, and which are special."""

    plain: list[int]
    special: frozenset[int]

    def allowed(self, size: int) -> Tensor:
        """True (V,) for each of ``size`` ids that may be a label."""
        allowed_V = torch.zeros(size, dtype=torch.bool)
        allowed_V[[token for token in self.plain if token < size]] = True
        return allowed_V


def vocabulary_of(tokenizer: Any, model: Any) -> Vocabulary:
    """Returns the ids that both know: models may have rows beyond their tokenizer's last id.

    Raises:
        InputError: fewer than two, so that no token could be another one.
    """
    added = {token for token, kind in tokenizer.added_tokens_decoder.items() if kind.special}
    special = frozenset({*tokenizer.all_special_ids, *added})
    size = int(model.config.get_text_config().vocab_size)
    known = sorted(token for token in set(tokenizer.get_vocab().values()) if token < size)
    plain = [token for token in known if token not in special]
    if len(plain) < 2:
        raise InputError("The tokenizer has fewer than two tokens that are not special, so no label can be exchanged.")
    return Vocabulary(plain, special)


def changeable(example: Example, special: frozenset[int]) -> list[int]:
    """Places of the scored tokens that are not special; the first token is never scored."""
    return [
        place for place, label in enumerate(example.labels) if place > 0 and label != IGNORE and label not in special
    ]
