"""Other answers for the same prompts, the same for every run with the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from expunge.data.batch import Example
from expunge.data.record import Record


@dataclass(frozen=True, kw_only=True)
class RelabelTask:
    """What a relabeller may work with.

    Attributes:
        model: the original, in evaluation mode; read, never changed.
        tokenizer: its tokenizer.
        records: by split, those that the relabeller's ``needs`` name among them.
        seed: of the run.
        max_length: longest record, tokens.
    """

    model: Any
    tokenizer: Any
    records: dict[str, Sequence[Record]]
    seed: int
    max_length: int


class Relabeller:
    """Base of the relabellers; one overrides the finest of these that it can do its work in."""

    needs: ClassVar[tuple[str, ...]] = ()  # splits that must be handed in, keys of ``expunge.methods.base.NEED_FLAGS``

    def relabel(self, record: Record, *, seed: int, sample: int = 0) -> Record:
        """Returns the record with another answer; depends on seed, record and number of the sample only."""
        return record

    def relabel_all(self, records: Sequence[Record], task: RelabelTask, sample: int = 0) -> list[Record]:
        """Returns the records with other answers, in the same order."""
        return [self.relabel(record, seed=task.seed, sample=sample) for record in records]

    def relabel_tokens(self, examples: Sequence[Example], task: RelabelTask, sample: int = 0) -> list[Example]:
        """Returns the tokenised records with other labels; inputs may change too, lengths may not."""
        return list(examples)
