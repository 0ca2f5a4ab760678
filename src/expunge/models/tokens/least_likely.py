"""The tokens that the original finds least likely: where a text says something that the words before do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from expunge.data.batch import IGNORE, Example
from expunge.errors import InputError
from expunge.models.tokens.base import TokenChoice, TokenTask
from expunge.registry import token_choices


@token_choices.register("least_likely")
@dataclass(frozen=True, kw_only=True)
class LeastLikely(TokenChoice):
    """The share of each answer's tokens with the lowest probability under the original, its end among them.

    Attributes:
        share: share of the answer's tokens, rounded, at least one; of equally likely ones the first.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        """Refuses a share that would leave nothing."""
        if not 0 < self.share <= 1:
            raise InputError(f"share is above 0 and at most 1, not {self.share}.")

    def choose(self, examples: Sequence[Example], task: TokenTask) -> list[Example]:
        """Leaves the labels of the least likely tokens of each record."""
        return [self._kept(example, logps_T) for example, logps_T in zip(examples, task.logps(examples), strict=True)]

    def _kept(self, example: Example, logps_T: Tensor) -> Example:
        scored = [place for place, label in enumerate(example.labels) if place > 0 and label != IGNORE]
        number = max(1, round(self.share * len(scored)))
        kept = set(sorted(scored, key=lambda place: (float(logps_T[place]), place))[:number])
        labels = tuple(label if place in kept else IGNORE for place, label in enumerate(example.labels))
        return replace(example, labels=labels)
