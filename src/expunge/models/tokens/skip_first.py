"""All but the first tokens of the answer, which its wording decides more than the fact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from expunge.data.batch import IGNORE, Example
from expunge.errors import InputError
from expunge.models.tokens.base import TokenChoice, TokenTask
from expunge.registry import token_choices


@token_choices.register("skip_first")
@dataclass(frozen=True, kw_only=True)
class SkipFirst(TokenChoice):
    """All scored tokens but the first few; of a shorter answer the last one.

    Attributes:
        count: tokens that are left out.
    """

    relabelled: ClassVar[bool] = True

    count: int = 1

    def __post_init__(self) -> None:
        """Refuses a negative number."""
        if self.count < 0:
            raise InputError(f"count is a number of tokens, at least 0, not {self.count}.")

    def choose(self, examples: Sequence[Example], task: TokenTask) -> list[Example]:
        """Takes the first labels off each record."""
        return [self._without_first(example) for example in examples]

    def _without_first(self, example: Example) -> Example:
        scored = [place for place, label in enumerate(example.labels) if place > 0 and label != IGNORE]
        kept = {*scored[self.count :], *scored[-1:]}
        labels = tuple(label if place in kept else IGNORE for place, label in enumerate(example.labels))
        return replace(example, labels=labels)
