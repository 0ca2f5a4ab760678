"""Which tokens of a forget record count, and how much. An axis of every loss method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from expunge.data.batch import Example
from expunge.data.record import Record
from expunge.data.tokenize import Mask
from expunge.registry import token_choices


def silent(text: str) -> None:
    """Drops a warning; for callers that have nowhere to show it."""


@dataclass(frozen=True, kw_only=True)
class TokenTask:
    """What a token choice may look at.

    Attributes:
        records: the records, in the order of the examples.
        tokenizer: their tokenizer.
        logps: examples to the original's log-probability (nats) of each token, (T,), 0 where it is not scored.
        warn: takes a sentence on what was not done as asked; counts only, no record text.
    """

    records: Sequence[Record]
    tokenizer: Any
    logps: Callable[[Sequence[Example]], list[Tensor]]
    warn: Callable[[str], None] = silent


class TokenChoice:
    """Base of the token choices."""

    mask: ClassVar[Mask] = "answer"  # what is scored before the choice is made
    relabelled: ClassVar[bool] = False  # whether it also holds for answers that a relabeller wrote

    def choose(self, examples: Sequence[Example], task: TokenTask) -> list[Example]:
        """Returns the examples with fewer labels, or with weights of their tokens; inputs stay as they are."""
        return list(examples)


@token_choices.register("answer")
@dataclass(frozen=True, kw_only=True)
class Answer(TokenChoice):
    """The answer and its end."""


@token_choices.register("all")
@dataclass(frozen=True, kw_only=True)
class All(TokenChoice):
    """The prompt too."""

    mask: ClassVar[Mask] = "all"
    relabelled: ClassVar[bool] = True
