"""Only the tokens of the value itself: what is to be forgotten is the fact, not the words around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from expunge.data.batch import IGNORE, Example
from expunge.data.forms.value import common_words, telling_spans
from expunge.data.tokenize import token_places
from expunge.errors import InputError
from expunge.models.tokens.base import TokenChoice, TokenTask
from expunge.registry import token_choices


@token_choices.register("entities")
@dataclass(frozen=True, kw_only=True)
class Entities(TokenChoice):
    """Tokens of the value, and of all that has the shape of personal data; found by rule.

    A record in which no rule finds a value counts as a whole, which is warned of.

    Attributes:
        outside: weight of the answer's other tokens, from 0 (not scored) to 1.
    """

    outside: float = 0.0

    def __post_init__(self) -> None:
        """Refuses a weight that cannot be meant."""
        if not 0 <= self.outside <= 1:
            raise InputError(f"outside is a weight between 0 and 1, not {self.outside}.")

    def choose(self, examples: Sequence[Example], task: TokenTask) -> list[Example]:
        """Leaves the value's labels, or all of them with weights."""
        common = common_words(task.records)
        found, whole = [], 0
        for example, record in zip(examples, task.records, strict=True):
            inside = token_places(record, task.tokenizer, telling_spans(record, common))
            scored = {place for place, label in enumerate(example.labels) if place > 0 and label != IGNORE}
            whole += not inside & scored
            found.append(self._weighted(example, inside) if inside & scored else example)
        if whole:
            task.warn(
                f"{whole} of {len(examples)} records have nothing that a rule takes for a value; they count whole."
            )
        return found

    def _weighted(self, example: Example, inside: frozenset[int]) -> Example:
        if self.outside == 0:
            labels = tuple(label if place in inside else IGNORE for place, label in enumerate(example.labels))
            return replace(example, labels=labels)
        weights = tuple(1.0 if place in inside else self.outside for place in range(len(example.labels)))
        return replace(example, token_weights=weights)
